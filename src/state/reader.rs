//! Reads the state of a running supervisor.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, getpid};

use crate::identity::Dropped;
use crate::state::{FILE, MAX_KIB, State};
use crate::sys::{env, flock, proc, regular_file, trust};

/// Returns the directories that may hold a state: the wanted one, then two of the user's own.
pub(super) fn candidate_dirs(wanted: &Path, uid: u32) -> [PathBuf; 3] {
    let own = format!("ai-lab-{uid}-{}", env::container_id());
    [
        wanted.to_owned(),
        format!("/dev/shm/{own}").into(),
        format!("/tmp/{own}").into(),
    ]
}

/// The reason why there is no state to show.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // each is documented by its message
pub enum StateError {
    #[error("the supervisor (process {pid}) has no state in {}: it is still preparing the start, \
             or keeps it elsewhere (set AI_LAB_STATE_DIR)", directory.display())]
    Absent {
        pid: i32,
        /// The first directory that was searched.
        directory: PathBuf,
    },
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
}

/// Reads the state of this supervisor, which runs as `uid`. Returns it with its directory.
///
/// The directory is the user's, so the file is not trusted: no link is followed, a FIFO does not
/// block, at most 64 KiB are read, and the supervisor that the file names must be running.
///
/// # Errors
/// There is no state, or it cannot be read.
pub fn read(wanted: &Path, supervisor: Pid, uid: u32) -> Result<(State, PathBuf), StateError> {
    let mut unreadable = None;
    for directory in candidate_dirs(wanted, uid) {
        let path = directory.join(FILE);
        // While the supervisor is root, the directory may still be that of an earlier start's user.
        if uid == 0 && trust::root_only_directory(&directory).is_err() {
            continue;
        }
        match read_file(&path, uid) {
            // It may also be of another supervisor that runs as the command of this one.
            Ok(state) if is_running(&state) => return Ok((state, directory)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // Such as another user's file, from a container that became the image of this one.
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

/// Reports whether the supervisor that wrote a state is still running.
fn is_running(state: &State) -> bool {
    let now = Pid::from_raw(state.pid).and_then(proc::stat);
    now.is_some_and(|now| now.start == state.started && !now.ended)
}

/// Reports whether a directory holds the state of another running supervisor, which neither is this
/// process nor runs it as its command. One of another container has taken the directory.
pub fn is_used_by_another(_: &Dropped, directory: &Path) -> bool {
    is_in_use(directory, rustix::process::getuid().as_raw())
        || open_directory(directory).is_ok_and(|directory| flock::is_taken(&directory))
}

pub(super) fn is_in_use(directory: &Path, uid: u32) -> bool {
    let us = getpid().as_raw_pid();
    let state = running_state(directory, uid);
    state.is_some_and(|state| state.pid != us && state.main_pid != Some(us))
}

/// Reports whether a directory holds the state of a supervisor that runs this process as its command.
pub(super) fn is_of_our_supervisor(directory: &Path, uid: u32) -> bool {
    let us = getpid().as_raw_pid();
    running_state(directory, uid).is_some_and(|state| state.main_pid == Some(us))
}

fn running_state(directory: &Path, uid: u32) -> Option<State> {
    let state = read_file(&directory.join(FILE), uid).ok()?;
    is_running(&state).then_some(state)
}

/// Opens a directory, but no link to one.
pub(super) fn open_directory(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

fn read_file(path: &Path, uid: u32) -> io::Result<State> {
    let wrong = || io::Error::other("it is not a regular file of the supervisor's user");
    let file = match regular_file::open_regular(path, OFlags::NOFOLLOW) {
        // An engine makes no directory here, as the reader's own words would say.
        Err(error) if error.kind() == io::ErrorKind::Other => return Err(wrong()),
        opened => opened?,
    };
    if file.metadata()?.uid() != uid {
        return Err(wrong());
    }
    let text = regular_file::read_limited(file, MAX_KIB)?;
    Ok(parse(&text)?)
}

/// Parses the text of a state.
///
/// # Errors
/// The text is not a state.
pub fn parse(text: &[u8]) -> serde_json::Result<State> {
    serde_json::from_slice(text)
}
