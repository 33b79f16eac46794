//! Locks that last until the end of this process. They tell other processes, also of containers that
//! share the file system, that a file or directory is used.

use std::fs::File;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

/// Takes an open file or directory for this process; false: another one has taken it.
pub fn take(file: File) -> bool {
    let is_free = !is_taken(&file);
    if is_free {
        // Dropped, it would be unlocked.
        std::mem::forget(file);
    }
    is_free
}

/// Reports whether another process has taken an open file or directory.
pub fn is_taken(file: &File) -> bool {
    // Some file systems have no locks.
    rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK)
}
