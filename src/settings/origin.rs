//! Where a value came from, and what is wrong with it.

use std::fmt;
use std::path::PathBuf;

/// Where a setting's value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A flag of the command line.
    Flag(&'static str),
    /// An environment variable.
    Environment(&'static str),
    /// The settings file, with the line (1 is the first).
    File {
        /// The file.
        path: PathBuf,
        /// The line of the key.
        line: usize,
    },
    /// Typed at a prompt, or read from standard input.
    Input,
    /// Built in.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "--{name}"),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Input => f.write_str("standard input"),
            Self::Default => f.write_str("built-in default"),
        }
    }
}

/// A value as it was written, before it is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// One text; numbers of the file are written out.
    Text(String),
    /// Several texts.
    List(Vec<String>),
    /// On or off.
    Switch(bool),
}

/// A written value and its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw {
    /// The value.
    pub written: Written,
    /// Where it came from.
    pub origin: Origin,
}

/// One thing that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting} (from {origin}): {problem}; {remedy}")]
pub struct SettingError {
    /// The setting's name.
    pub setting: String,
    /// Where the value came from.
    pub origin: String,
    /// What is wrong.
    pub problem: String,
    /// What would be right.
    pub remedy: String,
}

impl SettingError {
    /// An error about one setting.
    pub fn new(
        setting: impl Into<String>,
        origin: impl fmt::Display,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            setting: setting.into(),
            origin: origin.to_string(),
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }
}

/// Everything that is wrong with the settings, at once. Exit code 78.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(|e| format!("settings: {e}")).collect::<Vec<_>>().join("\n"))]
pub struct SettingsError(pub Vec<SettingError>);
