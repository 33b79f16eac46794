//! Two pieces of work at the same time, where both are long.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::thread;

/// Does both, at the same time if there are two processors and a thread can be had.
pub(super) fn together<A: Send, B>(
    theirs: impl Fn() -> A + Sync,
    ours: impl FnOnce() -> B,
) -> (A, B) {
    if thread::available_parallelism().map_or(1, NonZero::get) == 1 {
        return (theirs(), ours());
    }
    thread::scope(|scope| {
        let thread = thread::Builder::new().spawn_scoped(scope, &theirs);
        let ours = ours();
        let theirs = match thread {
            Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(_) => theirs(),
        };
        (theirs, ours)
    })
}
