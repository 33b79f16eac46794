//! Degradations: what a start could not do as asked, and survives.

use std::fmt;

/// Something that could not be done as asked, though the start goes on.
///
/// Degradations are data: rooms return them, `boot` logs each once, `status`
/// shows them, and `--warning-as-error` makes the first of them fatal.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Degradation {
    /// What is not as asked, on what, and why. One line, a whole sentence without
    /// the final stop unless it is a phrase that log watchers rely on.
    pub cause: String,
    /// What the reader of the log can do about it. One line.
    pub remedy: Option<String>,
}

impl Degradation {
    /// A degradation with a remedy.
    pub fn new(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            cause: cause.into(),
            remedy: Some(remedy.into()),
        }
    }

    /// A degradation that nobody needs to do anything about.
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
