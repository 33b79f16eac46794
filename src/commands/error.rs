//! Why a verb fails.

use std::path::PathBuf;

use crate::boot::failure::causes;
use crate::identity::DropError;
use crate::password::PasswordError;
use crate::settings::{SettingError, SettingsError};
use crate::state::StateError;
use crate::volume::VolumeError;

/// Why a verb fails.
#[derive(Debug, thiserror::Error)]
pub enum VerbError {
    /// No supervisor runs here.
    #[error(
        "no ai-lab-entrypoint runs here: this verb asks a running one, so use it in its \
             container, such as `docker exec CONTAINER ai-lab-entrypoint status`"
    )]
    NoSupervisor,
    /// The verb is started as root and cannot become the user that it should run as.
    #[error("cannot become uid {uid}, the supervisor's user: {source}")]
    Drop {
        /// The uid of that user.
        uid: u32,
        /// The cause.
        source: DropError,
    },
    /// The state is missing or cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// The signal could not be sent.
    #[error("the supervisor (process {pid}) cannot be signalled: {source}")]
    Signal {
        /// The supervisor's process id.
        pid: i32,
        /// kill(2)'s error.
        source: std::io::Error,
    },
    /// There is no server to restart, for this reason.
    #[error("there is no server to restart: {0}")]
    NoServer(String),
    /// The settings are invalid.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The notebooks cannot be read or written.
    #[error("{}", causes(.0))]
    Volume(#[from] VolumeError),
    /// The password cannot be set.
    #[error("{}", causes(.0))]
    Password(#[from] PasswordError),
    /// The text that was typed cannot be a password.
    #[error(transparent)]
    Typed(#[from] SettingError),
    /// The two passwords that were typed differ.
    #[error("the two passwords differ: nothing was changed")]
    Differ,
    /// The terminal cannot be read.
    #[error("the terminal cannot be read: {0}")]
    Terminal(std::io::Error),
    /// JupyterHub does the login, so there is no password.
    #[error(
        "this is a single-user server of JupyterHub, which has its own login: there is no password"
    )]
    Hub,
    /// A directory is not configured: its description, and the option that names it.
    #[error("no {0} is configured here: name it with --{1}")]
    NotConfigured(&'static str, &'static str),
    /// The file is outside the notebooks directory.
    #[error("{} is not in the notebooks directory {}", file.display(), directory.display())]
    Outside {
        /// The file, as typed.
        file: PathBuf,
        /// The notebooks directory.
        directory: PathBuf,
    },
    /// The state cannot be written as JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// The runtime for the probe could not be made.
    #[error("the probe could not be started: {0}")]
    Runtime(std::io::Error),
}
