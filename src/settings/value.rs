//! The origins of setting values, and the errors in them.

use std::fmt;
use std::path::PathBuf;

/// The origin of a setting's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A flag of the command line.
    Flag(&'static str),
    /// An environment variable.
    Environment(&'static str),
    /// A line of the settings file.
    File {
        /// The file.
        path: PathBuf,
        /// The line of the key, counted from 1.
        line: usize,
    },
    /// A prompt or standard input.
    Input,
    /// The built-in default.
    Default,
}

impl Origin {
    /// Returns the precedence: of two values, the one whose origin has the higher rank counts.
    pub fn rank(&self) -> u8 {
        match self {
            Self::Default => 0,
            Self::File { .. } => 1,
            Self::Environment(_) => 2,
            Self::Flag(_) | Self::Input => 3,
        }
    }

    /// Reports whether the person who starts the container chose the value, not the image.
    pub fn is_chosen(&self) -> bool {
        matches!(self, Self::Flag(_) | Self::Environment(_))
    }
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

/// A value as it was given, before it is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RawValue {
    /// One text. A number of the file is kept as its text.
    Text(String),
    /// Several texts.
    List(Vec<String>),
    /// On or off.
    Switch(bool),
}

/// An unchecked value and its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw {
    /// The value.
    pub value: RawValue,
    /// The origin.
    pub origin: Origin,
}

/// An error in one setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting} (from {origin}): {problem}; {remedy}")]
pub struct SettingError {
    /// The setting's name.
    pub setting: String,
    /// The origin of the value, as text.
    pub origin: String,
    /// The problem.
    pub problem: String,
    /// The way to correct it.
    pub remedy: String,
}

impl SettingError {
    /// Makes an error about one setting.
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

    /// Makes the error for a value that is not UTF-8.
    pub fn not_utf8(setting: &str, origin: &Origin) -> Self {
        Self::new(setting, origin, "is not UTF-8", "give it as UTF-8")
    }
}

/// All errors in the settings, reported at once. Exit code 78.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(|e| format!("settings: {e}")).collect::<Vec<_>>().join("\n"))]
pub struct SettingsError(pub Vec<SettingError>);

impl SettingsError {
    /// Returns the errors as one; `Ok`: there is none.
    pub fn of_all(errors: Vec<SettingError>) -> Result<(), Self> {
        match errors.is_empty() {
            true => Ok(()),
            false => Err(Self(errors)),
        }
    }
}

impl From<SettingError> for SettingsError {
    fn from(error: SettingError) -> Self {
        Self(vec![error])
    }
}
