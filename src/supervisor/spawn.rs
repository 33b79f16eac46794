//! Starts the main process, and explains why it could not be started.

use std::ffi::{OsStr, OsString};
use std::fmt::Display;
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
#[derive(Debug, Clone, thiserror::Error)]
#[error("{text}")]
pub struct SpawnError {
    text: String,
    /// The exit code: 127 not found and 126 not executable, as in a shell; 1 if the preparation
    /// failed.
    pub code: i32,
    /// True if there is no such program.
    pub not_found: bool,
}

impl SpawnError {
    fn new(code: i32, text: String) -> Self {
        Self {
            text,
            code,
            not_found: false,
        }
    }

    /// Returns the error of a program that must not be started, or whose rescue cannot be made.
    pub fn unprepared(reason: String) -> Self {
        Self::new(1, reason)
    }

    fn not_found(name: &OsStr, hint: &str) -> Self {
        let text = format!("{} was not found: {hint}", name.display());
        Self {
            not_found: true,
            ..Self::new(127, text)
        }
    }

    fn not_executable(path: &Path, hint: &str) -> Self {
        let path = path.display();
        Self::new(126, format!("{path} cannot be executed: {hint}"))
    }

    fn not_permitted(path: &Path) -> Self {
        let hint = format!("permission denied; `chmod a+x {}`?", path.display());
        Self::not_executable(path, &hint)
    }

    fn refused(path: &Path, error: impl Display) -> Self {
        let path = path.display();
        Self::new(126, format!("{path} could not be started: {error}"))
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
    let refused = |error: Errno| spawn_error(&path, program, error.into());
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
        .map_err(|error| spawn_error(&path, program, error))?;
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
        Some(path) => SpawnError::not_permitted(&path),
        None => {
            let hint = format!("it is in no directory of PATH ({})", path.display());
            SpawnError::not_found(&program.name, &hint)
        }
    })
}

fn spawn_error(path: &Path, program: &Program, error: io::Error) -> SpawnError {
    if let Some(directory) = &program.directory
        && let Err(error) = access(directory, Access::EXEC_OK)
    {
        let directory = directory.display();
        let text = format!("the working directory {directory} cannot be entered: {error}");
        return SpawnError::new(126, text);
    }
    if let Some(refused) = sys::failed_in_child(&error) {
        return SpawnError::refused(path, refused);
    }
    match error.raw_os_error() {
        Some(libc::ENOENT) => match interpreter(path) {
            Ok(Interpreter::Script(line)) if line.path.as_os_str().as_bytes().ends_with(b"\r") => {
                let path = path.display();
                SpawnError::new(127, format!("{path} cannot be executed: {WINDOWS_LINES}"))
            }
            Ok(interpreter) => {
                let (path, named) = (path.display(), interpreter.path());
                let named = named.map(|path| path.display().to_string());
                let named = named.unwrap_or_else(|| "its dynamic loader".into());
                let text = format!(
                    "{path} exists, but the interpreter that it names, {named}, does not: it may \
                     be made for another image or directory"
                );
                SpawnError::new(127, text)
            }
            Err(_) => SpawnError::not_found(path.as_os_str(), "there is no such file"),
        },
        Some(libc::EACCES) if path.is_dir() => {
            SpawnError::not_executable(path, "it is a directory")
        }
        // Otherwise something else was refused: its interpreter, or /dev/null.
        Some(libc::EACCES) if access(path, Access::EXEC_OK).is_err() => {
            SpawnError::not_permitted(path)
        }
        Some(libc::EAGAIN) => SpawnError::refused(path, format!("{error}; {}", sys::NO_PROCESS)),
        // The kernel does not say which of the two calls it refused.
        Some(libc::ENOSYS | libc::EPERM | libc::EINVAL) => {
            SpawnError::refused(path, sys::call_error("clone or execve")(error))
        }
        _ => SpawnError::refused(path, error),
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
    let hint = format!(
        "{} is made for another kind of processor; was the venv made elsewhere?",
        foreign.display()
    );
    Err(SpawnError::not_executable(path, &hint))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::fs;
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
            assert_eq!(error.code, code, "{error}");
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn a_directory_that_cannot_be_entered_is_named() {
        let mut program = program("/bin/true", Path::new("/"));
        program.directory = Some("/nonexistent".into());
        let told = "the working directory /nonexistent cannot be entered: No such file";
        let error = server(&program).unwrap_err();
        assert!(error.to_string().starts_with(told), "{error}");
        let error = check_command(&program).unwrap_err();
        assert!(error.to_string().starts_with(told), "{error}");
        program.directory = None;
        assert!(check_command(&program).is_ok());
    }
}
