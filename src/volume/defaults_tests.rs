//! Starts on real directories. What a row of the table means for the files.

#![allow(clippy::unwrap_used)]

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rustix::fs::FileType;

use super::*;
use crate::volume::manifest::{Content, Digest, Entry};
use crate::volume::testing::{
    UID, as_user, changed, mount_read_only, mount_tmpfs, node, owner, path, settle, tree_of,
    with_mounts,
};

/// An image's defaults and a volume.
struct Lab {
    dir: tempfile::TempDir,
    version: Option<String>,
    update: UpdateNotebooks,
    deleted: DeletedNotebooks,
    patience: Duration,
    means: Means,
}

impl Lab {
    /// With version 1.0.0 of these defaults.
    fn new(files: &[(&str, &str)]) -> Self {
        let lab = Self {
            // Where flushing costs nothing: there are many starts here.
            dir: tempfile::tempdir_in("/dev/shm").unwrap(),
            version: None,
            update: UpdateNotebooks::Unmodified,
            deleted: DeletedNotebooks::Restore,
            patience: PATIENCE,
            means: MEANS,
        };
        fs::create_dir(lab.volume("")).unwrap();
        lab.image("1.0.0", files)
    }

    fn policy(self, update: UpdateNotebooks, deleted: DeletedNotebooks) -> Self {
        Self {
            update,
            deleted,
            ..self
        }
    }

    fn volume(&self, name: &str) -> PathBuf {
        self.dir.path().join("volume").join(name)
    }

    fn source(&self, name: &str) -> PathBuf {
        self.dir.path().join("source").join(name)
    }

    /// Another image: other defaults, another version.
    fn image(mut self, version: &str, files: &[(&str, &str)]) -> Self {
        self.version = Some(version.to_owned());
        let _ = fs::remove_dir_all(self.source(""));
        fs::create_dir(self.source("")).unwrap();
        for (name, text) in files {
            fs::create_dir_all(self.source(name).parent().unwrap()).unwrap();
            fs::write(self.source(name), text).unwrap();
        }
        self
    }

    fn defaults(&self) -> Defaults {
        Defaults {
            source: self.source(""),
            volume: self.volume(""),
            image_version: self.version.clone(),
            update: self.update,
            deleted: self.deleted,
            mode: 0o644,
        }
    }

    fn try_start(&self) -> Result<Summary, VolumeError> {
        bring(
            &self.defaults(),
            self.patience,
            self.means,
            &|_| true,
            &|| false,
            &mut |_| {},
        )
    }

    fn start(&self) -> Summary {
        self.try_start().unwrap()
    }

    /// A start that ends with exactly this line, and nothing to complain about.
    fn starts(&self, summary: &str) -> &Self {
        let got = self.start();
        assert_eq!(got.to_string(), format!("notebooks: {summary}"));
        assert_eq!(got.degradations, []);
        self
    }

    /// A start with `tamper` called while the image's file, of some size, is read.
    fn start_while(&self, tamper: impl Fn(u32)) -> Summary {
        let calls = Cell::new(0);
        let stop = || {
            calls.set(calls.get() + 1);
            tamper(calls.get());
            false
        };
        let summary = bring(
            &self.defaults(),
            self.patience,
            self.means,
            &|_| true,
            &stop,
            &mut |_| {},
        )
        .unwrap();
        assert!(calls.get() > 0);
        summary
    }

    fn write(&self, name: &str, text: &str) -> &Self {
        fs::write(self.volume(name), text).unwrap();
        self
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.volume(name)).unwrap()
    }

    /// All there is in the volume but `.ai-lab`.
    fn all(&self) -> BTreeMap<String, String> {
        let all = tree_of(&self.volume("")).into_iter();
        let all = all.filter(|(name, _)| !name.starts_with(b".ai-lab/") && name != b".ai-lab");
        all.map(|(name, text)| (String::from_utf8_lossy(&name).into_owned(), text))
            .collect()
    }

    fn holds(&self, files: &[(&str, &str)]) -> &Self {
        let files = files.iter();
        let files = files.map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        assert_eq!(self.all(), files.collect());
        self
    }

    fn manifest(&self) -> Manifest {
        let text = fs::read(self.volume(".ai-lab/manifest.sha256")).unwrap();
        Manifest::parse(&text).unwrap()
    }

    fn entry(&self, name: &str) -> Entry {
        self.manifest().entries[name.as_bytes()].clone()
    }

    fn write_manifest(&self, manifest: &Manifest) {
        fs::write(self.volume(".ai-lab/manifest.sha256"), manifest.render()).unwrap();
    }
}

fn file(text: &str) -> Content {
    Content::File(Digest::of(text.as_bytes()))
}

fn causes(summary: &Summary) -> String {
    let causes: Vec<&str> = summary
        .degradations
        .iter()
        .map(|degradation| degradation.cause.as_str())
        .collect();
    causes.join("\n")
}

const TWO: &[(&str, &str)] = &[("a.ipynb", "a1"), ("dir/b.ipynb", "b1")];

#[test]
fn the_first_start_installs_and_the_second_finds_all_current() {
    let lab = Lab::new(TWO);
    lab.starts("2 installed, 0 updated, 0 kept (changed by you), 0 current")
        .holds(&[("a.ipynb", "a1"), ("dir", "dir"), ("dir/b.ipynb", "b1")])
        .starts("0 installed, 0 updated, 0 kept (changed by you), 2 current");
    assert_eq!(lab.manifest().image.as_deref(), Some("1.0.0"));
    assert_eq!(lab.entry("dir/b.ipynb").installed, Some(file("b1")));
}

#[test]
fn a_start_with_nothing_to_do_writes_nothing() {
    let lab = Lab::new(TWO);
    lab.start();
    for name in ["a.ipynb", "dir/b.ipynb"] {
        settle(&lab.volume(name));
        settle(&lab.source(name));
    }
    // Notes what is settled now.
    lab.start();
    let names = ["", "a.ipynb", "dir", ".ai-lab", ".ai-lab/lock"];
    let before = names.map(|name| changed(&lab.volume(name)));
    lab.start();
    assert_eq!(names.map(|name| changed(&lab.volume(name))), before);
}

#[test]
fn what_is_known_is_not_read_again() {
    let lab = Lab::new(TWO);
    for name in ["a.ipynb", "dir/b.ipynb"] {
        settle(&lab.source(name));
    }
    lab.start();
    lab.start();
    let entry = lab.entry("a.ipynb");
    assert!(entry.in_image.is_some());
    for (name, text) in [("a.ipynb", "a1"), ("dir/b.ipynb", "b1")] {
        settle(&lab.volume(name));
        assert_eq!(lab.read(name), text);
    }
    lab.start();
    let stamps = lab.entry("a.ipynb");
    assert!(stamps.in_volume.is_some() && stamps.in_image.is_some());
    // What the record says is believed as long as the stamps fit.
    let mut manifest = lab.manifest();
    let entry = manifest.entries.get_mut(&b"a.ipynb"[..]).unwrap();
    entry.installed = Some(file("something else"));
    lab.write_manifest(&manifest);
    lab.starts("0 installed, 0 updated, 0 kept (changed by you), 2 current");
    assert_eq!(lab.entry("a.ipynb").installed, Some(file("something else")));
}

#[test]
fn the_second_start_already_knows_what_the_first_one_put_there() {
    // Batches as large as they are take a moment between writing and renaming.
    let lab = Lab::new(TWO);
    let source = lab.source("a.ipynb");
    settle(&source);
    fs::File::options()
        .write(true)
        .open(&source)
        .unwrap()
        .set_len(1 << 20)
        .unwrap();
    settle(&source);
    lab.start_while(|_| settle(&source_of_time(&lab)));
    // Its last write is long enough ago, though its renaming is not.
    assert!(lab.entry("a.ipynb").in_volume.is_some());
}

/// A fresh file, to wait until the clock is past it.
fn source_of_time(lab: &Lab) -> PathBuf {
    let path = lab.dir.path().join("time");
    fs::write(&path, "").unwrap();
    path
}

#[test]
fn untouched_ones_are_updated_and_changed_ones_are_kept() {
    let lab = Lab::new(&[("a", "a1"), ("b", "b1"), ("c", "c1")]);
    lab.start();
    lab.write("b", "mine");
    let lab = lab.image(
        "1.1.0",
        &[("a", "a2"), ("b", "b2"), ("c", "c1"), ("d", "d2")],
    );
    lab.starts("1 installed, 1 updated, 1 kept (changed by you), 1 current")
        .holds(&[("a", "a2"), ("b", "mine"), ("c", "c1"), ("d", "d2")]);
    // The same again: nothing more happens.
    lab.starts("0 installed, 0 updated, 1 kept (changed by you), 3 current");
    // Back to what was installed: it counts as untouched again.
    lab.write("b", "b1")
        .starts("0 installed, 1 updated, 0 kept (changed by you), 3 current")
        .holds(&[("a", "a2"), ("b", "b2"), ("c", "c1"), ("d", "d2")]);
}

#[test]
fn an_edit_of_the_same_size_is_seen() {
    let lab = Lab::new(&[("a", "a1")]);
    lab.start();
    settle(&lab.volume("a"));
    lab.start();
    assert!(lab.entry("a").in_volume.is_some());
    lab.write("a", "zz")
        .starts("0 installed, 0 updated, 1 kept (changed by you), 0 current");
    let lab = lab.image("1.1.0", &[("a", "a2")]);
    lab.starts("0 installed, 0 updated, 1 kept (changed by you), 0 current")
        .holds(&[("a", "zz")]);
}

#[test]
fn beside_puts_the_new_one_next_to_the_changed_one_once() {
    let lab = Lab::new(&[("a.ipynb", "a1"), ("dir/b", "b1"), ("c.tar.gz", "c1")])
        .policy(UpdateNotebooks::Beside, DeletedNotebooks::Restore);
    lab.start();
    lab.write("a.ipynb", "mine").write("dir/b", "mine");
    let lab = lab.image(
        "1.1.0",
        &[("a.ipynb", "a2"), ("dir/b", "b2"), ("c.tar.gz", "c2")],
    );
    let holds = [
        ("a.ipynb", "mine"),
        ("a.1.1.0.ipynb", "a2"),
        ("c.tar.gz", "c2"),
        ("dir", "dir"),
        ("dir/b", "mine"),
        ("dir/b.1.1.0", "b2"),
    ];
    lab.starts("0 installed, 1 updated, 2 kept (changed by you), 0 current, 2 put beside")
        .holds(&holds);
    lab.starts("0 installed, 0 updated, 2 kept (changed by you), 1 current")
        .holds(&holds);
    // Deleted, it does not come back for the same version; a newer one comes.
    fs::remove_file(lab.volume("a.1.1.0.ipynb")).unwrap();
    lab.starts("0 installed, 0 updated, 2 kept (changed by you), 1 current");
    let lab = lab.image("1.2.0", &[("a.ipynb", "a3")]);
    lab.starts("0 installed, 0 updated, 1 kept (changed by you), 0 current, 1 put beside");
    assert_eq!(lab.read("a.1.2.0.ipynb"), "a3");
}

#[test]
fn beside_overwrites_nothing() {
    let lab =
        Lab::new(&[("a.ipynb", "a1")]).policy(UpdateNotebooks::Beside, DeletedNotebooks::Restore);
    lab.start();
    lab.write("a.ipynb", "mine")
        .write("a.1.1.0.ipynb", "mine too");
    let lab = lab.image("1.1.0", &[("a.ipynb", "a2")]);
    lab.starts("0 installed, 0 updated, 1 kept (changed by you), 0 current")
        .holds(&[("a.ipynb", "mine"), ("a.1.1.0.ipynb", "mine too")]);
}

#[test]
fn never_leaves_all_that_is_there() {
    let lab = Lab::new(&[("a", "a1"), ("b", "b1")])
        .policy(UpdateNotebooks::Never, DeletedNotebooks::Restore);
    lab.start();
    lab.write("b", "mine");
    let lab = lab.image("1.1.0", &[("a", "a2"), ("b", "b2"), ("c", "c2")]);
    lab.starts(
        "1 installed, 0 updated, 1 kept (changed by you), 0 current, 1 left at another version",
    )
    .holds(&[("a", "a1"), ("b", "mine"), ("c", "c2")]);
}

#[test]
fn deleted_ones_come_back_or_stay_away() {
    let lab = Lab::new(&[("a", "a1"), ("b", "b1")])
        .policy(UpdateNotebooks::Unmodified, DeletedNotebooks::Respect);
    lab.start();
    fs::remove_file(lab.volume("a")).unwrap();
    let lab = lab.image("1.1.0", &[("a", "a2"), ("b", "b2"), ("c", "c2")]);
    for summary in [
        "1 installed, 1 updated, 0 kept (changed by you), 0 current, 1 deleted by you",
        "0 installed, 0 updated, 0 kept (changed by you), 2 current, 1 deleted by you",
    ] {
        lab.starts(summary).holds(&[("b", "b2"), ("c", "c2")]);
    }
    let lab = lab.policy(UpdateNotebooks::Unmodified, DeletedNotebooks::Restore);
    lab.starts("1 installed, 0 updated, 0 kept (changed by you), 2 current")
        .holds(&[("a", "a2"), ("b", "b2"), ("c", "c2")]);
}

#[test]
fn an_older_image_replaces_nothing() {
    let lab = Lab::new(&[("a", "a1"), ("b", "b1")]).image("2.0.0", &[("a", "a2"), ("b", "b2")]);
    lab.start();
    let lab = lab.image("1.10.0", &[("a", "a1"), ("b", "b1"), ("c", "c1")]);
    lab.starts(
        "1 installed, 0 updated, 0 kept (changed by you), 0 current, 2 left at another version",
    )
    .holds(&[("a", "a2"), ("b", "b2"), ("c", "c1")]);
    assert_eq!(lab.manifest().image.as_deref(), Some("2.0.0"));
    // And the newer one goes on from there.
    let lab = lab.image("2.0.1", &[("a", "a3"), ("b", "b2"), ("c", "c2")]);
    lab.starts("0 installed, 2 updated, 0 kept (changed by you), 1 current");
}

#[test]
fn versions_that_cannot_be_compared_count_as_newer() {
    let mut lab = Lab::new(&[("a", "a1")]);
    lab.start();
    for (version, text) in [(Some("nightly"), "a2"), (None, "a3"), (Some("0.1.0"), "a4")] {
        lab = lab.image("", &[("a", text)]);
        lab.version = version.map(str::to_owned);
        // Without a version the newest one stays known.
        if version == Some("0.1.0") {
            assert_eq!(lab.manifest().image.as_deref(), Some("nightly"));
        }
        lab.starts("0 installed, 1 updated, 0 kept (changed by you), 0 current");
    }
}

#[test]
fn what_the_user_has_already_is_adopted_if_it_is_the_same() {
    let lab = Lab::new(&[("a", "a1"), ("b", "b1")]);
    lab.write("a", "a1").write("b", "mine");
    lab.starts("0 installed, 0 updated, 1 kept (changed by you), 1 current");
    let lab = lab.image("1.1.0", &[("a", "a2"), ("b", "b2")]);
    lab.starts("0 installed, 1 updated, 1 kept (changed by you), 0 current")
        .holds(&[("a", "a2"), ("b", "mine")]);
}

#[test]
fn what_is_no_default_any_more_stays_and_is_told() {
    let lab = Lab::new(&[("a", "a1"), ("b", "b1")]);
    lab.start();
    let lab = lab.image("1.1.0", &[("a", "a1")]);
    let summary = lab.start();
    assert_eq!(summary.reported, ["b is no longer a default; it stays"]);
    lab.holds(&[("a", "a1"), ("b", "b1")]);
}

#[test]
fn the_wrong_type_in_the_way_stays_and_is_told() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("x"), "outside").unwrap();
    let names = ["dir", "fifo", "socket", "link", "dangling"];
    let mut image: Vec<(String, &str)> = names.map(|name| (name.to_owned(), "d")).into();
    // And above a default: a file, a link to a directory outside, a dangling one.
    image.extend(["file/x", "up/x", "nowhere/x"].map(|name| (name.to_owned(), "d")));
    let image: Vec<(&str, &str)> = image.iter().map(|(n, t)| (n.as_str(), *t)).collect();
    let mut lab = Lab::new(&image);
    fs::create_dir(lab.volume("dir")).unwrap();
    node(&lab.volume("fifo"), FileType::Fifo);
    node(&lab.volume("socket"), FileType::Socket);
    symlink(outside.path().join("x"), lab.volume("link")).unwrap();
    symlink("/nowhere", lab.volume("dangling")).unwrap();
    lab.write("file", "mine");
    symlink(outside.path(), lab.volume("up")).unwrap();
    symlink(outside.path().join("new"), lab.volume("nowhere")).unwrap();
    let (before, there) = (lab.all(), tree_of(outside.path()));
    for version in ["1.0.0", "1.1.0"] {
        let newer: Vec<_> = image.iter().map(|(name, _)| (*name, version)).collect();
        lab = lab.image(version, &newer);
        lab.starts("0 installed, 0 updated, 0 kept (changed by you), 0 current, 8 with something else in the way");
        assert_eq!(lab.start().reported.len(), 8);
        assert_eq!(lab.all(), before);
        assert_eq!(tree_of(outside.path()), there);
    }
}

#[test]
fn links_that_replace_what_was_installed_are_not_followed() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("b.ipynb"), "b1").unwrap();
    fs::write(outside.path().join("a.ipynb"), "a1").unwrap();
    let lab = Lab::new(TWO);
    lab.start();
    // With the very content that was installed, so that only the type differs.
    fs::remove_file(lab.volume("a.ipynb")).unwrap();
    symlink(outside.path().join("a.ipynb"), lab.volume("a.ipynb")).unwrap();
    fs::remove_dir_all(lab.volume("dir")).unwrap();
    symlink(outside.path(), lab.volume("dir")).unwrap();
    let there = tree_of(outside.path());
    let before = lab.all();
    let lab = lab.image(
        "1.1.0",
        &[("a.ipynb", "a2"), ("dir/b.ipynb", "b2"), ("dir/c", "c2")],
    );
    lab.starts("0 installed, 0 updated, 0 kept (changed by you), 0 current, 3 with something else in the way");
    assert_eq!(lab.all(), before);
    assert_eq!(tree_of(outside.path()), there);
}

#[test]
fn where_our_own_directory_is_a_link_missing_ones_are_added_and_that_is_told() {
    let outside = tempfile::tempdir().unwrap();
    for target in [outside.path(), Path::new("/nowhere"), Path::new(".")] {
        let lab = Lab::new(TWO);
        symlink(target, lab.volume(".ai-lab")).unwrap();
        lab.write("a.ipynb", "mine");
        let summary = lab.start();
        assert_eq!((summary.installed, summary.kept), (1, 1));
        assert!(
            causes(&summary).contains(".ai-lab is a link"),
            "{}",
            causes(&summary)
        );
        lab.holds(&[("a.ipynb", "mine"), ("dir", "dir"), ("dir/b.ipynb", "b1")]);
        let lab = lab.image("1.1.0", &[("dir/b.ipynb", "b2")]);
        let summary = lab.start();
        assert_eq!((summary.updated, summary.kept), (0, 1));
        assert_eq!(lab.read("dir/b.ipynb"), "b1");
        assert_eq!(tree_of(outside.path()).len(), 0);
    }
}

#[test]
fn links_among_the_defaults_stay_links_if_they_stay_inside() {
    let lab = Lab::new(&[("a", "a1"), ("dir/b", "b1")]);
    symlink("a", lab.source("to-a")).unwrap();
    symlink("../a", lab.source("dir/up")).unwrap();
    symlink("dir", lab.source("to-dir")).unwrap();
    symlink("../../a", lab.source("dir/outside")).unwrap();
    symlink("/etc/passwd", lab.source("absolute")).unwrap();
    symlink("to-dir/../../etc/passwd", lab.source("round")).unwrap();
    let installed = [
        ("a", "a1"),
        ("dir", "dir"),
        ("dir/b", "b1"),
        ("dir/up", "-> ../a"),
        ("to-a", "-> a"),
        ("to-dir", "-> dir"),
    ];
    lab.starts("5 installed, 0 updated, 0 kept (changed by you), 0 current")
        .holds(&installed);
    assert_eq!(lab.start().reported.len(), 3);
    // An untouched link is updated, the user's own stays.
    fs::remove_file(lab.source("to-a")).unwrap();
    symlink("dir/b", lab.source("to-a")).unwrap();
    fs::remove_file(lab.source("dir/up")).unwrap();
    symlink("b", lab.source("dir/up")).unwrap();
    fs::remove_file(lab.volume("dir/up")).unwrap();
    symlink("mine", lab.volume("dir/up")).unwrap();
    let mut lab = lab;
    lab.version = Some("1.1.0".into());
    lab.starts("0 installed, 1 updated, 1 kept (changed by you), 3 current");
    assert_eq!(lab.all()["to-a"], "-> dir/b");
    assert_eq!(lab.all()["dir/up"], "-> mine");
}

#[test]
fn special_files_among_the_defaults_are_not_brought_in() {
    let lab = Lab::new(&[("a", "a1")]);
    node(&lab.source("fifo"), FileType::Fifo);
    node(&lab.source("device"), FileType::CharacterDevice);
    let summary = lab.start();
    assert_eq!((summary.installed, summary.reported.len()), (1, 2));
    lab.holds(&[("a", "a1")]);
}

#[test]
fn empty_directories_are_defaults_too() {
    let lab = Lab::new(&[("a", "a1")]);
    fs::create_dir_all(lab.source("empty/inside")).unwrap();
    lab.starts("1 installed, 0 updated, 0 kept (changed by you), 0 current")
        .holds(&[("a", "a1"), ("empty", "dir"), ("empty/inside", "dir")])
        .starts("0 installed, 0 updated, 0 kept (changed by you), 1 current");
    let lab = lab.policy(UpdateNotebooks::Unmodified, DeletedNotebooks::Respect);
    fs::remove_dir(lab.volume("empty/inside")).unwrap();
    lab.start();
    assert!(!lab.volume("empty/inside").exists());
}

#[test]
fn names_of_every_kind_arrive_and_are_known_again() {
    let lab = Lab::new(&[]);
    let names: [&[u8]; 5] = [
        b"new\nline",
        b"\xff\xfe.ipynb",
        b"back\\slash",
        b"-rf *",
        b"# end",
    ];
    for name in names {
        fs::write(lab.source("").join(path(name)), "x1").unwrap();
    }
    lab.starts("5 installed, 0 updated, 0 kept (changed by you), 0 current");
    let mut all = tree_of(&lab.volume(""));
    all.retain(|name, _| !name.starts_with(b".ai-lab"));
    assert_eq!(
        all,
        names.map(|name| (name.to_vec(), "x1".to_owned())).into()
    );
    lab.starts("0 installed, 0 updated, 0 kept (changed by you), 5 current");
    fs::write(lab.volume("").join(path(names[0])), "mine").unwrap();
    for name in names {
        fs::write(lab.source("").join(path(name)), "x2").unwrap();
    }
    let mut lab = lab;
    lab.version = Some("1.1.0".into());
    lab.starts("0 installed, 4 updated, 1 kept (changed by you), 0 current");
}

#[test]
fn files_have_sane_modes_whatever_the_image_has() {
    let lab = Lab::new(&[("a", "a1"), ("run", "r1"), ("dir/secret", "s1")]);
    for (name, mode) in [("a", 0o600), ("run", 0o6711), ("dir/secret", 0o666)] {
        fs::set_permissions(lab.source(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::set_permissions(lab.source("dir"), fs::Permissions::from_mode(0o777)).unwrap();
    lab.start();
    for (name, mode) in [
        ("a", 0o644),
        ("run", 0o755),
        ("dir/secret", 0o644),
        ("dir", 0o755),
    ] {
        assert_eq!(owner(&lab.volume(name)).2, mode, "{name}");
    }
}

#[test]
fn the_user_owns_what_arrives_as_the_user() {
    let lab = Lab::new(TWO);
    fs::set_permissions(lab.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::chown(lab.volume(""), Some(UID), None).unwrap();
    as_user(|| {
        lab.starts("2 installed, 0 updated, 0 kept (changed by you), 0 current");
    });
    assert_eq!(owner(&lab.volume("dir/b.ipynb")).0, UID);
    assert_eq!(owner(&lab.volume("dir")).0, UID);
}

#[test]
fn directories_that_cannot_be_written_are_told_and_the_rest_arrives() {
    let lab = Lab::new(&[("a", "a1"), ("locked/b", "b1"), ("locked/c", "c1")]);
    fs::set_permissions(lab.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::chown(lab.volume(""), Some(UID), None).unwrap();
    fs::create_dir(lab.volume("locked")).unwrap();
    let summary = as_user(|| lab.start());
    assert_eq!(summary.installed, 1);
    let told = causes(&summary);
    assert!(
        told.starts_with("could not write 2 entries, first locked/b"),
        "{told}"
    );
    lab.holds(&[("a", "a1"), ("locked", "dir")]);
    // And the next start finishes the job.
    std::os::unix::fs::chown(lab.volume("locked"), Some(UID), None).unwrap();
    as_user(|| {
        lab.starts("2 installed, 0 updated, 0 kept (changed by you), 1 current");
    });
}

#[test]
fn files_that_cannot_be_read_are_the_users_business() {
    let lab = Lab::new(&[("a", "a1"), ("b", "b1")]);
    fs::set_permissions(lab.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::chown(lab.volume(""), Some(UID), None).unwrap();
    fs::write(lab.volume("a"), "secret").unwrap();
    fs::set_permissions(lab.volume("a"), fs::Permissions::from_mode(0o600)).unwrap();
    let summary = as_user(|| lab.start());
    assert_eq!(summary.installed, 1);
    assert!(causes(&summary).starts_with("could not read 1 entry, first a"));
    lab.holds(&[("a", "secret"), ("b", "b1")]);
}

#[test]
fn a_read_only_volume_is_left_alone_and_that_is_told() {
    let lab = Lab::new(TWO);
    with_mounts(|| {
        mount_read_only(&lab.volume(""));
        let summary = lab.start();
        assert!(
            causes(&summary).contains("is read-only"),
            "{}",
            causes(&summary)
        );
        assert_eq!(summary.installed, 0);
    });
    lab.holds(&[]);
}

#[test]
fn a_full_volume_keeps_what_was_there_and_the_next_start_finishes() {
    let big = "x".repeat(600 << 10);
    let lab = Lab::new(&[("a", "a1"), ("b", "b1")]);
    with_mounts(|| {
        mount_tmpfs(&lab.volume(""), "1m");
        lab.start();
        let lab = lab.image("1.1.0", &[("a", &big), ("b", &big), ("c", "c2")]);
        let summary = lab.start();
        assert!(causes(&summary).contains("is full"), "{}", causes(&summary));
        let all = lab.all();
        for (name, old) in [("a", "a1"), ("b", "b1")] {
            assert!(
                all[name] == old || all[name] == big,
                "{name}: neither old nor new"
            );
        }
        assert!(
            all.keys().all(|name| !name.contains(".ai-lab")),
            "{:?}",
            all.keys()
        );
        rustix::mount::mount_remount(
            lab.volume(""),
            rustix::mount::MountFlags::empty(),
            c"size=8m",
        )
        .unwrap();
        let summary = lab.start();
        assert_eq!(summary.degradations, []);
        assert_eq!(lab.all()["a"], big);
        assert_eq!(lab.all()["b"], big);
        assert_eq!(lab.all()["c"], "c2");
    });
}

#[test]
fn defaults_on_another_mount_inside_the_volume_are_the_users_too() {
    let lab = Lab::new(TWO);
    with_mounts(|| {
        fs::create_dir(lab.volume("dir")).unwrap();
        mount_tmpfs(&lab.volume("dir"), "1m");
        lab.starts("2 installed, 0 updated, 0 kept (changed by you), 0 current")
            .holds(&[("a.ipynb", "a1"), ("dir", "dir"), ("dir/b.ipynb", "b1")]);
    });
}

#[test]
fn without_exchange_nothing_is_replaced_and_that_is_told() {
    let mut lab = Lab::new(&[("a", "a1")]);
    lab.means.able = Able {
        noreplace: false,
        link: true,
        exchange: false,
    };
    lab.starts("1 installed, 0 updated, 0 kept (changed by you), 0 current");
    let lab = lab.image("1.1.0", &[("a", "a2"), ("b", "b2")]);
    let summary = lab.start();
    assert_eq!((summary.installed, summary.updated), (1, 0));
    assert!(causes(&summary).starts_with(
        "1 newer notebook defaults were not brought in: the volume's file system cannot exchange"
    ));
    lab.holds(&[("a", "a1"), ("b", "b2")]);
}

#[test]
fn a_missing_source_and_a_missing_volume_are_errors() {
    let lab = Lab::new(&[]);
    fs::remove_dir(lab.source("")).unwrap();
    let error = lab.try_start().unwrap_err();
    let phrase = format!("Source directory not found: {}", lab.source("").display());
    assert_eq!(error.to_string(), phrase);
    let lab = Lab::new(&[]);
    fs::remove_dir(lab.volume("")).unwrap();
    assert!(matches!(lab.try_start(), Err(VolumeError::Open { .. })));
}

#[test]
fn defaults_that_are_or_contain_the_volume_do_not_multiply() {
    let mut lab = Lab::new(&[("a", "a1")]);
    lab.start();
    let mut defaults = lab.defaults();
    defaults.source = lab.volume("");
    let summary = bring(
        &defaults,
        lab.patience,
        lab.means,
        &|_| true,
        &|| false,
        &mut |_| {},
    )
    .unwrap();
    assert_eq!((summary.installed, summary.current), (0, 0));
    fs::rename(lab.volume(""), lab.source("volume")).unwrap();
    fs::create_dir(lab.source("other")).unwrap();
    fs::write(lab.source("other/b"), "b").unwrap();
    defaults = lab.defaults();
    defaults.volume = lab.source("volume");
    for installed in [1, 0] {
        let summary = bring(
            &defaults,
            lab.patience,
            lab.means,
            &|_| true,
            &|| false,
            &mut |_| {},
        )
        .unwrap();
        assert_eq!(summary.installed, installed);
    }
    assert!(!lab.source("volume/volume").exists());
    lab.version = None;
}

#[test]
fn what_the_image_has_under_our_own_name_is_not_brought_in() {
    let lab = Lab::new(&[(".ai-lab/lock", "theirs"), ("a", "a1")]);
    lab.starts("1 installed, 0 updated, 0 kept (changed by you), 0 current");
    assert_eq!(lab.read(".ai-lab/lock"), "");
}

#[test]
fn a_damaged_record_overwrites_nothing() {
    let lab = Lab::new(&[("a", "a1"), ("b", "b1")]);
    lab.start();
    lab.write("b", "mine")
        .write(".ai-lab/manifest.sha256", "garbage");
    let lab = lab.image("1.1.0", &[("a", "a2"), ("b", "b2"), ("c", "c2")]);
    let summary = lab.start();
    assert!(causes(&summary).contains("is damaged (line 1) and was set aside"));
    lab.holds(&[("a", "a1"), ("b", "mine"), ("c", "c2")]);
    assert_eq!(lab.read(".ai-lab/manifest.sha256.damaged"), "garbage");
    // From here on it is kept again.
    let lab = lab.image("1.2.0", &[("c", "c3")]);
    lab.starts("0 installed, 1 updated, 0 kept (changed by you), 0 current");
}

#[test]
fn a_record_of_a_newer_version_is_neither_used_nor_written() {
    let lab = Lab::new(&[("a", "a1")]);
    lab.start();
    let newer = "# ai-lab notebooks 2\n";
    lab.write(".ai-lab/manifest.sha256", newer);
    let lab = lab.image("1.1.0", &[("a", "a2"), ("b", "b2")]);
    let summary = lab.start();
    assert!(causes(&summary).contains("written by a newer version"));
    assert_eq!(
        (summary.installed, summary.updated, summary.kept),
        (1, 0, 1)
    );
    lab.holds(&[("a", "a1"), ("b", "b2")]);
    assert_eq!(lab.read(".ai-lab/manifest.sha256"), newer);
}

/// Larger than what is read at once, so that `stop` is asked while it is read.
fn big(byte: char) -> String {
    byte.to_string().repeat(300 << 10)
}

#[test]
fn an_edit_while_the_new_one_is_staged_is_kept() {
    let lab = Lab::new(&[("a", &big('1'))]);
    lab.start();
    let lab = lab.image("1.1.0", &[("a", &big('2'))]);
    let summary = lab.start_while(|_| {
        lab.write("a", "mine");
    });
    assert_eq!((summary.updated, summary.kept), (0, 1));
    lab.holds(&[("a", "mine")]);
    // The next start knows that it is not the image's.
    lab.starts("0 installed, 0 updated, 1 kept (changed by you), 0 current");
}

#[test]
fn what_appears_while_it_is_staged_is_kept() {
    let lab = Lab::new(&[("a", &big('1'))]);
    let summary = lab.start_while(|_| {
        lab.write("a", "mine");
    });
    assert_eq!((summary.installed, summary.kept), (0, 1));
    lab.holds(&[("a", "mine")]);
    let lab = lab.image("1.1.0", &[("a", &big('2'))]);
    lab.starts("0 installed, 0 updated, 1 kept (changed by you), 0 current");
}

#[test]
fn a_directory_swapped_for_a_link_meanwhile_leads_nowhere() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("c"), "outside").unwrap();
    let lab = Lab::new(&[("big", &big('1')), ("dir/b", "b1"), ("dir/c", "c1")]);
    fs::create_dir(lab.volume("dir")).unwrap();
    let there = tree_of(outside.path());
    lab.start_while(|call| {
        if call == 1 {
            fs::rename(lab.volume("dir"), lab.volume("moved")).unwrap();
            symlink(outside.path(), lab.volume("dir")).unwrap();
        }
    });
    assert_eq!(tree_of(outside.path()), there);
    assert_eq!(lab.all()["dir"], format!("-> {}", outside.path().display()));
}

#[test]
fn a_stop_leaves_what_is_done_and_the_next_start_finishes() {
    let mut lab = Lab::new(&[("a", "a1"), ("b", &big('b')), ("c", "c1")]);
    lab.means.batch_files = 1;
    let stopped = bring(
        &lab.defaults(),
        lab.patience,
        lab.means,
        &|_| true,
        &|| true,
        &mut |_| {},
    );
    assert!(matches!(stopped, Err(VolumeError::Stopped)));
    lab.holds(&[("a", "a1")]);
    lab.starts("2 installed, 0 updated, 0 kept (changed by you), 1 current");
}

#[test]
fn batches_of_any_size_do_the_same() {
    for batch_files in [1, 2, 100] {
        let mut lab = Lab::new(&[("a", "a1"), ("b", "b1"), ("c", "c1")]);
        lab.means.batch_files = batch_files;
        lab.starts("3 installed, 0 updated, 0 kept (changed by you), 0 current");
        let lab = lab.image(
            "1.1.0",
            &[("a", "a2"), ("b", "b2"), ("c", "c2"), ("d", "d2")],
        );
        lab.starts("1 installed, 3 updated, 0 kept (changed by you), 0 current")
            .holds(&[("a", "a2"), ("b", "b2"), ("c", "c2"), ("d", "d2")]);
    }
}

/// What a kill leaves at every point of an update from a1 to a2.
#[test]
fn a_kill_at_any_point_leaves_old_or_new_and_the_next_start_finishes() {
    const NEW_NAME: &str = ".ai-lab.new-0123456789abcdef";
    const OLD_NAME: &str = ".ai-lab.old-0123456789abcdef";
    type Point = (&'static str, fn(&Lab), u64);
    let points: [Point; 6] = [
        ("while it is staged", |lab| _ = lab.write(NEW_NAME, "a"), 1),
        ("when it is staged", |lab| _ = lab.write(NEW_NAME, "a2"), 1),
        (
            "when it is noted as pending",
            |lab| {
                pending(lab.write(NEW_NAME, "a2"));
            },
            1,
        ),
        (
            "before the exchange",
            |lab| pending(lab.write(OLD_NAME, "a2")),
            1,
        ),
        (
            "after the exchange",
            |lab| {
                pending(lab.write("a", "a2").write(OLD_NAME, "a1"));
            },
            0,
        ),
        (
            "before it is noted as installed",
            |lab| pending(lab.write("a", "a2")),
            0,
        ),
    ];
    fn pending(lab: &Lab) {
        let mut manifest = lab.manifest();
        let entry = manifest.entries.get_mut(&b"a"[..]).unwrap();
        entry.pending = Some(file("a2"));
        lab.write_manifest(&manifest);
    }
    for (point, leave, updated) in points {
        let lab = Lab::new(&[("a", "a1")]);
        lab.start();
        let lab = lab.image("1.1.0", &[("a", "a2")]);
        lab.write(".ai-lab/lock", "x");
        leave(&lab);
        let summary = lab.start();
        assert_eq!(summary.updated, updated, "{point}");
        assert_eq!(summary.degradations, [], "{point}");
        lab.holds(&[("a", "a2")]);
        assert_eq!(lab.entry("a").installed, Some(file("a2")), "{point}");
        assert_eq!(lab.entry("a").pending, None, "{point}");
        assert_eq!(lab.read(".ai-lab/lock"), "", "{point}");
        let lab = lab.image("1.2.0", &[("a", "a3")]);
        lab.starts("0 installed, 1 updated, 0 kept (changed by you), 0 current");
    }
}

/// Two starts, with nothing unsettled: everything is known by its stamps.
fn stamped(lab: &Lab, name: &str) {
    settle(&lab.source(name));
    lab.start();
    settle(&lab.volume(name));
    lab.start();
    let entry = lab.entry(name);
    assert!(entry.in_volume.is_some() && entry.in_image.is_some());
}

#[test]
fn a_record_that_is_wrong_about_a_file_is_found_out_before_it_is_replaced() {
    let lab = Lab::new(&[("a", "mine")]);
    stamped(&lab, "a");
    // As if it had been edited within one tick of the clock after it was installed.
    let mut manifest = lab.manifest();
    manifest.entries.get_mut(&b"a"[..]).unwrap().installed = Some(file("a1"));
    lab.write_manifest(&manifest);
    let lab = lab.image("1.1.0", &[("a", "a2")]);
    lab.starts("0 installed, 0 updated, 1 kept (changed by you), 0 current")
        .holds(&[("a", "mine")]);
    assert_eq!(lab.entry("a").in_volume, None);
}

#[test]
fn stamps_of_one_image_say_nothing_about_another() {
    // Images on read-only file systems may have the same inodes and times.
    let mut lab = Lab::new(&[("a", "a2")]);
    stamped(&lab, "a");
    let mut manifest = lab.manifest();
    manifest.entries.get_mut(&b"a"[..]).unwrap().installed = Some(file("a1"));
    lab.write_manifest(&manifest);
    lab.version = Some("1.1.0".into());
    lab.starts("0 installed, 1 updated, 0 kept (changed by you), 0 current");
    assert_eq!(lab.entry("a").installed, Some(file("a2")));
}

#[test]
fn an_image_that_changed_under_the_same_version_is_noticed() {
    let lab = Lab::new(&[("a", "a1")]);
    stamped(&lab, "a");
    fs::write(lab.source("a"), "a2").unwrap();
    lab.starts("0 installed, 1 updated, 0 kept (changed by you), 0 current")
        .holds(&[("a", "a2")]);
}

#[test]
fn a_killed_start_is_finished_by_an_image_with_something_newer_still() {
    let lab = Lab::new(&[("a", "a1")]);
    stamped(&lab, "a");
    let mut manifest = lab.manifest();
    let pending = file("the second");
    manifest.entries.get_mut(&b"a"[..]).unwrap().pending = Some(pending);
    lab.write_manifest(&manifest);
    lab.write("a", "the second").write(".ai-lab/lock", "x");
    let lab = lab.image("1.2.0", &[("a", "the third one")]);
    lab.starts("0 installed, 1 updated, 0 kept (changed by you), 0 current")
        .holds(&[("a", "the third one")]);
}

/// The start unwinds in the middle of its second batch: nothing tidies up.
#[test]
fn a_start_that_dies_leaves_a_record_that_the_next_one_goes_on_from() {
    let before: &[(&str, &str)] = &[("a", "a1"), ("b", "b1")];
    let (big1, big2) = (big('1'), big('2'));
    for (old, new) in [
        (&[][..], [("a", "a2"), ("b", &big1)]),
        (before, [("a", "a2"), ("b", &big2)]),
    ] {
        let mut lab = Lab::new(old);
        lab.start();
        lab = lab.image("1.1.0", &new);
        lab.means.batch_files = 1;
        let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            lab.start_while(|_| {
                // Not yet while the defaults are looked at.
                if lab.all().get("a").is_some_and(|text| text == "a2") {
                    assert_eq!(lab.entry("a").pending, Some(file("a2")));
                    std::panic::resume_unwind(Box::new("killed"));
                }
            })
        }));
        assert_eq!(died.unwrap_err().downcast_ref(), Some(&"killed"));
        let left = lab.all();
        let old_b = old.iter().find(|(name, _)| *name == "b");
        assert_eq!(
            left.get("b").map(String::as_str),
            old_b.map(|(_, text)| *text)
        );
        assert!(left.keys().any(|name| name.starts_with(".ai-lab.new-")));
        let (installed, updated) = if old.is_empty() { (1, 0) } else { (0, 1) };
        lab.starts(&format!(
            "{installed} installed, {updated} updated, 0 kept (changed by you), 1 current"
        ))
        .holds(&new);
    }
}

#[test]
fn after_a_kill_only_what_is_ours_is_tidied_up() {
    let lab = Lab::new(&[("a", "a1"), ("dir/b", "b1")]);
    lab.start();
    lab.write(".ai-lab/lock", "x")
        .write(".ai-lab.new-0123456789abcdef", "half")
        .write("dir/.ai-lab.new-0123456789abcde0", "half")
        .write(".ai-lab/.ai-lab.new-0123456789abcdef", "half")
        .write("dir/.ai-lab.old-0123456789abcdef", "edited just then")
        .write(".ai-lab.old-0123456789abcdef", "a1")
        .write(".ai-lab.new-notes", "mine");
    let summary = lab.start();
    assert_eq!(summary.degradations.len(), 1);
    assert!(
        causes(&summary).starts_with("dir/.ai-lab.old-0123456789abcdef holds what someone wrote")
    );
    lab.holds(&[
        (".ai-lab.new-notes", "mine"),
        ("a", "a1"),
        ("dir", "dir"),
        ("dir/.ai-lab.old-0123456789abcdef", "edited just then"),
        ("dir/b", "b1"),
    ]);
    let left = tree_of(&lab.volume(".ai-lab"));
    assert_eq!(
        left.into_keys().collect::<Vec<_>>(),
        [b"lock".to_vec(), b"manifest.sha256".to_vec()]
    );
}

#[test]
fn an_edit_of_what_a_killed_start_put_there_is_kept() {
    let lab = Lab::new(&[("a", "a1")]);
    lab.start();
    let mut manifest = lab.manifest();
    manifest.entries.get_mut(&b"a"[..]).unwrap().pending = Some(file("a2"));
    lab.write_manifest(&manifest);
    lab.write("a", "mine").write(".ai-lab/lock", "x");
    let lab = lab.image("1.1.0", &[("a", "a3")]);
    lab.starts("0 installed, 0 updated, 1 kept (changed by you), 0 current")
        .holds(&[("a", "mine")]);
}

#[test]
fn two_containers_on_one_volume_do_the_work_once() {
    let lab = Lab::new(&[]);
    for number in 0..200 {
        fs::write(lab.source(&format!("{number}")), "x").unwrap();
    }
    let summaries = std::thread::scope(|scope| {
        let starts = [(); 4].map(|()| scope.spawn(|| lab.start()));
        starts.map(|start| start.join().unwrap())
    });
    assert_eq!(summaries.iter().map(|s| s.installed).sum::<u64>(), 200);
    assert_eq!(summaries.iter().map(|s| s.current).sum::<u64>(), 600);
    assert!(summaries.iter().all(|s| s.degradations.is_empty()));
}

#[test]
fn who_does_not_get_the_lock_goes_on_and_loses_nothing() {
    let mut lab = Lab::new(&[("a", "a1")]);
    lab.start();
    lab.patience = Duration::ZERO;
    let held = fs::File::open(lab.volume(".ai-lab/lock")).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let lab = lab.image("1.1.0", &[("a", "a2"), ("b", "b2")]);
    let summary = lab.start();
    assert_eq!((summary.installed, summary.updated), (1, 1));
    assert!(causes(&summary).contains("holds .ai-lab/lock"));
    drop(held);
    lab.starts("0 installed, 0 updated, 0 kept (changed by you), 2 current");
}

#[test]
fn progress_is_told_and_never_goes_back() {
    let lab = Lab::new(&[]);
    for number in 0..REPORT_EVERY + 10 {
        fs::write(lab.source(&format!("{number}")), "").unwrap();
    }
    let mut told = Vec::new();
    bring(
        &lab.defaults(),
        lab.patience,
        lab.means,
        &|_| true,
        &|| false,
        &mut |progress| told.push(progress),
    )
    .unwrap();
    assert_eq!(told.len(), 2);
    assert!(told.is_sorted_by_key(|progress| progress.done));
    assert!(
        told.iter()
            .all(|p| p.total.is_some_and(|total| p.done <= total))
    );
}

/// What can happen between two starts.
#[derive(Debug, Clone)]
enum Event {
    /// An image with this version, whose files have this text.
    Image(u64, u8),
    Edit(usize, u8),
    Delete(usize),
    Rename(usize, usize),
    Policy(UpdateNotebooks, DeletedNotebooks),
    Start,
    /// The record is damaged.
    Damage,
    /// A start is killed before it can note that what was pending came to be.
    Kill,
}

const NAMES: [&str; 4] = ["a.ipynb", "b", "dir/c.ipynb", "dir/d"];

fn event() -> impl Strategy<Value = Event> {
    let name = || 0..NAMES.len();
    let update = prop_oneof![
        Just(UpdateNotebooks::Unmodified),
        Just(UpdateNotebooks::Beside),
        Just(UpdateNotebooks::Never),
    ];
    let deleted = prop_oneof![
        Just(DeletedNotebooks::Restore),
        Just(DeletedNotebooks::Respect),
    ];
    prop_oneof![
        3 => (1..5u64, 0..6u8).prop_map(|(version, text)| Event::Image(version, text)),
        3 => (name(), 0..4u8).prop_map(|(name, text)| Event::Edit(name, text)),
        2 => name().prop_map(Event::Delete),
        2 => (name(), name()).prop_map(|(from, to)| Event::Rename(from, to)),
        2 => (update, deleted).prop_map(|(update, deleted)| Event::Policy(update, deleted)),
        5 => Just(Event::Start),
        1 => Just(Event::Damage),
        1 => Just(Event::Kill),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever happens in whatever order: what a person wrote is there until that
    /// person deletes it, and an untouched default is the newest that came along.
    #[test]
    fn nothing_a_person_wrote_is_lost_and_the_untouched_is_the_newest(
        events in proptest::collection::vec(event(), 1..40),
    ) {
        let text = |version: u64, text: u8, name: &str| format!("{name} of the image {version} {text}");
        let mut lab = Lab::new(&[]);
        // What the person wrote, by the name it has.
        let mut mine: BTreeMap<String, String> = BTreeMap::new();
        // Defaults in place that no person touched: what a start left there.
        let mut untouched: BTreeMap<String, String> = BTreeMap::new();
        let (mut version, mut letter, mut newest) = (1, 0, 0);
        let mut recorded = true;
        let mut serial = 0;
        for event in events.into_iter().chain([Event::Start]) {
            match event {
                Event::Image(to, with) => {
                    (version, letter) = (to, with);
                    let files = NAMES.map(|name| (name, text(version, letter, name)));
                    let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
                    lab = lab.image(&format!("{version}.0.0"), &files);
                }
                Event::Edit(name, with) => {
                    let name = NAMES[name];
                    serial += 1;
                    // Now and then the very size that the default has.
                    let mut new = format!("mine {serial}");
                    if with == 0 {
                        new = format!("{new:width$}", width = text(version, letter, name).len());
                    }
                    fs::create_dir_all(lab.volume(name).parent().unwrap()).unwrap();
                    lab.write(name, &new);
                    mine.insert(name.into(), new);
                    untouched.remove(name);
                }
                Event::Delete(name) => {
                    let _ = fs::remove_file(lab.volume(NAMES[name]));
                    mine.remove(NAMES[name]);
                    untouched.remove(NAMES[name]);
                }
                Event::Rename(from, to) => {
                    let (from, to) = (NAMES[from], NAMES[to]);
                    fs::create_dir_all(lab.volume(to).parent().unwrap()).unwrap();
                    if from != to && fs::rename(lab.volume(from), lab.volume(to)).is_ok() {
                        mine.remove(to);
                        untouched.remove(to);
                        let moved = mine.remove(from).or(untouched.remove(from));
                        let moved = moved.unwrap_or_else(|| lab.read(to));
                        // A default under another name is the person's doing; one that
                        // is back under its own is what it was.
                        if !moved.starts_with(&format!("{to} of the image")) {
                            mine.insert(to.into(), moved);
                        }
                    }
                }
                Event::Policy(update, deleted) => lab = lab.policy(update, deleted),
                Event::Damage => {
                    if lab.volume(".ai-lab").exists() {
                        lab.write(".ai-lab/manifest.sha256", "damaged");
                        recorded = false;
                        newest = 0;
                    }
                }
                Event::Kill => {
                    if recorded && lab.volume(".ai-lab/manifest.sha256").exists() {
                        let mut manifest = lab.manifest();
                        lab.start();
                        for (path, after) in lab.manifest().entries {
                            let entry = manifest.entries.entry(path).or_default();
                            if entry.installed != after.installed {
                                entry.pending = after.installed;
                            }
                        }
                        lab.write_manifest(&manifest);
                        lab.write(".ai-lab/lock", "x");
                        // What it put there is found out by the next one.
                        untouched.clear();
                    }
                }
                Event::Start => {
                    let before: BTreeMap<_, _> = untouched.clone();
                    let summary = lab.start();
                    let told = causes(&summary);
                    prop_assert!(summary.degradations.is_empty() || !recorded, "{}", told);
                    let older = version < newest;
                    let all = lab.all();
                    let has_image = fs::read_dir(lab.source("")).unwrap().count() > 0;
                    for name in NAMES.iter().filter(|_| has_image) {
                        let new = text(version, letter, name);
                        let now = all.get(*name);
                        let replaces = lab.update != UpdateNotebooks::Never && !older && recorded;
                        match before.get(*name) {
                            Some(old) if !replaces => prop_assert_eq!(now, Some(old)),
                            Some(_) => prop_assert_eq!(now, Some(&new)),
                            None => {}
                        }
                        if now == Some(&new) && !mine.contains_key(*name) {
                            untouched.insert((*name).into(), new);
                        }
                    }
                    if !recorded {
                        // What differs from the image counts as the person's now.
                        untouched.retain(|name, text| *text == self::text_of(&lab, name));
                    }
                    newest = newest.max(version);
                    recorded = true;
                }
            }
            for (name, text) in &mine {
                prop_assert_eq!(&lab.read(name), text, "{}", name);
            }
            let whole = lab.all();
            prop_assert!(whole.keys().all(|name| !name.contains(".ai-lab.")), "{:?}", whole);
        }
    }
}

/// What the image has under this name.
fn text_of(lab: &Lab, name: &str) -> String {
    fs::read_to_string(lab.source(name)).unwrap_or_default()
}
