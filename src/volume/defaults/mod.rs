//! The image's notebook defaults in the volume, as the user: installed, updated, restored and
//! previewed. Knows nothing of owners.

mod apply;
mod aside;
mod atomic;
mod batch;
mod compare;
mod copy;
mod installed_cells;
mod kept;
pub mod manifest;
mod manifest_file;
pub mod merge;
mod merge_record;
pub mod news;
pub mod not_merged;
mod notebooks;
mod only_run;
pub mod open;
mod other_case;
mod outcome;
mod place;
pub mod plan;
pub mod preview;
mod recover;
mod rename;
pub mod restore;
pub mod restore_kept;
pub mod seal;
mod source;
mod store;
pub mod summary;
mod survey;
pub mod sync;
mod together;
