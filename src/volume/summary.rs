//! What bringing in the defaults came to: the start's summary line and what it tells.

use std::fmt;

use crate::degradation::Degradation;

/// What [`bring_in`](super::bring_in) did; displayed, it is the start's summary line. Directories are
/// not counted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// Put where nothing was.
    pub installed: u64,
    /// Replaced by a newer one.
    pub updated: u64,
    /// Left because a person changed or wrote them.
    pub kept: u64,
    /// The image's already.
    pub current: u64,
    /// New ones put next to changed ones; these also count as kept.
    pub beside: u64,
    /// Left at another image's version (older image, `never`).
    pub left: u64,
    /// Deleted by the user and left away.
    pub deleted: u64,
    /// Something else is in the way.
    pub in_the_way: u64,
    /// What was not possible.
    pub degradations: Vec<Degradation>,
    /// One line for each file that a person may want to know about.
    pub reported: Vec<String>,
}

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
            (self.beside, "put beside"),
            (self.left, "left at another version"),
            (self.deleted, "deleted by you"),
            (self.in_the_way, "with something else in the way"),
        ];
        let mut more = more.iter().filter(|(count, _)| *count > 0);
        more.try_for_each(|(count, what)| write!(f, ", {count} {what}"))
    }
}
