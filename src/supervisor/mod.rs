//! PID 1: the event loop, signals, the reaper, the terminal, stop and restart. What the main
//! process is, and what its output means, is decided elsewhere.

pub mod attempt;
pub mod backoff;
mod event_loop;
pub mod interpreter;
pub mod lifecycle;
mod orphans;
pub mod processes;
pub mod reaper;
mod rt_queue;
pub mod signals;
pub mod spawn;
pub mod syscalls;
pub mod terminal;

pub use event_loop::{Main, Observer, run};
