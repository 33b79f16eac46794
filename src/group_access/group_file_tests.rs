#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

const TEXT: &str = "root:x:0:\n\ndocker:x:998:ann\n# note\n+nis\nlast:x:5:";

fn granted(text: &str, group: &str, gid: u32) -> Option<String> {
    let new = grant(text.as_bytes(), AccountFile::Group, group, gid, "bob").unwrap();
    new.map(|new| String::from_utf8(new).unwrap())
}

#[test]
fn a_member_is_added_where_the_group_is() {
    let new = granted(TEXT, "docker", 998).unwrap();
    assert_eq!(new, TEXT.replace("ann", "ann,bob"));
    assert_eq!(granted(&new, "docker", 998), None);
    assert_eq!(granted(TEXT, "last", 5).unwrap(), format!("{TEXT}bob"));
    assert_eq!(granted("d:x:1", "d", 1).unwrap(), "d:x:1:bob");
}

#[test]
fn a_group_gets_another_gid() {
    let expected = TEXT.replace("998:ann", "7:ann,bob");
    assert_eq!(granted(TEXT, "docker", 7).unwrap(), expected);
}

#[test]
fn an_absent_group_is_created_on_a_line_of_its_own() {
    let expected = format!("{TEXT}\nnew:x:7:bob\n");
    assert_eq!(granted(TEXT, "new", 7).unwrap(), expected);
    assert_eq!(granted("", "new", 7).unwrap(), "new:x:7:bob\n");
}

#[test]
fn comments_and_lines_of_nis_are_no_groups() {
    let text = b"#old:x:7:ann\n+nis:x:7:\n-ann:x:7:\na\xffb:x:7:\na b:x:7:\nnew:x:7:\n";
    let names: Vec<_> = entries(text).map(|entry| entry.name).collect();
    assert_eq!(names, [b"new"]);
}

#[test]
fn gshadow_keeps_passwords_and_administrators() {
    let text = b"docker:!:adm:ann\n";
    let new = grant(text, AccountFile::Gshadow, "docker", 7, "bob").unwrap();
    assert_eq!(new.unwrap(), b"docker:!:adm:ann,bob\n");
    let new = grant(b"", AccountFile::Gshadow, "docker", 7, "bob").unwrap();
    assert_eq!(new.unwrap(), b"docker:!::bob\n");
}

#[test]
fn a_member_is_withdrawn_alone() {
    for (members, left) in [
        ("bob", ""),
        ("ann,bob", "ann"),
        ("bob,ann", "ann"),
        ("bob,bob,bobby", "bobby"),
    ] {
        let new = withdraw(format!("a:x:1:\nd:x:9:{members}").as_bytes(), "d", "bob");
        let expected = format!("a:x:1:\nd:x:9:{left}");
        assert_eq!(new.unwrap().unwrap(), expected.as_bytes());
    }
    assert_eq!(withdraw(b"d:x:9:bobby\n", "d", "bob"), Ok(None));
    assert_eq!(withdraw(b"", "d", "bob"), Ok(None));
}

#[test]
fn what_would_need_a_guess_is_refused() {
    let twice = Err(Refusal::Twice("d".into()));
    assert_eq!(withdraw(b"d:x:1:\nd:x:2:\n", "d", "bob"), twice);
    let damaged = Err(Refusal::Damaged("d".into()));
    assert_eq!(grant(b"d:x\n", AccountFile::Group, "d", 1, "bob"), damaged);
    for name in ["", "a:b", "a,b", "a\nb", "+a", "-", "#a", "a b"] {
        let refused = Err(Refusal::Name(name.into()));
        assert_eq!(grant(b"", AccountFile::Group, name, 1, "bob"), refused);
        assert_eq!(grant(b"", AccountFile::Group, "d", 1, name), refused);
    }
}

/// Generates lines that often contain the names used here, mixed with arbitrary bytes.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..12),
        "(docker|a|)(:[x!]?){0,2}:[0-9]{0,3}:(bob|ann)?(,bob|,){0,2}\r?"
            .prop_map(String::into_bytes),
    ];
    (proptest::collection::vec(line, 0..6), any::<bool>()).prop_map(|(lines, ended)| {
        let mut text = lines.join(&b'\n');
        if ended {
            text.push(b'\n');
        }
        text
    })
}

/// Returns the lines of each text without the common ones at its start and end.
fn changed<'a>(old: &'a [u8], new: &'a [u8]) -> (Vec<&'a [u8]>, Vec<&'a [u8]>) {
    let lines = |text: &'a [u8]| text.split(|byte| *byte == b'\n').collect::<Vec<_>>();
    let (old, new) = (lines(old), lines(new));
    let same = |pairs: &mut dyn Iterator<Item = (&&[u8], &&[u8])>| {
        pairs.take_while(|(old, new)| old == new).count()
    };
    let head = same(&mut old.iter().zip(&new));
    let tail = same(&mut old[head..].iter().rev().zip(new[head..].iter().rev()));
    (
        old[head..old.len() - tail].to_vec(),
        new[head..new.len() - tail].to_vec(),
    )
}

proptest! {
    #[test]
    fn whatever_the_bytes_a_withdrawal_changes_one_line_or_nothing(
        text in text(),
        group in "docker|a|[a-z+#:]{0,2}",
    ) {
        if let Ok(Some(new)) = withdraw(&text, &group, "bob") {
            let (gone, come) = changed(&text, &new);
            prop_assert_eq!((gone.len(), come.len()), (1, 1));
            // The fields before the members, and their number, are the same.
            let head = |line: &[u8]| line.rsplitn(2, |byte| *byte == b':').nth(1).map(<[u8]>::to_vec);
            prop_assert_eq!(head(gone[0]), head(come[0]));
            prop_assert!(lists(gone[0].rsplit(|byte| *byte == b':').next().unwrap(), "bob"));
            prop_assert_eq!(withdraw(&new, &group, "bob"), Ok(None));
        }
    }

    #[test]
    fn whatever_the_bytes_one_line_changes_or_nothing(
        text in text(),
        gshadow in any::<bool>(),
    ) {
        let file = if gshadow { AccountFile::Gshadow } else { AccountFile::Group };
        if let Ok(Some(new)) = grant(&text, file, "docker", 7, "bob") {
            let (gone, come) = changed(&text, &new);
            // Adding a line may also end a last line that had no newline.
            prop_assert!(gone.len() <= 1 && come.len() <= 2, "{gone:?} {come:?}");
            prop_assert!(come[0].starts_with(b"docker:"), "{come:?}");
            prop_assert!(gone.iter().all(|line| line.is_empty() || line.starts_with(b"docker:")));
            prop_assert_eq!(grant(&new, file, "docker", 7, "bob"), Ok(None));
            if file == AccountFile::Group {
                let mut found = entries(&new).filter(|entry| entry.name == b"docker");
                let entry = found.next().unwrap();
                prop_assert!(entry.gid == 7 && entry.has("bob"));
            }
            let without = withdraw(&new, "docker", "bob").unwrap().unwrap();
            prop_assert_eq!(withdraw(&without, "docker", "bob"), Ok(None));
            prop_assert!(entries(&without).all(|e| e.name != b"docker" || !e.has("bob")));
        }
    }
}
