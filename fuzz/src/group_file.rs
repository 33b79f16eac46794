//! The editor of the group files: any bytes in, either the same bytes and one changed
//! line, or a refusal.

use ai_lab_entrypoint::group_access::group_file::{AccountFile, entries, grant, withdraw};

fn lines(text: &[u8]) -> Vec<&[u8]> {
    text.split(|byte| *byte == b'\n').collect()
}

/// How many lines are different, from the first to the last that is.
fn changed(old: &[u8], new: &[u8]) -> (usize, usize) {
    let (old, new) = (lines(old), lines(new));
    let front = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[front..], &new[front..]);
    let back = old.iter().rev().zip(new.iter().rev());
    let back = back.take_while(|(a, b)| a == b).count();
    (old.len() - back, new.len() - back)
}

pub fn holds(text: &[u8]) {
    edited(text, "docker");
    // A group that is there, too.
    if let Some(entry) = entries(text).last()
        && let Ok(group) = std::str::from_utf8(entry.name)
    {
        edited(text, group);
    }
}

fn edited(text: &[u8], group: &str) {
    for file in [AccountFile::Group, AccountFile::Gshadow] {
        let Ok(Some(new)) = grant(text, file, group, 7, "bob") else {
            continue;
        };
        let (gone, come) = changed(text, &new);
        // A new line may end one that had no end.
        assert!(gone <= 1 && come <= 2, "{gone} lines became {come}");
        assert!(new.len() <= text.len() + group.len() + 20);
        assert_eq!(grant(&new, file, group, 7, "bob"), Ok(None));
        if file == AccountFile::Group {
            let entry = entries(&new).find(|entry| entry.name == group.as_bytes());
            assert!(entry.is_some_and(|entry| entry.gid == 7 && entry.has("bob")));
        }
        let without = withdraw(&new, group, "bob").unwrap().unwrap();
        assert_eq!(changed(&new, &without), (1, 1));
        assert_eq!(withdraw(&without, group, "bob"), Ok(None));
    }
}
