//! Converts each line of the server's log to a line with one JSON object, whatever its bytes.
//!
//! ```text
//! [I 2026-01-01 00:00:00.000 ServerApp] Serving notebooks
//! {"time":"2026-01-01T00:00:00.000","level":"info","logger":"ServerApp",
//!  "message":"Serving notebooks","stream":"stderr"}
//! ```
//!
//! The time comes from the server, and has no time zone because the server gives none. A line in
//! another form, such as one of a traceback, has only a message.

use serde::Serialize;

/// The longest message, in bytes. A longer line becomes several messages; all but the last have
/// `"partial":true`.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// Converts one stream of the server, line by line.
#[derive(Debug)]
pub struct JsonLines {
    stream: &'static str,
    /// The start of a line that has not ended yet.
    rest: Vec<u8>,
    /// True if a part of that line is already written.
    continued: bool,
}

/// Jupyter's lines begin with `[I 2026-01-01 00:00:00.000 ServerApp]`; the single-user server adds the
/// position in its source: `[I 2026-01-01 00:00:00.000 ServerApp mixins:547]`.
#[derive(Default, Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logger: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    message: &'a str,
    stream: &'static str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    partial: bool,
}

impl JsonLines {
    /// Creates the converter for the stream of this name.
    pub fn new(stream: &'static str) -> Self {
        Self {
            stream,
            rest: Vec::new(),
            continued: false,
        }
    }

    /// Returns the objects of the lines that end in this chunk, and of full parts of a longer line.
    pub fn wrap(&mut self, chunk: &[u8]) -> Vec<u8> {
        let mut objects = Vec::with_capacity(chunk.len() * 2);
        for part in chunk.split_inclusive(|byte| *byte == b'\n') {
            let (part, ends) = match part.strip_suffix(b"\n") {
                Some(part) => (part, true),
                None => (part, false),
            };
            self.rest.extend_from_slice(part);
            while self.rest.len() > MAX_MESSAGE {
                let rest = self
                    .rest
                    .split_off(before_character(&self.rest, MAX_MESSAGE));
                self.object(true, &mut objects);
                self.rest = rest;
            }
            if ends {
                self.object(false, &mut objects);
            }
        }
        objects
    }

    /// Returns the object of a last line without a newline.
    pub fn end(&mut self) -> Vec<u8> {
        let mut objects = Vec::new();
        if !self.rest.is_empty() {
            self.object(false, &mut objects);
        }
        objects
    }

    /// Appends the line read so far to `objects`.
    fn object(&mut self, partial: bool, objects: &mut Vec<u8>) {
        let bytes = std::mem::take(&mut self.rest);
        let continued = std::mem::replace(&mut self.continued, partial);
        let text = String::from_utf8_lossy(&bytes);
        let line = Line {
            stream: self.stream,
            partial,
            ..parse(&text).filter(|_| !continued).unwrap_or(Line {
                message: &text,
                ..Line::default()
            })
        };
        // Fails only if a map has keys that are not text, or if the writer fails.
        let _ = serde_json::to_writer(&mut *objects, &line);
        objects.push(b'\n');
    }
}

/// Returns the last position up to `at` that is not inside a character.
fn before_character(bytes: &[u8], at: usize) -> usize {
    let begins = |at: &usize| bytes[*at] & 0xc0 != 0x80;
    (at - 3..=at).rev().find(begins).unwrap_or(at)
}

fn parse(line: &str) -> Option<Line<'_>> {
    let (head, message) = line.strip_prefix('[')?.split_once(']')?;
    let mut words = head.splitn(5, ' ');
    let level = match words.next()? {
        "D" => "debug",
        "I" => "info",
        "W" => "warn",
        "E" => "error",
        "C" => "critical",
        _ => return None,
    };
    let date = matching("0000-00-00", words.next()?)?;
    let time = matching("00:00:00.000", words.next()?)?;
    Some(Line {
        time: Some(format!("{date}T{time}")),
        level: Some(level),
        logger: Some(words.next()?),
        source: words.next(),
        message: message.strip_prefix(' ').unwrap_or(message),
        ..Line::default()
    })
}

/// Returns the text if it has digits where the pattern has zeros, and equals it elsewhere.
fn matching<'a>(pattern: &str, text: &'a str) -> Option<&'a str> {
    let alike = |(expected, byte): (u8, u8)| match expected {
        b'0' => byte.is_ascii_digit(),
        _ => byte == expected,
    };
    let same = pattern.len() == text.len() && pattern.bytes().zip(text.bytes()).all(alike);
    same.then_some(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn objects(chunks: &[&[u8]]) -> Vec<Value> {
        let mut lines = JsonLines::new("stderr");
        let mut all: Vec<u8> = chunks.iter().flat_map(|chunk| lines.wrap(chunk)).collect();
        all.extend(lines.end());
        let text = String::from_utf8(all).unwrap();
        let objects = text.lines().map(serde_json::from_str);
        objects.collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn jupyters_head_becomes_fields_and_everything_else_is_a_message() {
        let alone = |message: &str| json!({"message": message, "stream": "stderr"});
        for (line, expected) in [
            (
                "[I 2026-01-02 03:04:05.678 ServerApp] a \"b\" [c]",
                json!({
                    "time": "2026-01-02T03:04:05.678",
                    "level": "info",
                    "logger": "ServerApp",
                    "message": "a \"b\" [c]",
                    "stream": "stderr",
                }),
            ),
            (
                "[C 2026-01-02 03:04:05.678 JupyterHubSingleUser mixins:547] ",
                json!({
                    "time": "2026-01-02T03:04:05.678",
                    "level": "critical",
                    "logger": "JupyterHubSingleUser",
                    "source": "mixins:547",
                    "message": "",
                    "stream": "stderr",
                }),
            ),
            ("", alone("")),
            ("    raise ValueError", alone("    raise ValueError")),
            (
                "[X 2026-01-02 03:04:05.678 A] b",
                alone("[X 2026-01-02 03:04:05.678 A] b"),
            ),
            (
                "[I 2026-01-02 03:04:05.678] b",
                alone("[I 2026-01-02 03:04:05.678] b"),
            ),
            (
                "[I 2026-1-02 03:04:05.678 A] b",
                alone("[I 2026-1-02 03:04:05.678 A] b"),
            ),
            ("[1, 2, 3]", alone("[1, 2, 3]")),
        ] {
            let text = format!("{line}\n");
            assert_eq!(objects(&[text.as_bytes()]), [expected]);
        }
    }

    #[test]
    fn a_long_line_comes_in_parts_that_cut_no_character() {
        let line = "é€😀".repeat(30_000);
        let head = "[I 2026-01-02 03:04:05.678 A] ";
        let objects = objects(&[head.as_bytes(), line.as_bytes(), b"\nnext\n"]);
        let (last, parts) = objects.split_last().unwrap();
        assert_eq!(last, &json!({"message": "next", "stream": "stderr"}));
        let messages = parts.iter().map(|part| part["message"].as_str().unwrap());
        assert!(messages.collect::<String>() == line);
        let (last, others) = parts.split_last().unwrap();
        assert!(others.len() >= 4 && others.iter().all(|part| part["partial"] == true));
        assert_eq!(last.get("partial"), None);
        let headed = parts.iter().filter(|part| part.get("logger").is_some());
        assert_eq!(headed.count(), 1);
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_chunks_are_one_object_a_line(
            bytes in proptest::collection::vec(
                prop_oneof![Just(b'\n'), Just(b'['), Just(b']'), any::<u8>()], 0..300),
            cut in 0..300usize,
        ) {
            let cut = cut.min(bytes.len());
            let objects = objects(&[&bytes[..cut], &bytes[cut..]]);
            let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
            let expected: Vec<_> = match bytes.is_empty() {
                true => Vec::new(),
                false => text.split(|byte| *byte == b'\n').collect(),
            };
            let messages: Vec<_> = objects.iter().map(|object| &object["message"]).collect();
            let lossy = |line: &&[u8]| Value::from(String::from_utf8_lossy(line).into_owned());
            let lines: Vec<_> = expected.iter().map(lossy).collect();
            prop_assert!(messages.into_iter().eq(lines.iter()));
        }
    }
}
