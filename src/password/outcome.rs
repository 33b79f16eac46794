//! The result of applying the wanted password.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::degradation::Degradation;

/// The outcome of applying a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing had to be written for the wanted password.
    Unchanged,
    /// The password was set.
    Changed,
    /// The default password was not set, for this reason.
    NotSet(Degradation),
    /// A preview cannot tell: this file is another user's until a start hands it over.
    NotReadable(PathBuf),
}

/// The result of [`apply`], and what the server needs to make the password effective.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The outcome.
    pub outcome: Outcome,
    /// A variable that the server needs so that no other file wins; `None`: it needs none.
    pub variable: Option<(&'static str, OsString)>,
    /// The reason why the default was not set, or was set despite an empty token, for the log.
    pub note: Option<String>,
}

impl From<Outcome> for Applied {
    fn from(outcome: Outcome) -> Self {
        Self {
            outcome,
            variable: None,
            note: None,
        }
    }
}
