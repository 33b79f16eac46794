//! Decides what to do about each default: a three-way comparison, as a pure function.

use std::fmt;

use crate::settings::{DeletedNotebooks, UpdateNotebooks};
use crate::volume::defaults::manifest::{Content, Entry, Manifest};
use crate::volume::defaults::source;
use crate::volume::defaults::survey::{InVolume, Row};
use crate::volume::shown;

/// The settings and the age of the image, on which decisions depend besides the contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Which files a newer image replaces.
    pub update: UpdateNotebooks,
    /// Controls whether deleted defaults come back.
    pub deleted: DeletedNotebooks,
    /// True if the image is older than the one that the manifest names.
    pub older: bool,
}

impl Policy {
    /// Reports whether an untouched file is replaced by another version.
    fn replaces(self) -> bool {
        !self.older && self.update != UpdateNotebooks::Never
    }

    /// Reports whether the image's version replaces the installed one if that is untouched.
    pub(super) fn would_replace(self, image: Option<Content>, entry: &Entry) -> bool {
        self.replaces() && image != entry.installed
    }
}

/// The decision for one path, which also says how the summary counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Install it where nothing is.
    Install,
    /// Replace the file that an earlier start installed.
    Replace,
    /// Replace the notebook that a person only ran, and keep their copy.
    ReplaceRun,
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
    /// Keep what the user only ran.
    Run,
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
    pub decision: Decision,
}

impl Action {
    /// Returns the path as one safe line.
    pub fn shown(&self) -> String {
        shown(&self.path)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.decision {
            Decision::Install => "install",
            Decision::Replace => "replace",
            Decision::ReplaceRun => "replace (only run by you, your copy is kept)",
            Decision::Beside => "put the new one beside",
            Decision::Adopt | Decision::Current => "current",
            Decision::Left => "leave at another version",
            Decision::Kept | Decision::Run => "keep (changed by you)",
            Decision::Deleted => "leave deleted",
            Decision::Gone => "leave, no longer a default",
            Decision::InTheWay => "leave, something else is in the way of",
        };
        write!(f, "{what}: {}", shown(&self.path))
    }
}

/// Decides about every path of the image or the manifest, in the order of `rows`.
pub(super) fn decide_all<'a>(
    rows: &'a [Row],
    manifest: &Manifest,
    policy: Policy,
) -> Vec<(&'a Row, Decision)> {
    let none = Entry::default();
    // Both are in order, so that no path is looked up.
    let mut entries = manifest.entries.iter().peekable();
    let decision = |row: &'a Row| {
        while entries.next_if(|(path, _)| **path < row.path).is_some() {}
        let entry = entries.next_if(|(path, _)| **path == row.path);
        let entry = entry.map_or(&none, |(_, entry)| entry);
        Some((row, decide(row.image, entry, row.volume, policy)?))
    };
    rows.iter()
        .filter(|row| !row.unknown && !source::was_default(&row.path))
        .filter_map(decision)
        .collect()
}

/// Decides one row of the table. `None`: there is nothing to do or to report.
fn decide(
    image: Option<Content>,
    entry: &Entry,
    found: InVolume,
    policy: Policy,
) -> Option<Decision> {
    let Some(image) = image else {
        let ours = matches!(found, InVolume::Is(content) if entry.installed == Some(content));
        return ours.then_some(Decision::Gone);
    };
    let decision = match found {
        InVolume::Absent if entry.installed.is_some() => match policy.deleted {
            DeletedNotebooks::Restore => Decision::Install,
            DeletedNotebooks::Respect => Decision::Deleted,
        },
        InVolume::Absent => Decision::Install,
        InVolume::InTheWay | InVolume::OtherCase => Decision::InTheWay,
        InVolume::Is(content) if content == image && entry.installed == Some(image) => {
            Decision::Current
        }
        // The file of an older image is in place of a newer one: someone wanted it so.
        InVolume::Is(content) if content == image && policy.older && entry.installed.is_some() => {
            Decision::Kept
        }
        InVolume::Is(content) if content == image => Decision::Adopt,
        InVolume::Is(content) if entry.installed == Some(content) => {
            let can = content != Content::Directory && image != Content::Directory;
            match policy.replaces() {
                false => Decision::Left,
                true if can => Decision::Replace,
                true => Decision::InTheWay,
            }
        }
        InVolume::Run(_) if policy.would_replace(Some(image), entry) => Decision::ReplaceRun,
        InVolume::Run(_) => Decision::Run,
        InVolume::Is(Content::File(_)) | InVolume::Changed if is_file(image) => {
            let newer = entry.installed.is_some_and(|known| known != image) && !policy.older;
            let beside = policy.update == UpdateNotebooks::Beside;
            if newer && beside && entry.beside != Some(image) {
                Decision::Beside
            } else {
                Decision::Kept
            }
        }
        InVolume::Is(Content::Link(_)) if matches!(image, Content::Link(_)) => Decision::Kept,
        InVolume::Is(_) | InVolume::Changed | InVolume::NotChecked => Decision::InTheWay,
    };
    Some(decision)
}

fn is_file(content: Content) -> bool {
    matches!(content, Content::File(_) | Content::NotHashed)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
