//! The parts of a notebook (nbformat 4) that a person writes.
//!
//! Running and saving a notebook changes outputs, counters, identifiers, some metadata, the minor
//! version and the form of the JSON text, and Shift+Enter in the last cell adds an empty one. None
//! of that is part of [`Notebook`], so that two files whose [`Notebook`]s are equal differ only by
//! runs.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::notebook::metadata::{CellMetadata, NotebookMetadata};

/// The size limit of a notebook, in bytes.
pub const MAX_SIZE: usize = 64 << 20;

/// The limit on objects in a notebook. Each may take half a kilobyte of memory for ten bytes of the
/// file, and others may write a file for a start to compare.
const MAX_OBJECTS: usize = 100_000;

/// A notebook as far as a person writes it. Serialized it is one line of JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notebook {
    cells: Cells,
    /// The metadata of the whole notebook.
    #[serde(default, skip_serializing_if = "NotebookMetadata::is_empty")]
    pub metadata: NotebookMetadata,
}

/// The cells in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
struct Cells(Vec<Cell>);

/// A cell as far as a person writes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cell {
    /// `code`, `markdown` or `raw`.
    pub cell_type: String,
    /// The whole text.
    pub source: Text,
    /// The embedded files: content by MIME type, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attachments: BTreeMap<String, BTreeMap<String, Text>>,
    /// Its metadata.
    #[serde(default, skip_serializing_if = "CellMetadata::is_empty")]
    pub metadata: CellMetadata,
}

/// A text that a notebook stores as one string or as a list of its lines. Lines end with LF here: VS
/// Code writes that instead of CRLF.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Text(pub String);

/// Why the cells of a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum NotANotebook {
    /// It is longer than [`MAX_SIZE`].
    #[error("the notebook is longer than {} MiB", MAX_SIZE >> 20)]
    TooLong,
    /// It has more than [`MAX_OBJECTS`] objects.
    #[error("the notebook has more than {MAX_OBJECTS} JSON objects")]
    TooManyObjects,
    /// It is not JSON, or a part of it has the wrong type or is there twice.
    #[error("the file is not a notebook that Jupyter can open: {0}")]
    Json(#[from] serde_json::Error),
    /// It is not UTF-8.
    #[error("the file is not a notebook that Jupyter can open: {0}")]
    Encoding(#[from] std::str::Utf8Error),
    /// It has another format.
    #[error(
        "the notebook has format {0}, not 4: open and save it in JupyterLab, which converts it"
    )]
    Format(u64),
}

impl Notebook {
    /// Parses the bytes of an `.ipynb` file.
    ///
    /// # Errors
    /// The file is too long, or is no notebook of format 4.
    pub fn parse(notebook: &[u8]) -> Result<Self, NotANotebook> {
        #[derive(Deserialize)]
        struct File {
            nbformat: u64,
            cells: Option<Cells>,
            #[serde(default)]
            metadata: NotebookMetadata,
        }
        if notebook.len() > MAX_SIZE {
            return Err(NotANotebook::TooLong);
        }
        if count_objects(notebook) > MAX_OBJECTS {
            return Err(NotANotebook::TooManyObjects);
        }
        let file: File = serde_json::from_str(std::str::from_utf8(notebook)?)?;
        match (file.nbformat, file.cells) {
            (4, Some(cells)) => Ok(Self {
                cells,
                metadata: file.metadata,
            }),
            (4, None) => Err(serde_json::Error::missing_field("cells").into()),
            (other, _) => Err(NotANotebook::Format(other)),
        }
    }

    /// Returns the cells.
    pub fn cells(&self) -> &[Cell] {
        &self.cells.0
    }
}

/// Returns the number of objects. A brace in a string, such as the script of a plot, begins none.
fn count_objects(json: &[u8]) -> usize {
    let mut bytes = json.iter();
    let (mut count, mut in_string) = (0, false);
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => in_string = !in_string,
            // An escaped quotation mark ends no string.
            b'\\' => _ = bytes.next(),
            b'{' if !in_string => count += 1,
            _ => {}
        }
    }
    count
}

impl Cell {
    /// Reports whether this is a code cell without text, such as Shift+Enter adds at the end.
    fn is_empty(&self) -> bool {
        self.cell_type == "code"
            && self.source.0.is_empty()
            && self.attachments.is_empty()
            && self.metadata.is_empty()
    }

    /// Reports whether both have the same type, text and attachments.
    pub fn has_content_of(&self, other: &Self) -> bool {
        self.cell_type == other.cell_type
            && self.source == other.source
            && self.attachments == other.attachments
    }
}

impl<'de> Deserialize<'de> for Cells {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut cells = Vec::<Cell>::deserialize(deserializer)?;
        let end = cells.iter().rposition(|cell| !cell.is_empty());
        cells.truncate(end.map_or(0, |last| last + 1));
        Ok(Self(cells))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text: String = deserializer.deserialize_any(Lines)?;
        Ok(Self(match text.contains('\r') {
            true => text.replace("\r\n", "\n"),
            false => text,
        }))
    }
}

struct Lines;

impl<'de> Visitor<'de> for Lines {
    type Value = String;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string or a list of strings")
    }

    fn visit_str<E>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut lines: A) -> Result<String, A::Error> {
        let mut text = String::new();
        while let Some(line) = lines.next_element::<String>()? {
            text.push_str(&line);
        }
        Ok(text)
    }
}

#[cfg(test)]
#[path = "cells_tests.rs"]
mod tests;
