//! The token that Jupyter takes from its environment.

use std::ffi::OsStr;
use std::path::Path;

use crate::jupyter_config::config_files::{TOKEN_FILE, contents};
use crate::jupyter_config::location::TOKEN;
use crate::sys::env::Environment;

/// A token of the environment.
pub struct EnvironmentToken {
    /// The variable, and the file that it names.
    pub source: String,
    /// The token as Jupyter has it: all of the file, with its line break.
    pub text: String,
}

impl EnvironmentToken {
    /// Reads the token; `None`: there is none that can be read. `directory`: the server's working
    /// directory. May wait for a disk.
    pub fn read(environment: &Environment, directory: &Path) -> Option<Self> {
        let variable = |name| environment.get(name).filter(|value| !value.is_empty());
        if let Some(token) = variable(TOKEN).map(OsStr::to_str) {
            return Some(Self {
                source: TOKEN.into(),
                text: token?.to_owned(),
            });
        }
        let file = variable(TOKEN_FILE)?;
        let text = contents(&directory.join(file)).ok()?;
        Some(Self {
            source: format!("{} ({TOKEN_FILE})", file.display()),
            text: String::from_utf8(text).ok()?,
        })
    }

    /// Returns the token as a person would type it.
    pub fn typed(&self) -> &str {
        self.text.trim()
    }

    /// Reports whether the login rejects this token: it removes white space around a typed token.
    pub fn is_unusable(&self) -> bool {
        self.typed() != self.text
    }
}
