//! The changes that a merge makes to the person's notebook: their numbers, and the text about them.

use std::fmt;

/// The heading of the note about a conflict, by which a person finds it.
pub(super) const CONFLICT: &str = "Merge conflict";

/// The numbers of cells that a merge changed in the person's notebook.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Cells that got the newer text: the person had not changed them.
    pub updated: usize,
    /// Cells that have the changed lines of both versions.
    pub combined: usize,
    /// Cells of the newer version that were added.
    pub added: usize,
    /// Cells that were deleted: the newer version does not have them, and the person had not changed them.
    pub removed: usize,
    /// Cells that stay as the person left them, with a note below.
    pub conflicts: usize,
    /// True if metadata of the whole notebook changed.
    pub metadata: bool,
    /// Cells that the newer version changed and that stay away: the person deleted or replaced them.
    pub left_out: usize,
}

impl Changes {
    /// Reports whether the notebook stays as it is.
    pub fn is_none(&self) -> bool {
        let left_out = self.left_out;
        *self
            == Self {
                left_out,
                ..Self::default()
            }
    }
}

/// A number of things, in words.
struct Count(usize, &'static str);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(count, what) = self;
        let plural = if *count == 1 { "" } else { "s" };
        write!(f, "{count} {what}{plural}")
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (self.updated, "updated"),
            (self.combined, "with your lines and the new ones"),
            (self.added, "new"),
            (self.removed, "removed"),
        ];
        let mut parts: Vec<String> = parts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{} {what}", Count(*count, "cell")))
            .collect();
        if self.metadata {
            parts.push("metadata of the notebook updated".to_owned());
        }
        if self.conflicts > 0 {
            let count = Count(self.conflicts, "conflict");
            parts.push(format!(
                "{count} (search for \"{CONFLICT}\" in the notebook)"
            ));
        }
        if self.left_out > 0 {
            let count = Count(self.left_out, "cell");
            parts.push(format!(
                "{count} left out (changed in the newer version, deleted or replaced by you: see \
                 `notebooks diff`)"
            ));
        }
        match parts.is_empty() {
            true => f.write_str("no cell changed"),
            false => f.write_str(&parts.join(", ")),
        }
    }
}
