//! The lowest layer: system calls that need `unsafe`, the only code that escapes untrusted text,
//! the checks of paths that root alone may control, the reading and writing of files with secrets,
//! and whether changes are made or previewed.

mod calls;
pub mod dir;
pub mod effects;
pub mod env;
pub mod private_file;
pub mod secret_file;
pub mod text;
pub mod trust;

pub use calls::*;
