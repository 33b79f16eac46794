//! The ground floor: the system calls that need `unsafe`, the one escaper of text that
//! others may have written, and the paths that root alone decides about.

mod calls;
pub mod text;
pub mod trust;

pub use calls::*;
