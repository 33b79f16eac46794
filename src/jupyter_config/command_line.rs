//! Finds the settings about authentication in the server's arguments (traitlets' command line).

use std::ffi::OsStr;
use std::path::PathBuf;

use crate::jupyter_config::sources::{Setting, SourceContent, Value, is_about_authentication};

/// The parts of a server's command line that matter for authentication.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// The settings about authentication.
    pub said: SourceContent,
    /// The configuration file that Jupyter reads instead of all `jupyter_server_config` files;
    /// `None`: not given; an empty path: given without a value.
    pub file: Option<PathBuf>,
    /// True if a command runs that may start a server with arguments of its own.
    pub is_unknown: bool,
}

impl CommandLine {
    /// Parses the arguments: `--Class.trait=VALUE`, `--Class.trait VALUE`, also with one dash.
    pub fn of<'a>(arguments: impl IntoIterator<Item = &'a OsStr>) -> Self {
        let mut line = Self::default();
        let mut arguments = arguments.into_iter().peekable();
        while let Some(argument) = arguments.next() {
            let argument = argument.to_string_lossy();
            let Some(named) = argument.strip_prefix('-') else {
                continue;
            };
            let named = named.strip_prefix('-').unwrap_or(named);
            let (name, value) = match named.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => {
                    let next = arguments.peek().map(|next| next.to_string_lossy());
                    let next = next.filter(|next| !next.starts_with('-'));
                    (named, next.map(|next| next.into_owned()))
                }
            };
            line.take(name, value.map(|value| unquoted(&value).to_owned()));
        }
        line
    }

    fn take(&mut self, name: &str, value: Option<String>) {
        let path: Vec<String> = name.split('.').map(str::to_owned).collect();
        if name == "config" || path.len() > 1 && path.last().is_some_and(|n| n == "config_file") {
            self.file = Some(value.unwrap_or_default().into());
        } else if path.len() > 1 && is_about_authentication(&path) {
            self.said.settings.push(Setting {
                line: None,
                path,
                value: value.map_or(Value::Unknown, Value::Text),
            });
        }
    }

    /// Reports whether the arguments set a password or name a configuration file.
    pub fn sets_password(&self) -> bool {
        let mut settings = self.said.settings.iter();
        settings.any(|setting| is_password_trait(&setting.path.join("."))) || self.file.is_some()
    }
}

/// Reports whether the trait with this full name (`Class.trait`) holds a password hash.
pub fn is_password_trait(name: &str) -> bool {
    matches!(
        name.rsplit_once('.'),
        Some((_, "password" | "hashed_password"))
    )
}

/// Removes the quotes around a value, as traitlets does. A Dockerfile's `CMD ["…", "--ip='*'"]` has
/// them.
pub fn unquoted(value: &str) -> &str {
    let inside = |quote| value.strip_prefix(quote)?.strip_suffix(quote);
    inside('"').or_else(|| inside('\'')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(arguments: &[&str]) -> CommandLine {
        CommandLine::of(arguments.iter().map(OsStr::new))
    }

    #[test]
    fn a_setting_may_be_written_in_several_ways() {
        for written in [
            &["--ServerApp.password=x"][..],
            &["-ServerApp.password=x"],
            &["--ServerApp.password", "x"],
            &["--ServerApp.password='x'"],
            &["lab", "--port=1", "--ServerApp.password=\"x\"", "--debug"],
        ] {
            let found = line(written).said.settings;
            assert_eq!(found.len(), 1, "{written:?}");
            assert_eq!(found[0].path, ["ServerApp", "password"], "{written:?}");
            assert_eq!(found[0].value, Value::Text("x".into()), "{written:?}");
        }
        for nothing in [
            "--port=1",
            "password=x",
            "--password",
            "--LabApp.x=--a.token",
        ] {
            assert_eq!(line(&[nothing]), CommandLine::default(), "{nothing}");
        }
        assert!(!line(&["--IdentityProvider.token="]).sets_password());
    }

    #[test]
    fn a_file_on_the_line_is_the_only_one() {
        for yes in [
            "--config=x",
            "-config=x",
            "--ServerApp.config_file=x",
            "--config",
            "--JupyterApp.config_file",
        ] {
            assert!(line(&[yes]).file.is_some(), "{yes}");
        }
        for no in ["--config-dir=x", "--LabApp.x=--config", "config"] {
            assert_eq!(line(&[no]).file, None, "{no}");
        }
    }
}
