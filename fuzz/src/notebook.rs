//! The difference of two notebooks or texts, of which a NUL byte ends the first: the same
//! have none, and others have one that says what is gone and what has come. And their merge: one
//! that nobody changed becomes the other, and one without a newer version stays.

use ai_lab_entrypoint::commands::diff::unified;
use ai_lab_entrypoint::notebook::Notebook;
use ai_lab_entrypoint::notebook::merge::merge;

pub fn holds(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let one = parts.next().unwrap_or_default();
    let other = parts.next().unwrap_or_default();
    merged(one, other);
    for name in ["a.ipynb", "a.txt"] {
        let text = std::str::from_utf8(one).is_ok();
        let same = unified(name, one, one).ok();
        assert_eq!(same, text.then(String::new));
        let Ok(difference) = unified(name, one, other) else {
            continue;
        };
        if name == "a.txt" {
            assert_eq!(difference.is_empty(), one == other);
            accounted(&difference, one, other);
        }
        if !difference.is_empty() {
            assert!(difference.starts_with(&format!("--- {name} (default)\n+++ {name} (yours)\n")));
        }
    }
}

fn merged(one: &[u8], other: &[u8]) {
    let (Ok(old), Ok(new)) = (Notebook::parse(one), Notebook::parse(other)) else {
        return;
    };
    // A cell that is a list is none, and the note about an old conflict ends a merge.
    if let Ok(merged) = merge(&old, one, other) {
        assert_eq!(Notebook::parse(&merged.notebook).unwrap(), new);
    }
    if let Ok(merged) = merge(&old, other, one) {
        assert_eq!(merged.notebook, other);
    }
}

/// What came and what is gone make up for each other, line by line.
fn accounted(difference: &str, one: &[u8], other: &[u8]) {
    // Some count these as ends of lines, too.
    if [one, other].iter().any(|text| text.contains(&b'\r')) {
        return;
    }
    let count = |mark: char| {
        let lines = difference.split('\n').skip(2);
        lines.filter(|line| line.starts_with(mark)).count()
    };
    let lines = |text: &[u8]| text.split_inclusive(|byte| *byte == b'\n').count();
    assert_eq!(lines(one) + count('+'), lines(other) + count('-'));
}
