//! Nothing can be said without a snapshot: every sentence in the source is in one of the
//! files, or in the list of those that cannot be provoked, with the reason.

use std::fs;
use std::path::{Path, PathBuf};

use super::golden::directory;

/// The sentences that no snapshot has; a reason stands above each group.
const LIST: &str = "unprovoked.list";

/// Every string of the program that reads like a sentence: its literal parts, and where.
fn sentences() -> Vec<(Vec<String>, PathBuf)> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut todo = vec![top];
    while let Some(path) = todo.pop() {
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.contains("_tests") || name == "testing.rs" {
            continue;
        }
        if path.is_dir() {
            todo.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]\n#[allow").next().unwrap();
        let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let all = strings(text).into_iter().map(|string| parts(&string));
        let sentences = all.filter(|parts| is_sentence(parts));
        found.extend(sentences.map(|parts| (parts, path.clone())));
    }
    found.sort();
    found
}

/// The string literals of a source file, as they are after escaping.
fn strings(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['"', '/', '\'']) {
        let (before, here) = rest.split_at(at);
        if here.starts_with("//") {
            rest = here.split_once('\n').map_or("", |(_, rest)| rest);
        } else if here.starts_with("'\"'") || here.starts_with("'\\\"'") {
            rest = here[1..].split_once('\'').map_or("", |(_, rest)| rest);
        } else if here.starts_with('"') && !before.ends_with('#') {
            let (string, after) = literal(&here[1..]);
            found.push(string);
            rest = after;
        } else {
            rest = &here[1..];
        }
    }
    found
}

/// A literal after its first quote, and what follows its last one.
fn literal(text: &str) -> (String, &str) {
    let mut string = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return (string, &text[at + 1..]),
            '\\' => match chars.next() {
                Some((_, '\n')) => {
                    let more = text[at + 2..].trim_start();
                    let (end, after) = literal(more);
                    return (string + &end, after);
                }
                Some((_, 'n')) => string.push('\n'),
                Some((_, char)) => string.push(char),
                None => break,
            },
            char => string.push(char),
        }
    }
    (string, "")
}

/// What stands between the places that are filled in; a line break is one of them.
fn parts(string: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = string.replace("{{", "\u{1}").replace("}}", "\u{2}");
    chars = chars.replace('\n', "{}");
    let mut inside = false;
    for char in chars.chars() {
        match char {
            '{' => inside = true,
            '}' => {
                inside = false;
                parts.push(String::new());
            }
            _ if inside => {}
            '\u{1}' => parts.last_mut().unwrap().push('{'),
            '\u{2}' => parts.last_mut().unwrap().push('}'),
            char => parts.last_mut().unwrap().push(char),
        }
    }
    // Help is wrapped.
    let parts = parts.iter().map(|part| on_one_line(part));
    parts.filter(|part| !part.is_empty()).collect()
}

fn is_sentence(parts: &[String]) -> bool {
    // What is said to a server.
    if parts.iter().any(|part| part.contains("HTTP/1.1")) {
        return false;
    }
    let words = parts.iter().flat_map(|part| part.split_whitespace());
    let words = words.filter(|word| {
        word.chars()
            .all(|c| c.is_alphabetic() || ",.;:'".contains(c))
    });
    words.count() >= 3
}

fn on_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What is said at once: a line, and a page of help, which is wrapped.
fn messages() -> Vec<String> {
    let mut messages = Vec::new();
    for entry in fs::read_dir(directory()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "txt") {
            let text = fs::read_to_string(&path).unwrap();
            let is_help = path.file_name().unwrap().to_str().unwrap().contains("help");
            let end = if is_help { "=== " } else { "\n" };
            messages.extend(text.split(end).map(on_one_line));
        }
    }
    messages.extend(deaths());
    messages
}

/// What a broken Jupyter logged, and the reasons that are told: `tests/container/deaths.rs`.
fn deaths() -> Vec<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/deaths");
    let lines = |entry: std::io::Result<fs::DirEntry>| {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        text.lines().map(on_one_line).collect::<Vec<_>>()
    };
    let entries = fs::read_dir(directory).unwrap();
    entries.flat_map(lines).collect()
}

/// Whether the parts are in the message one after the other.
fn is_in(parts: &[String], message: &str) -> bool {
    let mut rest = message;
    parts.iter().all(|part| {
        let found = rest.find(part.as_str());
        rest = found.map_or(rest, |at| &rest[at + part.len()..]);
        found.is_some()
    })
}

#[test]
fn nothing_is_said_that_no_snapshot_has() {
    let messages = messages();
    let list = fs::read_to_string(directory().join(LIST)).unwrap();
    let list: Vec<&str> = list
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .collect();
    let shown = |parts: &[String]| parts.join("…");
    let sentences = sentences();
    assert!(sentences.len() > 150, "{}", sentences.len());
    let seen = |parts: &[String]| messages.iter().any(|message| is_in(parts, message));
    let unseen: Vec<_> = sentences.iter().filter(|(parts, _)| !seen(parts)).collect();
    let missing: Vec<String> = unseen
        .iter()
        .filter(|(parts, _)| !list.contains(&shown(parts).as_str()))
        .map(|(parts, path)| format!("{}: {}", path.display(), shown(parts)))
        .collect();
    assert!(
        missing.is_empty(),
        "{} without a snapshot:\n{}",
        missing.len(),
        missing.join("\n")
    );
    let known: Vec<String> = unseen.iter().map(|(parts, _)| shown(parts)).collect();
    let stale = list
        .iter()
        .filter(|line| !known.iter().any(|known| known == *line));
    let stale: Vec<_> = stale.collect();
    assert!(
        stale.is_empty(),
        "{LIST} has what is provoked or gone: {stale:#?}"
    );
}
