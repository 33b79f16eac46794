//! The state that the supervisor publishes in `state.json`, for `status` and `healthcheck`.
//!
//! The file is in a directory of the user, `/run/ai-lab` unless set otherwise. Where that cannot
//! be written, it is in `/dev/shm/ai-lab-UID-CONTAINER` or `/tmp/ai-lab-UID-CONTAINER`: containers
//! may share `/dev/shm` and `/tmp`. The file identifies the supervisor by pid and start time, so
//! that readers can detect a stale one.

mod publisher;
mod reader;
mod store;

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, getpid};
use serde::{Deserialize, Serialize};

use crate::death::Diagnosis;
use crate::death::memory::MemoryKills;
use crate::degradation::Degradation;
use crate::sys::proc;
use crate::sys::text;
pub use publisher::{StatePublisher, WRITE_TIMEOUT};
pub use reader::{StateError, is_used_by_another, parse, read};
pub use store::{StateDirectory, holds_another_file, prepare};

/// The name of the state file.
pub const FILE: &str = "state.json";

/// Maximum size of the state in bytes, both when written and when read.
const MAX_KIB: u64 = 64;
const MAX_BYTES: usize = MAX_KIB as usize * 1024;

/// Bytes of a cause or a remedy that a shortened state keeps: the log has the full text.
const MAX_TEXT_BYTES: usize = 1024;

/// The phase of the container's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The server is being started and has not answered yet.
    Starting,
    /// The server answers, the command runs, or there is no main process.
    Ready,
    /// The server is being started again.
    Restarting,
    /// Everything is being stopped.
    Stopping,
}

/// The kind of main process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A Jupyter server.
    Lab,
    /// A single-user server of JupyterHub.
    Hub,
    /// A command.
    Command,
    /// None.
    Idle,
}

/// The content of `state.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The version of this format: 1.
    pub version: u32,
    /// The version of the program.
    pub program: String,
    /// The phase of the container's life.
    pub phase: Phase,
    /// The kind of main process.
    pub mode: Mode,
    /// The display name of the server; `None`: the main process is not a server.
    #[serde(default)]
    pub server: Option<String>,
    /// The supervisor's process id.
    pub pid: i32,
    /// The supervisor's start time, in clock ticks since boot (`/proc/PID/stat`).
    pub started: u64,
    /// The process id of the server or command; `None`: it does not run.
    pub main_pid: Option<i32>,
    /// The URL for the health check; `None`: not known yet, or left out for lack of room.
    pub probe: Option<String>,
    /// The beginning of the phase, in milliseconds since 1970.
    pub since: u64,
    /// The number of times that the server was started again.
    pub restarts: u32,
    /// The exit code of the last server or command that ended; `None`: none has ended.
    pub last_exit: Option<i32>,
    /// The cause of that end; `None`: unknown.
    #[serde(default)]
    pub last_reason: Option<Diagnosis>,
    /// What broke, if the server is a rescue; `None`: it is the usual one.
    #[serde(default)]
    pub rescue: Option<String>,
    /// The processes that Linux killed because there was no memory; `None`: they are not counted.
    #[serde(default)]
    pub memory: Option<MemoryKills>,
    /// The parts of the start: name, and duration in milliseconds.
    pub boot: Vec<(String, u64)>,
    /// Where the password is kept; `None`: JupyterHub checks logins, or there was no room.
    #[serde(default)]
    pub password: Option<PasswordLocation>,
    /// The degradations: everything that is not as requested.
    pub degradations: Vec<Degradation>,
    /// The number of further degradations, left out for lack of room.
    #[serde(default)]
    pub degradations_left_out: usize,
}

/// Where the password is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordLocation {
    /// Jupyter's configuration directory.
    pub directory: PathBuf,
    /// True if each start of the container sets the password.
    pub forced: bool,
    /// True if the server's arguments set a password, or the only file to read: they override it.
    #[serde(default)]
    pub on_the_line: bool,
    /// The server's JUPYTER_CONFIG_PATH; `None`: not set, or not UTF-8.
    #[serde(default)]
    pub config_path: Option<String>,
}

impl State {
    /// Returns the state of a supervisor that is about to start `mode`.
    pub fn new(mode: Mode, boot: Vec<(String, u64)>, degradations: Vec<Degradation>) -> Self {
        Self {
            version: 1,
            program: env!("CARGO_PKG_VERSION").into(),
            phase: Phase::Starting,
            mode,
            server: None,
            pid: getpid().as_raw_pid(),
            started: proc::stat(getpid()).map_or(0, |stat| stat.start),
            main_pid: None,
            probe: None,
            since: now(),
            restarts: 0,
            last_exit: None,
            last_reason: None,
            rescue: None,
            memory: None,
            boot,
            password: None,
            degradations,
            degradations_left_out: 0,
        }
    }

    /// Returns the text of the file. Shortens and removes parts of the state until readers accept
    /// its length.
    ///
    /// # Errors
    /// The state cannot be written as JSON.
    pub fn text(&mut self) -> serde_json::Result<Vec<u8>> {
        let mut text = self.json()?;
        if text.len() > MAX_BYTES {
            self.degradations.iter_mut().for_each(shorten);
            text = self.json()?;
        }
        while text.len() > MAX_BYTES {
            let all = self.degradations.len();
            if all > 0 {
                let kept = (all * MAX_BYTES / text.len()).min(all - 1);
                self.degradations.truncate(kept);
                self.degradations_left_out += all - kept;
            } else if self.password.take().is_none() && self.probe.take().is_none() {
                break; // everything else is short
            }
            text = self.json()?;
        }
        Ok(text)
    }

    fn json(&self) -> serde_json::Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        Ok(text)
    }

    /// Enters a phase now.
    pub fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.since = now();
    }
}

/// Shortens a long cause and a long remedy.
fn shorten(degradation: &mut Degradation) {
    let texts = [Some(&mut degradation.cause), degradation.remedy.as_mut()];
    for part in texts.into_iter().flatten() {
        text::shorten(part, MAX_TEXT_BYTES);
    }
}

/// Returns a name for a supervisor in its records: a pid alone may later be another process's.
pub fn supervisor_id(supervisor: Pid) -> String {
    let start = proc::stat(supervisor).map_or(0, |stat| stat.start);
    format!(
        "process {}, started at tick {start}",
        supervisor.as_raw_pid()
    )
}

/// Returns the current time in milliseconds since 1970.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |time| {
        u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use rustix::process::getuid;

    use super::*;

    fn keeper() -> (tempfile::TempDir, StateDirectory) {
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().to_owned();
        (dir, StateDirectory { directory })
    }

    #[test]
    fn what_is_written_is_read_back() {
        let (dir, keeper) = keeper();
        let mut state = State::new(Mode::Lab, vec![("claim".into(), 3)], Vec::new());
        keeper.write(&state.text().unwrap()).unwrap();
        let uid = getuid().as_raw();
        let (found, directory) = read(dir.path(), getpid(), uid).unwrap();
        assert_eq!((found, directory.as_path()), (state, dir.path()));
        assert_eq!(
            fs::metadata(dir.path().join(FILE)).unwrap().mode() & 0o777,
            0o644
        );
    }

    #[test]
    fn a_state_is_never_longer_than_its_readers_accept() {
        let (dir, keeper) = keeper();
        let long = |length: usize| Degradation::new("é".repeat(length), "\u{1}".repeat(length));
        let password = |length: usize| PasswordLocation {
            directory: "/".into(),
            forced: false,
            on_the_line: false,
            config_path: Some("x".repeat(length)),
        };
        for (degradations, length, config_path) in [
            (400, 100, 0),
            (1, 1_000_000, 0),
            (2_000, 5_000, 10),
            (400, 100, 130_000),
            (0, 0, 130_000),
        ] {
            let given = vec![long(length); degradations];
            let mut state = State::new(Mode::Lab, Vec::new(), given);
            state.password = Some(password(config_path));
            state.probe = Some("http://127.0.0.1:1/api".into());
            keeper.write(&state.text().unwrap()).unwrap();
            let (found, _) = read(dir.path(), getpid(), getuid().as_raw()).unwrap();
            let all = found.degradations.len() + found.degradations_left_out;
            assert_eq!((all, &found), (degradations, &state));
            assert!(found.probe.is_some(), "what is asked for health stays");
            if config_path < 1000 && degradations > 0 {
                assert!(!found.degradations.is_empty(), "{degradations}");
            }
        }
    }

    #[test]
    fn a_stale_state_is_none() {
        let (dir, keeper) = keeper();
        let mut state = State::new(Mode::Lab, Vec::new(), Vec::new());
        state.started -= 1;
        keeper.write(&state.text().unwrap()).unwrap();
        let result = read(dir.path(), getpid(), getuid().as_raw());
        assert!(matches!(result, Err(StateError::Absent { .. })));
    }

    #[test]
    fn what_another_user_can_write_is_not_opened_for_root() {
        let (dir, keeper) = keeper();
        let mut state = State::new(Mode::Lab, Vec::new(), Vec::new());
        keeper.write(&state.text().unwrap()).unwrap();
        assert!(read(dir.path(), getpid(), 0).is_ok());
        std::os::unix::fs::chown(dir.path(), Some(4242), None).unwrap();
        let result = read(dir.path(), getpid(), 0);
        assert!(matches!(result, Err(StateError::Absent { .. })));
    }

    #[test]
    fn links_fifos_and_strangers_files_are_not_read() {
        let (dir, keeper) = keeper();
        let uid = getuid().as_raw();
        let file = dir.path().join(FILE);
        let mut state = State::new(Mode::Lab, Vec::new(), Vec::new());
        keeper.write(&state.text().unwrap()).unwrap();
        let unreadable = |uid| {
            matches!(
                read(dir.path(), getpid(), uid),
                Err(StateError::Unreadable { .. })
            )
        };
        assert!(unreadable(uid + 1));
        fs::rename(&file, dir.path().join("other")).unwrap();
        std::os::unix::fs::symlink("other", &file).unwrap();
        assert!(unreadable(uid));
        fs::remove_file(&file).unwrap();
        nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(unreadable(uid));
    }
}
