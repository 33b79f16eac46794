//! Every message that a user can see, as it is: plain, as JSON, and in colour. Each is
//! provoked for real. `AI_LAB_WRITE_SNAPSHOTS=1 cargo nextest run --test snapshots`
//! writes the files in `tests/golden`; what changed there is to be read like a user.
#![allow(clippy::unwrap_used)]

#[path = "snapshots/accounts.rs"]
mod accounts;
#[path = "snapshots/asked.rs"]
mod asked;
#[path = "snapshots/complete.rs"]
mod complete;
#[path = "snapshots/degraded.rs"]
mod degraded;
#[path = "snapshots/faulty.rs"]
mod faulty;
#[path = "snapshots/golden.rs"]
mod golden;
#[path = "snapshots/programs.rs"]
mod programs;
#[path = "snapshots/seals.rs"]
mod seals;
#[path = "snapshots/serving.rs"]
mod serving;
#[path = "snapshots/settings.rs"]
mod settings;
mod support;
#[path = "support/tracer.rs"]
mod tracer;
#[path = "snapshots/trouble.rs"]
mod trouble;
#[path = "support/typist.rs"]
mod typist;
#[path = "snapshots/verbs.rs"]
mod verbs;
#[path = "snapshots/volume.rs"]
mod volume;
