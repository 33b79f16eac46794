//! The lowest layer: system calls that need `unsafe`, the only code that escapes untrusted text,
//! the checks of paths that root alone may control, the reading and writing of files with secrets,
//! the reading of the kernel's files, and whether changes are made or previewed.

mod calls;
pub mod dir;
pub mod effects;
pub mod env;
pub mod kernel_file;
pub mod private_file;
pub mod proc;
pub mod regular_file;
pub mod text;
pub mod trust;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use calls::*;

/// Locks a mutex. A panic in any thread ends the process, so a lock that is poisoned does not
/// matter.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
