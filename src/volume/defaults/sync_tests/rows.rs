//! What a row of the decision table means for the files.

use super::*;

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
    // The same start again changes nothing.
    lab.starts("0 installed, 0 updated, 1 kept (changed by you), 3 current");
    // With the installed content again, the file counts as unchanged.
    lab.write("b", "b1")
        .starts("0 installed, 1 updated, 0 kept (changed by you), 3 current")
        .holds(&[("a", "a2"), ("b", "b2"), ("c", "c1"), ("d", "d2")]);
}

#[test]
fn an_edit_of_the_same_size_is_seen() {
    let lab = Lab::new(&[("a", "a1")]);
    lab.start();
    wait_past_ctime(&lab.volume("a"));
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
    // Once deleted, it does not come back for the same version; a newer one comes.
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
    lab.starts("0 installed, 0 updated, 1 kept (changed by you), 0 current, 1 put beside")
        .holds(&[
            ("a.ipynb", "mine"),
            ("a.1.1.0.ipynb", "mine too"),
            ("a.2c3a4249.ipynb", "a2"),
        ]);
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
    // A newer image continues from there.
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
        // A start without a version leaves the recorded version as it is.
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
    // In place of a parent directory: a file, a link to a directory outside, a dangling link.
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
