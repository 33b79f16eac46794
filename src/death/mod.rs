//! Why a server ended: a cause and a remedy, from the way it ended and the last lines of its log.
//! Where this is shown is decided elsewhere.

mod causes;
pub mod memory;
mod pattern;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::supervisor::lifecycle::Ended;

/// Maximum length of a part of the log that a diagnosis names, in bytes.
const MAX_PART: usize = 300;

/// The line with which Python begins a traceback.
const TRACEBACK: &str = "Traceback (most recent call last):";

/// Why a server ended, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// The cause: a sentence without its first capital letter and its full stop, unless it begins
    /// with what the log says.
    pub cause: String,
    /// The remedy: a sentence without its full stop.
    pub remedy: String,
}

impl Diagnosis {
    /// Returns a diagnosis.
    pub fn new(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            cause: cause.into(),
            remedy: remedy.into(),
        }
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. {}.", self.cause, self.remedy)
    }
}

/// Returns why a server ended, from the end of its log. If it was ready before, only its own last
/// traceback counts: what kernels, terminals and notebooks print comes into the same log. `None`: it
/// ended well, or the cause is unknown.
pub fn diagnose(ended: Ended, was_ready: bool, log: &str) -> Option<Diagnosis> {
    match ended {
        Ended::Exit(0) => None,
        Ended::Exit(_) => by_log(log, was_ready),
        Ended::Signal(number) => by_signal(number),
    }
}

/// Reports whether a server under a hub ended because it did not reach the hub: the end of its log
/// has the last of its attempts.
pub fn hub_is_away(log: &str) -> bool {
    log.lines().any(|line| {
        let parts = pattern::captures(causes::LAST_ATTEMPT, line);
        matches!(parts.as_deref(), Some([_, attempt, all]) if attempt == all)
    })
}

fn by_signal(number: i32) -> Option<Diagnosis> {
    let row = causes::SIGNALS.iter().find(|row| row.0 == number)?;
    Some(Diagnosis::new(row.1, row.2))
}

/// Searches the log from its end for the first line that shows a cause.
fn by_log(log: &str, was_ready: bool) -> Option<Diagnosis> {
    let lines: Vec<&str> = log.lines().map(str::trim_end).collect();
    if was_ready && !ends_with_servers_traceback(&lines) {
        return None;
    }
    let begin = begin_of_last_traceback(&lines);
    (begin..lines.len()).rev().find_map(|at| {
        causes::CAUSES
            .iter()
            .find_map(|row| row.find(&lines[begin..=at]))
    })
}

/// Reports whether a log ends with the traceback of the error that ended a server. Python prints it
/// from the first line of the program on, and the server logs nothing after it.
fn ends_with_servers_traceback(lines: &[&str]) -> bool {
    let Some(at) = lines.iter().rposition(|line| *line == TRACEBACK) else {
        return false;
    };
    let program = lines.get(at + 1).unwrap_or(&"");
    let is_server = causes::SERVERS.iter().any(|name| {
        program.starts_with("  File \"") && program.contains(&format!("/bin/{name}\", line "))
    });
    is_server && !lines[at..].iter().any(|line| is_log_line(line))
}

/// Reports whether this is how Jupyter logs: `[I 2026-01-31 12:00:00.000 ServerApp] …`.
fn is_log_line(line: &str) -> bool {
    let level = line.strip_prefix('[').and_then(|line| line.split_once(' '));
    level.is_some_and(|(level, rest)| {
        matches!(level, "D" | "I" | "W" | "E" | "C")
            && rest.starts_with(|c: char| c.is_ascii_digit())
    })
}

/// Returns the index of the line above the last traceback, which introduces it; 0: there is no
/// traceback. What is above did not end the server. Of tracebacks that Python joined, the first
/// counts.
fn begin_of_last_traceback(lines: &[&str]) -> usize {
    let begins = |line: &&str| line.ends_with(TRACEBACK);
    let mut end = lines.len();
    while let Some(at) = lines[..end].iter().rposition(begins) {
        let above = lines[..at].iter().rfind(|line| !line.is_empty());
        if !above.is_some_and(|line| causes::CHAINED.contains(&line.trim_start())) {
            return at.saturating_sub(1);
        }
        end = at;
    }
    0
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "death_tests.rs"]
mod tests;
