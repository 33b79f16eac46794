#![allow(clippy::unwrap_used)]

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;

/// A directory as Jupyter's configuration is, and a clock.
struct Home {
    directory: tempfile::TempDir,
    now: SystemTime,
}

impl Home {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            now: SystemTime::now(),
        }
    }

    fn file(&self, host: &str) -> CertificateFile {
        CertificateFile::for_host(&self.directory.path().join(".jupyter"), host)
    }

    fn find(&self, host: &str) -> Found {
        self.file(host).find(&Dropped::for_tests(), self.now)
    }

    /// What a start does: returns the fingerprint, and the file that was set aside.
    fn start(&self, host: &str) -> (String, Option<PathBuf>) {
        let found = match self.find(host) {
            Found::Usable(certificate) => return (certificate.fingerprint(), None),
            other => other,
        };
        let made = self
            .file(host)
            .make(&Dropped::for_tests(), &found, self.now, Effects::Make);
        let made = made.unwrap();
        made.written.unwrap();
        (made.certificate.fingerprint(), made.aside)
    }

    fn pass(&mut self, days: u64) {
        self.now += Duration::from_secs(days * DAY);
    }
}

#[test]
fn a_certificate_has_the_names_of_its_container_and_is_its_owners_alone() {
    let home = Home::new();
    home.start("lab.example.org");
    let file = home.file("lab.example.org");
    let mode = fs::metadata(file.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let Found::Usable(certificate) = home.find("lab.example.org") else {
        panic!("there is none");
    };
    for name in ["lab.example.org", "localhost", "127.0.0.1", "::1"] {
        assert!(certificate.covers(name, home.now), "{name}");
    }
    assert!(!certificate.covers("example.org", home.now));
}

#[test]
fn the_next_start_has_the_same_one() {
    let home = Home::new();
    let (first, _) = home.start("0123456789ab");
    assert_eq!(home.start("0123456789ab").0, first);
    // A new container on the same volume has another name, which Docker made up.
    assert_eq!(home.start("ba9876543210").0, first);
    assert_eq!(home.start("lab-7d9f8c6b5-x2x4z").0, first);
    let (named, aside) = home.start("lab.example.org");
    assert_ne!(named, first);
    assert_eq!(aside, None);
    assert_eq!(home.start("lab.example.org").0, named);
    // No certificate can have this name.
    assert_eq!(home.start("-\u{e9}-").0, named);
}

#[test]
fn it_is_replaced_before_it_expires_and_long_after() {
    for days in [730 - 89, 731, 10_000] {
        let mut home = Home::new();
        let (first, _) = home.start("lab");
        home.pass(730 - 91);
        assert_eq!(home.start("lab").0, first);
        home.pass(days - (730 - 91));
        let (second, aside) = home.start("lab");
        assert_ne!(second, first);
        assert_eq!((home.start("lab").0, aside), (second, None));
        let entries = fs::read_dir(home.file("lab").path().parent().unwrap());
        assert_eq!(entries.unwrap().count(), 1);
    }
}

#[test]
fn a_file_of_a_persons_is_used_as_it_is_whatever_it_says() {
    let mut home = Home::new();
    let (first, _) = home.start("lab");
    let path = home.file("lab").path().to_owned();
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.strip_prefix(OURS).unwrap()).unwrap();
    home.pass(10_000);
    assert_eq!(home.start("another").0, first);
    // Behind a link, too.
    let elsewhere = path.with_file_name("elsewhere");
    fs::rename(&path, &elsewhere).unwrap();
    symlink(&elsewhere, &path).unwrap();
    assert_eq!(home.start("another").0, first);
}

#[test]
fn what_cannot_be_used_is_kept_beside_it() {
    type Put = fn(&Path);
    let kinds: [Put; 5] = [
        |path| fs::write(path, "a word of mine").unwrap(),
        |path| fs::write(path, format!("{OURS}cut")).unwrap(),
        |path| fs::create_dir(path).unwrap(),
        |path| symlink("/nowhere", path).unwrap(),
        |path| nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap(),
    ];
    for put in kinds {
        let home = Home::new();
        let path = home.file("lab").path().to_owned();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        put(&path);
        let before = fs::symlink_metadata(&path).unwrap();
        let (made, aside) = home.start("lab");
        let after = fs::symlink_metadata(aside.unwrap()).unwrap();
        assert_eq!(
            (after.ino(), after.file_type()),
            (before.ino(), before.file_type())
        );
        assert_eq!(home.start("lab"), (made, None));
    }
}

#[test]
fn a_certificate_that_cannot_be_kept_is_there_all_the_same() {
    let home = Home::new();
    let directory = home.directory.path().join(".jupyter");
    fs::write(&directory, "").unwrap();
    let found = home.find("lab");
    assert!(matches!(found, Found::Unusable(_)));
    let made = home
        .file("lab")
        .make(&Dropped::for_tests(), &found, home.now, Effects::Make);
    let made = made.unwrap();
    assert!(made.written.is_err());
    assert!(made.certificate.covers("lab", home.now));
}
