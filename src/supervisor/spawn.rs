//! Starts the main process, and explains why it could not be started.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{Access, access};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::supervisor::interpreter::{
    Interpreter, WINDOWS_LINES, foreign_binary, interpreter, on_path,
};
use crate::sys;
use crate::sys::Separation;

/// A program to start, several times if need be.
#[derive(Debug, Clone)]
pub struct Program {
    /// An absolute path, another path with a slash, or a bare name to look up in PATH.
    pub name: OsString,
    /// The arguments after the name.
    pub args: Vec<OsString>,
    /// The whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// The working directory; `None`: that of this process.
    pub directory: Option<PathBuf>,
    /// The file mode creation mask; `None`: that of this process.
    pub umask: Option<u32>,
}

/// The reason why a program could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// There is no such program.
    #[error("{} was not found: {hint}", name.display())]
    NotFound {
        /// The name or path that was requested.
        name: OsString,
        /// Where it was looked for, and what may have been meant.
        hint: String,
    },
    /// The file exists, but its interpreter does not.
    #[error("{} exists, but the interpreter that it names, {interpreter}, does not: \
             it may be made for another image or directory", path.display())]
    Interpreter {
        /// The script or program.
        path: PathBuf,
        /// The first line's interpreter, or the loader.
        interpreter: String,
    },
    /// The script exists, but its first line names no interpreter that exists.
    #[error("{} cannot be executed: {WINDOWS_LINES}", path.display())]
    WindowsLines {
        /// The script.
        path: PathBuf,
    },
    /// The file exists, but cannot be executed.
    #[error("{} cannot be executed: {hint}", path.display())]
    NotExecutable {
        /// The program.
        path: PathBuf,
        /// The reason, and what to do.
        hint: String,
    },
    /// The working directory cannot be entered.
    #[error("the working directory {} cannot be entered: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// chdir(2)'s error.
        source: io::Error,
    },
    /// It must not be started.
    #[error("{0}")]
    Unprepared(String),
    /// The surroundings of a rescued server could not be made.
    #[error("the server cannot be rescued: {source}; run with --tmpfs /tmp")]
    Rescue {
        /// The error, with the path.
        source: io::Error,
    },
    /// The system refused to start it.
    #[error("{} could not be started: {source}", path.display())]
    System {
        /// The program.
        path: PathBuf,
        /// The error of fork(2), execve(2) or a call between them.
        source: io::Error,
    },
}

impl SpawnError {
    /// Returns the exit code: 127 not found and 126 not executable, as in a shell; 1 if the
    /// preparation failed.
    pub fn code(&self) -> i32 {
        match self {
            Self::NotFound { .. } | Self::Interpreter { .. } | Self::WindowsLines { .. } => 127,
            Self::Unprepared(_) | Self::Rescue { .. } => 1,
            _ => 126,
        }
    }
}

/// A started process.
#[derive(Debug)]
pub struct Spawned {
    /// Its process id.
    pub pid: Pid,
    /// The read ends of its stdout and stderr pipes; `None` for a command.
    pub output: Option<(OwnedFd, OwnedFd)>,
}

/// Starts a server in its own session, with stdin from `/dev/null` and its output piped to us.
///
/// # Errors
/// The reason why it could not be started.
pub fn server(program: &Program) -> Result<Spawned, SpawnError> {
    check_architecture(&resolve_program(program)?)?;
    hook(program)
}

/// Starts a hook as a server is started. A hook can be any program that the kernel can execute.
///
/// # Errors
/// The hook cannot be started.
pub fn hook(program: &Program) -> Result<Spawned, SpawnError> {
    let mut command = prepared(program, Separation::Session)?;
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    start(command, program)
}

/// Starts a command with our stdin, stdout and stderr, in its own process group. The group gets
/// the foreground of `terminal`, if there is one.
///
/// # Errors
/// The reason why it could not be started.
pub fn command(program: &Program, terminal: Option<i32>) -> Result<Spawned, SpawnError> {
    start(prepared(program, Separation::Group(terminal))?, program)
}

/// Checks whether [`server`] could start the program, by its file and its working directory only.
///
/// # Errors
/// The reason why it could not be started.
pub fn check_server(program: &Program) -> Result<(), SpawnError> {
    check_command(program)?;
    check_architecture(&resolve_program(program)?)
}

/// Checks the same for [`command`].
///
/// # Errors
/// The reason why it could not be started.
pub fn check_command(program: &Program) -> Result<(), SpawnError> {
    let path = resolve_program(program)?;
    let refused = |error: Errno| spawn_error(path.clone(), program, error.into());
    if let Some(directory) = &program.directory {
        let entered = access(directory, Access::EXEC_OK);
        entered.map_err(refused)?;
    }
    access(&path, Access::EXEC_OK).map_err(refused)?;
    if path.is_dir() {
        return Err(refused(Errno::ACCESS));
    }
    match interpreter(&path) {
        Ok(Interpreter::Script(line)) => access(line.path, Access::EXEC_OK).map_err(refused),
        _ => Ok(()),
    }
}

fn prepared(program: &Program, apart: Separation) -> Result<Command, SpawnError> {
    let path = resolve_program(program)?;
    let mut command = Command::new(&path);
    command
        .arg0(&program.name)
        .args(&program.args)
        .env_clear()
        .envs(
            program
                .environment
                .iter()
                .map(|(name, value)| (name, value)),
        );
    if let Some(directory) = &program.directory {
        command.current_dir(directory);
    }
    sys::reset_child(&mut command, apart, program.umask);
    Ok(command)
}

fn start(mut command: Command, program: &Program) -> Result<Spawned, SpawnError> {
    let path = PathBuf::from(command.get_program());
    let mut child = command
        .spawn()
        .map_err(|error| spawn_error(path, program, error))?;
    let output = match (child.stdout.take(), child.stderr.take()) {
        (Some(stdout), Some(stderr)) => Some((stdout.into(), stderr.into())),
        _ => None,
    };
    // Dropping `child` does not wait for it: only the reaper waits.
    let pid = Pid::from_child(&child);
    Ok(Spawned { pid, output })
}

/// Returns the file that the program's name stands for, as execvp(3) would find it.
///
/// # Errors
/// There is none on its PATH.
pub fn resolve_program(program: &Program) -> Result<PathBuf, SpawnError> {
    let name = Path::new(&program.name);
    if program.name.as_encoded_bytes().contains(&b'/') {
        return Ok(name.to_owned());
    }
    let path = program
        .environment
        .iter()
        .find_map(|(key, value)| (key == "PATH").then_some(value.as_os_str()));
    let path = path.unwrap_or(OsStr::new(crate::sys::env::SYSTEM_PATH));
    on_path(&program.name, path).map_err(|refused| match refused {
        Some(path) => not_executable(path),
        None => SpawnError::NotFound {
            name: program.name.clone(),
            hint: format!("it is in no directory of PATH ({})", path.display()),
        },
    })
}

fn not_executable(path: PathBuf) -> SpawnError {
    let hint = format!("permission denied; `chmod a+x {}`?", path.display());
    SpawnError::NotExecutable { path, hint }
}

fn spawn_error(path: PathBuf, program: &Program, error: io::Error) -> SpawnError {
    if let Some(directory) = &program.directory
        && let Err(source) = fs::read_dir(directory)
    {
        let path = directory.clone();
        return SpawnError::Directory { path, source };
    }
    if let Some(refused) = sys::failed_in_child(&error) {
        let source = io::Error::other(refused);
        return SpawnError::System { path, source };
    }
    match error.raw_os_error() {
        Some(libc::ENOENT) => match interpreter(&path) {
            Ok(Interpreter::Script(line)) if line.path.as_os_str().as_bytes().ends_with(b"\r") => {
                SpawnError::WindowsLines { path }
            }
            Ok(interpreter) => SpawnError::Interpreter {
                path,
                interpreter: match interpreter.path() {
                    Some(path) => path.display().to_string(),
                    None => "its dynamic loader".into(),
                },
            },
            Err(_) => SpawnError::NotFound {
                name: path.into_os_string(),
                hint: "there is no such file".into(),
            },
        },
        Some(libc::EACCES) if path.is_dir() => SpawnError::NotExecutable {
            path,
            hint: "it is a directory".into(),
        },
        // Otherwise something else was refused: its interpreter, or /dev/null.
        Some(libc::EACCES) if access(&path, Access::EXEC_OK).is_err() => not_executable(path),
        Some(libc::EAGAIN) => SpawnError::System {
            path,
            source: io::Error::other(format!("{error}; is --pids-limit too low?")),
        },
        // The kernel does not say which of the two calls it refused.
        Some(libc::ENOSYS | libc::EPERM | libc::EINVAL) => {
            let source = io::Error::other(sys::call_error("clone or execve")(error));
            SpawnError::System { path, source }
        }
        _ => SpawnError::System {
            path,
            source: error,
        },
    }
}

/// Refuses a program for another processor, and a script whose interpreter is one: execvp(3)
/// would give the file to a shell, as a script full of nonsense.
///
/// Only servers are checked: other programs may be meant for an emulator that is set up.
fn check_architecture(path: &Path) -> Result<(), SpawnError> {
    let Some(foreign) = foreign_binary(path) else {
        return Ok(());
    };
    let what = foreign.display();
    Err(SpawnError::NotExecutable {
        path: path.to_owned(),
        hint: format!("{what} is made for another kind of processor; was the venv made elsewhere?"),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn program(name: impl Into<OsString>, path: &Path) -> Program {
        Program {
            name: name.into(),
            args: Vec::new(),
            environment: vec![("PATH".into(), path.into())],
            directory: None,
            umask: None,
        }
    }

    #[test]
    fn why_a_program_cannot_be_started_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str, text: &str, mode: u32| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path.into_os_string()
        };
        let plain = make("plain", "data", 0o644);
        let plain_path = plain.to_str().unwrap();
        let closed = make("closed", &format!("#!{plain_path}\n"), 0o755);
        let lost = make("lost", "#!/nonexistent/python -E\n", 0o755);
        let windows = make("windows", "#!/bin/sh\r\n", 0o755);
        let both = make("both", "#!/nonexistent/python -E\r\n", 0o755);
        // An ELF file for a processor that is out of use (EM_M32).
        let elf = "\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x01\0";
        let foreign = make("foreign", elf, 0o755);
        let line = format!("#!{} -E\n", Path::new(&foreign).display());
        let script = make("script", &line, 0o755);
        let other = "foreign is made for another kind of processor";
        for (name, code, expected) in [
            (
                "absent".into(),
                127,
                "absent was not found: it is in no directory of PATH",
            ),
            (
                "plain".into(),
                126,
                "cannot be executed: permission denied; `chmod a+x",
            ),
            (plain, 126, "cannot be executed: permission denied"),
            (
                closed,
                126,
                "closed could not be started: Permission denied",
            ),
            (
                "/nonexistent".into(),
                127,
                "/nonexistent was not found: there is no such file",
            ),
            (
                lost,
                127,
                "interpreter that it names, /nonexistent/python, does not",
            ),
            (
                windows,
                127,
                "windows cannot be executed: its lines end as in Windows",
            ),
            (
                both,
                127,
                "interpreter that it names, /nonexistent/python, does not",
            ),
            (dir.path().into(), 126, "it is a directory"),
            (foreign, 126, other),
            (script, 126, other),
        ] {
            let program = program(name, dir.path());
            let error = server(&program).unwrap_err();
            let foreseen = check_server(&program).unwrap_err();
            assert_eq!(foreseen.to_string(), error.to_string());
            assert_eq!(error.code(), code, "{error}");
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn a_directory_that_cannot_be_entered_is_named() {
        let mut program = program("/bin/true", Path::new("/"));
        program.directory = Some("/nonexistent".into());
        let error = server(&program).unwrap_err();
        assert!(matches!(error, SpawnError::Directory { .. }), "{error}");
        let error = check_command(&program).unwrap_err();
        assert!(matches!(error, SpawnError::Directory { .. }), "{error}");
        program.directory = None;
        assert!(check_command(&program).is_ok());
    }
}
