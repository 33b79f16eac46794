//! Jupyter notebooks as values: what counts in one, and the merge of two changed ones. Opens no
//! files and knows nothing of volumes.

mod align;
pub mod cells;
pub mod changes;
mod ids;
pub mod merge;
pub mod metadata;

pub use cells::{NotANotebook, Notebook};
