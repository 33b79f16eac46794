//! The decision table of the specification, row by row, for every policy.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::volume::defaults::manifest::Digest;

const UPDATES: [UpdateNotebooks; 3] = [
    UpdateNotebooks::Unmodified,
    UpdateNotebooks::Beside,
    UpdateNotebooks::Never,
];
const DELETIONS: [DeletedNotebooks; 2] = [DeletedNotebooks::Restore, DeletedNotebooks::Respect];

fn file(text: &str) -> Content {
    Content::File(Digest::of(text.as_bytes()))
}

fn link(text: &str) -> Content {
    Content::Link(Digest::of(text.as_bytes()))
}

fn installed(content: Content) -> Entry {
    Entry {
        installed: Some(content),
        ..Entry::default()
    }
}

fn every_policy() -> impl Iterator<Item = Policy> {
    let with_update = move |update| {
        DELETIONS.into_iter().flat_map(move |deleted| {
            [false, true].into_iter().map(move |older| Policy {
                update,
                deleted,
                older,
            })
        })
    };
    UPDATES.into_iter().flat_map(with_update)
}

/// Returns the decision for one path.
fn one(
    image: Option<Content>,
    entry: Option<Entry>,
    found: InVolume,
    policy: Policy,
) -> Option<Decision> {
    let path = b"dir/a.ipynb".to_vec();
    let mut manifest = Manifest::default();
    if let Some(entry) = entry {
        manifest.entries.insert(path.clone(), entry);
    }
    let rows = [Row {
        path,
        image,
        unknown: false,
        volume: found,
        in_volume: None,
        in_image: None,
    }];
    let mut planned = decide_all(&rows, &manifest, policy);
    assert!(planned.len() <= 1, "{planned:?}");
    let (row, decision) = planned.pop()?;
    assert_eq!(row.path, rows[0].path);
    Some(decision)
}

/// Compares the decision with `expect`, for every policy.
fn row(
    image: Option<Content>,
    entry: Option<Entry>,
    found: InVolume,
    expect: impl Fn(Policy) -> Option<Decision>,
) {
    for policy in every_policy() {
        let got = one(image, entry.clone(), found, policy);
        assert_eq!(got, expect(policy), "{policy:?}");
    }
}

#[test]
fn absent_and_never_installed_is_installed() {
    for image in [file("new"), link("target"), Content::Directory] {
        row(Some(image), None, InVolume::Absent, |_| {
            Some(Decision::Install)
        });
    }
}

#[test]
fn only_run_is_replaced_by_a_newer_image_as_untouched_is() {
    let run = InVolume::Run(Digest::of(b"with outputs"));
    row(
        Some(file("new")),
        Some(installed(file("old"))),
        run,
        |policy| {
            Some(match (policy.older, policy.update) {
                (false, UpdateNotebooks::Unmodified | UpdateNotebooks::Beside) => {
                    Decision::ReplaceRun
                }
                _ => Decision::Run,
            })
        },
    );
    row(
        Some(file("same")),
        Some(installed(file("same"))),
        run,
        |_| Some(Decision::Run),
    );
    row(None, Some(installed(file("old"))), run, |_| None);
}

#[test]
fn absent_and_installed_before_follows_the_policy_for_deleted_ones() {
    for image in [file("same"), file("newer")] {
        row(
            Some(image),
            Some(installed(file("same"))),
            InVolume::Absent,
            |policy| {
                Some(match policy.deleted {
                    DeletedNotebooks::Restore => Decision::Install,
                    DeletedNotebooks::Respect => Decision::Deleted,
                })
            },
        );
    }
}

#[test]
fn untouched_is_replaced_by_a_newer_image_only() {
    row(
        Some(file("new")),
        Some(installed(file("old"))),
        InVolume::Is(file("old")),
        |policy| {
            Some(match policy {
                Policy { older: true, .. } => Decision::Left,
                Policy {
                    update: UpdateNotebooks::Never,
                    ..
                } => Decision::Left,
                _ => Decision::Replace,
            })
        },
    );
}

#[test]
fn untouched_is_replaced_across_files_and_links() {
    for (old, new) in [
        (file("old"), link("new")),
        (link("old"), file("new")),
        (link("old"), link("new")),
    ] {
        row(
            Some(new),
            Some(installed(old)),
            InVolume::Is(old),
            |policy| match policy {
                Policy { older: true, .. } => Some(Decision::Left),
                Policy {
                    update: UpdateNotebooks::Never,
                    ..
                } => Some(Decision::Left),
                _ => Some(Decision::Replace),
            },
        );
    }
}

#[test]
fn changed_is_kept_and_beside_puts_the_new_one_next_to_it() {
    for found in [InVolume::Is(file("mine")), InVolume::Changed] {
        row(
            Some(file("new")),
            Some(installed(file("old"))),
            found,
            |policy| {
                let beside = policy.update == UpdateNotebooks::Beside && !policy.older;
                Some(if beside {
                    Decision::Beside
                } else {
                    Decision::Kept
                })
            },
        );
    }
}

#[test]
fn changed_is_kept_where_the_image_has_nothing_new() {
    for found in [InVolume::Is(file("mine")), InVolume::Changed] {
        row(
            Some(file("old")),
            Some(installed(file("old"))),
            found,
            |_| Some(Decision::Kept),
        );
    }
}

#[test]
fn what_was_put_beside_once_is_not_put_there_again() {
    let entry = |beside| Entry {
        beside: Some(beside),
        ..installed(file("old"))
    };
    let policy = Policy {
        update: UpdateNotebooks::Beside,
        deleted: DeletedNotebooks::Restore,
        older: false,
    };
    let mine = InVolume::Is(file("mine"));
    let again = one(Some(file("new")), Some(entry(file("new"))), mine, policy);
    assert_eq!(again, Some(Decision::Kept));
    let next = one(Some(file("newer")), Some(entry(file("new"))), mine, policy);
    assert_eq!(next, Some(Decision::Beside));
}

#[test]
fn present_and_not_ours_is_adopted_if_equal_and_left_if_not() {
    row(Some(file("x")), None, InVolume::Is(file("x")), |_| {
        Some(Decision::Adopt)
    });
    row(Some(file("x")), None, InVolume::Is(file("mine")), |_| {
        Some(Decision::Kept)
    });
    row(Some(link("x")), None, InVolume::Is(link("mine")), |_| {
        Some(Decision::Kept)
    });
}

#[test]
fn equal_to_the_image_and_installed_is_current() {
    for content in [file("x"), link("x"), Content::Directory] {
        row(
            Some(content),
            Some(installed(content)),
            InVolume::Is(content),
            |_| Some(Decision::Current),
        );
    }
}

#[test]
fn updated_by_hand_to_what_the_image_has_is_adopted_but_never_downgraded() {
    row(
        Some(file("new")),
        Some(installed(file("old"))),
        InVolume::Is(file("new")),
        |policy| {
            Some(if policy.older {
                Decision::Kept
            } else {
                Decision::Adopt
            })
        },
    );
}

#[test]
fn gone_from_the_image_stays_and_is_reported_if_untouched() {
    let entry = Some(installed(file("old")));
    row(None, entry.clone(), InVolume::Is(file("old")), |_| {
        Some(Decision::Gone)
    });
    for found in [
        InVolume::Absent,
        InVolume::Changed,
        InVolume::InTheWay,
        InVolume::Is(file("mine")),
    ] {
        row(None, entry.clone(), found, |_| None);
    }
}

#[test]
fn the_wrong_type_in_the_way_stays_and_is_reported() {
    let entries = [
        None,
        Some(installed(file("old"))),
        Some(installed(file("new"))),
    ];
    for entry in entries {
        for found in [
            InVolume::InTheWay,
            InVolume::Is(Content::Directory),
            InVolume::Is(link("/etc/shadow")),
        ] {
            row(Some(file("new")), entry.clone(), found, |_| {
                Some(Decision::InTheWay)
            });
        }
    }
    for found in [
        InVolume::Is(file("mine")),
        InVolume::Is(link("x")),
        InVolume::Changed,
    ] {
        row(Some(Content::Directory), None, found, |_| {
            Some(Decision::InTheWay)
        });
    }
    row(Some(link("x")), None, InVolume::Is(file("mine")), |_| {
        Some(Decision::InTheWay)
    });
}

#[test]
fn a_directory_of_ours_is_never_replaced_by_a_file() {
    row(
        Some(file("new")),
        Some(installed(Content::Directory)),
        InVolume::Is(Content::Directory),
        |policy| {
            Some(match policy {
                Policy { older: true, .. } => Decision::Left,
                Policy {
                    update: UpdateNotebooks::Never,
                    ..
                } => Decision::Left,
                _ => Decision::InTheWay,
            })
        },
    );
}

#[test]
fn what_nobody_read_equals_nothing() {
    row(
        Some(Content::NotHashed),
        Some(installed(file("old"))),
        InVolume::InTheWay,
        |_| Some(Decision::InTheWay),
    );
    row(Some(Content::NotHashed), None, InVolume::Absent, |_| {
        Some(Decision::Install)
    });
}

#[test]
fn an_action_is_one_safe_line() {
    let action = Action {
        path: b"a\n\x1b[2Jb\xff".to_vec(),
        decision: Decision::Replace,
    };
    assert_eq!(action.to_string(), "replace: a\\n\\u{1b}[2Jb\u{fffd}");
}

fn content() -> impl Strategy<Value = Content> {
    prop_oneof![
        (0..3u8).prop_map(|n| Content::File(Digest::of(&[n]))),
        (0..3u8).prop_map(|n| Content::Link(Digest::of(&[n]))),
        Just(Content::Directory),
    ]
}

fn found() -> impl Strategy<Value = InVolume> {
    prop_oneof![
        Just(InVolume::Absent),
        content().prop_map(InVolume::Is),
        Just(InVolume::Changed),
        Just(InVolume::InTheWay),
    ]
}

proptest! {
    /// Whatever the volume has: only what is absent is installed, and only what we installed
    /// and no one changed is replaced.
    #[test]
    fn nothing_a_person_wrote_is_in_danger(
        image in proptest::option::of(content()),
        was in proptest::option::of(content()),
        beside in proptest::option::of(content()),
        found in found(),
        which in 0..12usize,
    ) {
        let policy = every_policy().nth(which).unwrap();
        let entry = Entry { installed: was, beside, ..Entry::default() };
        match one(image, Some(entry), found, policy) {
            Some(Decision::Install) => prop_assert_eq!(found, InVolume::Absent),
            Some(Decision::Replace) => {
                prop_assert!(!policy.older && policy.update != UpdateNotebooks::Never);
                prop_assert_eq!(Some(found), was.map(InVolume::Is));
                prop_assert!(image.is_some() && image != was);
                prop_assert!(was != Some(Content::Directory) && image != Some(Content::Directory));
            }
            Some(Decision::Beside) => prop_assert_eq!(policy.update, UpdateNotebooks::Beside),
            None => prop_assert!(image.is_none()),
            Some(_) => {}
        }
    }
}
