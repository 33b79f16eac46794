//! Starts that are killed, at every point.

use super::*;

/// Makes what a kill leaves at each point of an update from a1 to a2.
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

/// The start unwinds in the middle of its second batch, so nothing cleans up.
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
        lab.limits.batch_files = 1;
        let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            lab.start_while(|_| {
                // Not while the defaults are still surveyed.
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
    assert!(causes(&summary).starts_with("dir/.ai-lab.old-0123456789abcdef is a file of yours"));
    lab.holds(&[
        (".ai-lab.new-notes", "mine"),
        ("a", "a1"),
        ("dir", "dir"),
        ("dir/.ai-lab.old-0123456789abcdef", "edited just then"),
        ("dir/b", "b1"),
    ]);
    assert_eq!(lab.in_ai_lab(), ["lock", "manifest.sha256"]);
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

const MOVED: &str = ".ai-lab/moved/0123456789abcdef";

/// A lab with what a start leaves that is killed while it updates "a" by moving the old one
/// aside. `mark` is what the lock file says of it.
fn killed_while_moving(files: &[(&str, &str)], mark: &str) -> Lab {
    let lab = Lab::new(&[("a", "a1"), ("dir/b", "b1")]);
    lab.start();
    let lab = lab.image("1.1.0", &[("a", "a2"), ("dir/b", "b1"), ("new", "n2")]);
    let mut manifest = lab.manifest();
    for (name, pending) in [("a", "a2"), ("new", "n2")] {
        let entry = manifest.entries.entry(name.into()).or_default();
        entry.pending = Some(file(pending));
    }
    lab.write_manifest(&manifest);
    fs::remove_file(lab.volume("a")).unwrap();
    fs::create_dir_all(lab.volume(MOVED).join("dir")).unwrap();
    for (name, text) in files {
        lab.write(&name.replace("MOVED", MOVED), text);
    }
    lab.write(".ai-lab/lock", mark);
    lab
}

#[test]
fn an_update_by_moving_aside_that_is_killed_anywhere_is_finished() {
    const TEMP: &str = ".ai-lab.old-0123456789abcdef";
    type Point = (
        &'static str,
        &'static [(&'static str, &'static str)],
        &'static str,
        u64,
    );
    let points: [Point; 6] = [
        (
            "when it is moved",
            &[("MOVED/a", "a1"), (TEMP, "a2")],
            "x",
            1,
        ),
        (
            "when the new one is there",
            &[("MOVED/a", "a1"), ("a", "a2")],
            "x",
            0,
        ),
        (
            "when the new one has two names",
            &[("MOVED/a", "a1"), ("a", "a2"), (TEMP, "a2")],
            "x",
            0,
        ),
        ("when it is removed", &[("a", "a2")], "x", 0),
        (
            "when its name is reserved",
            &[("MOVED/a", "a1"), ("a", ""), (TEMP, "a2")],
            "xx",
            1,
        ),
        (
            "when another name is reserved",
            &[
                ("a", "a2"),
                ("new", ""),
                (".ai-lab.new-0123456789abcdef", "n2"),
            ],
            "xx",
            0,
        ),
    ];
    for (point, files, mark, updated) in points {
        let lab = killed_while_moving(files, mark);
        let summary = lab.start();
        assert_eq!(
            (summary.installed, summary.updated),
            (1, updated),
            "{point}"
        );
        assert_eq!(summary.degradations, [], "{point}");
        let new = [("a", "a2"), ("dir", "dir"), ("dir/b", "b1"), ("new", "n2")];
        lab.holds(&new);
        assert_eq!(lab.in_ai_lab(), ["lock", "manifest.sha256"], "{point}");
        assert_eq!(lab.read(".ai-lab/lock"), "", "{point}");
        lab.starts("0 installed, 0 updated, 0 kept (changed by you), 3 current");
    }
}

#[test]
fn an_edit_that_was_moved_aside_when_the_start_was_killed_comes_back() {
    for deleted in [DeletedNotebooks::Restore, DeletedNotebooks::Respect] {
        // Without the rest of the text in the lock, nobody knows whether the lock is ours.
        for mark in ["x", "someone wrote this"] {
            let lab = killed_while_moving(&[("MOVED/a", "mine")], mark);
            let lab = lab.policy(UpdateNotebooks::Unmodified, deleted);
            lab.starts("1 installed, 0 updated, 1 kept (changed by you), 1 current");
            assert_eq!(lab.read("a"), "mine");
            assert_eq!(lab.in_ai_lab(), ["lock", "manifest.sha256"]);
        }
    }
}

#[test]
fn what_is_the_users_under_both_names_stays_under_both_and_is_told() {
    let lab = killed_while_moving(&[("MOVED/a", "mine"), ("a", "mine too")], "x");
    let summary = lab.start();
    assert_eq!((summary.installed, summary.kept), (1, 1));
    let told = format!("{MOVED}/a is a file of yours that was in the place of a default");
    assert!(causes(&summary).starts_with(&told), "{}", causes(&summary));
    assert_eq!(lab.read("a"), "mine too");
    assert_eq!(lab.read(&format!("{MOVED}/a")), "mine");
}

#[test]
fn a_second_name_of_a_file_that_was_put_back_is_removed() {
    let lab = killed_while_moving(&[("MOVED/a", "mine")], "x");
    fs::hard_link(lab.volume(MOVED).join("a"), lab.volume("a")).unwrap();
    lab.starts("1 installed, 0 updated, 1 kept (changed by you), 1 current");
    assert_eq!(lab.read("a"), "mine");
    assert_eq!(lab.in_ai_lab(), ["lock", "manifest.sha256"]);
}

/// An empty file is a reserved name only where a start could reserve names.
#[test]
fn a_file_that_a_person_emptied_after_a_kill_stays() {
    let lab = killed_while_moving(&[("a", "")], "x");
    lab.starts("1 installed, 0 updated, 1 kept (changed by you), 1 current");
    assert_eq!(lab.read("a"), "");
}
