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
        lab.means.batch_files = 1;
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
    assert!(
        causes(&summary)
            .starts_with("dir/.ai-lab.old-0123456789abcdef contains changes that were saved")
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
