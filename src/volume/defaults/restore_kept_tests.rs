#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

use super::*;
use crate::settings::{DeletedNotebooks, UpdateNotebooks};
use crate::volume::defaults::manifest::{Content, KeptCopy};

/// A volume in which copies are kept.
struct Lab(tempfile::TempDir);

impl Lab {
    /// Makes a volume with these files, the first the oldest.
    fn new(files: &[(&str, &str)]) -> Self {
        let lab = Self(tempfile::tempdir_in("/dev/shm").unwrap());
        fs::create_dir(lab.0.path().join("source")).unwrap();
        for (age, (name, text)) in (0..).zip(files) {
            let path = lab.at(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + age);
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(time).unwrap();
        }
        lab
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join("volume").join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap()
    }

    fn restore(&self, wanted: &[&str]) -> Vec<(String, BroughtBack)> {
        let defaults = Defaults {
            source: self.0.path().join("source"),
            volume: self.at(""),
            image_version: None,
            update: UpdateNotebooks::Unmodified,
            deleted: DeletedNotebooks::Restore,
            mode: 0o644,
        };
        let wanted: Vec<_> = wanted.iter().map(|path| path.as_bytes().to_vec()).collect();
        let results = restore_kept(&Dropped::for_tests(), &defaults, &wanted).unwrap();
        let name = |path| String::from_utf8(path).unwrap();
        results
            .into_iter()
            .map(|(path, result)| (name(path), result))
            .collect()
    }
}

fn done(version: &str, aside: Option<&str>) -> BroughtBack {
    BroughtBack::Done {
        version: version.into(),
        aside: aside.map(|path| path.as_bytes().to_vec()),
    }
}

#[test]
fn the_copy_that_was_saved_last_comes_back_and_a_persons_file_is_put_aside() {
    let lab = Lab::new(&[
        (".ai-lab/kept/1.9.0/d/a.ipynb", "older"),
        (".ai-lab/kept/1.10.0/d/a.ipynb", "newer"),
        (".ai-lab/kept/1.0.0/b.ipynb", "b"),
        ("d/a.ipynb", "mine"),
    ]);
    let aside = Some("d/a.yours.ipynb");
    let results = lab.restore(&["d", "c.ipynb"]);
    assert_eq!(
        results,
        [
            ("c.ipynb".into(), BroughtBack::Nothing),
            ("d/a.ipynb".into(), done("1.10.0", aside)),
        ]
    );
    assert_eq!(lab.read("d/a.ipynb"), "newer");
    assert_eq!(lab.read("d/a.yours.ipynb"), "mine");
    assert!(!lab.at(".ai-lab/kept/1.10.0/d/a.ipynb").exists());
    assert_eq!(lab.read(".ai-lab/kept/1.9.0/d/a.ipynb"), "older");
    assert!(!lab.at("b.ipynb").exists());
}

#[test]
fn without_a_name_all_come_back_and_untouched_defaults_make_room() {
    let lab = Lab::new(&[
        (".ai-lab/kept/1.0.0/a.ipynb", "a"),
        (".ai-lab/kept/1.0.0/deleted/b.ipynb", "b"),
        (".ai-lab/kept/1.0.0_2/a.ipynb", "before a merge"),
        ("a.ipynb", "default"),
    ]);
    let mut manifest = crate::volume::manifest::Manifest::default();
    let entry = manifest.entries.entry(b"a.ipynb".to_vec()).or_default();
    let digest = crate::volume::defaults::manifest::Digest::of(b"default");
    entry.installed = Some(Content::File(digest));
    entry.kept.push(KeptCopy {
        directory: "1.0.0".into(),
        digest,
        stamp: None,
    });
    fs::write(lab.at(".ai-lab/manifest.sha256"), manifest.render()).unwrap();
    let all = [
        ("a.ipynb".into(), done("1.0.0", None)),
        ("deleted/b.ipynb".into(), done("1.0.0", None)),
    ];
    assert_eq!(lab.restore(&[]), all);
    assert_eq!(lab.read("a.ipynb"), "a");
    assert_eq!(lab.read("deleted/b.ipynb"), "b");
    assert!(!lab.at("a.yours.ipynb").exists());
    assert_eq!(lab.restore(&[]), []);
    let aside = Some("a.yours.ipynb");
    let merged = [("a.ipynb".into(), done("1.0.0_2", aside))];
    assert_eq!(lab.restore(&["a.ipynb"]), merged);
    assert_eq!(lab.read("a.ipynb"), "before a merge");
}

#[test]
fn nothing_comes_from_outside_or_goes_there() {
    let lab = Lab::new(&[
        (".ai-lab/kept/1.0.0/link/a.ipynb", "a"),
        ("elsewhere/x", "x"),
    ]);
    symlink(lab.at("elsewhere"), lab.at("link")).unwrap();
    symlink("/etc", lab.at(".ai-lab/kept/etc")).unwrap();
    symlink("/etc/passwd", lab.at(".ai-lab/kept/1.0.0/p.ipynb")).unwrap();
    let results = lab.restore(&[]);
    assert_eq!(results.len(), 1, "{results:?}");
    assert!(
        matches!(results[0].1, BroughtBack::Refused(_)),
        "{results:?}"
    );
    assert_eq!(lab.read(".ai-lab/kept/1.0.0/link/a.ipynb"), "a");
}
