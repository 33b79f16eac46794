//! Every message that a user can see, as it is: plain, as JSON, and in colour. Each is
//! provoked for real. `AI_LAB_WRITE_SNAPSHOTS=1 cargo nextest run snapshots::`
//! writes the files in `tests/golden`; what changed there is to be read like a user.

mod accounts;
mod asked;
mod certificates;
mod complete;
mod degraded;
mod faulty;
mod golden;
mod programs;
mod rescue;
mod rights;
mod seals;
mod serving;
mod settings;
mod trouble;
mod verbs;
mod volume;
