//! `config`: shows the settings of the running start, or checks a settings file.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{Setting, VerbError, tell};
use crate::server::password::source::{self, Sources};
use crate::settings::resolve::Typed;
use crate::settings::{Key, SettingsError, record, resolve, table};

/// Shows the settings in the form of a settings file, always without the password.
///
/// # Errors
/// The settings do not validate, or root cannot be dropped.
pub fn show(origin: bool, typed: Typed) -> Result<ExitCode, VerbError> {
    let named = typed.config.is_some();
    let found = Setting::find(typed)?;
    // The record of a start has the origin of each value.
    let written = found.record.filter(|_| !named);
    let text = written.map(|record| record.text);
    let text = text.unwrap_or_else(|| record::foreseen(&found.settings));
    let lines = text
        .lines()
        .map(|line| match line.rsplit_once(record::ORIGIN) {
            Some((value, _)) if !origin => format!("{value}\n"),
            _ => format!("{line}\n"),
        });
    tell(&lines.collect::<String>());
    Ok(ExitCode::SUCCESS)
}

/// Checks a settings file by itself, without flags and environment.
///
/// # Errors
/// All errors in the file.
pub fn check(file: Option<&Path>, typed: Typed) -> Result<ExitCode, VerbError> {
    let file = file.map(PathBuf::from).or(typed.config);
    let variable = || std::env::var_os(table::FILE_ENV).filter(|value| !value.is_empty());
    let file = file.or_else(|| variable().map(PathBuf::from));
    let file = file.unwrap_or_else(|| table::DEFAULT_FILE.into());
    let typed = Typed {
        config: Some(file.clone()),
        ..Typed::default()
    };
    let settings = resolve::read(&typed, &|_| None, false).finish()?;
    let default = settings.password.default.as_deref();
    source::wanted(&Sources {
        default: default.map(|text| (text, settings.origin(Key::Password))),
        file: None,
        environment: &|_| None,
    })
    .map_err(SettingsError)?;
    tell(&format!("{}: nothing is wrong\n", file.display()));
    Ok(ExitCode::SUCCESS)
}
