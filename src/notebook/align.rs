//! Finds the cells of an older version again in a newer one.

use std::collections::HashMap;
use std::ops::Range;

use diffy::{DiffOptions, Line};

use crate::notebook::cells::Cell;

/// From this share of equal pairs of characters on, two cells are versions of one cell.
const ALIKE: f64 = 0.6;
/// The most bytes of text that are compared, which takes some seconds. Cells that were not compared
/// are different ones: nothing of a person is lost by that.
const MAX_COMPARED: usize = 8 << 20;

/// Returns for each cell of `old` the index of its version in `new`, in ascending order. `None`:
/// it was deleted.
pub(super) fn versions(old: &[Cell], new: &[Cell]) -> Vec<Option<usize>> {
    let mut found = vec![None; old.len()];
    let (mut from, mut to) = (0..0, 0..0);
    let mut numbers = HashMap::new();
    let [old_lines, new_lines] = [old, new].map(|cells| lines(cells, &mut numbers));
    // With all cells as its context, it is one hunk that has each cell of both.
    let mut whole = DiffOptions::new();
    let patch = whole
        .set_context_len(old.len() + new.len())
        .create_patch(&old_lines, &new_lines);
    for line in patch.hunks().iter().flat_map(|hunk| hunk.lines()) {
        match line {
            Line::Delete(_) => from.end += 1,
            Line::Insert(_) => to.end += 1,
            Line::Context(_) => {
                add_changed(&mut found, (old, &from), (new, &to));
                found[from.end] = Some(to.end);
                (from, to) = (from.end + 1..from.end + 1, to.end + 1..to.end + 1);
            }
        }
    }
    if patch.hunks().is_empty() {
        return (0..old.len()).map(Some).collect();
    }
    add_changed(&mut found, (old, &from), (new, &to));
    found
}

/// Returns the number of each cell on a line of its own: equal cells have the same one.
fn lines<'a>(cells: &'a [Cell], numbers: &mut HashMap<&'a Cell, usize>) -> String {
    let mut line = |cell| {
        let next = numbers.len();
        format!("{}\n", numbers.entry(cell).or_insert(next))
    };
    cells.iter().map(&mut line).collect()
}

/// Adds the versions of cells in ranges without a cell in common.
fn add_changed(
    found: &mut [Option<usize>],
    (old, from): (&[Cell], &Range<usize>),
    (new, to): (&[Cell], &Range<usize>),
) {
    let pairs = changed(&old[from.clone()], &new[to.clone()]);
    for (offset, version) in pairs.into_iter().enumerate() {
        found[from.start + offset] = version.map(|at| to.start + at);
    }
}

/// Does the same where all cells differ. As many cells as before are the same cells.
fn changed(old: &[Cell], new: &[Cell]) -> Vec<Option<usize>> {
    let same_count = old.len() == new.len();
    let mut next = 0;
    let mut budget = MAX_COMPARED;
    let version = |(place, old): (usize, &Cell)| {
        let is_version = |at: &usize| {
            let new = &new[*at];
            let same_place = same_count && place == *at;
            old.cell_type == new.cell_type && (same_place || is_alike(old, new, &mut budget))
        };
        let at = (next..new.len()).find(is_version)?;
        next = at + 1;
        Some(at)
    };
    old.iter().enumerate().map(version).collect()
}

fn is_alike(old: &Cell, new: &Cell, budget: &mut usize) -> bool {
    let (old, new) = (&old.source.0, &new.source.0);
    let left = budget.checked_sub(old.len() + new.len());
    *budget = left.unwrap_or(*budget);
    left.is_some() && strsim::sorensen_dice(old, new) >= ALIKE
}

/// Adds the versions that are elsewhere in `new` to those of [`versions`]. `is_version` gets a cell
/// of `old` with its index, and a cell of `new`.
pub(super) fn add_elsewhere(
    found: &mut [Option<usize>],
    old: &[Cell],
    new: &[Cell],
    is_version: impl Fn(usize, &Cell, &Cell) -> bool,
) {
    let mut free = vec![true; new.len()];
    found.iter().flatten().for_each(|at| free[*at] = false);
    let missing = old.iter().zip(found).enumerate();
    for (at, (old, found)) in missing.filter(|(_, (_, found))| found.is_none()) {
        *found = (0..new.len()).find(|new_at| free[*new_at] && is_version(at, old, &new[*new_at]));
        found.iter().for_each(|at| free[*at] = false);
    }
}
