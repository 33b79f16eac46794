//! A machine that tries to break a container's life: whatever fails, whoever is killed,
//! at whatever moment of start, run or stop, nothing of the user's is lost, the log and
//! the exit code tell the truth, and the next start is healthy.
//!
//! Each round chooses from a seed. `scripts/faults` runs it for as long as one likes.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/lab.rs"]
mod lab;
mod support;
#[path = "support/tmpfs.rs"]
mod tmpfs;
#[path = "support/tracees.rs"]
mod tracees;
#[path = "support/tracer.rs"]
mod tracer;

#[path = "faults/calls.rs"]
mod calls;
#[path = "faults/chance.rs"]
mod chance;
#[path = "faults/clock.rs"]
mod clock;
#[path = "faults/deaf.rs"]
mod deaf;
#[path = "faults/errors.rs"]
mod errors;
#[path = "faults/halves.rs"]
mod halves;
#[path = "faults/kills.rs"]
mod kills;
#[path = "faults/limits.rs"]
mod limits;
#[path = "faults/phases.rs"]
mod phases;
#[path = "faults/record.rs"]
mod record;
#[path = "faults/scene.rs"]
mod scene;
