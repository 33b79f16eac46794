//! Hooks: programs by the image's author that run during a start.
//!
//! Hooks in `hooks/root/` run as root before the rest of the root phase, hooks in `hooks/user/`
//! as the user before the server; one after the other, in name order. Their output goes to
//! the log. Lines `KEY=VALUE` that they write to the file named by `$AI_LAB_ENV` go into the
//! server's environment. A hook that fails ends the start.

pub mod environment;
mod run;
mod trusted;
pub mod variables;

use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::warn;

use crate::supervisor::lifecycle::Ended;
use crate::supervisor::processes;
use crate::supervisor::signals::Signals;
use crate::supervisor::spawn;
use crate::supervisor::spawn::{Program, SpawnError};
use crate::sys::effects::Effects;
use crate::sys::env::temp_directory;
use crate::sys::{CallError, trust};

use run::{Output, Watched, kill_descendants, kill_group};
pub use variables::Variables;

/// The variable with the path of the file to which a hook writes variables for the server.
pub const VARIABLE: &str = "AI_LAB_ENV";

/// Why a hook ends the start.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// Another user than root could have written a program that would run as root.
    #[error("{} is not run as root: {problem}", path.display())]
    Untrusted {
        /// The hook.
        path: PathBuf,
        /// The path that another user can write, and that user.
        problem: String,
    },
    /// The hook directory cannot be listed.
    #[error("the hooks in {} cannot be listed: {source}", directory.display())]
    Unlisted {
        /// The directory.
        directory: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The hook could not be started.
    #[error("the hook {} could not be started", path.display())]
    NotStarted {
        /// The hook.
        path: PathBuf,
        /// The cause.
        source: SpawnError,
    },
    /// The hook failed.
    #[error("the hook {} failed with {how}; its output is above", path.display())]
    Failed {
        /// The hook.
        path: PathBuf,
        /// The exit code or the signal, as text: `exit code 3`, `signal 9`.
        how: String,
    },
    /// The hook took longer than the limit, and was killed.
    #[error("the hook {} took longer than {} s and was killed; --hook-timeout gives it more", path.display(), limit.as_secs_f32())]
    TooLong {
        /// The hook.
        path: PathBuf,
        /// The limit, set with `--hook-timeout`.
        limit: Duration,
    },
    /// The hook wrote an invalid line for the environment.
    #[error("the hook {} wrote line {line} of ${VARIABLE}, which {problem}", path.display())]
    Environment {
        /// The hook.
        path: PathBuf,
        /// The number of the line, counted from 1.
        line: usize,
        /// The problem with the line.
        problem: &'static str,
    },
    /// The file for the environment cannot be made or read, or the hook has no output pipes.
    #[error("the hook {} could not be supervised: {source}", path.display())]
    System {
        /// The hook.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Processes that root hooks left running cannot be killed and would stay root.
    #[error(
        "processes that the root hooks left running could not be killed in {} s: let the hooks \
         wait for what they start, or run with --cap-add KILL",
        run::PATIENCE.as_secs()
    )]
    LeftRunning,
    /// Orphans of root hooks would not become children of this process, and would stay root.
    #[error(
        "the root hooks are not run, because processes that they leave running would stay root: {0}"
    )]
    Orphans(CallError),
    /// A signal asked to stop. The start logs it.
    #[error("stopped")]
    Stopped,
}

/// The common parameters of all hooks of a phase.
pub struct HookContext<'a> {
    /// The time limit of one hook.
    pub limit: Duration,
    /// Returns the environment of a hook, given the variables that the hooks before it wrote.
    pub environment: &'a dyn Fn(&Variables) -> Vec<(OsString, OsString)>,
    /// All signals of this process. A stop signal ends a hook at once.
    pub signals: &'a Signals,
    /// `Preview` finds the hooks and runs none.
    pub effects: Effects<'a>,
}

/// The hooks of a phase, and what they wrote.
#[derive(Debug, Default)]
pub struct Hooks {
    /// Their paths, in the order in which they run.
    pub paths: Vec<PathBuf>,
    /// The variables that they wrote.
    pub variables: Variables,
}

/// Returns the real paths of the hooks in `directory` that root runs.
///
/// # Errors
/// A hook or interpreter that another user than root could have written; a directory that
/// cannot be listed.
pub fn root_hooks(directory: &Path) -> Result<Vec<PathBuf>, HookError> {
    let mut hooks = list(directory)?;
    for hook in &mut hooks {
        let untrusted = |problem| HookError::Untrusted {
            path: hook.clone(),
            problem,
        };
        trusted::check_trust(hook).map_err(untrusted)?;
        *hook = fs::canonicalize(&hook).map_err(|error| untrusted(error.to_string()))?;
    }
    Ok(hooks)
}

/// Runs the hooks in `directory` as root, then kills all processes that they left running. Root
/// alone may be able to write the hooks, their interpreters and all parent directories. Hooks run
/// in `/`, not in the container's working directory, from which an interpreter may load files.
///
/// # Errors
/// The first error.
pub fn run_as_root(directory: &Path, surroundings: &HookContext<'_>) -> Result<Hooks, HookError> {
    let paths = root_hooks(directory)?;
    warn_of_non_hooks(directory);
    if paths.is_empty() || surroundings.effects.is_preview() {
        let variables = Variables::new();
        return Ok(Hooks { paths, variables });
    }
    // Otherwise an orphan of a hook could not be killed, and would stay root.
    processes::adopt_orphans().map_err(HookError::Orphans)?;
    let result = run_all(paths, surroundings, Some("/"));
    let ended = kill_descendants();
    let hooks = result?;
    match ended {
        true => Ok(hooks),
        false => Err(HookError::LeftRunning),
    }
}

/// Runs the hooks in `directory` as the user. No trust check is needed: the hooks have no more
/// rights than the user.
///
/// # Errors
/// The first error.
pub fn run_as_user(directory: &Path, surroundings: &HookContext<'_>) -> Result<Hooks, HookError> {
    let hooks = list(directory)?;
    warn_of_non_hooks(directory);
    run_all(hooks, surroundings, None).inspect_err(|_| {
        // The start ends here. Processes that are left end with it, as if it were PID 1.
        let _ = kill_descendants();
    })
}

/// Runs the hooks with `directory` as working directory; `None`: that of this process.
fn run_all(
    paths: Vec<PathBuf>,
    surroundings: &HookContext<'_>,
    directory: Option<&str>,
) -> Result<Hooks, HookError> {
    let mut variables = Vec::new();
    for hook in paths.iter().filter(|_| !surroundings.effects.is_preview()) {
        let environment = (surroundings.environment)(&variables);
        variables.extend(run(hook, surroundings, environment, directory)?);
    }
    Ok(Hooks { paths, variables })
}

/// Returns the executable files in `directory` in name order; none if it does not exist.
///
/// # Errors
/// The directory cannot be listed.
fn list(directory: &Path) -> Result<Vec<PathBuf>, HookError> {
    let (hooks, _) = files(directory)?;
    Ok(hooks)
}

/// Warns of files in `directory` that are not executable and therefore are no hooks.
fn warn_of_non_hooks(directory: &Path) {
    let (_, others) = files(directory).unwrap_or_default();
    for path in others {
        let path = path.display();
        warn!("{path} is not executable, so it is not run (chmod a+x makes it a hook)");
    }
}

/// Returns the files in `directory`, in name order: the executable ones, and the others.
fn files(directory: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), HookError> {
    let unlisted = |source| HookError::Unlisted {
        directory: directory.to_owned(),
        source,
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
    directory: Option<&str>,
) -> Result<Variables, HookError> {
    let system = |source| HookError::System {
        path: hook.to_owned(),
        source,
    };
    let file = |place: &Path| {
        let mut builder = tempfile::Builder::new();
        builder.prefix(".ai-lab-env-").tempfile_in(place)
    };
    // Root uses neither TMPDIR nor a directory where a user could replace the file with a link:
    // the hook would write to the file that the link names.
    let asked = match rustix::process::geteuid().is_root() {
        true => ["/run", "/tmp"]
            .map(Path::new)
            .into_iter()
            .filter(|place| trust::root_only_renames(place))
            .find_map(|place| file(place).ok())
            .ok_or_else(|| system(ErrorKind::PermissionDenied.into())),
        false => file(&temp_directory()).map_err(system),
    }?;
    environment.push((VARIABLE.into(), asked.path().into()));
    let program = Program {
        name: hook.into(),
        args: Vec::new(),
        environment,
        directory: directory.map(PathBuf::from),
        umask: None,
    };
    let started = spawn::hook(&program).map_err(|source| HookError::NotStarted {
        path: hook.to_owned(),
        source,
    })?;
    let (stdout, stderr) = started
        .output
        .ok_or_else(|| system(ErrorKind::BrokenPipe.into()))?;
    let mut watched = Watched {
        hook,
        pid: started.pid,
        outputs: vec![Output::new(stdout), Output::new(stderr)],
    };
    let how = watched
        .wait_for_end(surroundings)
        .inspect_err(|_| kill_group(started.pid))?;
    match how {
        Ended::Exit(0) => variables::read(hook, asked.as_file()),
        Ended::Exit(code) => Err(failed(hook, format!("exit code {code}"))),
        Ended::Signal(number) => Err(failed(hook, format!("signal {number}"))),
    }
}

fn failed(hook: &Path, how: String) -> HookError {
    let path = hook.to_owned();
    HookError::Failed { path, how }
}
