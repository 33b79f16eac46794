//! Degradations: requests that a start could not meet, although it goes on.

use std::fmt;

/// Something that could not be done as asked, although the start goes on.
///
/// Other modules return degradations as data, `boot` logs each once, `status` shows them, and
/// `--warning-as-error` makes the first one fatal, unless the user could have caused it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Degradation {
    /// The problem, its object and its reason, in one line: a whole sentence without the full
    /// stop, unless it is a phrase that log watchers rely on.
    pub cause: String,
    /// The remedy for the reader of the log, in one line. `None`: nothing has to be done.
    pub remedy: Option<String>,
}

impl Degradation {
    /// Returns a degradation with a remedy.
    pub fn new(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            cause: cause.into(),
            remedy: Some(remedy.into()),
        }
    }

    /// Returns a degradation that needs no action.
    pub fn note(cause: impl Into<String>) -> Self {
        Self {
            cause: cause.into(),
            remedy: None,
        }
    }
}

impl fmt::Display for Degradation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)?;
        match &self.remedy {
            Some(remedy) => write!(f, " (remedy: {remedy})"),
            None => Ok(()),
        }
    }
}
