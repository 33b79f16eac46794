//! The three-way merge of notebooks, cell by cell.
//!
//! The result is the person's notebook, in which each cell that only the newer version changed is
//! brought up to date. A cell that both changed is merged line by line. Where that is a conflict,
//! the person's cell stays, and two cells follow that do not run: a note, and the newer text.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::notebook::cells::{Cell, NotANotebook, Notebook, Text};
use crate::notebook::changes::{CONFLICT, Changes};
use crate::notebook::metadata::CellMetadata;
use crate::notebook::{align, ids};

/// The text of the note.
const NOTE: &str = "\
You changed the cell above, and the newer version of this notebook changed it, too. Yours is as \
it was. The cell below has the newer text and does not run.

Copy what you need from it into your cell, then delete this cell and the one below (`Esc`, then \
`D` twice).";
/// The tag of the note, by which the next merge finds it.
const CONFLICT_TAG: &str = "ai-lab-conflict";

/// The first minor version of nbformat whose cells have identifiers.
const WITH_IDS: u64 = 5;
/// The minor version that JupyterLab gives to older notebooks.
const MIN_MINOR: u64 = 4;

/// Why two notebooks cannot be merged.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// The person's file is no notebook.
    #[error(transparent)]
    Mine(NotANotebook),
    /// The newer version is no notebook.
    #[error("the image's version cannot be read: {0}")]
    New(NotANotebook),
    /// The person has not resolved the conflicts of an earlier merge.
    #[error(
        "it has open conflicts of an earlier merge ({0}): search for \"{CONFLICT}\" in it, resolve \
         each, delete its two cells and save the notebook"
    )]
    OpenConflicts(usize),
}

/// The merged notebook.
#[derive(Debug)]
pub struct Merged {
    /// The text of the `.ipynb` file; the person's if no cell changed.
    pub notebook: Vec<u8>,
    /// The changes.
    pub changes: Changes,
}

/// A notebook with its whole JSON.
struct Document {
    counted: Notebook,
    /// All cells, more than `counted` by the empty ones at the end.
    cells: Vec<Map<String, Value>>,
    rest: Map<String, Value>,
}

impl Document {
    fn parse(notebook: &[u8]) -> Result<Self, NotANotebook> {
        let counted = Notebook::parse(notebook)?;
        let mut rest: Map<String, Value> = serde_json::from_slice(notebook)?;
        let cells = rest.get_mut("cells").map(Value::take).unwrap_or_default();
        let cells = serde_json::from_value(cells)?;
        Ok(Self {
            counted,
            cells,
            rest,
        })
    }

    /// Merges what `new` changed in the metadata of the whole notebook. Returns true if there was
    /// something.
    fn merge_metadata(&mut self, base: &Notebook, new: &Self) -> bool {
        let mine = &self.counted.metadata;
        let merged = mine.merged(&base.metadata, &new.counted.metadata);
        let changed = merged != *mine;
        if changed && let Some(metadata) = metadata_of(&mut self.rest) {
            merged.write(mine, new.rest.get("metadata"), metadata);
        }
        changed
    }

    fn open_conflicts(&self) -> usize {
        let tags =
            |cell: &Map<String, Value>| cell.get("metadata")?.get("tags")?.as_array().cloned();
        let is_note = |cell: &&Map<String, Value>| {
            let tagged = tags(cell).is_some_and(|tags| tags.contains(&CONFLICT_TAG.into()));
            tagged && cell.get("cell_type") == Some(&"markdown".into())
        };
        self.cells.iter().filter(is_note).count()
    }

    /// Returns the text of the file in Jupyter's form.
    fn render(mut self) -> Result<Vec<u8>, NotANotebook> {
        let minor = self.rest.get("nbformat_minor").and_then(Value::as_u64);
        let minor = minor.unwrap_or(0).max(MIN_MINOR);
        self.rest.insert("nbformat_minor".into(), minor.into());
        match minor < WITH_IDS {
            true => ids::remove(&mut self.cells),
            false => ids::complete(&mut self.cells),
        }
        let cells = self.cells.into_iter().map(Value::Object);
        self.rest.insert("cells".into(), cells.collect());
        let mut text = Vec::new();
        let form = serde_json::ser::PrettyFormatter::with_indent(b" ");
        let mut writer = serde_json::Serializer::with_formatter(&mut text, form);
        serde::Serialize::serialize(&self.rest, &mut writer)?;
        text.push(b'\n');
        Ok(text)
    }
}

/// Merges what `new` changed since `base` into `mine`.
///
/// # Errors
/// One of them is no notebook, or `mine` has conflicts that are not resolved.
pub fn merge(base: &Notebook, mine: &[u8], new: &[u8]) -> Result<Merged, MergeError> {
    let mut document = Document::parse(mine).map_err(MergeError::Mine)?;
    let new = Document::parse(new).map_err(MergeError::New)?;
    let open = document.open_conflicts();
    if open > 0 {
        return Err(MergeError::OpenConflicts(open));
    }
    let merging = Merging::new(base.cells(), &document, &new);
    let (cells, mut changes) = merging.run();
    changes.metadata = document.merge_metadata(base, &new);
    let notebook = match changes.is_none() {
        true => mine.to_vec(),
        false => {
            document.cells = cells;
            document.render().map_err(MergeError::Mine)?
        }
    };
    Ok(Merged { notebook, changes })
}

/// A merge at work.
struct Merging<'a> {
    base: &'a [Cell],
    mine: &'a Document,
    new: &'a Document,
    /// The new version's index of each cell of `base`.
    in_new: Vec<Option<usize>>,
    /// The index in `base` of each cell of mine.
    of_mine: Vec<Option<usize>>,
    /// For each cell of mine, whether the new version added the same one.
    added_by_both: Vec<bool>,
    /// The indices of the new version's added cells, by the cell of mine that they follow.
    additions: BTreeMap<Option<usize>, Vec<usize>>,
    cells: Vec<Map<String, Value>>,
    changes: Changes,
}

impl<'a> Merging<'a> {
    fn new(base: &'a [Cell], mine: &'a Document, new: &'a Document) -> Self {
        let (yours, theirs) = (mine.counted.cells(), new.counted.cells());
        let mut in_mine = align::versions(base, yours);
        let in_new = align::versions(base, theirs);
        align::add_elsewhere(&mut in_mine, base, yours, |_, old, mine| old == mine);
        // A cell that the person made one of another type, as one switches it off.
        align::add_elsewhere(&mut in_mine, base, yours, |at, old, mine| {
            in_new[at].is_some() && old.source == mine.source && !old.source.0.is_empty()
        });
        let of_mine = inverse(&in_mine, yours.len());
        let stays = |at: usize| of_mine[at].is_some_and(|old| in_new[old].is_some());
        let mut added_by_both = vec![false; yours.len()];
        let mut additions: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        let mut before: Option<usize> = None;
        for (at, of_new) in inverse(&in_new, theirs.len()).into_iter().enumerate() {
            if let Some(old) = of_new {
                before = in_mine[old].or(before);
                continue;
            }
            let first = before.map_or(0, |before| before + 1);
            let mut gap = (first..yours.len()).take_while(|at| !stays(*at));
            let is_same =
                |own: &usize| of_mine[*own].is_none() && yours[*own].has_content_of(&theirs[at]);
            match gap.find(is_same) {
                Some(own) => {
                    added_by_both[own] = true;
                    before = Some(own);
                }
                None => additions.entry(before).or_default().push(at),
            }
        }
        let is_left_out = |at: &usize| {
            let new = in_new[*at].map(|new| &theirs[new]);
            in_mine[*at].is_none() && new.is_some_and(|new| !new.has_content_of(&base[*at]))
        };
        let changes = Changes {
            left_out: (0..base.len()).filter(is_left_out).count(),
            ..Changes::default()
        };
        Self {
            base,
            mine,
            new,
            in_new,
            of_mine,
            added_by_both,
            additions,
            cells: Vec::new(),
            changes,
        }
    }

    /// Returns the merged cells. At the same place, the person's own cells come before added ones.
    fn run(mut self) -> (Vec<Map<String, Value>>, Changes) {
        let mine = self.mine;
        let mut before = None;
        for (at, old) in std::mem::take(&mut self.of_mine).into_iter().enumerate() {
            if old.is_some() || self.added_by_both[at] {
                self.add_after(before);
                before = Some(at);
            }
            match old {
                None => self.cells.push(mine.cells[at].clone()),
                Some(old) => self.merge_cell(&self.base[old], at, self.in_new[old]),
            }
        }
        self.add_after(before);
        let empty = mine.cells.get(mine.counted.cells().len()..);
        self.cells.extend_from_slice(empty.unwrap_or_default());
        (self.cells, self.changes)
    }

    fn add_after(&mut self, before: Option<usize>) {
        for at in self.additions.remove(&before).unwrap_or_default() {
            self.cells.push(self.new.cells[at].clone());
            self.changes.added += 1;
        }
    }

    /// Merges a cell of mine whose older version is `old`.
    fn merge_cell(&mut self, old: &Cell, at: usize, new: Option<usize>) {
        let mut cell = self.mine.cells[at].clone();
        let mine = &self.mine.counted.cells()[at];
        let Some(new_at) = new else {
            match mine == old {
                true => self.changes.removed += 1,
                false => self.cells.push(cell),
            }
            return;
        };
        let new = &self.new.counted.cells()[new_at];
        let merged = merged(old, mine, new);
        match &merged {
            Some(merged) if merged == mine => {}
            Some(merged) => {
                write(&mut cell, mine, merged, &self.new.cells[new_at]);
                match merged.has_content_of(new) {
                    true => self.changes.updated += 1,
                    false => self.changes.combined += 1,
                }
            }
            None => self.changes.conflicts += 1,
        }
        self.cells.push(cell);
        if merged.is_none() {
            self.cells.extend(conflict(new));
        }
    }
}

/// Returns for each of `count` cells of a version the index of its older one, of which `found` has
/// the versions.
fn inverse(found: &[Option<usize>], count: usize) -> Vec<Option<usize>> {
    let mut all = vec![None; count];
    for (old, new) in found.iter().enumerate() {
        new.iter().for_each(|new| all[*new] = Some(old));
    }
    all
}

/// Returns the merge of a cell that both may have changed; `None`: a conflict.
fn merged(old: &Cell, mine: &Cell, new: &Cell) -> Option<Cell> {
    let (old_text, my_text, new_text) = (&old.source, &mine.source, &new.source);
    let source = one_of(old_text, my_text, new_text).cloned();
    Some(Cell {
        cell_type: mine.cell_type.clone(),
        source: source.or_else(|| merged_lines(old_text, my_text, new_text))?,
        attachments: one_of(&old.attachments, &mine.attachments, &new.attachments)?.clone(),
        metadata: mine.metadata.merged(&old.metadata, &new.metadata),
    })
}

/// Returns the version that is changed; `None`: both are, and differ.
fn one_of<'a, T: PartialEq>(old: &T, mine: &'a T, new: &'a T) -> Option<&'a T> {
    match (mine == old, new == old) {
        (_, true) => Some(mine),
        (true, false) => Some(new),
        (false, false) => (mine == new).then_some(mine),
    }
}

fn merged_lines(old: &Text, mine: &Text, new: &Text) -> Option<Text> {
    // A line that follows changes the last line otherwise.
    let [old, mine, new] = [old, mine, new].map(|text| format!("{}\n", text.0));
    let mut text = diffy::merge(&old, &mine, &new).ok()?;
    text.pop();
    Some(Text(text))
}

/// Changes the cell of a document from `old` to `merged`. `new` is the newer version's.
fn write(cell: &mut Map<String, Value>, old: &Cell, merged: &Cell, new: &Map<String, Value>) {
    if let Some(metadata) = metadata_of(cell) {
        let (old, merged) = (&old.metadata, &merged.metadata);
        merged.write(old, new.get("metadata"), metadata);
    }
    if !merged.has_content_of(old) {
        write_content(cell, merged);
    }
}

/// Returns the metadata of a document, or of one of its cells.
fn metadata_of(document: &mut Map<String, Value>) -> Option<&mut Map<String, Value>> {
    let metadata = document.entry("metadata").or_insert_with(|| json!({}));
    metadata.as_object_mut()
}

/// Gives the cell of a document this content, without the outputs of its former one.
fn write_content(cell: &mut Map<String, Value>, content: &Cell) {
    let lines: Value = content.source.0.split_inclusive('\n').collect();
    cell.insert("source".into(), lines);
    match content.attachments.is_empty() {
        true => drop(cell.shift_remove("attachments")),
        false => drop(cell.insert("attachments".into(), json!(content.attachments))),
    }
    if content.cell_type == "code" {
        cell.insert("outputs".into(), json!([]));
        cell.insert("execution_count".into(), Value::Null);
    }
}

/// Returns the note about a conflict, and the newer version of the cell as one that does not run.
fn conflict(new: &Cell) -> [Map<String, Value>; 2] {
    let cell = |cell_type: &str, source: &Text, attachments| {
        let content = Cell {
            cell_type: cell_type.to_owned(),
            source: source.clone(),
            attachments,
            metadata: CellMetadata::default(),
        };
        let mut cell = Map::new();
        cell.insert("cell_type".into(), cell_type.into());
        cell.insert("metadata".into(), json!({}));
        write_content(&mut cell, &content);
        cell
    };
    let note = Text(format!("#### {CONFLICT}\n\n{NOTE}"));
    let mut note = cell("markdown", &note, BTreeMap::new());
    note.insert("metadata".into(), json!({"tags": [CONFLICT_TAG]}));
    [note, cell("raw", &new.source, new.attachments.clone())]
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
