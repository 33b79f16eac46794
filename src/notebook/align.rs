//! Finds the cells of an older version again in a newer one.

use similar::{Algorithm, DiffOp, TextDiff, capture_diff_slices};

use crate::notebook::cells::Cell;

/// From this share of equal words on, two cells are versions of one cell.
const ALIKE: f32 = 0.6;

/// Returns for each cell of `old` the index of its version in `new`, in ascending order. `None`:
/// it was deleted.
pub(super) fn versions(old: &[Cell], new: &[Cell]) -> Vec<Option<usize>> {
    let mut found = vec![None; old.len()];
    for part in capture_diff_slices(Algorithm::Myers, old, new) {
        let (from, to) = (part.old_range(), part.new_range());
        match part {
            DiffOp::Equal { .. } => {
                for (old, new) in from.zip(to) {
                    found[old] = Some(new);
                }
            }
            DiffOp::Replace { .. } => {
                let start = from.start;
                let pairs = changed(&old[from], &new[to.clone()]);
                for (offset, new) in pairs.into_iter().enumerate() {
                    found[start + offset] = new.map(|new| to.start + new);
                }
            }
            DiffOp::Delete { .. } | DiffOp::Insert { .. } => {}
        }
    }
    found
}

/// Does the same where all cells differ. As many cells as before are the same cells.
fn changed(old: &[Cell], new: &[Cell]) -> Vec<Option<usize>> {
    let same_count = old.len() == new.len();
    let mut next = 0;
    let version = |(place, old): (usize, &Cell)| {
        let is_version = |at: &usize| {
            let new = &new[*at];
            let same_place = same_count && place == *at;
            old.cell_type == new.cell_type && (same_place || is_alike(old, new))
        };
        let at = (next..new.len()).find(is_version)?;
        next = at + 1;
        Some(at)
    };
    old.iter().enumerate().map(version).collect()
}

fn is_alike(old: &Cell, new: &Cell) -> bool {
    TextDiff::from_words(&old.source.0, &new.source.0).ratio() >= ALIKE
}

/// Adds the cells of `old` that are elsewhere in `new`, unchanged, to the versions of
/// [`versions`].
pub(super) fn add_moved(found: &mut [Option<usize>], old: &[Cell], new: &[Cell]) {
    let mut free = vec![true; new.len()];
    found.iter().flatten().for_each(|at| free[*at] = false);
    for (old, found) in old.iter().zip(found).filter(|(_, found)| found.is_none()) {
        *found = (0..new.len()).find(|at| free[*at] && new[*at] == *old);
        found.iter().for_each(|at| free[*at] = false);
    }
}
