//! Why a server ended, and what to do.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A cause and its remedy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// The cause: a sentence without its first capital letter and its full stop, unless it begins
    /// with what the log says.
    pub cause: String,
    /// The remedy: a sentence without its full stop.
    pub remedy: String,
}

impl Diagnosis {
    /// Returns a diagnosis, with a capital letter at the beginning of the remedy.
    pub fn new(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (cause, mut remedy) = (cause.into(), remedy.into());
        if let Some(first) = remedy.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        Self { cause, remedy }
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. {}.", self.cause, self.remedy)
    }
}
