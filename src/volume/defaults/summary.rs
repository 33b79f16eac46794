//! The result of bringing in the defaults: the start's summary line and its reports.

use std::fmt;

use crate::degradation::Degradation;

/// The result of [`bring_in`](crate::volume::bring_in), displayed as the start's summary line.
/// Directories are not counted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// Put where nothing was.
    pub installed: u64,
    /// Replaced by a newer version.
    pub updated: u64,
    /// Replaced after the user ran them; these also count as `updated`.
    pub run: u64,
    /// Left because the user changed or wrote them.
    pub kept: u64,
    /// The number of files that already have the image's version.
    pub current: u64,
    /// New versions put beside changed files; these also count as `kept`.
    pub beside: u64,
    /// Left at another image's version (older image, `never`).
    pub other_version: u64,
    /// Deleted by the user and not brought back.
    pub deleted: u64,
    /// Not brought in because something else is in the way.
    pub in_the_way: u64,
    /// The news for the user, in a line or two.
    pub news: Option<String>,
    /// Problems that the start reports.
    pub degradations: Vec<Degradation>,
    /// One line for each file that the user may want to know about.
    pub reported: Vec<String>,
    /// In a preview: one line for each decision.
    pub planned: Vec<String>,
}

impl Summary {
    /// Reports whether nothing came of it, for a reason that is told.
    pub fn is_in_vain(&self) -> bool {
        let there = self.installed + self.updated + self.current + self.kept;
        there == 0 && !self.degradations.is_empty()
    }
}

const RUN: &str =
    "replaced after you ran them (your copies: ai-lab-entrypoint notebooks restore --kept)";

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            installed,
            updated,
            kept,
            current,
            ..
        } = self;
        write!(
            f,
            "notebooks: {installed} installed, {updated} updated, {kept} kept (changed by you), {current} current"
        )?;
        let more = [
            (self.run, RUN),
            (self.beside, "put beside"),
            (self.other_version, "left at another version"),
            (self.deleted, "deleted by you"),
            (self.in_the_way, "with something else in the way"),
        ];
        let mut more = more.iter().filter(|(count, _)| *count > 0);
        more.try_for_each(|(count, what)| write!(f, ", {count} {what}"))
    }
}
