//! The lowest layer: system calls that need `unsafe`, the only code that escapes untrusted text,
//! the checks of paths that root alone may control, the reading of files with secrets, the writing
//! of files that are whole or not there, the reading of the kernel's files, and whether changes are
//! made or previewed.

mod calls;
pub mod dir;
pub mod effects;
pub mod env;
pub mod flock;
pub mod kernel_file;
pub mod proc;
pub mod regular_file;
pub mod text;
pub mod trust;
pub mod whole_file;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use calls::*;
use tokio::sync::oneshot;

/// The question behind EAGAIN: a limit keeps the kernel from making a process or thread.
pub const NO_PROCESS: &str = "is --pids-limit too low, or --ulimit nproc, which counts the processes \
                              of this uid on the whole machine?";

/// Locks a mutex. A panic in any thread ends the process, so a lock that is poisoned does not
/// matter.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does work that may wait for a disk in a thread of its own. The channel closes without an answer
/// if there is no thread.
pub fn in_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> oneshot::Receiver<T> {
    let (sender, answer) = oneshot::channel();
    let thread = std::thread::Builder::new().name(name.into());
    let _ = thread.spawn(move || sender.send(work()));
    answer
}
