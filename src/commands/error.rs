//! Why a verb fails.

use crate::boot::failure::causes;
use crate::settings::SettingsError;

/// Why a verb fails.
#[derive(Debug)]
pub enum VerbError {
    /// Settings are invalid: exit code 78.
    Settings(SettingsError),
    /// Anything else: exit code 1. The text says what failed, why, and what to do.
    Other(String),
}

impl<E: std::error::Error> From<E> for VerbError {
    fn from(error: E) -> Self {
        Self::Other(causes(&error))
    }
}
