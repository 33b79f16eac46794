//! Why a hook ends the start.

use std::fmt::Display;
use std::path::{Path, PathBuf};

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
    /// Anything else; after a signal that asks to stop, the start tells that itself.
    #[error("{0}")]
    Other(String),
}

impl HookError {
    /// Returns an error whose text says first which hook it is about.
    pub(super) fn of(hook: &Path, what: impl Display) -> Self {
        Self::Other(format!("the hook {} {what}", hook.display()))
    }

    /// Returns the error of a hook that could not be supervised.
    pub(super) fn unsupervised(hook: &Path, why: impl Display) -> Self {
        Self::of(hook, format_args!("could not be supervised: {why}"))
    }
}
