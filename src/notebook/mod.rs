//! Jupyter notebooks as values: what counts in one. Opens no files and knows nothing of volumes.

pub mod cells;

pub use cells::{Cells, NotANotebook};
