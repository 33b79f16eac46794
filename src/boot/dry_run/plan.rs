//! The plan that a dry run prints.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

use crate::boot::write_access::WriteAccess;
use crate::identity::group_name;
use crate::sys::text::shown;
use crate::volume::{Claim, Claimed};

/// The plan, as lines under headings, and a preview of the user's write access.
#[derive(Default)]
pub struct DryRunPlan {
    /// The text to print.
    pub text: String,
    /// The preview of the user's write access.
    pub write_access: WriteAccess,
}

impl DryRunPlan {
    /// Adds a heading for the lines that follow.
    pub fn heading(&mut self, heading: &str) {
        self.text.push_str(&format!("{heading}\n"));
    }

    /// Adds one line, escaped.
    pub fn line(&mut self, line: impl std::fmt::Display) {
        let line = shown(&line.to_string());
        self.text.push_str(&format!("  {line}\n"));
    }

    /// Adds the preview of a directory that is handed over to the user `user`.
    pub fn owners(&mut self, request: &Claim, user: &str, claimed: &Claimed) {
        // Entries in it that cannot be handed over do not keep the user out of the directory.
        let top = shown(request.directory.as_os_str().as_bytes());
        let already = fs::metadata(&request.directory).is_ok_and(|data| data.uid() == request.uid);
        if claimed.created || already || claimed.would_hand_over.contains(&top) {
            self.write_access.add_tree(&request.directory);
        }
        let directory = request.directory.display();
        let owner = format!("{user}:{}", group_name(request.gid));
        if claimed.created {
            return self.line(format!("make {directory} for {owner}"));
        }
        let (some, all) = (claimed.would_hand_over.len(), claimed.checked);
        self.line(format!(
            "hand over to {owner}: {some} of {all} in {directory}"
        ));
        for path in &claimed.would_hand_over {
            self.line(format!("  {path}"));
        }
    }
}

/// Returns a word as a shell would take it, with quotes if it needs them.
pub fn quoted(text: String) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}
