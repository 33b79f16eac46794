//! What holds for everything that is parsed, whatever its bytes are.
//!
//! A module for each kind of text; its `holds` panics where something does not hold. The
//! targets in `fuzz_targets` call it with what libFuzzer finds, `tests/process/fuzzed.rs` with the
//! corpus and with what becomes of it by chance.

// Of a property that does not hold the place is all there is to know.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

pub mod command_line;
pub mod group_file;
pub mod hook_variables;
pub mod http_answer;
pub mod jupyter_config;
pub mod log_lines;
pub mod manifest;
pub mod notebook;
pub mod password;
pub mod probe_url;
pub mod seal;
pub mod settings_file;
pub mod state;

use std::path::PathBuf;

/// A directory that costs no disk.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

/// A file of these bytes in it.
fn file(directory: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = directory.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// The bytes in pieces, whose sizes they decide themselves.
fn pieces(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    while let Some(first) = bytes.first() {
        let (piece, rest) = bytes.split_at(bytes.len().min(1 + usize::from(*first % 23)));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}
