//! A person at a terminal of this machine: see `typist.py`.

use std::process::{Command, Output};

/// The command that a person types, and what is typed when words appear.
pub fn typist(line: &str, keys: &[(&str, &str)]) -> Command {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/typist.py");
    let mut command = Command::new("python3");
    command.args([script, line]);
    for (words, keys) in keys {
        command.args([words, keys]);
    }
    command
}

/// The same to its end: exit code, and what appeared.
pub fn types(line: &str, keys: &[(&str, &str)]) -> (i32, String) {
    let output: Output = typist(line, keys).output().unwrap();
    (output.status.code().unwrap(), super::docker::text(&output))
}
