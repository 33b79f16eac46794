//! Links, special files, names and modes.

use super::*;

#[test]
fn links_that_replace_what_was_installed_are_not_followed() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("b.ipynb"), "b1").unwrap();
    fs::write(outside.path().join("a.ipynb"), "a1").unwrap();
    let lab = Lab::new(TWO);
    lab.start();
    // The content is the installed one, so that only the type differs.
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
    // A link that no one changed is updated; the user's own link stays.
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
