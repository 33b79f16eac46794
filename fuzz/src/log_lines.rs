//! The server's log: in whatever pieces it comes, the same is made of it; every line is
//! one object of JSON, and nothing piles up.

use ai_lab_entrypoint::log::server_json::{JsonLines, MAX_MESSAGE};
use ai_lab_entrypoint::server::log_reader::LogReader;
use ai_lab_entrypoint::server::probe::Url;
use serde_json::Value;

pub fn holds(bytes: &[u8]) {
    let whole = json(&[bytes]);
    let pieces = super::pieces(bytes);
    assert_eq!(json(&pieces), whole);
    let mut ended = 0;
    for line in whole.split_inclusive(|byte| *byte == b'\n') {
        let object: Value = serde_json::from_slice(line).unwrap();
        let message = object["message"].as_str().unwrap();
        // A byte that is no text takes three.
        assert!(message.len() <= 3 * MAX_MESSAGE);
        ended += usize::from(object.get("partial").is_none());
    }
    let lines = bytes.split_inclusive(|byte| *byte == b'\n').count();
    assert_eq!(ended, lines);
    let longest = bytes.split(|byte| *byte == b'\n').map(<[u8]>::len).max();
    if longest <= Some(4000) {
        assert_eq!(told(&pieces), told(&[bytes]));
    }
}

fn json(pieces: &[&[u8]]) -> Vec<u8> {
    let mut lines = JsonLines::new("stderr");
    let mut objects: Vec<u8> = pieces.iter().flat_map(|piece| lines.wrap(piece)).collect();
    objects.extend(lines.end());
    objects
}

/// Where the server says it is.
fn told(pieces: &[&[u8]]) -> Vec<Url> {
    let (mut words, told) = LogReader::new();
    for piece in pieces {
        words.observe(piece);
    }
    assert!(words.last().lines().count() <= 20);
    let urls = told.borrow().clone();
    assert!(urls.len() <= 16);
    urls
}
