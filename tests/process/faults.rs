//! A machine that tries to break a container's life: whatever fails, whoever is killed,
//! at whatever moment of start, run or stop, nothing of the user's is lost, the log and
//! the exit code tell the truth, and the next start is healthy.
//!
//! Each round chooses from a seed. `scripts/faults` runs it for as long as one likes.

mod calls;
mod clock;
mod deaf;
mod errors;
mod halves;
mod kills;
mod limits;
mod phases;
mod scene;
