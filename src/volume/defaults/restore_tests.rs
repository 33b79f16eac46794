#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::*;
use crate::settings::{DeletedNotebooks, UpdateNotebooks};
use crate::volume::bring_in;
use crate::volume::testing::{FileSystem, tree_of};

struct Lab {
    dir: tempfile::TempDir,
    version: &'static str,
}

impl Lab {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        fs::create_dir(dir.path().join("volume")).unwrap();
        let lab = Self {
            dir,
            version: "1.0.0",
        };
        lab.put("source", files);
        lab
    }

    fn put(&self, top: &str, files: &[(&str, &str)]) {
        for (name, text) in files {
            let path = self.at(top, name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    fn at(&self, top: &str, name: &str) -> PathBuf {
        self.dir.path().join(top).join(name)
    }

    fn defaults(&self) -> Defaults {
        Defaults {
            source: self.at("source", ""),
            volume: self.at("volume", ""),
            image_version: Some(self.version.into()),
            update: UpdateNotebooks::Unmodified,
            deleted: DeletedNotebooks::Respect,
            mode: 0o644,
        }
    }

    fn start(&self) {
        let dropped = Dropped::for_tests();
        bring_in(&dropped, &self.defaults(), &|| false, &mut |_| {}).unwrap();
    }

    fn restore(&self, names: &[&str]) -> Vec<(String, Restored)> {
        let names: Vec<Vec<u8>> = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        let (results, _) = restore(&Dropped::for_tests(), &self.defaults(), &names).unwrap();
        let text = |path: Vec<u8>| String::from_utf8(path).unwrap();
        results
            .into_iter()
            .map(|(path, how)| (text(path), how))
            .collect()
    }

    fn reads(&self, name: &str) -> String {
        fs::read_to_string(self.at("volume", name)).unwrap()
    }
}

fn aside(name: &str) -> Restored {
    Restored::Renamed(name.as_bytes().to_vec())
}

#[test]
fn how_the_defaults_stand_is_what_a_start_would_do_and_nothing_is_done() {
    let mut lab = Lab::new(&[("a", "a1"), ("b", "b1")]);
    let standing = |lab: &Lab| {
        let standing = defaults_status(&Dropped::for_tests(), &lab.defaults()).unwrap();
        let files: Vec<String> = standing.files.iter().map(ToString::to_string).collect();
        (standing.installed, files)
    };
    let files = |files: &[&str]| {
        files
            .iter()
            .map(|text| (*text).to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(standing(&lab), (None, files(&["install: a", "install: b"])));
    assert_eq!(tree_of(&lab.at("volume", "")).len(), 0);
    lab.start();
    lab.version = "1.1.0";
    lab.put("source", &[("a", "a2"), ("b", "b2"), ("c", "c2")]);
    lab.put("volume", &[("b", "mine")]);
    let before = tree_of(&lab.at("volume", ""));
    let expected = files(&["replace: a", "keep (changed by you): b", "install: c"]);
    assert_eq!(standing(&lab), (Some("1.0.0".into()), expected));
    assert_eq!(tree_of(&lab.at("volume", "")), before);
}

#[test]
fn files_and_directories_get_the_mode_that_is_wanted() {
    use std::os::unix::fs::PermissionsExt;
    let lab = Lab::new(&[("a", "a"), ("dir/b.sh", "b")]);
    let executable = fs::Permissions::from_mode(0o700);
    fs::set_permissions(lab.at("source", "dir/b.sh"), executable).unwrap();
    let shared = fs::Permissions::from_mode(0o2775);
    fs::set_permissions(lab.at("volume", ""), shared).unwrap();
    let defaults = Defaults {
        mode: 0o664,
        ..lab.defaults()
    };
    bring_in(&Dropped::for_tests(), &defaults, &|| false, &mut |_| {}).unwrap();
    let mode = |name: &str| {
        let data = fs::metadata(lab.at("volume", name)).unwrap();
        data.permissions().mode() & 0o7777
    };
    assert_eq!(
        (mode("a"), mode("dir/b.sh"), mode("dir")),
        (0o664, 0o775, 0o2775)
    );
}

#[test]
fn a_default_comes_back_and_what_a_person_wrote_is_put_aside() {
    let lab = Lab::new(&[
        ("a.ipynb", "a1"),
        ("dir/b", "b1"),
        ("dir/c", "c1"),
        ("d", "d1"),
    ]);
    lab.start();
    lab.put("volume", &[("a.ipynb", "mine"), ("d", "also mine")]);
    assert_eq!(
        lab.restore(&["a.ipynb"]),
        [("a.ipynb".into(), aside("a.yours.ipynb"))]
    );
    assert_eq!(
        (lab.reads("a.ipynb"), lab.reads("a.yours.ipynb")),
        ("a1".into(), "mine".into())
    );
    assert_eq!(lab.reads("d"), "also mine", "nobody asked for it");
    // The second time it gets a second name.
    lab.put(
        "volume",
        &[("a.ipynb", "mine again"), ("dir/b", "b of mine")],
    );
    fs::remove_file(lab.at("volume", "dir/c")).unwrap();
    let results = lab.restore(&["a.ipynb", "dir", "nothing"]);
    let expected = [
        ("a.ipynb".into(), aside("a.yours-2.ipynb")),
        ("dir/b".into(), aside("dir/b.yours")),
        ("dir/c".into(), Restored::Installed),
        ("nothing".into(), Restored::Unknown),
    ];
    assert_eq!(results, expected);
    assert_eq!(lab.reads("a.yours.ipynb"), "mine");
    assert_eq!(lab.reads("a.yours-2.ipynb"), "mine again");
    assert_eq!(
        (lab.reads("dir/b"), lab.reads("dir/c")),
        ("b1".into(), "c1".into())
    );
    assert_eq!(
        lab.restore(&["a.ipynb"]),
        [("a.ipynb".into(), Restored::Current)]
    );
}

#[test]
fn what_was_put_aside_comes_back_where_the_default_does_not() {
    let lab = Lab::new(&[("a.ipynb", "default")]);
    lab.start();
    fs::write(lab.at("volume", "a.ipynb"), "mine").unwrap();
    // A link that leads outside is no default.
    fs::remove_file(lab.at("source", "a.ipynb")).unwrap();
    symlink("/nowhere", lab.at("source", "a.ipynb")).unwrap();
    let results = lab.restore(&["a.ipynb"]);
    assert!(!matches!(results[0].1, Restored::Renamed(_)), "{results:?}");
    assert_eq!(lab.reads("a.ipynb"), "mine");
}

#[test]
fn nothing_is_renamed_onto_another_where_no_flag_says_so() {
    for kind in FileSystem::ALL {
        let volume = kind.mount();
        let at = |name: &str| volume.path().join(name);
        let handle = fs::File::open(volume.path()).unwrap();
        fs::write(at("f"), "f").unwrap();
        fs::create_dir(at("d")).unwrap();
        fs::write(at("d/in"), "").unwrap();
        let rename = |from: &CStr, to: &CStr| rename(handle.as_fd(), from, to);
        for (from, to) in [(c"f", c"d"), (c"d", c"f")] {
            assert_eq!(rename(from, to), Err(Errno::EXIST), "{kind:?}");
        }
        rename(c"f", c"f2").unwrap();
        rename(c"d", c"d2").unwrap();
        assert_eq!(fs::read_to_string(at("f2")).unwrap(), "f");
        assert!(at("d2/in").exists() && !at("f").exists() && !at("d").exists());
    }
}

#[test]
fn a_link_in_the_place_of_a_default_is_put_aside_itself() {
    let lab = Lab::new(&[("a", "a1"), ("dir/b", "b1")]);
    let outside = tempfile::tempdir_in("/dev/shm").unwrap();
    fs::write(outside.path().join("b"), "theirs").unwrap();
    symlink(outside.path().join("b"), lab.at("volume", "a")).unwrap();
    symlink(outside.path(), lab.at("volume", "dir")).unwrap();
    let results = lab.restore(&["a", "dir/b"]);
    assert_eq!(results[0], ("a".into(), aside("a.yours")));
    assert_eq!(lab.reads("a"), "a1");
    assert!(matches!(results[1].1, Restored::Refused(_)), "{results:?}");
    assert_eq!(
        fs::read_to_string(outside.path().join("b")).unwrap(),
        "theirs"
    );
    assert_eq!(tree_of(outside.path()).len(), 1);
}

#[test]
fn both_versions_are_read_without_following_a_link() {
    let lab = Lab::new(&[("a", "a1")]);
    lab.start();
    lab.put("volume", &[("a", "mine")]);
    let read = |name: &str| {
        let versions = versions(&Dropped::for_tests(), &lab.defaults(), name.as_bytes()).unwrap();
        (versions.yours, versions.image)
    };
    let is = |text: &[u8]| Ok(Some(text.to_vec()));
    assert_eq!(read("a"), (is(b"mine"), is(b"a1")));
    fs::remove_file(lab.at("volume", "a")).unwrap();
    symlink("/etc/passwd", lab.at("volume", "a")).unwrap();
    assert_eq!(read("a"), (Ok(None), is(b"a1")));
    assert_eq!(read("../volume/a"), (Ok(None), Ok(None)));
}
