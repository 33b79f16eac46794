#![allow(clippy::unwrap_used)]

use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;
use crate::volume::defaults::manifest::line::is_safe_path;
use crate::volume::defaults::manifest::{Digest, KeptCopy, Stamp};

fn file(text: &str) -> Content {
    Content::File(Digest::of(text.as_bytes()))
}

fn stamp(size: u64) -> Stamp {
    Stamp {
        size,
        modified: (-5, 999_999_999),
        changed: (1_760_000_000, 1),
        ino: u64::MAX,
    }
}

fn copy(directory: &str, digest: Digest) -> KeptCopy {
    let directory = directory.to_owned();
    let stamp = None;
    KeptCopy {
        directory,
        digest,
        stamp,
    }
}

fn sample() -> Manifest {
    let mut manifest = Manifest {
        image: Some("1.4.0".into()),
        ..Manifest::default()
    };
    let mut add = |path: &[u8], entry| manifest.entries.insert(path.to_vec(), entry);
    add(
        b"intro.ipynb",
        Entry {
            installed: Some(file("one")),
            pending: Some(file("two")),
            beside: Some(file("three")),
            in_volume: Some(stamp(3)),
            in_image: None,
            yours: None,
            kept: Vec::new(),
            announced: None,
            earlier: None,
            merging: None,
        },
    );
    add(
        b"latest",
        Entry {
            installed: Some(Content::Link(Digest::of(b"intro.ipynb"))),
            pending: Some(Content::Link(Digest::of(b"other"))),
            ..Entry::default()
        },
    );
    add(
        b"data",
        Entry {
            installed: Some(Content::Directory),
            ..Entry::default()
        },
    );
    add(
        b"only pending",
        Entry {
            pending: Some(file("x")),
            ..Entry::default()
        },
    );
    manifest
}

#[test]
fn survives_a_round_trip() {
    let manifest = sample();
    assert_eq!(Manifest::parse(&manifest.render()), Ok(manifest));
    assert_eq!(
        Manifest::parse(&Manifest::default().render()),
        Ok(Manifest::default())
    );
}

#[test]
fn names_of_every_kind_survive() {
    let names: [&[u8]; 7] = [
        b"new\nline",
        b"carriage\rreturn",
        b"back\\slash",
        b"back\\nslash-n",
        b"\xff\xfe not utf-8",
        b"# end",
        b"  spaces  ",
    ];
    let mut manifest = Manifest::default();
    for name in names {
        let entry = Entry {
            installed: Some(file("x")),
            in_image: Some(stamp(1)),
            ..Entry::default()
        };
        manifest.entries.insert(name.to_vec(), entry);
    }
    assert_eq!(Manifest::parse(&manifest.render()), Ok(manifest));
}

#[test]
fn sha256sum_checks_it() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    let mut manifest = sample();
    manifest.entries.remove(&b"only pending"[..]);
    let odd = b"odd\n\\name\xff";
    let content = Entry {
        installed: Some(file("odd")),
        ..Entry::default()
    };
    manifest.entries.insert(odd.to_vec(), content);
    std::fs::write(dir.path().join("intro.ipynb"), "one").unwrap();
    std::fs::write(dir.path().join(std::ffi::OsStr::from_bytes(odd)), "odd").unwrap();
    std::fs::write(dir.path().join("manifest"), manifest.render()).unwrap();
    let check = || {
        Command::new("sha256sum")
            .args(["--check", "--quiet", "--strict", "manifest"])
            .current_dir(dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap()
            .success()
    };
    assert!(check());
    std::fs::write(dir.path().join("intro.ipynb"), "changed").unwrap();
    assert!(!check());
}

#[test]
fn a_newer_format_is_told_from_a_damaged_one() {
    let newer = b"# ai-lab notebooks 2\nwhatever that may mean\n";
    assert_eq!(Manifest::parse(newer), Err(Unreadable::Newer));
    let older = b"# ai-lab notebooks 0\n# end\n";
    assert_eq!(Manifest::parse(older), Err(Unreadable::Damaged(1)));
    for text in [&b""[..], b"\n", b"# ai-lab notebooks\n", b"\xff", b"{}"] {
        assert_eq!(Manifest::parse(text), Err(Unreadable::Damaged(1)));
    }
}

#[test]
fn any_cut_is_noticed() {
    let text = sample().render();
    // The text is complete without its last newline.
    for length in 0..text.len() - 1 {
        let read = Manifest::parse(&text[..length]);
        assert!(
            matches!(read, Err(Unreadable::Damaged(_))),
            "{length}: {read:?}"
        );
    }
}

#[test]
fn the_damaged_line_is_named() {
    let digest = "0".repeat(64);
    for (line, why) in [
        ("hello".to_owned(), "no digest"),
        (format!("{digest} x"), "one space"),
        (format!("{digest}  "), "no name"),
        (format!("{digest}  /etc/shadow"), "absolute"),
        (format!("{digest}  a/../../b"), "upwards"),
        (format!("{digest}  a//b"), "empty step"),
        (format!("{digest}  ./a"), "dot"),
        (format!("{digest}  a\0b"), "NUL"),
        (format!("\\{digest}  a\\tb"), "unknown escape"),
        (format!("\\{digest}  a\\"), "cut escape"),
        (format!("{}  a", "g".repeat(64)), "not hexadecimal"),
        ("# seen - / -".to_owned(), "seen without a file"),
        ("# unheard of".to_owned(), "unknown comment"),
    ] {
        let text = format!("# ai-lab notebooks 1\n# image 1\n{line}\n# end\n");
        let read = Manifest::parse(text.as_bytes());
        assert_eq!(read, Err(Unreadable::Damaged(3)), "{why}");
    }
    let seen = "1 1.1000000000 1.0 1 / -";
    let text = format!("# ai-lab notebooks 1\n{digest}  a\n# seen {seen}\n# end\n");
    let read = Manifest::parse(text.as_bytes());
    assert_eq!(read, Err(Unreadable::Damaged(3)));
    let link = format!("# link {digest}  a");
    for second in [format!("{digest}  a"), "# seen - / -".into()] {
        let text = format!("# ai-lab notebooks 1\n{link}\n{second}\n# end\n");
        let read = Manifest::parse(text.as_bytes());
        assert_eq!(read, Err(Unreadable::Damaged(3)), "{second}");
    }
}

#[test]
fn lines_in_another_order_say_the_same() {
    let [one, two] = ["0", "1"].map(|digit| digit.repeat(64));
    let read = |lines: &[String]| {
        let text = format!("# ai-lab notebooks 1\n{}\n# end\n", lines.join("\n"));
        Manifest::parse(text.as_bytes())
    };
    let in_order = [
        format!("{one}  a"),
        format!("# pending {two}  a"),
        format!("{two}  b"),
    ];
    let expected = read(&in_order).unwrap();
    assert_eq!(expected.entries.len(), 2);
    for order in [[0, 2, 1], [2, 0, 1], [1, 2, 0]] {
        assert_eq!(
            read(&order.map(|at| in_order[at].clone())),
            Ok(expected.clone())
        );
    }
    let twice = [
        format!("{one}  a"),
        format!("{two}  b"),
        format!("{one}  a"),
    ];
    assert!(matches!(read(&twice), Err(Unreadable::Damaged(_))));
}

#[test]
fn what_was_pending_came_to_be_or_did_not() {
    let mut manifest = sample();
    let stamp = Stamp::of_size(3);
    manifest.resolve(|path| match path {
        b"intro.ipynb" => Some((Some(file("two")), Some(stamp))),
        _ => Some((None, None)),
    });
    let entry = |path: &[u8]| manifest.entries[path].clone();
    assert_eq!(entry(b"intro.ipynb").installed, Some(file("two")));
    assert_eq!(entry(b"intro.ipynb").in_volume, Some(stamp));
    assert_eq!(entry(b"only pending").installed, None);
    let latest = Some(Content::Link(Digest::of(b"intro.ipynb")));
    assert_eq!(entry(b"latest").installed, latest);
    assert!(manifest.entries.values().all(|e| e.pending.is_none()));
}

#[test]
fn what_nobody_looked_at_stays_pending() {
    let mut manifest = sample();
    manifest.resolve(|_| None);
    assert_eq!(manifest, sample());
}

/// Version 0.1.0 reads up to the end line, and refuses a manifest with a line that it does not
/// know before it.
#[test]
fn what_0_1_0_does_not_know_stands_behind_the_end() {
    let (end, without) = (b"# end\n", sample().render());
    assert!(without.ends_with(end));
    let mut with = sample();
    for path in [&b"intro.ipynb"[..], b"back\\slash\nand newline", b"new"] {
        let entry = with.entries.entry(path.to_vec()).or_default();
        entry.yours = Some((Digest::of(path), stamp(7)));
        entry.kept = vec![copy("1.2", Digest::of(b"1")), copy("1.3", Digest::of(b"2"))];
        entry.kept[0].stamp = Some(stamp(8));
        entry.announced = Some(Digest::of(b"3"));
        entry.earlier = Some(Digest::of(b"6"));
        entry.merging = Some(Merging {
            mine: copy("1.4", Digest::of(b"4")),
            merged: Digest::of(b"5"),
        });
    }
    with.unfinished = true;
    let text = with.render();
    assert!(text.starts_with(&without));
    assert_eq!(Manifest::parse(&text), Ok(with.clone()));
    // A cut after the end line loses only some of these records. Lines that another version
    // adds there are ignored.
    for length in without.len()..text.len() {
        let mut read = Manifest::parse(&text[..length]).unwrap();
        for entry in read.entries.values_mut() {
            (entry.yours, entry.announced, entry.earlier) = (None, None, None);
            entry.kept.clear();
            entry.merging = None;
        }
        read.unfinished = false;
        read.entries.retain(|_, entry| *entry != Entry::default());
        assert_eq!(read, sample());
    }
    let more = [&text[..], b"# more\n"].concat();
    assert_eq!(Manifest::parse(&more), Ok(with));
}

#[test]
fn a_file_of_which_only_the_size_is_known_is_known_to_0_1_0_as_such() {
    let mut text = Vec::new();
    write_stamp(&mut text, Some(Stamp::of_size(120)));
    assert_eq!(text, b"120 0.0 0.0 0");
}

#[test]
fn a_version_with_a_newline_adds_no_line() {
    let manifest = Manifest {
        image: Some("1\n# end".into()),
        ..Manifest::default()
    };
    let read = Manifest::parse(&manifest.render()).unwrap();
    assert_eq!(read.image.as_deref(), Some("1 # end"));
}

fn any_content() -> impl Strategy<Value = Content> {
    let digest = any::<[u8; 32]>().prop_map(Digest);
    prop_oneof![
        digest.clone().prop_map(Content::File),
        digest.prop_map(Content::Link),
        Just(Content::Directory),
    ]
}

fn any_stamp() -> impl Strategy<Value = Stamp> {
    let time = || (any::<i64>(), 0..1_000_000_000u32);
    (any::<u64>(), time(), time(), any::<u64>()).prop_map(|(size, modified, changed, ino)| Stamp {
        size,
        modified,
        changed,
        ino,
    })
}

fn any_path() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(1u8..=255, 1..20)
        .prop_filter("a plain path", |path| is_safe_path(path))
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let content = || proptest::option::of(any_content());
    let stamps = proptest::option::of((any_stamp(), proptest::option::of(any_stamp())));
    let digest = || any::<[u8; 32]>().prop_map(Digest);
    let yours = proptest::option::of((digest(), any_stamp()));
    let copies = || {
        let names = ("[0-9.a-z]{1,9}", digest());
        names.prop_filter_map("a directory", |(name, digest)| {
            is_safe_path(name.as_bytes()).then(|| copy(&name, digest))
        })
    };
    let kept = (copies(), proptest::option::of(any_stamp()));
    let kept = kept.prop_map(|(copy, stamp)| KeptCopy { stamp, ..copy });
    let kept = proptest::collection::vec(kept, 0..3);
    let merging = (copies(), digest()).prop_map(|(mine, merged)| Merging { mine, merged });
    let merging = proptest::option::of(merging);
    let versions = (
        proptest::option::of(digest()),
        proptest::option::of(digest()),
    );
    let after_end = (yours, kept, versions, merging);
    let entry = (content(), content(), content(), stamps, after_end);
    entry.prop_filter_map(
        "an entry",
        |(installed, pending, beside, stamps, after_end)| {
            let (yours, kept, (announced, earlier), merging) = after_end;
            let is_file = matches!(installed, Some(Content::File(_)));
            let stamps = stamps.filter(|_| is_file);
            let entry = Entry {
                installed,
                pending,
                beside,
                in_volume: stamps.map(|stamps| stamps.0),
                in_image: stamps.and_then(|stamps| stamps.1),
                yours,
                kept,
                announced,
                earlier,
                merging,
            };
            let is_empty = entry == Entry::default();
            (!is_empty).then_some(entry)
        },
    )
}

proptest! {
    #[test]
    fn any_manifest_survives_a_round_trip(
        image in proptest::option::of("[^\n]*"),
        entries in proptest::collection::btree_map(any_path(), any_entry(), 0..8),
        unfinished in any::<bool>(),
    ) {
        let manifest = Manifest { image, entries, unfinished };
        prop_assert_eq!(Manifest::parse(&manifest.render()), Ok(manifest));
    }

    #[test]
    fn no_bytes_upset_the_reader(
        mut text in proptest::collection::vec(any::<u8>(), 0..200),
        at in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
    ) {
        // Raw bytes, and a sample with one changed byte, are read or refused without a panic.
        // Every path that is read stays inside the volume.
        let _ = Manifest::parse(&text);
        text = sample().render();
        let at = at.index(text.len());
        text[at] = byte;
        if let Ok(read) = Manifest::parse(&text) {
            prop_assert!(read.entries.keys().all(|path| is_safe_path(path)));
        }
    }
}
