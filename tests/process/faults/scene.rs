//! A container's life on a volume that was used: an image brings newer defaults, hooks
//! run, a server with kernels starts. What is left after a fault is judged here.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::support::file_systems::Kind;
use crate::support::lab::{Files, Lab, change, changed, first, second, updated};
use crate::support::process::children;
use crate::support::{PROGRAM, Running, Start};

/// No fault holds anybody up for as long.
pub const LIMIT: Duration = Duration::from_secs(120);

/// What a start says that serves.
pub const READY: &str = "] ready in ";

pub struct Scene {
    lab: Lab,
    hooks: tempfile::TempDir,
    old: Files,
    new: Files,
    theirs: Files,
}

/// How far a start came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Serves,
    Ended,
}

/// How it ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    /// What it said: stdout and stderr.
    pub said: String,
}

impl Ended {
    /// Whether what was said tells why it ended with this code.
    pub fn is_explained(&self) -> bool {
        let Self { code, said } = self;
        let told = |code: &str| {
            let mut told = said.split("error code ").skip(1);
            told.any(|rest| rest.split(|char: char| !char.is_ascii_digit()).next() == Some(code))
        };
        match code {
            0 => true,
            1 if said.contains("[E ") => true,
            134 if said.contains("memory allocation of") => true,
            code => told(&code.to_string()),
        }
    }
}

impl Scene {
    pub fn new() -> Self {
        Self::on(Kind::Tmpfs)
    }

    /// A scene whose volume is in a file system of this kind.
    pub fn on(kind: Kind) -> Self {
        let lab = Lab::on(kind, "unmodified");
        lab.offer("1.0.0", &lab.possible(first()));
        lab.offer("2.0.0", &lab.possible(second()));
        lab.clear();
        lab.finish("1.0.0");
        let theirs = change(&lab.volume());
        lab.keep();
        let image = &lab.image;
        let server = image.path("venv/bin/jupyter-lab");
        fs::write(&server, include_str!("server.py")).unwrap();
        // Where the checkout is below /tmp, nothing of it can be seen any more.
        fs::create_dir(image.path("program")).unwrap();
        fs::write(image.path("program/ai-lab-entrypoint"), "").unwrap();
        let own_tmp = image
            .path("tmp")
            .join(image.dir.path().file_name().unwrap());
        fs::create_dir_all(own_tmp).unwrap();
        let open = fs::Permissions::from_mode(0o1777);
        fs::set_permissions(image.path("tmp"), open).unwrap();
        let old = lab.possible(changed());
        Self {
            new: lab.possible(second()),
            lab,
            hooks: hooks(),
            old,
            theirs,
        }
    }

    /// Everything as it is before a first start of the second image.
    pub fn reset(&self) {
        self.lab.again();
        for place in ["memory/home", "memory/state"] {
            let _ = fs::remove_dir_all(self.lab.image.path(place));
        }
        let home = self.lab.image.path("memory/home");
        fs::create_dir(&home).unwrap();
        let user = Some(crate::support::UID);
        std::os::unix::fs::chown(home, user, user).unwrap();
    }

    pub fn memory(&self) -> PathBuf {
        self.lab.image.path("memory")
    }

    /// How many bytes of it are used.
    pub fn used(&self) -> u64 {
        let stat = rustix::fs::statvfs(self.memory()).unwrap();
        (stat.f_blocks - stat.f_bfree) * stat.f_frsize
    }

    pub fn remount(&self, options: &str) {
        self.lab.memory.remount(options);
    }

    pub fn options(&self) -> Vec<String> {
        let path = |name: &str| self.lab.image.path(name).display().to_string();
        let mut options = self.lab.image.options();
        let more = [
            ("--notebooks", self.lab.volume().display().to_string()),
            ("--notebook-defaults", path("defaults-2.0.0")),
            ("--home", path("memory/home")),
            ("--state-dir", path("memory/state")),
            ("--hooks", self.hooks.path().display().to_string()),
            ("--jupyter-server", "jupyter-lab".into()),
            ("--password", "ailab".into()),
        ];
        for (name, value) in more {
            options.extend([name.to_owned(), value]);
        }
        options
    }

    /// A start in a `/tmp` of its own, once `gate` (a command of the shell) is passed.
    pub fn start(&self, gate: &str, limits: &[&str]) -> Start {
        let base = self.lab.image.dir.path().display();
        let program = self.lab.image.path("program/ai-lab-entrypoint");
        let program = program.to_str().unwrap();
        let script = format!(
            "mount --bind {PROGRAM} {program} && \
             mount --rbind {base} /mnt && mount --bind {base}/tmp /tmp && \
             mount --rbind /mnt {base} && {gate} && exec \"$@\" </dev/null"
        );
        Start::wrapped("sh")
            .args(["-c", &script, "sh"])
            .args(limits)
            .arg(program)
            .args(self.options())
            .env("AI_LAB_VERSION", "2.0.0")
            // Cargo's own; the loader would look in each of its directories.
            .env("LD_LIBRARY_PATH", "")
    }

    /// Waits until it serves or has ended.
    pub fn until_it_serves(&self, running: &mut Running) -> Stage {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(stage) = self.look(running) {
                return stage;
            }
            assert!(
                Instant::now() < deadline,
                "it neither serves nor ends: {:#?}",
                running.all_heard()
            );
        }
    }

    /// How far it is, if it serves or has ended.
    pub fn look(&self, running: &mut Running) -> Option<Stage> {
        while running.next_line(Duration::from_millis(2)).is_some() {}
        if running.has_ended() {
            return Some(Stage::Ended);
        }
        // A fault may hit the one or the other.
        let state = self.memory().join("state/state.json");
        let state = fs::read_to_string(&state).unwrap_or_default();
        let serves = running.has_said(READY) || state.contains("\"phase\": \"ready\"");
        serves.then_some(Stage::Serves)
    }

    /// Waits for its end. The PID namespace ends with it, and everyone in it.
    pub fn end(&self, running: &mut Running) -> Ended {
        let deadline = Instant::now() + LIMIT;
        while !running.has_ended() {
            let _ = running.next_line(Duration::from_millis(2));
            assert!(
                Instant::now() < deadline,
                "it does not end: {:#?}",
                running.all_heard()
            );
        }
        let code = running.end();
        let (stdout, stderr) = running.everything();
        Ended {
            code,
            said: stdout + &stderr,
        }
    }

    /// Once what happens has happened, PID 1 of one that serves has one child, and nobody
    /// waits to be reaped.
    pub fn assert_server_alone(&self, running: &mut Running) {
        let Some(pid) = running.living() else {
            return;
        };
        let deadline = Instant::now() + LIMIT;
        loop {
            let (waiting, children) = (zombies(pid), children(pid));
            if waiting.is_empty() && children.len() == 1 || running.has_ended() {
                return;
            }
            let late = Instant::now() >= deadline;
            assert!(!late, "zombies: {waiting:?}, children: {children:?}");
            let _ = running.next_line(Duration::from_millis(2));
        }
    }

    /// Nothing lost, nothing half.
    pub fn assert_nothing_lost(&self, at: &str) {
        self.lab
            .assert_old_or_new(at, &[&self.old, &self.new], &self.theirs);
    }

    /// Whether everything that the image brings is there.
    pub fn is_whole(&self) -> bool {
        let mut new = self.new.iter().filter(|(name, _)| **name != "mine.ipynb");
        new.all(|(name, content)| {
            let path = self.lab.volume().join(name);
            match content.strip_prefix("-> ") {
                Some(text) => fs::read_link(path).is_ok_and(|to| to == Path::new(text)),
                None => fs::read_to_string(path).is_ok_and(|found| found == *content),
            }
        })
    }

    /// The next start serves, and finishes what the one with the fault left.
    pub fn assert_next_start_is_healthy(&self, at: &str) {
        // The state may still be that of a start that was killed.
        let _ = fs::remove_file(self.memory().join("state/state.json"));
        let mut running = self.start(":", &[]).start();
        let stage = self.until_it_serves(&mut running);
        if stage == Stage::Serves {
            self.assert_server_alone(&mut running);
            running.signal(15);
        }
        let ended = self.end(&mut running);
        let said = &ended.said;
        assert_eq!((stage, ended.code), (Stage::Serves, 0), "{at}: {said}");
        assert!(said.contains("fault: server got TERM"), "{at}: {said}");
        self.remove_what_was_told(at, said);
        let all = updated(&self.new, &self.theirs);
        self.lab.assert_finished(at, &all, "mine.ipynb: FAILED\n");
        for place in ["memory/home", "memory/state"] {
            assert_no_temporary(at, &self.lab.image.path(place));
        }
    }

    /// A replaced file that could not be removed may be somebody's as far as the next
    /// start knows: it is left, told, and here done with as the remedy says.
    fn remove_what_was_told(&self, at: &str, said: &str) {
        for (name, content) in self.lab.seen() {
            if name.contains(".ai-lab.old-") || name.contains(".ai-lab/moved/") {
                assert!(said.contains(&name), "{at}: {name} is not told: {said}");
                assert!(self.old.values().any(|old| *old == content), "{at}");
                fs::remove_file(self.lab.volume().join(name)).unwrap();
                let _ = fs::remove_dir_all(self.lab.volume().join(".ai-lab/moved"));
            }
        }
    }
}

/// Those in the PID namespace of this process that nobody has reaped.
fn zombies(pid: i32) -> Vec<i32> {
    let Ok(namespace) = fs::read_link(format!("/proc/{pid}/ns/pid")) else {
        return Vec::new();
    };
    let all = fs::read_dir("/proc").unwrap().flatten();
    let all = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    all.filter(|pid| {
        let theirs = fs::read_link(format!("/proc/{pid}/ns/pid"));
        let status = fs::read_to_string(format!("/proc/{pid}/status"));
        theirs.is_ok_and(|theirs| theirs == namespace)
            && status.is_ok_and(|status| status.contains("\nState:\tZ"))
    })
    .collect()
}

fn assert_no_temporary(at: &str, top: &Path) {
    for entry in fs::read_dir(top).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let temporary = name.contains("tmp") || name.starts_with(".state");
        assert!(!temporary, "{at}: {} is left", path.display());
        if path.is_dir() {
            assert_no_temporary(at, &path);
        }
    }
}

/// A hook of root's and one of the user's, where only root can write.
fn hooks() -> tempfile::TempDir {
    let dir = tempfile::tempdir_in("/srv").unwrap();
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(dir.path(), executable.clone()).unwrap();
    for who in ["root", "user"] {
        fs::create_dir(dir.path().join(who)).unwrap();
        let script = format!("#!/bin/sh\necho \"fault: hook of {who}\"\necho X=1 >$AI_LAB_ENV\n");
        let path = dir.path().join(who).join("10-hook");
        fs::write(&path, script).unwrap();
        fs::set_permissions(path, executable.clone()).unwrap();
    }
    dir
}
