//! What to do about each default: the three-way comparison, as a pure function.

use std::fmt;

use super::manifest::{Content, Entry, Manifest};
use super::shown;
use super::survey::Row;
use crate::settings::{DeletedNotebooks, UpdateNotebooks};

/// What is in the volume at a path of interest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Absent,
    /// This.
    Is(Content),
    /// A regular file that is neither the installed nor the image's: its size tells.
    Changed,
    /// A regular file where the image has no default: a killed start may have put it there.
    Unread,
    /// Something no default can be or lie under (a socket, a link instead of the
    /// directory above it), or what cannot be read.
    InTheWay,
}

/// How the comparison is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// What a newer image replaces.
    pub update: UpdateNotebooks,
    /// Whether deleted defaults come back.
    pub deleted: DeletedNotebooks,
    /// Whether the image is older than the one the manifest names.
    pub older: bool,
}

/// What is to happen to one path, and with what count it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Put there, where nothing is.
    Install,
    /// Replaces what we installed.
    Replace,
    /// Put next to what the user changed.
    Beside,
    /// Is the image's already, and is noted as such.
    Adopt,
    /// Is the image's.
    Current,
    /// Is of another image, and stays (older image, `never`).
    Left,
    /// Changed by the user, or the user's own.
    Kept,
    /// Deleted by the user, and stays away.
    Deleted,
    /// The image has it no longer; stays.
    Gone,
    /// Something else is there.
    InTheWay,
}

/// One path and what is to happen to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// Relative to the volume, `/` between components.
    pub path: Vec<u8>,
    /// What happens.
    pub verdict: Verdict,
}

impl Action {
    /// The path as one safe line.
    pub fn shown(&self) -> String {
        shown(&self.path)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.verdict {
            Verdict::Install => "install",
            Verdict::Replace => "replace",
            Verdict::Beside => "put the new one beside",
            Verdict::Adopt | Verdict::Current => "current",
            Verdict::Left => "leave at another version",
            Verdict::Kept => "keep (changed by you)",
            Verdict::Deleted => "leave deleted",
            Verdict::Gone => "leave, no longer a default",
            Verdict::InTheWay => "leave, something else is in the way of",
        };
        write!(f, "{what}: {}", shown(&self.path))
    }
}

/// Whether `image` is older than `known` (SemVer); what cannot be compared is not.
pub(super) fn is_older(image: Option<&str>, known: Option<&str>) -> bool {
    let version = |text: Option<&str>| {
        let text = text?;
        semver::Version::parse(text.strip_prefix('v').unwrap_or(text)).ok()
    };
    match (version(image), version(known)) {
        (Some(image), Some(known)) => image.cmp_precedence(&known).is_lt(),
        _ => false,
    }
}

/// What to do about every path of the image or the manifest, in their order.
pub(super) fn plan<'a>(
    rows: &'a [Row],
    manifest: &Manifest,
    policy: Policy,
) -> Vec<(&'a Row, Verdict)> {
    let none = Entry::default();
    let verdict = |row: &'a Row| {
        let entry = manifest.entries.get(&row.path).unwrap_or(&none);
        Some((row, decide(row.image, entry, row.volume, policy)?))
    };
    rows.iter()
        .filter(|row| !row.unknown)
        .filter_map(verdict)
        .collect()
}

/// One row of the table. `None`: there is nothing to say.
fn decide(image: Option<Content>, entry: &Entry, found: Found, policy: Policy) -> Option<Verdict> {
    let Some(image) = image else {
        let ours = matches!(found, Found::Is(content) if entry.installed == Some(content));
        return ours.then_some(Verdict::Gone);
    };
    let verdict = match found {
        Found::Absent if entry.installed.is_some() => match policy.deleted {
            DeletedNotebooks::Restore => Verdict::Install,
            DeletedNotebooks::Respect => Verdict::Deleted,
        },
        Found::Absent => Verdict::Install,
        Found::InTheWay => Verdict::InTheWay,
        Found::Is(content) if content == image && entry.installed == Some(image) => {
            Verdict::Current
        }
        // An older image's file in place of a newer one's: someone wanted it so.
        Found::Is(content) if content == image && policy.older && entry.installed.is_some() => {
            Verdict::Kept
        }
        Found::Is(content) if content == image => Verdict::Adopt,
        Found::Is(content) if entry.installed == Some(content) => {
            let can = content != Content::Directory && image != Content::Directory;
            match policy.update {
                _ if policy.older => Verdict::Left,
                UpdateNotebooks::Never => Verdict::Left,
                _ if can => Verdict::Replace,
                _ => Verdict::InTheWay,
            }
        }
        Found::Is(Content::File(_)) | Found::Changed if is_file(image) => {
            let newer = entry.installed.is_some_and(|known| known != image) && !policy.older;
            let beside = policy.update == UpdateNotebooks::Beside;
            if newer && beside && entry.beside != Some(image) {
                Verdict::Beside
            } else {
                Verdict::Kept
            }
        }
        Found::Is(Content::Link(_)) if matches!(image, Content::Link(_)) => Verdict::Kept,
        Found::Is(_) | Found::Changed | Found::Unread => Verdict::InTheWay,
    };
    Some(verdict)
}

fn is_file(content: Content) -> bool {
    matches!(content, Content::File(_) | Content::Unread)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
