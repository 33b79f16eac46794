//! `config`: shows the settings of the running start, or checks a settings file.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::commands::context::VerbContext;
use crate::commands::error::VerbError;
use crate::commands::print::print_text;
use crate::password::source;
use crate::password::source::Sources;
use crate::settings::resolve::CliSettings;
use crate::settings::{Key, own_variables, resolve, saved, table};
use crate::sys::env::variable;

/// Shows the settings in the form of a settings file, always without the password.
///
/// # Errors
/// The settings do not validate, or root cannot be dropped.
pub fn show(origin: bool, typed: CliSettings) -> Result<ExitCode, VerbError> {
    let named = typed.config.is_some();
    let found = VerbContext::find(typed)?;
    // The record of a start has the origin of each value.
    let written = found.record.filter(|_| !named);
    let text = written.map(|record| record.text);
    let text = text.unwrap_or_else(|| saved::preview_text(&found.settings));
    let lines = text
        .lines()
        .map(|line| match line.rsplit_once(saved::ORIGIN_SEPARATOR) {
            Some((value, _)) if !origin => format!("{value}\n"),
            _ => format!("{line}\n"),
        });
    print_text(&lines.collect::<String>());
    Ok(ExitCode::SUCCESS)
}

/// Checks a settings file by itself, without flags and environment.
///
/// # Errors
/// All errors in the file.
pub fn check(file: Option<&Path>, typed: CliSettings) -> Result<ExitCode, VerbError> {
    let file = file.map(PathBuf::from).or(typed.config);
    let file = file.or_else(|| variable(own_variables::FILE_ENV).map(PathBuf::from));
    let file = file.unwrap_or_else(|| table::DEFAULT_FILE.into());
    let typed = CliSettings {
        config: Some(file.clone()),
        errors: typed.errors,
        ..CliSettings::default()
    };
    let settings = resolve::read(&typed, &|_| None, false).finish();
    let settings = settings.map_err(VerbError::Settings)?;
    let default = settings.password.default.as_deref();
    let password = source::wanted(&Sources {
        default: default.map(|text| (text, settings.origin(Key::Password))),
        file: None,
        environment: &|_| None,
    });
    password.map_err(VerbError::Settings)?;
    print_text(&format!("{}: nothing is wrong\n", file.display()));
    Ok(ExitCode::SUCCESS)
}
