//! Why a hook ends the start.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::settings::own_variables::HOOK_FILE_ENV;
use crate::supervisor::spawn::SpawnError;
use crate::sys::CallError;

/// The time limit for killed processes to disappear. A process in uninterruptible sleep, or one
/// that root without CAP_KILL may not kill, must not block the start for ever.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Why a hook ends the start.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// Another user than root could have written a program that would run as root.
    #[error("{} is not run as root: {problem}", path.display())]
    Untrusted {
        /// The hook.
        path: PathBuf,
        /// The path that another user can write, and that user.
        problem: String,
    },
    /// The hook directory cannot be listed.
    #[error("the hooks in {} cannot be listed: {source}", directory.display())]
    Unlisted {
        /// The directory.
        directory: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The hook could not be started.
    #[error("the hook {} could not be started", path.display())]
    NotStarted {
        /// The hook.
        path: PathBuf,
        /// The cause.
        source: SpawnError,
    },
    /// The hook failed.
    #[error("the hook {} failed with {how}; its output is above", path.display())]
    Failed {
        /// The hook.
        path: PathBuf,
        /// The exit code or the signal, as text: `exit code 3`, `signal 9`.
        how: String,
    },
    /// The hook took longer than the limit, and was killed.
    #[error("the hook {} took longer than {} s and was killed; --hook-timeout gives it more", path.display(), limit.as_secs_f32())]
    TooLong {
        /// The hook.
        path: PathBuf,
        /// The limit, set with `--hook-timeout`.
        limit: Duration,
    },
    /// The hook wrote an invalid line for the environment.
    #[error("the hook {} wrote line {line} of ${HOOK_FILE_ENV}, which {problem}", path.display())]
    Environment {
        /// The hook.
        path: PathBuf,
        /// The number of the line, counted from 1.
        line: usize,
        /// The problem with the line.
        problem: &'static str,
    },
    /// The file for the environment cannot be made or read, or the hook has no output pipes.
    #[error("the hook {} could not be supervised: {source}", path.display())]
    System {
        /// The hook.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Processes that root hooks left running cannot be killed and would stay root.
    #[error(
        "processes that the root hooks left running could not be killed in {} s: let the hooks \
         wait for what they start, or run with --cap-add KILL",
        PATIENCE.as_secs()
    )]
    LeftRunning,
    /// Orphans of root hooks would not become children of this process, and would stay root.
    #[error(
        "the root hooks are not run, because processes that they leave running would stay root: {0}"
    )]
    Orphans(CallError),
    /// A signal asked to stop. The start logs it.
    #[error("stopped")]
    Stopped,
}
