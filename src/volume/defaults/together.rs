//! Runs two long pieces of work at the same time.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;

use crate::volume::defaults::copy::STOP_POLL;
use crate::volume::threads::threads;

/// Runs both, at the same time if there are two processors and a thread can be started. A
/// thread that runs `theirs` learns of a stop only after `ours` has returned.
pub(super) fn run_both<A: Send, B>(
    theirs: impl Fn(&dyn Fn() -> bool) -> A + Sync,
    ours: impl FnOnce() -> B,
    stop: &dyn Fn() -> bool,
) -> (A, B) {
    if threads() == 0 {
        return (theirs(stop), ours());
    }
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let (working, done) = mpsc::channel::<()>();
        let (theirs, over) = (&theirs, &over);
        let thread = thread::Builder::new().spawn_scoped(scope, move || {
            let _working = working;
            theirs(&|| over.load(Ordering::Relaxed))
        });
        let ours = ours();
        let Ok(thread) = thread else {
            return (theirs(stop), ours);
        };
        while done.recv_timeout(STOP_POLL) == Err(RecvTimeoutError::Timeout) {
            over.fetch_or(stop(), Ordering::Relaxed);
        }
        let theirs = thread.join().unwrap_or_else(|panic| resume_unwind(panic));
        (theirs, ours)
    })
}
