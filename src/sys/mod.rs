//! The lowest layer: system calls that need `unsafe`, the only code that escapes untrusted text,
//! and the checks of paths that root alone may control.

mod calls;
pub mod dir;
pub mod env;
pub mod text;
pub mod trust;

pub use calls::*;
