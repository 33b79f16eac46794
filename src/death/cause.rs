//! A row of the table of causes, and how it is found in a log.

use crate::death::diagnosis::Diagnosis;
use crate::death::pattern::{captures, fill};
use crate::sys::text;

/// Maximum length of a part of the log that a diagnosis names, in bytes.
pub(super) const MAX_PART: usize = 300;

/// A cause: the last of its lines is where the search stops, the others are above it.
#[derive(Debug)]
pub(super) struct Cause {
    lines: &'static [&'static str],
    cause: &'static str,
    remedy: &'static str,
}

impl Cause {
    /// Returns the diagnosis if the last of these lines shows this cause.
    pub(super) fn find(&self, log: &[&str]) -> Option<Diagnosis> {
        let (mut rest, mut found) = (log, Vec::new());
        for (count, pattern) in self.lines.iter().rev().enumerate() {
            let nearest = rest.len() - usize::from(!rest.is_empty());
            let begin = if count == 0 { nearest } else { 0 };
            let mut lines = (begin..rest.len()).rev();
            let (at, parts) = lines.find_map(|at| Some((at, captures(pattern, rest[at])?)))?;
            found.splice(0..0, parts.into_iter().map(shortened));
            rest = &rest[..at];
        }
        Some(Diagnosis {
            cause: fill(self.cause, &found).trim_end_matches('.').into(),
            remedy: fill(self.remedy, &found),
        })
    }
}

/// Returns a part of the log on one line, and only its beginning if it is long.
fn shortened(part: &str) -> String {
    let mut part = text::shown(part);
    text::shorten(&mut part, MAX_PART);
    part
}

pub(super) const fn row(
    lines: &'static [&'static str],
    cause: &'static str,
    remedy: &'static str,
) -> Cause {
    Cause {
        lines,
        cause,
        remedy,
    }
}
