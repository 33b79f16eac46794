//! The attempts to run a server: the usual one, and the rescue after an attempt that failed.

use std::sync::Arc;

use tokio::sync::watch;
use tracing::error;

use crate::supervisor::backoff::Backoff;
use crate::supervisor::lifecycle::Ended;
use crate::supervisor::spawn::{Program, SpawnError};

/// Prepares a usual attempt; the error says why it must not be made. Runs in a separate thread: it
/// may wait for a disk.
pub type Prepare = Arc<dyn Fn() -> Result<Program, String> + Send + Sync>;

/// A server, and how it is started again.
pub struct Server {
    /// The first attempt; later the last usual one.
    pub attempt: Attempt,
    /// The restart policy.
    pub backoff: Backoff,
    /// The preparation of every attempt but the first.
    pub prepare: Prepare,
}

/// The reason for a rescue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RescueReason {
    /// The server ended in this way.
    Ended(Ended),
    /// The server could not be prepared, for this reason.
    Unprepared(String),
    /// The server's program could not be started.
    NotStarted {
        /// Why.
        cause: String,
        /// The exit code for that.
        code: i32,
    },
}

impl RescueReason {
    /// Returns how the failed attempt counts as ended: its code is the container's if the rescue
    /// fails, too.
    pub fn ended(&self) -> Ended {
        match self {
            Self::Ended(ended) => *ended,
            Self::Unprepared(_) => Ended::Exit(1),
            Self::NotStarted { code, .. } => Ended::Exit(*code),
        }
    }
}

/// The next attempt.
#[derive(Debug, Clone)]
pub enum Attempt {
    /// The usual one, with this program.
    Usual(Program),
    /// None, unless there is a rescue: the preparation failed for this reason.
    Unprepared(String),
    /// The rescue, with this program.
    Rescue(Result<Program, SpawnError>),
    /// None: nobody could use a rescue.
    NoRescue,
}

/// The channel with the next attempt. It closes when that is prepared.
pub type Preparation = watch::Receiver<Attempt>;

/// The sending end of a [`Preparation`].
pub type PreparationSender = watch::Sender<Attempt>;

/// Prepares an attempt in a separate thread. If there is no thread, the channel keeps its first one.
pub fn prepare_in_thread(
    sender: PreparationSender,
    work: impl FnOnce() -> Attempt + Send + 'static,
) {
    let thread = std::thread::Builder::new().name("prepare".into());
    let started = thread.spawn(move || sender.send_replace(work()));
    if let Err(error) = started {
        error!("the next start of the server is not prepared: {error}");
    }
}
