//! What the supervisor tells the world: `state.json`, for `status` and `healthcheck`.
//!
//! It lives in a directory of the user's, `/run/ai-lab` unless named otherwise;
//! where that cannot be written, in `/dev/shm/ai-lab-UID` or `/tmp/ai-lab-UID`. It
//! names the supervisor by pid and start time, so that a stale one is known.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, getpid, getuid};
use serde::{Deserialize, Serialize};

use crate::degradation::Degradation;
use crate::identity::{Dropped, Root, may_chown};
use crate::supervisor::everyone;

/// The name of the file.
pub const FILE: &str = "state.json";

/// No state is longer than this many bytes; a longer one is not ours.
const LONGEST: u64 = 64 * 1024;

/// What the container is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The server was started and has not answered yet.
    Starting,
    /// The server answers, or the command runs.
    Ready,
    /// The server is being started again.
    Restarting,
    /// Everything is being ended.
    Stopping,
}

/// What is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A Jupyter server.
    Lab,
    /// A single-user server of JupyterHub.
    Hub,
    /// A command.
    Command,
    /// Nothing.
    Idle,
}

/// The content of `state.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The version of this format: 1.
    pub version: u32,
    /// The version of the program.
    pub program: String,
    /// What the container is doing.
    pub phase: Phase,
    /// What is run.
    pub mode: Mode,
    /// The supervisor's process id.
    pub pid: i32,
    /// When the supervisor started, in clock ticks since boot (`/proc/PID/stat`).
    pub started: u64,
    /// The server's or command's process id, while it exists.
    pub main_pid: Option<i32>,
    /// Where the health check asks, once it is known.
    pub probe: Option<String>,
    /// When the phase began, in milliseconds since 1970.
    pub since: u64,
    /// How often the server was started again.
    pub restarts: u32,
    /// How the server ended last, as an exit code, if it did.
    pub last_exit: Option<i32>,
    /// What the start spent its time on: name and milliseconds.
    pub boot: Vec<(String, u64)>,
    /// Where the password is kept; `None`: JupyterHub lets people in.
    #[serde(default)]
    pub password: Option<PasswordPlace>,
    /// What is not as asked.
    pub degradations: Vec<Degradation>,
}

/// Where the password is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordPlace {
    /// The directory of Jupyter's configuration.
    pub directory: PathBuf,
    /// Whether each start of the container sets it.
    pub forced: bool,
}

impl State {
    /// The state of a supervisor that is about to start `mode`.
    pub fn new(mode: Mode, boot: Vec<(String, u64)>, degradations: Vec<Degradation>) -> Self {
        Self {
            version: 1,
            program: env!("CARGO_PKG_VERSION").into(),
            phase: Phase::Starting,
            mode,
            pid: getpid().as_raw_pid(),
            started: everyone::stat(getpid()).map_or(0, |stat| stat.start),
            main_pid: None,
            probe: None,
            since: now(),
            restarts: 0,
            last_exit: None,
            boot,
            password: None,
            degradations,
        }
    }

    /// Enters a phase, now.
    pub fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.since = now();
    }
}

/// Milliseconds since 1970.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |time| {
        u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
    })
}

/// Makes the directory as root, removes an old state, lets `fill` write what is root's,
/// and hands the directory to the user.
///
/// While root works in it, it is root's: root without CAP_DAC_OVERRIDE cannot write in
/// a directory of the user's, as it is after an earlier start.
///
/// # Errors
/// The directory cannot be made or handed over, or something else is in its place.
pub fn prepare(
    _: &Root,
    directory: &Path,
    uid: u32,
    gid: u32,
    fill: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(directory)?;
    let handle = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_DIRECTORY)
        .open(directory)?;
    let hand_to = |uid, gid| std::os::unix::fs::fchown(&handle, Some(uid), Some(gid));
    hand_to(0, 0)?;
    match rustix::fs::unlinkat(&handle, FILE, rustix::fs::AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    // What could not be written does not keep the user from writing.
    let filled = fill();
    hand_to(uid, gid)?;
    filled
}

/// Whether [`prepare`] could do it; nothing is changed.
///
/// # Errors
/// As [`prepare`].
pub fn foresee_preparing(
    _: &Root,
    directory: &Path,
    writable: &dyn Fn(&Path) -> io::Result<()>,
) -> io::Result<()> {
    match fs::symlink_metadata(directory) {
        Ok(data) if data.is_symlink() => return Err(io::Error::from_raw_os_error(libc::ELOOP)),
        _ => writable(directory)?,
    }
    match may_chown() {
        true => Ok(()),
        false => Err(io::Error::from_raw_os_error(libc::EPERM)),
    }
}

/// Where the state is kept.
#[derive(Debug, Clone)]
pub struct Keeper {
    directory: PathBuf,
}

impl Keeper {
    /// Finds the first directory that can be written: `wanted`, or one of our own.
    ///
    /// # Errors
    /// The reason of the last one.
    pub fn open(_: &Dropped, wanted: &Path) -> io::Result<Self> {
        let uid = getuid().as_raw();
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for directory in places(wanted, uid) {
            let made = DirBuilder::new().mode(0o700).create(&directory);
            match made {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    last = error;
                    continue;
                }
                _ => {}
            }
            // One that somebody else made in a place that all can write is not ours.
            let owner = fs::symlink_metadata(&directory).map(|data| (data.is_dir(), data.uid()));
            if directory != wanted && !matches!(owner, Ok((true, owner)) if owner == uid) {
                continue;
            }
            let keeper = Self { directory };
            match keeper.try_out() {
                Ok(()) => return Ok(keeper),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The directory that [`Self::open`] would find; nothing is made.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn foresee(
        _: &Dropped,
        wanted: &Path,
        writable: &dyn Fn(&Path) -> io::Result<()>,
    ) -> io::Result<PathBuf> {
        let uid = getuid().as_raw();
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for directory in places(wanted, uid) {
            let ours = match fs::symlink_metadata(&directory) {
                Ok(data) => data.is_dir() && data.uid() == uid,
                Err(_) => true,
            };
            if directory != wanted && !ours {
                continue;
            }
            match writable(&directory) {
                Ok(()) => return Ok(directory),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The directory that was found.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn try_out(&self) -> io::Result<()> {
        let _ = fs::remove_file(self.directory.join(FILE));
        let probe = self.temporary();
        // A file system that is full lets an empty file be made, but not this one.
        let written = create(&probe)?.write_all(&[b' '; 4096]);
        fs::remove_file(probe)?;
        written
    }

    fn temporary(&self) -> PathBuf {
        self.directory.join(format!(".{FILE}.{}", getpid()))
    }

    /// Writes the state: whole, or not at all.
    ///
    /// # Errors
    /// write(2)'s and rename(2)'s.
    pub fn write(&self, state: &State) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(state)?;
        text.push(b'\n');
        let temporary = self.temporary();
        create(&temporary)?.write_all(&text)?;
        fs::rename(temporary, self.directory.join(FILE))
    }
}

fn create(path: &Path) -> io::Result<File> {
    let _ = fs::remove_file(path);
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

fn places(wanted: &Path, uid: u32) -> [PathBuf; 3] {
    [
        wanted.to_owned(),
        format!("/dev/shm/ai-lab-{uid}").into(),
        format!("/tmp/ai-lab-{uid}").into(),
    ]
}

/// Why there is no state to tell.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// None was found.
    #[error("the supervisor (process {pid}) has no state in {}: it is still preparing the start, \
             or keeps it elsewhere (set AI_LAB_STATE_DIR)", directory.display())]
    Absent {
        /// The supervisor.
        pid: i32,
        /// The first place.
        directory: PathBuf,
    },
    /// It cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Reads the state of this supervisor, which runs as `uid`; with the directory it is in.
///
/// The directory is the user's, so the file is opened like a stranger's: no link,
/// no waiting for a FIFO, no more than 64 KiB; and it must be of this supervisor.
///
/// # Errors
/// There is none, or it cannot be read.
pub fn read(wanted: &Path, supervisor: Pid, uid: u32) -> Result<(State, PathBuf), StateError> {
    let mut unreadable = None;
    for directory in places(wanted, uid) {
        let path = directory.join(FILE);
        match read_file(&path, uid) {
            Ok(state) => {
                let start = everyone::stat(supervisor).map(|stat| stat.start);
                if state.pid == supervisor.as_raw_pid() && Some(state.started) == start {
                    return Ok((state, directory));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // Such as another user's, of a container that this one was made of.
            Err(source) => {
                unreadable.get_or_insert(StateError::Unreadable { path, source });
            }
        }
    }
    Err(unreadable.unwrap_or_else(|| StateError::Absent {
        pid: supervisor.as_raw_pid(),
        directory: wanted.to_owned(),
    }))
}

fn read_file(path: &Path, uid: u32) -> io::Result<State> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    let data = file.metadata()?;
    if !data.is_file() || data.uid() != uid {
        return Err(io::Error::other(
            "it is no regular file of the supervisor's user",
        ));
    }
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text)?;
    Ok(parse(&text)?)
}

/// Reads the text of a state.
///
/// # Errors
/// It is none.
pub fn parse(text: &[u8]) -> serde_json::Result<State> {
    serde_json::from_slice(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn keeper() -> (tempfile::TempDir, Keeper) {
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().to_owned();
        (dir, Keeper { directory })
    }

    #[test]
    fn what_is_written_is_read_back() {
        let (dir, keeper) = keeper();
        let state = State::new(Mode::Lab, vec![("claim".into(), 3)], Vec::new());
        keeper.write(&state).unwrap();
        let uid = getuid().as_raw();
        let (found, directory) = read(dir.path(), getpid(), uid).unwrap();
        assert_eq!((found, directory.as_path()), (state, dir.path()));
        assert_eq!(
            fs::metadata(dir.path().join(FILE)).unwrap().mode() & 0o777,
            0o644
        );
    }

    #[test]
    fn a_stale_state_is_none() {
        let (dir, keeper) = keeper();
        let mut state = State::new(Mode::Lab, Vec::new(), Vec::new());
        state.started -= 1;
        keeper.write(&state).unwrap();
        let result = read(dir.path(), getpid(), getuid().as_raw());
        assert!(matches!(result, Err(StateError::Absent { .. })));
    }

    #[test]
    fn links_fifos_and_strangers_files_are_not_read() {
        let (dir, keeper) = keeper();
        let uid = getuid().as_raw();
        let file = dir.path().join(FILE);
        keeper
            .write(&State::new(Mode::Lab, Vec::new(), Vec::new()))
            .unwrap();
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

    #[test]
    fn root_hands_the_directory_over_and_removes_the_old_state() {
        let base = tempfile::tempdir().unwrap();
        let directory = base.path().join("a/b");
        let root = Root::detect().unwrap();
        let fill = || {
            let data = fs::metadata(&directory)?;
            assert_eq!(
                (data.uid(), data.gid()),
                (0, 0),
                "root's while root is in it"
            );
            fs::write(directory.join("root's"), "")
        };
        prepare(&root, &directory, 1234, 5678, fill).unwrap();
        fs::write(directory.join(FILE), "old").unwrap();
        prepare(&root, &directory, 1234, 5678, fill).unwrap();
        assert!(directory.join("root's").exists());
        let data = fs::metadata(&directory).unwrap();
        assert_eq!((data.uid(), data.gid()), (1234, 5678));
        assert!(!directory.join(FILE).exists());
        let link = base.path().join("link");
        std::os::unix::fs::symlink("/etc", &link).unwrap();
        assert!(prepare(&root, &link, 1234, 5678, fill).is_err());
    }
}
