//! A password, and which one is wanted.

use std::fmt;

/// A password. No output shows it, not even `{:?}`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Makes a password from this text.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The wanted password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// No password: Jupyter's own configuration decides.
    Nothing,
    /// This password, if no other login is configured.
    Default(Secret),
    /// No password, and this default is removed if an earlier start set it: a command that starts
    /// its own server would otherwise accept it beside the login that its arguments configure.
    RemoveDefault(Secret),
    /// This password, whatever is configured.
    Forced(Secret),
    /// The password with this hash, whatever is configured.
    ForcedHash(String),
}

impl Wanted {
    /// Reports whether the password must be effective, whatever is configured.
    pub fn is_forced(&self) -> bool {
        matches!(self, Self::Forced(_) | Self::ForcedHash(_))
    }
}
