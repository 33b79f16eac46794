//! Hooks: programs of the image's author that take part in a start.
//!
//! Those in `hooks/root/` run as root before everything else, those in `hooks/user/` as
//! the user before the server; in name order, one after the other. What they say is in
//! the log. Lines `KEY=VALUE` that they write to the file named by `$AI_LAB_ENV` go
//! into the server's environment. One that fails ends the start.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal};
use tracing::{info, warn};

use crate::settings::{table, trust};
use crate::supervisor::everyone;
use crate::supervisor::reaper::{self, Found};
use crate::supervisor::signals::Signals;
use crate::supervisor::spawn::{self, Program, SpawnError};
use crate::supervisor::stop::Ended;
use crate::sys;

/// Where a hook writes what the server's environment is to have.
pub const VARIABLE: &str = "AI_LAB_ENV";

/// A hook says no more than this many bytes to the environment.
const LONGEST: u64 = 64 * 1024;

/// A line of a hook's output is cut after this many bytes.
const LONGEST_LINE: usize = 8 * 1024;

/// Why a start ends at a hook.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// Others than root could have written what would run as root.
    #[error("{} is not run as root: {problem}", path.display())]
    Untrusted {
        /// The hook.
        path: PathBuf,
        /// Who could write what.
        problem: String,
    },
    /// The directory cannot be listed.
    #[error("the hooks in {} cannot be listed: {source}", directory.display())]
    Unlisted {
        /// The directory.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It could not be started.
    #[error("the hook {} could not be started", path.display())]
    NotStarted {
        /// The hook.
        path: PathBuf,
        /// Why.
        source: SpawnError,
    },
    /// It failed.
    #[error("the hook {} failed with {how}; what it said is above", path.display())]
    Failed {
        /// The hook.
        path: PathBuf,
        /// `exit code 3` or `signal 9`.
        how: String,
    },
    /// It took too long, and was killed.
    #[error("the hook {} took longer than {} s and was killed; --hook-timeout gives it more", path.display(), limit.as_secs_f32())]
    TooLong {
        /// The hook.
        path: PathBuf,
        /// The limit.
        limit: Duration,
    },
    /// What it wrote for the environment is no such thing.
    #[error("the hook {} wrote line {line} of ${VARIABLE}, which {problem}", path.display())]
    Environment {
        /// The hook.
        path: PathBuf,
        /// The line; 1 is the first.
        line: usize,
        /// What is wrong.
        problem: &'static str,
    },
    /// The file for the environment, or the wait for the hook, failed.
    #[error("the hook {} could not be looked after: {source}", path.display())]
    System {
        /// The hook.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody asked to stop.
    #[error("stopped while the hook {} ran", .0.display())]
    Stopped(PathBuf),
}

/// What hooks are run with.
pub struct Surroundings<'a> {
    /// How long one of them may take.
    pub limit: Duration,
    /// Their environment.
    pub environment: Vec<(OsString, OsString)>,
    /// All signals: one that asks to stop ends a hook at once.
    pub signals: &'a Signals,
}

/// Variables that a hook asked for.
pub type Variables = Vec<(OsString, OsString)>;

/// The hooks in `directory` that root would run.
///
/// # Errors
/// One that others than root could have written; a directory that cannot be listed.
pub fn root_hooks(directory: &Path) -> Result<Vec<PathBuf>, HookError> {
    let mut hooks = list(directory)?;
    for hook in &mut hooks {
        let untrusted = |problem| HookError::Untrusted {
            path: hook.clone(),
            problem,
        };
        // What is judged is what runs, whatever becomes of a link on the way.
        let real = fs::canonicalize(&hook).map_err(|error| untrusted(error.to_string()))?;
        trust::root_alone(&real).map_err(untrusted)?;
        *hook = real;
    }
    Ok(hooks)
}

/// Runs the hooks in `directory` as root. Only root may have written them and every
/// directory above; what one leaves running is killed.
///
/// # Errors
/// The first thing that went wrong.
pub fn run_as_root(
    directory: &Path,
    surroundings: &Surroundings<'_>,
) -> Result<Variables, HookError> {
    let hooks = root_hooks(directory)?;
    let result = run_all(&hooks, surroundings);
    if !hooks.is_empty() {
        end_all_below();
    }
    result
}

/// Runs the hooks in `directory` as the user, who nobody else needs to be protected
/// from.
///
/// # Errors
/// The first thing that went wrong.
pub fn run_as_user(
    directory: &Path,
    surroundings: &Surroundings<'_>,
) -> Result<Variables, HookError> {
    run_all(&list(directory)?, surroundings)
}

fn run_all(hooks: &[PathBuf], surroundings: &Surroundings<'_>) -> Result<Variables, HookError> {
    let mut variables = Vec::new();
    for hook in hooks {
        variables.extend(run(hook, surroundings)?);
    }
    Ok(variables)
}

/// The hooks in `directory`: its executable files in name order; none if it is not there.
///
/// # Errors
/// The directory cannot be listed.
pub fn list(directory: &Path) -> Result<Vec<PathBuf>, HookError> {
    let unlisted = |source| HookError::Unlisted {
        directory: directory.to_owned(),
        source,
    };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unlisted(error)),
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = paths.collect::<Result<Vec<_>, _>>().map_err(unlisted)?;
    paths.sort();
    paths.retain(|path| match fs::metadata(path) {
        Ok(data) if data.is_file() && data.permissions().mode() & 0o111 != 0 => true,
        Ok(data) if data.is_file() => {
            warn!(
                "{} is not executable and no hook (chmod a+x makes it one)",
                path.display()
            );
            false
        }
        _ => false,
    });
    Ok(paths)
}

fn run(hook: &Path, surroundings: &Surroundings<'_>) -> Result<Variables, HookError> {
    let system = |source| HookError::System {
        path: hook.to_owned(),
        source,
    };
    // For root not where TMPDIR says: in a directory of the user's, the user could put a
    // link to another file there, and the hook would write to it.
    let place = if rustix::process::geteuid().is_root() {
        PathBuf::from("/tmp")
    } else {
        std::env::temp_dir()
    };
    let asked = tempfile::Builder::new()
        .prefix(".ai-lab-env-")
        .tempfile_in(place)
        .map_err(system)?;
    let mut environment = surroundings.environment.clone();
    environment.push((VARIABLE.into(), asked.path().into()));
    let program = Program {
        name: hook.into(),
        args: Vec::new(),
        environment,
        directory: None,
    };
    let started = spawn::server(&program).map_err(|source| HookError::NotStarted {
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
    let how = watched.until_its_end(surroundings).inspect_err(|_| {
        kill_group(started.pid);
        end_all_below();
    })?;
    match how {
        Ended::Exit(0) => read_variables(hook, asked.as_file()),
        Ended::Exit(code) => Err(failed(hook, format!("exit code {code}"))),
        Ended::Signal(number) => Err(failed(hook, format!("signal {number}"))),
    }
}

fn failed(hook: &Path, how: String) -> HookError {
    let path = hook.to_owned();
    HookError::Failed { path, how }
}

fn kill_group(leader: Pid) {
    // It may be gone already, with its whole group.
    let _ = sys::kill(-leader.as_raw_pid(), Signal::KILL.as_raw());
}

/// Kills and reaps everyone below us.
fn end_all_below() {
    loop {
        match reaper::look() {
            Found::NobodyLeft => return,
            Found::Nothing => {
                everyone::signal(Signal::KILL);
                // Who is dying has a moment; there is nothing else to wait for.
                std::thread::sleep(Duration::from_millis(1));
            }
            Found::Ended(..) | Found::Stopped(_) => {}
        }
    }
}

/// A running hook.
struct Watched<'a> {
    hook: &'a Path,
    pid: Pid,
    outputs: Vec<Output>,
}

impl Watched<'_> {
    fn until_its_end(&mut self, surroundings: &Surroundings<'_>) -> Result<Ended, HookError> {
        let deadline = Instant::now() + surroundings.limit;
        loop {
            // In this order: an end that is noticed only after its signal was read
            // would be waited for until the limit.
            let stop = surroundings.signals.stop_requested().is_some();
            let ended = self.reaped();
            for output in &mut self.outputs {
                output.read(self.hook);
            }
            if let Some(ended) = ended {
                return Ok(ended);
            }
            if stop {
                return Err(HookError::Stopped(self.hook.to_owned()));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(HookError::TooLong {
                    path: self.hook.to_owned(),
                    limit: surroundings.limit,
                });
            }
            self.wait(surroundings.signals, left);
        }
    }

    /// Waits for output, a signal (also of a child's end), or the limit.
    fn wait(&self, signals: &Signals, limit: Duration) {
        let open = self.outputs.iter().filter(|output| output.open);
        let mut watched: Vec<PollFd<'_>> = open
            .map(|output| PollFd::new(&output.from, PollFlags::IN))
            .collect();
        let signals = signals.as_fd();
        watched.push(PollFd::new(&signals, PollFlags::IN));
        let limit = Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        };
        // An error of poll(2) can only be EINTR here.
        let _ = poll(&mut watched, Some(&limit));
    }

    /// The hook's end, if it came. Orphans that come to us are reaped beside it.
    fn reaped(&self) -> Option<Ended> {
        loop {
            match reaper::look() {
                Found::Ended(pid, how) if pid == self.pid => return Some(how),
                Found::Ended(..) | Found::Stopped(_) => {}
                Found::Nothing | Found::NobodyLeft => return None,
            }
        }
    }
}

/// One of a hook's streams.
struct Output {
    from: fs::File,
    open: bool,
    line: Vec<u8>,
}

impl Output {
    fn new(from: OwnedFd) -> Self {
        // Without it the last read would wait for what a hook left running.
        let _ = rustix::io::ioctl_fionbio(&from, true);
        Self {
            from: from.into(),
            open: true,
            line: Vec::new(),
        }
    }

    /// Logs what is there now, line by line.
    fn read(&mut self, hook: &Path) {
        let name = hook
            .file_name()
            .unwrap_or(OsStr::new("?"))
            .to_string_lossy();
        let mut bytes = [0; 4096];
        while self.open {
            match self.from.read(&mut bytes) {
                Ok(0) => self.open = false,
                Ok(size) => {
                    for byte in &bytes[..size] {
                        if *byte == b'\n' || self.line.len() == LONGEST_LINE {
                            self.say(&name);
                        }
                        if *byte != b'\n' {
                            self.line.push(*byte);
                        }
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.open = false,
            }
        }
        if !self.line.is_empty() {
            self.say(&name);
        }
    }

    fn say(&mut self, name: &str) {
        info!("{name}: {}", String::from_utf8_lossy(&self.line));
        self.line.clear();
    }
}

/// Reads the file that was made, whatever its name leads to by now.
fn read_variables(hook: &Path, file: &fs::File) -> Result<Variables, HookError> {
    let system = |source| HookError::System {
        path: hook.to_owned(),
        source,
    };
    let mut text = Vec::new();
    file.take(LONGEST + 1)
        .read_to_end(&mut text)
        .map_err(system)?;
    if text.len() as u64 > LONGEST {
        return Err(system(io::Error::other(format!(
            "${VARIABLE} is longer than 64 KiB"
        ))));
    }
    parse(&text).map_err(|(line, problem)| HookError::Environment {
        path: hook.to_owned(),
        line,
        problem,
    })
}

/// Lines `KEY=VALUE`; empty ones and those that begin with `#` say nothing.
fn parse(text: &[u8]) -> Result<Variables, (usize, &'static str)> {
    let lines = text.split(|byte| *byte == b'\n').enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with(b"#"));
    lines
        .map(|(index, line)| {
            let wrong = |problem| Err((index + 1, problem));
            let Some(at) = line.iter().position(|byte| *byte == b'=') else {
                return wrong("is not KEY=VALUE");
            };
            let (name, value) = (&line[..at], &line[at + 1..]);
            let word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
            if name.is_empty() || name[0].is_ascii_digit() || !name.iter().all(word) {
                return wrong("does not begin with the name of a variable and =");
            }
            if value.contains(&0) {
                return wrong("contains a NUL byte");
            }
            let name = OsString::from_vec(name.to_vec());
            if table::own_environment().any(|own| name == own) {
                return wrong(
                    "sets a variable of the entrypoint's own, which the server never sees",
                );
            }
            Ok((name, OsString::from_vec(value.to_vec())))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_a_hook_writes_becomes_variables() {
        let text = b"A=1\n\n# a comment\nB_2=x=y \xff\nC=";
        let expected: Variables = vec![
            ("A".into(), "1".into()),
            ("B_2".into(), OsString::from_vec(b"x=y \xff".to_vec())),
            ("C".into(), "".into()),
        ];
        assert_eq!(parse(text), Ok(expected));
        for (text, line, word) in [
            ("A=1\nexport B=2", 2, "name"),
            ("A", 1, "KEY=VALUE"),
            ("=x", 1, "name"),
            ("1A=x", 1, "name"),
            ("A=\0", 1, "NUL"),
            ("JUPYTER_PASSWORD=x", 1, "own"),
        ] {
            let (at, problem) = parse(text.as_bytes()).unwrap_err();
            assert_eq!(at, line, "{text}");
            assert!(problem.contains(word), "{text}: {problem}");
        }
    }
}
