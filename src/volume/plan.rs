//! Decides what to do about each default: a three-way comparison, as a pure function.

use std::fmt;

use super::manifest::{Content, Entry, Manifest};
use super::shown;
use super::survey::Row;
use crate::settings::{DeletedNotebooks, UpdateNotebooks};

/// What the volume has at one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Absent,
    /// This content.
    Is(Content),
    /// A regular file that was not read and counts as changed: its size is neither that of the
    /// installed file nor that of the image's, or it exceeds the limits for reading.
    Changed,
    /// A regular file that was not read: the image has none, a killed start may have put it there.
    Unread,
    /// Something that no default can be or lie under (a socket, a link in place of a parent
    /// directory), or that cannot be read.
    InTheWay,
}

/// What decisions depend on besides the contents: the settings and the age of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Which files a newer image replaces.
    pub update: UpdateNotebooks,
    /// Whether deleted defaults come back.
    pub deleted: DeletedNotebooks,
    /// True if the image is older than the one that the manifest names.
    pub older: bool,
}

/// The decision for one path, which also says how the summary counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Install it where nothing is.
    Install,
    /// Replace the file that an earlier start installed.
    Replace,
    /// Put it beside the file that the user changed.
    Beside,
    /// Record as installed what already equals the image's.
    Adopt,
    /// Nothing to do: installed, and equal to the image's.
    Current,
    /// Leave what another image installed (older image, `never`).
    Left,
    /// Keep what the user changed or wrote.
    Kept,
    /// Do not bring back what the user deleted.
    Deleted,
    /// Leave what the image no longer has.
    Gone,
    /// Leave something else that is in the way.
    InTheWay,
}

/// One path and the decision for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// Relative to the volume, `/` between components.
    pub path: Vec<u8>,
    /// The decision.
    pub verdict: Verdict,
}

impl Action {
    /// Returns the path as one safe line.
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

/// Reports whether `image` is older than `known` (SemVer); false if they cannot be compared.
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

/// Decides about every path of the image or the manifest, in the order of `rows`.
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

/// Decides one row of the table. `None`: there is nothing to do or to report.
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
        // The file of an older image is in place of a newer one: someone wanted it so.
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
