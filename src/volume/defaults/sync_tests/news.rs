//! The news of an update: which, when, and over what.

use super::*;

const NEWS: &str = crate::volume::NEWS;
const OLD: &[(&str, &str)] = &[("a.ipynb", "a1"), ("mine.ipynb", "m1")];
const NEW: &[(&str, &str)] = &[("a.ipynb", "a2"), ("mine.ipynb", "m2"), ("n.ipynb", "n2")];

/// Returns a lab after the first image, with a changed default.
fn first() -> Lab {
    let lab = Lab::new(OLD);
    assert_eq!(lab.start().news, None);
    lab.write("mine.ipynb", "my own");
    lab
}

fn has_news(lab: &Lab) -> bool {
    lab.volume(NEWS).exists()
}

#[test]
fn an_update_is_told_once_and_dismissed_by_deleting_the_file() {
    let lab = first();
    assert_eq!(lab.start().news, None);
    assert!(!has_news(&lab));
    let lab = lab.image("2.0.0", NEW);
    let summary = lab.start();
    let line = "New in your notebooks: 1 updated, 1 new, 1 newer than yours.\n\
                \"0 What is new.md\" there says more.";
    assert_eq!(summary.news.as_deref(), Some(line));
    assert_eq!(summary.degradations, []);
    let text = lab.read(NEWS);
    for part in [
        "2.0.0",
        "- a.ipynb",
        "- n.ipynb",
        "- mine.ipynb",
        "merge FILE",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(owner(&lab.volume(NEWS)).2, 0o644);
    fs::remove_file(lab.volume(NEWS)).unwrap();
    for _ in 0..2 {
        assert_eq!(lab.start().news, None);
        // A deleted default that comes back is no news.
        fs::remove_file(lab.volume("a.ipynb")).unwrap();
    }
    assert_eq!(lab.start().installed, 1);
    assert!(!has_news(&lab));
    let lab = lab.image("3.0.0", &[("a.ipynb", "a2"), ("mine.ipynb", "m3")]);
    let line = lab.start().news.unwrap();
    assert!(
        line.starts_with("New in your notebooks: 1 newer than yours.\n"),
        "{line}"
    );
    assert!(has_news(&lab));
}

#[test]
fn unread_news_are_replaced_and_changed_ones_are_a_persons() {
    let lab = first().image("2.0.0", NEW);
    lab.start();
    let lab = lab.image("3.0.0", &[("a.ipynb", "a3")]);
    lab.start();
    assert!(lab.read(NEWS).contains("version 3.0.0"));
    let notes = lab.read(NEWS) + "my notes\n";
    lab.write(NEWS, &notes);
    let lab = lab.image("4.0.0", &[("a.ipynb", "a4")]);
    let summary = lab.start();
    assert_eq!(
        summary.news.as_deref(),
        Some("New in your notebooks: 1 updated.")
    );
    assert_eq!((lab.read(NEWS), summary.degradations), (notes, vec![]));
}

#[test]
fn nothing_is_written_over_anything_of_that_name() {
    let block: [fn(&Lab); 3] = [
        |lab| fs::create_dir(lab.volume(NEWS)).unwrap(),
        |lab| symlink("/nowhere", lab.volume(NEWS)).unwrap(),
        |lab| node(&lab.volume(NEWS), FileType::Fifo),
    ];
    for block in block {
        let lab = first();
        block(&lab);
        let before = lab.all()[NEWS].clone();
        let lab = lab.image("2.0.0", NEW);
        assert_eq!(lab.start().degradations, []);
        let after = lab.all();
        assert_eq!(after[NEWS], before);
        assert!(
            !after.keys().any(|name| name.starts_with(".ai-lab.")),
            "{after:?}"
        );
    }
    let lab = first().image("2.0.0", &[("a.ipynb", "a2"), (NEWS, "the image's")]);
    lab.start();
    assert_eq!(lab.read(NEWS), "the image's");
}

#[test]
fn never_and_an_older_image_bring_no_news() {
    let lab = first().policy(UpdateNotebooks::Never, DeletedNotebooks::Restore);
    let lab = lab.image("2.0.0", NEW);
    assert_eq!(lab.start().news, None);
    let lab = first().image("0.9.0", &OLD[..1]);
    lab.write("a.ipynb", "changed");
    assert_eq!(lab.image("0.8.0", &[("a.ipynb", "a0")]).start().news, None);
}

#[test]
fn it_is_no_default() {
    let lab = first().image("2.0.0", NEW);
    lab.start();
    assert!(!lab.manifest().entries.contains_key(NEWS.as_bytes()));
}
