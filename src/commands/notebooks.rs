//! `notebooks` (status, diff, restore and merge of the notebook defaults) and `seal`.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

use nix::sys::signal::SigSet;
use nix::sys::signal::Signal::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use rustix::io::Errno;

use crate::boot;
use crate::cli::verbs::Notebooks;
use crate::commands::client::Supervisor;
use crate::commands::context::VerbContext;
use crate::commands::diff::NotShown;
use crate::commands::error::VerbError;
use crate::commands::print::{exit_code, print_error, print_errors, print_text};
use crate::commands::{diff, notebook_status};
use crate::settings::Settings;
use crate::settings::resolve::CliSettings;
use crate::sys::text::shown;
use crate::volume;
use crate::volume::{
    BroughtBack, Decision, Defaults, MergedNotebook, NotMerged, Restored, Versions,
};

/// Runs one of the `notebooks` verbs.
///
/// # Errors
/// Nothing is configured, a file is outside the notebooks, or they cannot be opened.
pub fn run(what: &Notebooks, typed: CliSettings) -> Result<ExitCode, VerbError> {
    let setting = VerbContext::find(typed)?;
    let defaults = defaults(&setting.settings)?;
    match what {
        Notebooks::Status { json } => notebook_status::run(&setting, &defaults, *json),
        Notebooks::Diff { file } => diff(&setting, &defaults, file.as_deref()),
        Notebooks::Restore { files } => restore(&setting, &defaults, files),
        Notebooks::Merge { file } => merge(&setting, &defaults, file),
        Notebooks::RestoreKept { files } => restore_kept(&setting, &defaults, files),
    }
}

fn defaults(settings: &Settings) -> Result<Defaults, VerbError> {
    let (missing, option) = match settings.notebooks.defaults {
        None => ("directory of notebook defaults", "notebook-defaults"),
        Some(_) => ("notebooks directory", "notebooks"),
    };
    let missing = format!("no {missing} is configured here: name it with --{option}");
    boot::notebooks::defaults(settings).ok_or(VerbError::Other(missing))
}

fn diff(
    setting: &VerbContext,
    defaults: &Defaults,
    file: Option<&Path>,
) -> Result<ExitCode, VerbError> {
    let paths = match file {
        Some(file) => vec![inside(defaults, file)?],
        None => {
            let files = volume::defaults_status(&setting.dropped, defaults)?.files;
            let differ = files.into_iter().filter(|action| {
                use Decision::{Beside, Kept, Left, Replace, ReplaceRun, Run};
                let differs = [Kept, Beside, Replace, ReplaceRun, Run, Left];
                differs.contains(&action.decision)
            });
            differ.map(|action| action.path).collect()
        }
    };
    let mut found = true;
    for path in paths {
        let versions = volume::versions(&setting.dropped, defaults, &path)?;
        let difference = difference(defaults, &path, versions);
        found &= difference.is_ok();
        match difference {
            Ok(text) => print_text(&text),
            Err(line) => print_error(&line),
        }
    }
    Ok(exit_code(found))
}

/// Returns the text about the two versions of a file, which is empty if they are the same.
fn difference(defaults: &Defaults, path: &[u8], versions: Versions) -> Line {
    let name = shown(path);
    let default = || {
        shown(
            defaults
                .source
                .join(OsStr::from_bytes(path))
                .as_os_str()
                .as_bytes(),
        )
    };
    let unreadable = |what: &str, error| {
        let why = match error {
            Errno::FBIG => "it is longer than 64 MiB".to_owned(),
            error => std::io::Error::from(error).to_string(),
        };
        Err(format!("{name}: cannot compare: {what}: {why}"))
    };
    let (yours, image) = match (versions.yours, versions.image) {
        (Ok(Some(yours)), Ok(Some(image))) => (yours, image),
        (Err(error), _) => return unreadable("your file", error),
        (_, Err(error)) => return unreadable(&default(), error),
        _ => return Err(format!("{name}: not a file here and among the defaults")),
    };
    Ok(match diff::unified(&name, &image, &yours) {
        Ok(text) => text,
        Err(_) if image == yours => String::new(),
        Err(NotShown::NotText) => format!("{name}: differs, and is not text\n"),
        Err(NotShown::TooManyLines) => format!(
            "{name}: differs in too many lines to show; the default is {}\n",
            default()
        ),
    })
}

/// The line about a file; `Err`: it was not done as asked.
type Line = Result<String, String>;

/// Prints the lines and returns the exit code.
fn print_lines(lines: impl Iterator<Item = Line>) -> ExitCode {
    let mut done = true;
    for line in lines {
        done &= line.is_ok();
        match line {
            Ok(line) => print_text(&(line + "\n")),
            Err(line) => print_error(&line),
        }
    }
    exit_code(done)
}

fn restore(
    setting: &VerbContext,
    defaults: &Defaults,
    files: &[PathBuf],
) -> Result<ExitCode, VerbError> {
    let paths = inside_all(defaults, files)?;
    let (results, degradations) = volume::restore(&setting.dropped, defaults, &paths)?;
    print_errors(&degradations);
    let line = |(path, result): (Vec<u8>, Restored)| {
        let name = shown(&path);
        match result {
            Restored::Installed => Ok(format!("{name}: restored")),
            Restored::Renamed(aside) => Ok(format!("{name}: restored; yours is {}", shown(&aside))),
            Restored::Current => Ok(format!("{name}: is the default already")),
            Restored::Unknown => Err(format!("{name}: is not a default of this image")),
            Restored::Refused(error) => {
                let why = std::io::Error::from(error);
                Err(format!(
                    "{name}: not restored: {why}; see the directory and its owner"
                ))
            }
            Restored::NotBroughtIn => Err(format!("{name}: not restored, for the reason above")),
            Restored::NotPutBack(aside) => {
                let aside = shown(&aside);
                Err(format!("{name}: not restored, and yours is now {aside}"))
            }
        }
    };
    Ok(print_lines(results.into_iter().map(line)))
}

fn restore_kept(
    setting: &VerbContext,
    defaults: &Defaults,
    files: &[PathBuf],
) -> Result<ExitCode, VerbError> {
    let paths = inside_all(defaults, files)?;
    let results = volume::restore_kept(&setting.dropped, defaults, &paths)?;
    if results.is_empty() {
        print_text("no copy of a notebook that you ran is kept\n");
    }
    let line = |(path, result): (Vec<u8>, BroughtBack)| {
        let name = shown(&path);
        match result {
            BroughtBack::Done { version, aside } => {
                let aside = aside.map(|aside| format!("; what was there is {}", shown(&aside)));
                let (aside, version) = (aside.unwrap_or_default(), shown(&version));
                Ok(format!("{name}: your copy of {version} is back{aside}"))
            }
            BroughtBack::Nothing => Err(format!("{name}: no copy of yours is kept")),
            BroughtBack::Refused(error) => {
                let why = std::io::Error::from(error);
                Err(format!(
                    "{name}: not brought back: {why}; your copy is still in .ai-lab/kept"
                ))
            }
            BroughtBack::NotPutBack(aside) => {
                let aside = shown(&aside);
                Err(format!(
                    "{name}: not brought back, and yours is now {aside}"
                ))
            }
        }
    };
    Ok(print_lines(results.into_iter().map(line)))
}

fn merge(setting: &VerbContext, defaults: &Defaults, file: &Path) -> Result<ExitCode, VerbError> {
    let path = inside(defaults, file)?;
    let name = shown(&path);
    let mut degradations = Vec::new();
    let merged = volume::merge(
        &setting.dropped,
        defaults,
        &path,
        &block_signals,
        &mut degradations,
    );
    print_errors(&degradations);
    let MergedNotebook {
        changes,
        kept,
        unrecorded,
    } = match merged {
        Ok(merged) => merged,
        Err(NotMerged::Volume(error)) => return Err(error.into()),
        Err(why) => {
            print_error(&format!("{name}: not merged: {why}"));
            return Ok(ExitCode::FAILURE);
        }
    };
    let merged = format!("{name}: merged: {changes}");
    let kept = kept.map(|kept| {
        let kept = shown(&kept);
        format!("yours as it was is in {kept}; if {name} is open in JupyterLab, reload it there")
    });
    let unrecorded = unrecorded.map(|error| {
        let why = std::io::Error::from(error);
        format!(
            "{name}: the merge is not recorded: {why}; make room, or make .ai-lab in the notebooks \
             directory writable, then merge it once more"
        )
    });
    let lines = [Some(Ok(merged)), kept.map(Ok), unrecorded.map(Err)];
    Ok(print_lines(lines.into_iter().flatten()))
}

/// Blocks the signals that end a verb: the work that follows takes a moment, and would be left to the
/// next start.
fn block_signals() {
    let signals = [SIGINT, SIGTERM, SIGHUP, SIGQUIT];
    // If this fails, the signals end the verb as always.
    let _ = SigSet::from_iter(signals).thread_block();
}

/// Seals the defaults of an image that is being built. In a running container this verb becomes
/// the supervisor's user as the other verbs do, and that user cannot seal.
///
/// # Errors
/// The defaults cannot be read or sealed.
pub fn seal(directory: &Path) -> Result<ExitCode, VerbError> {
    if let Some(supervisor) = Supervisor::find() {
        supervisor.drop_to_supervisor()?;
    }
    let done = volume::seal(directory)?;
    print_errors(&done.reported);
    print_errors(&done.degradations);
    let place = directory.display();
    print_text(&format!("{place}: {} sealed\n", done.sealed));
    Ok(exit_code(done.degradations.is_empty()))
}

fn inside_all(defaults: &Defaults, files: &[PathBuf]) -> Result<Vec<Vec<u8>>, VerbError> {
    files.iter().map(|file| inside(defaults, file)).collect()
}

/// Returns a file's path in the volume. A relative path starts at the working directory if that
/// is in the volume, otherwise at the top of the volume.
fn inside(defaults: &Defaults, file: &Path) -> Result<Vec<u8>, VerbError> {
    let volume = &defaults.volume;
    // The working directory has no links, and the setting may.
    let real = fs::canonicalize(volume).unwrap_or_else(|_| volume.clone());
    let here = std::env::current_dir().unwrap_or_default();
    let [here, file] = [&*here, file].map(|path| through_volume(path, volume, &real));
    inside_from(&here, volume, &file).ok_or_else(|| {
        VerbError::Other(format!(
            "{} is not in the notebooks directory {}",
            file.display(),
            volume.display()
        ))
    })
}

/// Returns a path to the `real` volume as one to `volume`.
fn through_volume(path: &Path, volume: &Path, real: &Path) -> PathBuf {
    match path.strip_prefix(real) {
        Ok(below) if !path.starts_with(volume) => volume.join(below),
        _ => path.to_owned(),
    }
}

fn inside_from(here: &Path, volume: &Path, file: &Path) -> Option<Vec<u8>> {
    let base = if here.starts_with(volume) {
        here
    } else {
        volume
    };
    let mut steps: Vec<&OsStr> = Vec::new();
    let whole = base.join(file);
    for step in whole.components() {
        match step {
            Component::Normal(name) => steps.push(name),
            Component::ParentDir => _ = steps.pop()?,
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    let plain: PathBuf = std::iter::once(OsStr::new("/")).chain(steps).collect();
    let path = plain.strip_prefix(volume).ok()?.as_os_str().as_bytes();
    (!path.is_empty()).then(|| path.to_vec())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_file_counts_from_here_or_from_the_top_and_never_from_outside() {
        for (here, file, expected) in [
            ("/", "a", Some("a")),
            ("/n", "a", Some("a")),
            ("/n/dir", "a", Some("dir/a")),
            ("/n/dir", "../a", Some("a")),
            ("/n/dir", "/n/b", Some("b")),
            ("/elsewhere", "dir/./a", Some("dir/a")),
            ("/n", "../a", None),
            ("/n", "/etc/passwd", None),
            ("/n", ".", None),
            ("/nn", "a", Some("a")),
        ] {
            let found = inside_from(Path::new(here), Path::new("/n"), Path::new(file));
            let expected = expected.map(|path| path.as_bytes().to_vec());
            assert_eq!(found, expected, "{file} from {here}");
        }
    }
}
