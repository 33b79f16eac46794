//! What is kept of a message: everything but what differs from run to run.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::support::terminal::Terminal;
use crate::support::{Image, Running, Start, repeated};

/// The directory of the files.
pub fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Compares with the file of this name, or writes it.
pub fn compare(name: &str, text: &str) {
    if are_written() {
        fs::write(file(name), text).unwrap();
    }
    compare_part(name, text, |known| known);
}

fn compare_part(name: &str, text: &str, part: impl Fn(&str) -> &str) {
    let path = file(name);
    let known = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        part(&known) == text,
        "{name} is not as in {}; if it is better now, AI_LAB_WRITE_SNAPSHOTS=1 writes it:\n{text}",
        path.display()
    );
}

fn file(name: &str) -> PathBuf {
    directory().join(format!("{name}.txt"))
}

fn are_written() -> bool {
    std::env::var_os("AI_LAB_WRITE_SNAPSHOTS").is_some()
}

/// How somebody reads what is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// A person, in a file or through a pipe.
    Plain,
    /// A program.
    Json,
    /// A person, on a terminal.
    Colour,
}

const READERS: [Reader; 3] = [Reader::Plain, Reader::Json, Reader::Colour];

/// The parts of a file: what each reader is told.
fn parts(known: &str) -> Option<[&str; 3]> {
    let (plain, rest) = known.split_once("=== Json")?;
    let (json, colour) = rest.split_once("=== Colour")?;
    Some([plain.strip_prefix("=== Plain")?, json, colour])
}

/// Whether a file tells all readers the same, in the form of each: then one start tells it all.
fn is_one_story(known: &str) -> bool {
    let Some([plain, json, colour]) = parts(known) else {
        return false;
    };
    let as_plain = |line: &str| {
        let Ok(event) = serde_json::from_str::<serde_json::Value>(line) else {
            return Some(format!("{line}\n"));
        };
        let message = event["message"].as_str()?;
        let level = event["level"].as_str()?[..1].to_uppercase();
        Some(match message.starts_with('\n') {
            true => format!("{message}\n"),
            false => format!("[{level} TIME ai-lab] {message}\n"),
        })
    };
    let without_colour = colour
        .split("\\e[")
        .enumerate()
        .map(|(at, piece)| match at {
            0 => piece,
            _ => piece.split_once('m').map_or(piece, |(_, rest)| rest),
        });
    json.lines()
        .map(as_plain)
        .collect::<Option<String>>()
        .as_deref()
        == Some(plain)
        && without_colour.collect::<String>() == plain
}

/// What a start tells each reader, on a fresh image each time.
pub fn start(name: &str, make: impl Fn(&Image) -> Start) {
    lived(name, make, |running| running.end());
}

/// The same for a start that is accompanied: what is done with it ends with its code.
pub fn lived(name: &str, make: impl Fn(&Image) -> Start, live: impl Fn(&mut Running) -> i32) {
    lived_in(name, make, |running, _| live(running));
}

/// The same where the image has a part in it.
pub fn lived_in(
    name: &str,
    make: impl Fn(&Image) -> Start,
    live: impl Fn(&mut Running, &Image) -> i32,
) {
    let mut text = String::new();
    let known = fs::read_to_string(file(name)).unwrap_or_default();
    let one = !are_written() && repeated(is_one_story(&known), false);
    for reader in &READERS[..if one { 1 } else { READERS.len() }] {
        let image = Image::new();
        let start = make(&image);
        let terminal = Terminal::new();
        // A terminal that nobody has open reads as an error.
        let held = terminal.end();
        let mut running = match reader {
            Reader::Plain => start.start(),
            Reader::Json => start.env("AI_LAB_LOG_FORMAT", "json").start(),
            Reader::Colour => start.start_on(&terminal),
        };
        let code = live(&mut running, &image);
        text += &format!("=== {reader:?}, exit code {code}\n");
        let (stdout, stderr) = match reader {
            Reader::Colour => on_terminal(running, terminal),
            _ => running.everything(),
        };
        drop(held);
        let (stdout, stderr) = (ours(&stdout, &image), ours(&stderr, &image));
        match stdout.is_empty() {
            true => text += &stderr,
            false => text += &format!("--- stdout\n{stdout}--- stderr\n{stderr}"),
        }
    }
    match one {
        true => compare_part(name, &text, |known| known.split("=== Json").next().unwrap()),
        false => compare(name, &text),
    }
}

/// Everything that appeared, up to a word that is said when the program has ended.
pub fn on_terminal(mut running: Running, terminal: Terminal) -> (String, String) {
    let last = "this is the end of it";
    let mut echo = Command::new("echo");
    assert!(
        echo.arg(last)
            .stdout(terminal.end())
            .status()
            .unwrap()
            .success()
    );
    running.wait_for(last);
    terminal.hang_up();
    let (shown, _) = running.everything();
    (String::new(), shown.replace(&format!("{last}\n"), ""))
}

/// The lines that are not the fake server's, without what differs.
pub fn ours(text: &str, image: &Image) -> String {
    // What the fake server said last is repeated in one of our own lines.
    let lines = text
        .lines()
        .map(|line| match line.split_once("last words:") {
            Some((before, _)) => format!("{before}last words:…"),
            None => line.to_owned(),
        });
    let lines = lines.filter(|line| {
        let fakes = ["fake: ", " ServerApp] ", "\"logger\":\"ServerApp\""];
        !fakes.iter().any(|word| line.contains(word))
    });
    let lines = lines.map(|line| format!("{}\n", constant(&line, image)));
    lines.collect()
}

/// The port where it is a word: a longer number has the same digits now and then.
fn without_port(line: &str, port: &str) -> String {
    let words = line.split_inclusive(|c: char| !c.is_alphanumeric());
    let words = words.map(|word| match word.strip_prefix(port) {
        Some(rest) if !rest.starts_with(char::is_alphanumeric) => format!("PORT{rest}"),
        _ => word.to_owned(),
    });
    words.collect()
}

fn constant(line: &str, image: &Image) -> String {
    let path = std::env::var("PATH").unwrap();
    let mut line = line
        .replace(image.dir.path().to_str().unwrap(), "IMAGE")
        .replace(
            image.dir.path().file_name().unwrap().to_str().unwrap(),
            "IMAGE",
        )
        .replace(&path, "PATH")
        .replace('\x1b', "\\e");
    line = without_port(&line, &image.port.to_string());
    let mut parts = line.split("/?token=");
    let first = parts.next().unwrap_or_default().to_owned();
    line = parts.fold(first, |line, part| {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_hexdigit());
        format!("{line}/?token=TOKEN{rest}")
    });
    // What the machine killed before is not of this start.
    let counts = ["\"before\": ", "\"limit_reached\": "];
    if counts
        .iter()
        .any(|name| line.trim_start().starts_with(name))
    {
        line = line.replace(|c: char| c.is_ascii_digit(), "N");
    }
    // `[I 2026-01-01 00:00:00.000 ai-lab]` and `"time":"2026-01-01T00:00:00.000Z"`.
    for (before, length) in [
        ("[I ", 23),
        ("[D ", 23),
        ("[W ", 23),
        ("[E ", 23),
        ("\"time\":\"", 24),
    ] {
        if let Some(at) = line.find(before) {
            let at = at + before.len();
            if line.get(at..at + 2) == Some("20") {
                line.replace_range(at..at + length, "TIME");
            }
        }
    }
    let words: Vec<&str> = line.split(' ').collect();
    let constant = words.iter().enumerate().map(|(at, word)| {
        let next = words.get(at + 1).copied().unwrap_or_default();
        let bare = word.trim_start_matches('(');
        let time = next.starts_with("ms") || bare.contains('.') && next.starts_with('s');
        let number = |text: &str| text.parse::<f64>().is_ok();
        let before = at.checked_sub(1).map(|at| words[at]).unwrap_or_default();
        match () {
            // How long a phase has lasted.
            () if before == "for" && next == "s" && number(word) => "N".into(),
            () if time && number(bare) => word.replace(bare, "N"),
            () if before.ends_with("process") && number(word.trim_end_matches([')', ','])) => word
                .replace(|c: char| c.is_ascii_digit(), "")
                .replacen("", "N", 1),
            () if word.matches(':').count() == 31 => format!("FINGERPRINT{}", &word[95..]),
            () => match word.split_once(".unusable-") {
                Some((file, _)) => format!("{file}.unusable-TIME"),
                None => (*word).to_owned(),
            },
        }
    });
    constant.collect::<Vec<_>>().join(" ")
}
