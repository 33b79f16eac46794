//! The number of threads that share the work on a volume.

use std::num::NonZero;
use std::thread;

/// The most threads; more only wait for the same disk and the same kernel locks.
const MOST_THREADS: usize = 4;

/// Returns the number of threads that share work; 0 on one processor, where they only take turns.
pub(super) fn threads() -> usize {
    match thread::available_parallelism().map_or(1, NonZero::get) {
        1 => 0,
        processors => processors.min(MOST_THREADS),
    }
}
