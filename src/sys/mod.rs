//! The ground floor: the system calls that need `unsafe`, and the one escaper of text
//! that others may have written.

mod calls;
pub mod text;

pub use calls::*;
