//! Hooks: programs by the image's author that run during a start.
//!
//! Hooks in `hooks/root/` run as root before the rest of the root phase, hooks in `hooks/user/`
//! as the user before the server; one after the other, in name order. Their output goes to
//! the log. Lines `KEY=VALUE` that they write to the file named by `$AI_LAB_ENV` go into the
//! server's environment. A hook that fails ends the start.

pub mod environment;
mod error;
mod run;
mod trusted;
pub mod variables;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use tracing::warn;

use crate::settings::own_variables::HOOK_FILE_ENV;
use crate::supervisor::interpreter::{WINDOWS_LINES, failed_by_windows_lines};
use crate::supervisor::lifecycle::Ended;
use crate::supervisor::processes;
use crate::supervisor::spawn;
use crate::supervisor::spawn::Program;
use crate::sys::env::temp_directory;
use crate::sys::trust;

pub use error::HookError;
pub use run::HookContext;
use run::{Output, PATIENCE, Watched, kill_descendants, kill_group};
pub use variables::Variables;

/// The hooks of a phase, and what they wrote.
#[derive(Debug, Default)]
pub struct Hooks {
    /// Their paths, in the order in which they run.
    pub paths: Vec<PathBuf>,
    /// The variables that they wrote.
    pub variables: Variables,
}

/// Returns the real paths of the hooks in `directory` that root runs, and the files that are not
/// executable.
///
/// # Errors
/// A hook or interpreter that another user than root could have written; a directory that
/// cannot be listed.
pub fn root_hooks(directory: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), HookError> {
    let (mut hooks, others) = files(directory)?;
    for hook in &mut hooks {
        let untrusted = |problem| HookError::Untrusted {
            path: hook.clone(),
            problem,
        };
        trusted::check_trust(hook).map_err(untrusted)?;
        *hook = fs::canonicalize(&hook).map_err(|error| untrusted(error.to_string()))?;
    }
    Ok((hooks, others))
}

/// Runs the hooks in `directory` as root, then kills all processes that they left running. Root
/// alone may be able to write the hooks, their interpreters and all parent directories. Hooks run
/// in `/`, not in the container's working directory, from which an interpreter may load files.
///
/// # Errors
/// The first error.
pub fn run_as_root(directory: &Path, surroundings: &HookContext<'_>) -> Result<Hooks, HookError> {
    let (paths, others) = root_hooks(directory)?;
    warn_of_non_hooks(&others);
    if paths.is_empty() || surroundings.effects.is_preview() {
        let variables = Variables::new();
        return Ok(Hooks { paths, variables });
    }
    // Otherwise an orphan of a hook could not be killed, and would stay root.
    processes::adopt_orphans().map_err(|error| {
        HookError::Other(format!(
            "the root hooks are not run, because processes that they leave running would stay \
             root: {error}"
        ))
    })?;
    let result = run_all(paths, surroundings, true);
    let left = processes::names_of_descendants();
    let ended = kill_descendants();
    let hooks = result?;
    warn_of_ended(&left);
    match ended {
        true => Ok(hooks),
        false => Err(HookError::Other(format!(
            "processes that the root hooks left running could not be killed in {} s: let the hooks \
             wait for what they start, or run with --cap-add KILL",
            PATIENCE.as_secs()
        ))),
    }
}

/// Runs the hooks in `directory` as the user. No trust check is needed: the hooks have no more
/// rights than the user.
///
/// # Errors
/// The first error.
pub fn run_as_user(directory: &Path, surroundings: &HookContext<'_>) -> Result<Hooks, HookError> {
    let (hooks, others) = files(directory)?;
    warn_of_non_hooks(&others);
    run_all(hooks, surroundings, false).inspect_err(|_| {
        // The start ends here. Processes that are left end with it, as if it were PID 1.
        let _ = kill_descendants();
    })
}

fn run_all(
    paths: Vec<PathBuf>,
    surroundings: &HookContext<'_>,
    of_root: bool,
) -> Result<Hooks, HookError> {
    let mut variables = Vec::new();
    for hook in paths.iter().filter(|_| !surroundings.effects.is_preview()) {
        let environment = (surroundings.environment)(&variables);
        variables.extend(run(hook, surroundings, environment, of_root)?);
    }
    Ok(Hooks { paths, variables })
}

/// Warns of files that are not executable and therefore are no hooks.
fn warn_of_non_hooks(files: &[PathBuf]) {
    for path in files {
        let path = path.display();
        warn!("{path} is not executable, so it is not run (chmod a+x makes it a hook)");
    }
}

/// Warns of programs that root hooks left running, such as a service, and that were killed.
fn warn_of_ended(names: &BTreeSet<String>) {
    if !names.is_empty() {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        warn!(
            "the root hooks left {} running: killed, because no process of root may stay (remedy: \
             start it in a user hook, as the user)",
            names.join(", ")
        );
    }
}

/// Returns the files in `directory`, in name order: the executable ones, and the others. None if it
/// does not exist.
fn files(directory: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), HookError> {
    let unlisted = |error: io::Error| {
        let directory = directory.display();
        let remedy = match error.kind() {
            ErrorKind::PermissionDenied => format!(" (remedy: chmod a+rx {directory})"),
            _ => String::new(),
        };
        HookError::Other(format!(
            "the hooks in {directory} cannot be listed: {error}{remedy}"
        ))
    };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Default::default()),
        Err(error) => return Err(unlisted(error)),
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = paths.collect::<Result<Vec<_>, _>>().map_err(unlisted)?;
    paths.sort();
    let mode = |path: &PathBuf| {
        let data = fs::metadata(path).ok().filter(|data| data.is_file())?;
        Some(data.permissions().mode())
    };
    paths.retain(|path| mode(path).is_some());
    let executable = |path: &PathBuf| mode(path).is_some_and(|mode| mode & 0o111 != 0);
    Ok(paths.into_iter().partition(executable))
}

fn run(
    hook: &Path,
    surroundings: &HookContext<'_>,
    mut environment: Vec<(OsString, OsString)>,
    of_root: bool,
) -> Result<Variables, HookError> {
    let unsupervised = |error: io::Error| HookError::unsupervised(hook, error);
    let asked = make_variables_file().map_err(unsupervised)?;
    environment.push((HOOK_FILE_ENV.into(), asked.path().into()));
    let program = Program {
        name: hook.into(),
        args: Vec::new(),
        environment,
        directory: of_root.then(|| "/".into()),
        umask: None,
    };
    let started = spawn::hook(&program)
        .map_err(|error| HookError::of(hook, format_args!("could not be started: {error}")))?;
    let (stdout, stderr) = started
        .output
        .ok_or_else(|| unsupervised(ErrorKind::BrokenPipe.into()))?;
    let mut watched = Watched {
        hook,
        pid: started.pid,
        outputs: vec![Output::new(stdout), Output::new(stderr)],
    };
    let how = watched
        .wait_for_end(surroundings)
        .inspect_err(|_| kill_group(started.pid))?;
    match how {
        Ended::Exit(0) => {
            // A thread from before the drop would keep root's rights.
            let kept = watched.outputs.into_iter().filter(|_| !of_root);
            kept.for_each(|output| output.follow(hook));
            variables::read(hook, asked.as_file())
        }
        Ended::Exit(code) if failed_by_windows_lines(hook, code) => Err(failed(
            hook,
            format!("exit code {code}, and {WINDOWS_LINES}"),
        )),
        Ended::Exit(code) => Err(failed(hook, format!("exit code {code}"))),
        Ended::Signal(number) => Err(failed(hook, format!("signal {number}"))),
    }
}

/// Makes the file for the variables of a hook, in the first directory that takes it.
///
/// # Errors
/// There is none.
fn make_variables_file() -> io::Result<NamedTempFile> {
    let is_root = rustix::process::geteuid().is_root();
    let first = match is_root {
        true => "/run".into(),
        false => temp_directory(),
    };
    let mut places = vec![first, "/tmp".into(), "/dev/shm".into()];
    places.dedup();
    let mut problems = Vec::new();
    for place in places {
        // Root uses neither TMPDIR nor a directory where a user could replace the file with a link:
        // the hook would write to the file that the link names.
        if is_root && !trust::root_only_renames(&place) {
            problems.push(format!(
                "{}: others than root can write there",
                place.display()
            ));
            continue;
        }
        let mut builder = tempfile::Builder::new();
        match builder.prefix(".ai-lab-env-").tempfile_in(&place) {
            Ok(file) => return Ok(file),
            Err(error) => problems.push(format!("{}: {}", place.display(), error.kind())),
        }
    }
    Err(io::Error::other(format!(
        "there is no place for the file of ${HOOK_FILE_ENV} ({}); run with --tmpfs /tmp",
        problems.join("; ")
    )))
}

fn failed(hook: &Path, how: String) -> HookError {
    let what = format_args!("failed with {how}; its output is above; if not, use --log-level info");
    HookError::of(hook, what)
}
