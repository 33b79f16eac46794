//! Why a server ended: a cause and a remedy, from the way it ended and the last lines of its log.
//! Where this is shown is decided elsewhere.

mod cause;
mod causes;
mod diagnosis;
mod last_lines;
pub mod memory;
mod pattern;

use crate::supervisor::lifecycle::Ended;
pub use diagnosis::Diagnosis;

/// Returns why a server ended, from the end of its log. If it was ready before, only its own last
/// traceback counts: what kernels, terminals and notebooks print comes into the same log. `None`: it
/// ended well, or the cause is unknown.
pub fn diagnose(ended: Ended, was_ready: bool, log: &str) -> Option<Diagnosis> {
    let log = last_lines::without_colours(log);
    let lines = last_lines::lines(&log);
    match ended {
        Ended::Exit(0) => None,
        Ended::Exit(_) => by_log(&lines, was_ready),
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
fn by_log(lines: &[&str], was_ready: bool) -> Option<Diagnosis> {
    if was_ready && !last_lines::ends_with_servers_traceback(lines) {
        return None;
    }
    let begin = last_lines::begin_of_last_traceback(lines);
    let first = begin.max(last_lines::begin_of_end(lines));
    let cause = |at| {
        causes::CAUSES
            .iter()
            .find_map(|row| row.find(&lines[begin..=at]))
    };
    (first..lines.len()).rev().find_map(cause)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "death_tests.rs"]
mod tests;
