//! The notebooks directory and the defaults in it, as the user.

use std::fs;
use std::io::ErrorKind;

use crate::boot::changes::{Section, Words};
use crate::boot::context::{ServerUser, Start};
use crate::boot::failure::{Failure, causes};
use crate::boot::progress::progress;
use crate::degradation::Degradation;
use crate::identity::Account;
use crate::settings::{Settings, VolumeOwner};
use crate::sys::effects::Effects;
use crate::sys::env::variable;
use crate::volume::{Defaults, Rights, Summary, bring_in, preview_defaults, preview_in};

/// Returns the defaults and how to bring them in; `None`: not configured.
pub fn defaults(settings: &Settings) -> Option<Defaults> {
    let notebooks = &settings.notebooks;
    Some(Defaults {
        source: notebooks.defaults.clone()?,
        volume: notebooks.directory.clone()?,
        image_version: variable("AI_LAB_VERSION").and_then(|text| text.into_string().ok()),
        update: notebooks.update,
        deleted: notebooks.deleted,
        mode: notebooks.mode,
    })
}

/// Makes the notebooks directory if root did not. Returns true if it exists or none is configured.
///
/// # Errors
/// Under `--warning-as-error`, that it cannot be made.
pub(super) fn make(start: &mut Start<'_>) -> Result<bool, Failure> {
    let Some(directory) = &start.settings.notebooks.directory else {
        return Ok(true);
    };
    let made = start.changes.make(
        Section::DIRECTORY,
        |effects| {
            if directory.is_dir() || effects.is_given(directory) {
                return Ok(false);
            }
            let make = || fs::create_dir_all(directory);
            effects.make_in(directory, make).map(|()| true)
        },
        |made, words| {
            if matches!(made, Ok(true)) {
                words.made(directory);
            }
        },
    );
    if let Err(error) = &made {
        let told = Degradation::new(
            format!(
                "cannot open or create the notebooks directory {}: {error}",
                directory.display()
            ),
            "mount a volume there that the user may write, or name another directory with \
             --notebooks",
        );
        // The user could put a file there.
        match error.kind() {
            ErrorKind::AlreadyExists | ErrorKind::NotADirectory => {
                start.report.degraded_by_user(told);
            }
            _ => start.report.degraded(told)?,
        }
    }
    Ok(made.is_ok())
}

/// In a dry run, compares the notebooks as root before the drop, if a start would hand them over:
/// until then, the user cannot read them.
pub(super) fn preview_as_root(start: &mut Start<'_>, account: &Account) {
    let owner = start.settings.notebooks.owner;
    let chown = matches!(owner, VolumeOwner::Auto | VolumeOwner::Chown);
    let (stop, rights) = (start.stop(), Rights::Owner(account.uid));
    let defaults = defaults(start.settings).filter(|_| start.settings.dry_run && chown);
    let handed = defaults.filter(|defaults| start.changes.is_given(&defaults.volume));
    start.notebooks = handed.map(|defaults| preview_defaults(&defaults, true, rights, &stop));
}

/// Brings the defaults in; returns what is new for the user.
///
/// # Errors
/// A stop signal; under `--warning-as-error` any degradation.
pub(super) fn bring_defaults(
    start: &mut Start<'_>,
    person: &ServerUser,
) -> Result<Option<String>, Failure> {
    let Some(defaults) = defaults(start.settings) else {
        return Ok(None);
    };
    let (stop, by_root) = (start.stop(), start.notebooks.take());
    let brought = start.changes.make(
        Section::NOTEBOOKS,
        |effects| match effects {
            Effects::Make => {
                let mut progress = progress("bringing in the notebooks");
                bring_in(&person.dropped, &defaults, &stop, &mut progress)
            }
            Effects::Preview(_) => {
                let made = effects.is_given(&defaults.volume);
                preview_in(&person.dropped, &defaults, by_root, made, &stop)
            }
        },
        |brought, words| {
            if let Ok(summary) = brought {
                say_brought(&defaults, summary, words);
            }
        },
    );
    start.check_stop()?;
    match brought {
        Ok(summary) => {
            start.report.all_degraded(summary.degradations)?;
            Ok(summary.news)
        }
        // This is not fatal: the user's own work is there.
        Err(error) => {
            let remedy = "see the reason; the server starts without them";
            let told = Degradation::new(causes(&error), remedy);
            start.report.degraded(told)?;
            Ok(None)
        }
    }
}

fn say_brought(defaults: &Defaults, summary: &Summary, words: &mut Words<'_>) {
    // Log watchers take this for success.
    if !summary.is_in_vain() {
        words.done(format_args!(
            "Copied notebooks from {} to {}",
            defaults.source.display(),
            defaults.volume.display()
        ));
    }
    words.done(format_args!("{summary}"));
    for line in &summary.reported {
        words.done(format_args!("{line}"));
    }
    words.planned_all(&summary.planned);
}
