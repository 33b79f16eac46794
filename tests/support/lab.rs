//! Two images after each other on one volume, with what a person does in between; and
//! the states of that volume.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::file_systems::{Kind, Mounted};
use super::tmpfs::Tmpfs;
use super::tracer::{Call, End, Then, stop_before_each};
use super::{Image, Start, UID};

/// By path: a file's content, or `-> TEXT` of a link.
pub type Files = BTreeMap<&'static str, &'static str>;

/// How the names of our directory and of our temporary files begin.
pub const OURS: &str = ".ai-lab";

/// A notebook of the first image and one of the second, and what a run makes of the first.
const RUN: [&str; 2] = [
    r#"{"nbformat": 4, "cells": [{"cell_type": "code", "source": "1 + 1", "outputs": []}]}"#,
    r#"{"nbformat": 4, "cells": [{"cell_type": "code", "source": "2 + 2", "outputs": []}]}"#,
];
pub const RAN: &str = r#"{"nbformat": 4, "cells": [{"source": ["1 ", "+ 1"], "cell_type": "code", "outputs": ["2"]}]}"#;
/// Where an update keeps that.
const KEPT: &str = ".ai-lab/kept/1.0.0/run.ipynb";

pub fn first() -> Files {
    Files::from([
        ("run.ipynb", RUN[0]),
        ("a.ipynb", "a 1"),
        ("deep/er/b.ipynb", "b 1"),
        ("latest.ipynb", "-> a.ipynb"),
        ("mine.ipynb", "c 1"),
        ("same.ipynb", "always"),
        ("deleted.sh", "d 1"),
    ])
}

pub fn second() -> Files {
    Files::from([
        ("run.ipynb", RUN[1]),
        ("a.ipynb", "a 2"),
        ("deep/er/b.ipynb", "b 2, longer than before"),
        ("latest.ipynb", "-> deep/er/b.ipynb"),
        ("mine.ipynb", "c 2"),
        ("same.ipynb", "always"),
        ("deleted.sh", "d 2"),
        ("new/n.ipynb", "n 2"),
    ])
}

pub fn third() -> Files {
    let next = |(name, content): (&'static str, &'static str)| match name {
        "a.ipynb" => (name, "a 3"),
        "deep/er/b.ipynb" => (name, "b 3"),
        "latest.ipynb" => (name, "-> new/n.ipynb"),
        "deleted.sh" => (name, "d 3"),
        "new/n.ipynb" => (name, "n 3, much longer than before"),
        _ => (name, content),
    };
    second().into_iter().map(next).collect()
}

/// What a person did to the volume after the first start.
pub fn change(volume: &Path) -> Files {
    fs::write(volume.join("mine.ipynb"), "my own").unwrap();
    fs::write(volume.join("notes.txt"), "notes").unwrap();
    fs::write(volume.join("run.ipynb"), RAN).unwrap();
    fs::remove_file(volume.join("deleted.sh")).unwrap();
    Files::from([("mine.ipynb", "my own"), ("notes.txt", "notes")])
}

/// What is in the volume after that, of the first image's defaults.
pub fn changed() -> Files {
    let mut old = first();
    old.remove("deleted.sh");
    old.insert("run.ipynb", RAN);
    old
}

/// What a start with `new` makes of that.
pub fn updated(new: &Files, theirs: &Files) -> Files {
    let mut all = new.clone();
    all.extend(theirs);
    all.insert(KEPT, RAN);
    all
}

/// An image whose volume is memory, so that flushing it costs nothing.
pub struct Lab {
    // Unmounted in this order, before the directory around them is removed.
    mounted: Option<Mounted>,
    pub memory: Tmpfs,
    pub image: Image,
    pub kind: Kind,
    update: &'static str,
}

impl Lab {
    pub fn new(update: &'static str) -> Self {
        Self::on(Kind::Tmpfs, update)
    }

    /// A lab whose volume is in a file system of this kind, and that in memory.
    pub fn on(kind: Kind, update: &'static str) -> Self {
        let image = Image::new();
        let size = if kind == Kind::Tmpfs { 16 } else { 512 };
        let memory = Tmpfs::mount(&image.path("memory"), &format!("size={size}m"));
        let mount = || kind.mount(&image.path("memory/below"), &image.path("memory/mounted"));
        Self {
            mounted: (kind != Kind::Tmpfs).then(mount),
            memory,
            image,
            kind,
            update,
        }
    }

    /// Where the volume is, and what is kept of it.
    fn top(&self) -> PathBuf {
        let top = match self.mounted {
            Some(_) => "memory/mounted",
            None => "memory",
        };
        self.image.path(top)
    }

    /// Of these, what the file system can have.
    pub fn possible(&self, files: Files) -> Files {
        let is_possible = |content: &str| self.kind.is_unix() || !content.starts_with("-> ");
        let files = files.into_iter();
        files.filter(|(_, content)| is_possible(content)).collect()
    }

    pub fn defaults(&self, version: &str) -> PathBuf {
        self.image.path(&format!("defaults-{version}"))
    }

    /// Makes an image offer these.
    pub fn offer(&self, version: &str, files: &Files) {
        let defaults = self.defaults(version);
        for (path, content) in files {
            let path = defaults.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match content.strip_prefix("-> ") {
                Some(text) => symlink(text, &path).unwrap(),
                None => fs::write(&path, content).unwrap(),
            }
            if path.extension().is_some_and(|extension| extension == "sh") {
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
    }

    pub fn volume(&self) -> PathBuf {
        self.top().join("notebooks")
    }

    pub fn start(&self, version: &str) -> Start {
        let volume = self.volume().display().to_string();
        let defaults = self.defaults(version).display().to_string();
        Start::plain()
            .args(self.image.options())
            .args(["--notebooks", &volume, "--notebook-defaults", &defaults])
            .args([
                "--state-dir",
                self.image.path("home/state").to_str().unwrap(),
            ])
            .args(["--update-notebooks", self.update, "--", "true"])
            .env("AI_LAB_VERSION", version)
    }

    /// A start that nobody disturbs.
    pub fn finish(&self, version: &str) {
        let ended = self.start(version).run();
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        // Who runs this test may stay above as root, which is told; nothing else is.
        let mut warned = ended.stderr.lines().filter(|line| line.contains("[W "));
        assert!(
            warned.all(|line| line.contains("remains a parent process")),
            "{}",
            ended.stderr
        );
    }

    /// Runs a start and stops it before the `nth` of those system calls of bringing in
    /// that count, for `then`; whether it got there, and how it ended.
    pub fn stop_at(
        &self,
        version: &str,
        nth: usize,
        mut counts: impl FnMut(&Call) -> bool,
        mut then: impl FnMut() -> Then,
    ) -> (bool, End) {
        let defaults = self.defaults(version).display().to_string();
        let (mut begun, mut count) = (false, 0);
        // As the user from the start: what root does before is long, and not about this.
        let user = UID.to_string();
        let mut become_user = vec!["setpriv", "--clear-groups", "--reuid", &user];
        become_user.extend(["--regid", &user]);
        let start = self.start(version).under(&become_user);
        let end = stop_before_each(start, |call| {
            begun |= call.opens(&defaults);
            // The next thing a start does after bringing in.
            if begun && call.limits(libc::RLIMIT_CORE) {
                return Then::LetGo;
            }
            let counted = begun && counts(call);
            count += usize::from(counted);
            if counted && count == nth {
                then()
            } else {
                Then::GoOn
            }
        });
        (count >= nth, end)
    }

    /// Kills a start before the `nth` of those system calls of bringing in that count.
    pub fn kill(&self, version: &str, nth: usize, counts: impl FnMut(&Call) -> bool) -> End {
        self.stop_at(version, nth, counts, || Then::Kill).1
    }

    /// Empties the volume; it is the user's.
    pub fn clear(&self) {
        self.remove();
        fs::create_dir(self.volume()).unwrap();
        if self.kind.is_unix() {
            chown(self.volume(), Some(UID), Some(UID)).unwrap();
        }
    }

    fn remove(&self) {
        if self.volume().exists() {
            fs::remove_dir_all(self.volume()).unwrap();
        }
    }

    /// Puts the volume aside, so that each turn can begin with it.
    pub fn keep(&self) {
        let kept = self.top().join("kept");
        let _ = fs::remove_dir_all(&kept);
        fs::rename(self.volume(), kept).unwrap();
    }

    /// Brings back what was put aside.
    pub fn again(&self) {
        self.remove();
        let mut copy = Command::new("cp");
        copy.arg("--archive").arg(self.top().join("kept"));
        assert!(copy.arg(self.volume()).status().unwrap().success());
    }

    /// Every file and link of the volume, without the extra ones.
    pub fn seen(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        self.add(&self.volume(), &mut all);
        all.retain(|name, _| !is_extra(name));
        all
    }

    fn add(&self, dir: &Path, all: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let data = fs::symlink_metadata(&path).unwrap();
            let name = path.strip_prefix(self.volume()).unwrap();
            let name = name.display().to_string();
            let last = path.file_name().unwrap().to_string_lossy().into_owned();
            if data.is_dir() {
                self.add(&path, all);
            } else if data.is_symlink() {
                let text = fs::read_link(&path).unwrap();
                all.insert(name, format!("-> {}", text.display()));
            } else {
                let content = fs::read_to_string(&path).unwrap();
                if self.kind.is_unix() && !last.starts_with(OURS) && !name.starts_with(OURS) {
                    let mode = if name.ends_with(".sh") { 0o755 } else { 0o644 };
                    assert_eq!(data.mode() & 0o7777, mode, "{name}");
                }
                all.insert(name, content);
            }
        }
    }

    /// Nothing but whole content of one of the states (the last is the new one) under any
    /// name, and nothing gone: what was moved aside is in `.ai-lab/moved`. A name of a state may
    /// be reserved by an empty file, where the lock says that.
    pub fn assert_old_or_new(&self, at: &str, states: &[&Files], theirs: &Files) {
        let seen = self.seen();
        let lock = seen.get(".ai-lab/lock");
        let reserves = !self.kind.is_unix() && lock.is_some_and(|mark| mark.len() == 2);
        for (name, content) in &seen {
            if is_temporary(name) || name.starts_with(OURS) {
                continue;
            }
            let name = name.as_str();
            let mut allowed = match theirs.get(name) {
                Some(own) => vec![*own],
                None => states
                    .iter()
                    .filter_map(|state| state.get(name).copied())
                    .collect(),
            };
            if reserves && !theirs.contains_key(name) && !allowed.is_empty() {
                allowed.push("");
            }
            assert!(allowed.contains(&content.as_str()), "{at}: {seen:#?}");
        }
        // With one state alone, nothing was there before.
        let before = states.split_last().map_or(&[][..], |(_, before)| before);
        let is_moved = |name: &str| {
            let mut old = before.iter().filter_map(|state| state.get(name));
            old.any(|old| seen.iter().any(|moved| is_moved(moved, name, old)))
        };
        for name in before.iter().flat_map(|state| state.keys()) {
            let there = seen.get(*name).is_some_and(|content| !content.is_empty());
            let there = there || !self.kind.exchanges() && is_moved(name);
            assert!(there, "{at}: {name} is gone: {seen:#?}");
        }
        for name in theirs.keys() {
            assert!(seen.contains_key(*name), "{at}: {name} is gone: {seen:#?}");
        }
        let mut contents = states.iter().flat_map(|state| state.values());
        if contents.any(|content| *content == RAN) {
            let there = seen.values().any(|content| content == RAN);
            assert!(there, "{at}: what was run is gone: {seen:#?}");
        }
    }

    /// What the next start makes of it: everything new, nothing left over.
    pub fn assert_finished(&self, at: &str, expected: &Files, changed: &str) {
        let volume = self.volume();
        let mut seen = self.seen();
        assert_eq!(
            seen.remove(".ai-lab/lock").as_deref(),
            Some(""),
            "{at}: the mark of a killed start"
        );
        assert!(seen.remove(".ai-lab/manifest.sha256").is_some(), "{at}");
        assert!(!volume.join(".ai-lab/moved").exists(), "{at}");
        for name in seen.keys() {
            let data = fs::symlink_metadata(volume.join(name)).unwrap();
            assert_eq!((data.uid(), data.gid()), (UID, UID), "{at}: {name}");
        }
        // Where a copy of a notebook could not be kept at first, it is in a second directory.
        let first = |(name, content): (String, _)| (name.replace("_2/", "/"), content);
        seen = seen.into_iter().map(first).collect();
        let found: Vec<_> = seen
            .iter()
            .map(|(name, content)| (name.as_str(), content.as_str()))
            .collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(name, content)| (*name, *content))
            .collect();
        assert_eq!(found, expected, "{at}");
        let checked = Command::new("sha256sum")
            .args(["--check", "--quiet", ".ai-lab/manifest.sha256"])
            .env("LC_ALL", "C")
            .current_dir(volume)
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&checked.stdout), changed, "{at}");
    }
}

/// Whether this is `old` from `name`, which a start moved aside.
fn is_moved((path, content): (&String, &String), name: &str, old: &str) -> bool {
    let moved = path.strip_prefix(".ai-lab/moved/");
    let from = moved.and_then(|moved| Some(moved.split_once('/')?.1));
    from == Some(name) && content == old
}

/// Reports whether a start wrote the file, which no image has: the cells of its notebooks, or
/// what is new.
pub fn is_extra(name: &str) -> bool {
    [
        ".ai-lab/cells.jsonl",
        ".ai-lab/.gitignore",
        "0 What is new.md",
    ]
    .contains(&name)
}

pub fn is_temporary(name: &str) -> bool {
    let last = name.rsplit('/').next().unwrap();
    last.starts_with(".ai-lab.")
}
