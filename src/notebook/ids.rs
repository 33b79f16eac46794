//! The identifiers of cells, which nbformat 4.5 requires and earlier versions do not allow.

use std::collections::HashSet;

use serde_json::{Map, Value};

const ID: &str = "id";

/// Gives each cell an identifier of its own, and keeps those that are there, of equal ones the
/// first.
pub(super) fn complete(cells: &mut [Map<String, Value>]) {
    let id = |cell: &Map<String, Value>| Some(cell.get(ID)?.as_str()?.to_owned());
    let mut taken: HashSet<String> = cells.iter().filter_map(id).collect();
    let mut seen = HashSet::new();
    let mut numbers = 1_u64..;
    for cell in cells {
        if id(cell).is_none_or(|id| !seen.insert(id)) {
            let mut new = numbers.by_ref().map(|number| format!("merged-{number}"));
            if let Some(new) = new.find(|new| taken.insert(new.clone())) {
                cell.insert(ID.into(), new.into());
            }
        }
    }
}

pub(super) fn remove(cells: &mut [Map<String, Value>]) {
    for cell in cells {
        cell.shift_remove(ID);
    }
}
