//! Which seals count, for which user, and for which files.

#![allow(clippy::unwrap_used)]

use std::fs::{self, File, Permissions};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use super::*;
use crate::volume::defaults::manifest::Digest;
use crate::volume::testing::{UID, as_user};

/// The defaults of an image: two files that are older than the seal, and a link.
struct TestDefaults(tempfile::TempDir);

impl TestDefaults {
    fn new() -> Self {
        let defaults = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(defaults.at("part")).unwrap();
        for name in ["a.ipynb", "part/b.ipynb"] {
            defaults.write(name, "sealed");
        }
        symlink("a.ipynb", defaults.at("link")).unwrap();
        for place in ["", "part"] {
            defaults.mode(place, 0o755);
        }
        defaults
    }

    fn sealed() -> Self {
        let defaults = Self::new();
        let done = seal(&defaults.at("")).unwrap();
        assert_eq!((done.sealed, done.reported.len()), (2, 0));
        defaults
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join("d").join(name)
    }

    fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.at(name), Permissions::from_mode(mode)).unwrap();
    }

    /// Writes a file as a layer has it, with an old mtime.
    fn write(&self, name: &str, text: &str) {
        fs::write(self.at(name), text).unwrap();
        self.mode(name, 0o644);
        self.age(name, Duration::from_secs(1_760_000_000));
    }

    fn age(&self, name: &str, modified: Duration) {
        let file = File::options().write(true).open(self.at(name)).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + modified)
            .unwrap();
    }

    fn stat(&self, name: &str) -> FileStat {
        tree::stat_fd(File::open(self.at(name)).unwrap()).unwrap()
    }

    /// Returns the seal that the user finds, and the reported degradations.
    fn found(&self) -> (Option<Seal>, String) {
        let top = File::open(self.at("")).unwrap();
        let mut told = Vec::new();
        let seal = as_user(|| Seal::find(top.as_fd(), &mut told));
        let told: Vec<String> = told.iter().map(ToString::to_string).collect();
        (seal, told.join("\n"))
    }

    /// Returns the content of a file according to a trusted seal.
    fn known(&self, name: &str) -> Option<Content> {
        let (seal, told) = self.found();
        assert_eq!(told, "");
        seal.unwrap().knows(name.as_bytes(), &self.stat(name))
    }
}

const SEAL: &str = ".ai-lab/manifest.sha256";

#[test]
fn what_is_as_it_was_sealed_is_known() {
    let defaults = TestDefaults::sealed();
    let content = Content::File(Digest::of(b"sealed"));
    assert_eq!(defaults.known("a.ipynb"), Some(content));
    assert_eq!(defaults.known("part/b.ipynb"), Some(content));
    // A layer keeps only the seconds.
    defaults.age("a.ipynb", Duration::new(1_760_000_000, 999_000_000));
    assert_eq!(defaults.known("a.ipynb"), Some(content));
}

#[test]
fn what_was_altered_is_not_known() {
    type Alter = fn(&TestDefaults);
    let alterations: [Alter; 6] = [
        |d| d.write("a.ipynb", "longer than it was sealed"),
        |d| d.age("a.ipynb", Duration::from_secs(1_760_000_001)),
        |d| d.age("a.ipynb", Duration::from_secs(1_759_999_999)),
        // A user who can write the file can set any mtime.
        |d| chown(d.at("a.ipynb"), Some(UID), None).unwrap(),
        |d| d.mode("a.ipynb", 0o664),
        |d| d.mode("a.ipynb", 0o646),
    ];
    for (number, alter) in alterations.iter().enumerate() {
        let defaults = TestDefaults::sealed();
        alter(&defaults);
        assert_eq!(defaults.known("a.ipynb"), None, "{number}");
        assert!(defaults.known("part/b.ipynb").is_some(), "{number}");
    }
    let defaults = TestDefaults::sealed();
    defaults.write("new", "sealed");
    assert_eq!(defaults.known("new"), None);
}

#[test]
fn what_was_changed_in_the_second_of_the_sealing_is_not_known() {
    let defaults = TestDefaults::new();
    fs::write(defaults.at("a.ipynb"), "first").unwrap();
    let done = seal(&defaults.at("")).unwrap();
    assert_eq!(done.sealed, 1);
    assert!(done.reported[0].starts_with("a.ipynb is read at each start"));
    assert_eq!(defaults.known("a.ipynb"), None);

    // The time when the sealing began counts, however long it took.
    let defaults = TestDefaults::new();
    defaults.write("long.bin", &"x".repeat(8 << 20));
    seal(&defaults.at("")).unwrap();
    let began = fs::metadata(defaults.at(SEAL)).unwrap().modified().unwrap();
    let written = fs::metadata(defaults.at(".ai-lab")).unwrap().created();
    assert!(began < written.unwrap());

    // The seal's own mtime is as old as the file's, as a layer may have set it.
    let defaults = TestDefaults::sealed();
    defaults.age(SEAL, Duration::from_secs(1_760_000_000));
    assert_eq!(defaults.known("a.ipynb"), None);
    defaults.age(SEAL, Duration::from_secs(1_760_000_001));
    assert!(defaults.known("a.ipynb").is_some());
}

#[test]
fn a_seal_that_others_than_root_could_have_written_is_not_used_and_that_is_told() {
    for place in ["", ".ai-lab", SEAL] {
        let own: fn(&Path) = |path| chown(path, Some(UID), None).unwrap();
        let group: fn(&Path) = |path| add(path, 0o020);
        let all: fn(&Path) = |path| add(path, 0o002);
        for tamper in [own, group, all] {
            let defaults = TestDefaults::sealed();
            tamper(&defaults.at(place));
            let (seal, told) = defaults.found();
            assert!(seal.is_none(), "{place}");
            let why = "the seal of the notebook defaults is not used: others than root could";
            assert!(told.starts_with(why), "{place}: {told}");
        }
    }
}

fn add(path: &Path, bits: u32) {
    let mode = fs::metadata(path).unwrap().mode() | bits;
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_seal_that_cannot_be_read_is_not_used_and_that_is_told() {
    let line = "0".repeat(64);
    for (text, why) in [
        ("", "it is damaged (line 1)"),
        ("# ai-lab notebooks 1\nx\n# end\n", "it is damaged (line 2)"),
        (
            &*format!("# ai-lab notebooks 1\n{line}  a.ipynb\n"),
            "it is damaged",
        ),
        ("# ai-lab notebooks 2\n# end\n", "a newer version"),
    ] {
        let defaults = TestDefaults::sealed();
        fs::write(defaults.at(SEAL), text).unwrap();
        let (seal, told) = defaults.found();
        assert!(seal.is_none() && told.contains(why), "{text}: {told}");
    }
    let elsewhere = TestDefaults::sealed();
    let defaults = TestDefaults::new();
    symlink(elsewhere.at(".ai-lab"), defaults.at(".ai-lab")).unwrap();
    let (seal, told) = defaults.found();
    assert!(seal.is_none() && told.contains("is not used"), "{told}");
}

#[test]
fn without_a_seal_nothing_is_told() {
    let defaults = TestDefaults::new();
    let (seal, told) = defaults.found();
    assert!(seal.is_none() && told.is_empty());
    fs::create_dir(defaults.at(".ai-lab")).unwrap();
    let (seal, told) = defaults.found();
    assert!(seal.is_none() && told.is_empty());
}

#[test]
fn a_server_that_runs_as_root_could_have_written_it() {
    let defaults = TestDefaults::sealed();
    let top = File::open(defaults.at("")).unwrap();
    assert!(Seal::find(top.as_fd(), &mut Vec::new()).is_none());
}

#[test]
fn the_record_of_a_volume_is_no_seal() {
    // The stamps in a volume's manifest are of other files.
    let defaults = TestDefaults::sealed();
    let text = fs::read_to_string(defaults.at(SEAL)).unwrap();
    let ctime = text.replace(" 0.0 0\n", " 1760000000.0 815\n");
    assert_ne!(ctime, text);
    fs::write(defaults.at(SEAL), ctime).unwrap();
    assert_eq!(defaults.known("a.ipynb"), None);
}

#[test]
fn it_is_the_same_each_time_and_sha256sum_checks_it() {
    let defaults = TestDefaults::sealed();
    let read = || fs::read_to_string(defaults.at(SEAL)).unwrap();
    let first = read();
    seal(&defaults.at("")).unwrap();
    assert_eq!(read(), first);
    assert!(first.contains("# seen - / 6 1760000000.0 0.0 0\n"));
    let names = fs::read_dir(defaults.at(".ai-lab")).unwrap().count();
    assert_eq!(names, 1);
    let check = || {
        let mut command = Command::new("sha256sum");
        let words = ["--check", "--quiet", "--strict", SEAL];
        let output = command.args(words).current_dir(defaults.at("")).output();
        output.unwrap().status.success()
    };
    assert!(check());
    defaults.write("part/b.ipynb", "SEALED");
    assert!(!check());
}

#[test]
fn where_a_seal_would_not_count_none_is_made() {
    let defaults = TestDefaults::new();
    defaults.mode("", 0o775);
    let refused = seal(&defaults.at("")).unwrap_err().to_string();
    assert!(refused.contains("chmod -R go-w"), "{refused}");
    assert!(!defaults.at(".ai-lab").exists());
    defaults.mode("", 0o755);
    fs::create_dir(defaults.at(".ai-lab")).unwrap();
    chown(defaults.at(".ai-lab"), Some(UID), None).unwrap();
    let refused = seal(&defaults.at("")).unwrap_err().to_string();
    assert!(refused.contains("d/.ai-lab, and a start"), "{refused}");
    assert!(!defaults.at(SEAL).exists());
}
