//! The metadata that a person sets in a notebook: tags, slide types, what nbgrader or papermill
//! reads. What programs write by themselves when they open, run or save one is left out.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::ser::{Error as _, SerializeMap};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

/// Keys of a cell that programs write: when it ran, which of its parts are shown, which language
/// an editor takes it for, which identifiers Colab gives it.
const OF_PROGRAMS_IN_CELLS: [&str; 18] = [
    "ExecuteTime",
    "cellView",
    "colab",
    "colab_type",
    "collapsed",
    "execution",
    "executionInfo",
    "heading_collapsed",
    "hidden",
    "id",
    "jp-MarkdownHeadingCollapsed",
    "jupyter",
    "outputId",
    "papermill",
    "pycharm",
    "scrolled",
    "trusted",
    "vscode",
];

/// Keys of a notebook that programs write: its kernel and where that runs, the state of widgets, how
/// a run went.
const OF_PROGRAMS_IN_NOTEBOOKS: [&str; 13] = [
    "accelerator",
    "colab",
    "gpuClass",
    "interpreter",
    "kernelspec",
    "language_info",
    "orig_nbformat",
    "orig_nbformat_minor",
    "papermill",
    "signature",
    "trusted",
    "vscode",
    "widgets",
];

/// The size limit of a value that is parsed, in bytes. Parsed numbers take forty times as much
/// memory. A longer value counts with its JSON text as it is.
const MAX_PARSED: usize = 64 << 10;

/// The metadata that a person set for a cell.
pub type CellMetadata = Metadata<true>;
/// The metadata that a person set for a whole notebook.
pub type NotebookMetadata = Metadata<false>;

/// The JSON text of each value by its key; equal values have equal texts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Metadata<const OF_CELL: bool>(BTreeMap<String, String>);

impl<const OF_CELL: bool> Metadata<OF_CELL> {
    /// Reports whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the keys with the JSON texts of their values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, text)| (&**key, &**text))
    }

    /// Merges what `new` changed since `old` into this. Where both changed a key, this one's value
    /// stays.
    pub fn merged(&self, old: &Self, new: &Self) -> Self {
        let mut merged = self.clone();
        for key in old.0.keys().chain(new.0.keys()) {
            let [old, mine, new] = [old, self, new].map(|all| all.0.get(key));
            if mine == old {
                merged.0.remove(key);
                merged.0.extend(new.map(|new| (key.clone(), new.clone())));
            }
        }
        merged
    }

    /// Changes the metadata of a document from `old` to this, and leaves the rest of it alone.
    /// `new` is the document's metadata from which the changed values come.
    pub fn write(&self, old: &Self, new: Option<&Value>, document: &mut Map<String, Value>) {
        for key in old.0.keys().filter(|key| !self.0.contains_key(*key)) {
            document.shift_remove(key);
        }
        let changed = |(key, text): &(&String, &String)| old.0.get(*key) != Some(*text);
        // As they are there, with the empty parts that do not count.
        for (key, _) in self.0.iter().filter(changed) {
            if let Some(value) = new.and_then(|new| new.get(key)) {
                document.insert(key.clone(), value.clone());
            }
        }
    }

    fn is_of_programs(key: &str) -> bool {
        match OF_CELL {
            true => OF_PROGRAMS_IN_CELLS.contains(&key),
            false => OF_PROGRAMS_IN_NOTEBOOKS.contains(&key),
        }
    }
}

/// Returns the JSON text of a value, the same for all that mean the same; `None` if it means
/// nothing.
fn text(key: &str, raw: &str) -> Option<String> {
    let short = raw.len() <= MAX_PARSED;
    match short.then(|| serde_json::from_str::<Value>(raw)) {
        // The panel of JupyterLab's cell tools writes what is effective without it.
        Some(Ok(Value::Bool(true))) if ["editable", "deletable"].contains(&key) => None,
        Some(Ok(value)) => {
            let value = plain(value);
            (!means_nothing(key, &value)).then(|| value.to_string())
        }
        // Line breaks are not allowed in JSON strings, so they are only space.
        _ => Some(raw.replace(['\n', '\r'], " ")),
    }
}

/// Returns a value with its keys in order and without those that mean nothing. The elements of a
/// list all stay: their places count.
fn plain(value: Value) -> Value {
    match value {
        Value::Array(all) => all.into_iter().map(plain).collect(),
        Value::Object(all) => {
            let all = all.into_iter().map(|(key, value)| (key, plain(value)));
            let all = all.filter(|(key, value)| !means_nothing(key, value));
            let all: BTreeMap<_, _> = all.collect();
            all.into_iter().collect()
        }
        Value::Number(number) => plain_number(number).into(),
        value => value,
    }
}

fn means_nothing(key: &str, value: &Value) -> bool {
    match value {
        Value::Null => true,
        // `-` is the slide type of an ordinary cell.
        Value::String(text) => text.is_empty() || key == "slide_type" && text == "-",
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Returns a number as a browser writes it: `1.0` as `1`, `0.50` as `0.5`.
fn plain_number(number: Number) -> Number {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match number.as_f64() {
        Some(value) if value.fract() == 0.0 && value.abs() < EXACT => (value as i64).into(),
        Some(value) if number.is_f64() => Number::from_f64(value).unwrap_or(number),
        _ => number,
    }
}

impl<const OF_CELL: bool> Serialize for Metadata<OF_CELL> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, text) in &self.0 {
            let value: &RawValue = serde_json::from_str(text).map_err(S::Error::custom)?;
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de, const OF_CELL: bool> Deserialize<'de> for Metadata<OF_CELL> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Values)
    }
}

struct Values<const OF_CELL: bool>;

impl<'de, const OF_CELL: bool> Visitor<'de> for Values<OF_CELL> {
    type Value = Metadata<OF_CELL>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut all: A) -> Result<Self::Value, A::Error> {
        let mut found = BTreeMap::new();
        while let Some(key) = all.next_key::<String>()? {
            if Metadata::<OF_CELL>::is_of_programs(&key) {
                all.next_value::<IgnoredAny>()?;
            } else {
                let value: &RawValue = all.next_value()?;
                found.extend(text(&key, value.get()).map(|text| (key, text)));
            }
        }
        Ok(Metadata(found))
    }
}

#[cfg(test)]
#[path = "metadata_tests.rs"]
mod tests;
