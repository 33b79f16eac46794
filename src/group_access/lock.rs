//! The system's lock on the account files of the directory ETC, as the shadow suite takes it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::process::Pid;

use crate::group_access::replacement::{RemovedOnDrop, create};

/// The longest wait for another editor's lock. An edit takes milliseconds, and the start waits.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// The system's lock on the account files, held until dropped.
///
/// It follows both conventions that passwd(1), usermod(8) and others obey: the record lock of
/// lckpwdf(3) on `.pwd.lock`, and `FILE.lock` with the holder's pid inside.
#[derive(Debug)]
pub struct Lock {
    // Fields are dropped in this order: first the lock files, then the record lock.
    _files: Vec<RemovedOnDrop>,
    _record: File,
}

impl Lock {
    /// Locks these account files of `etc`; waits at most two seconds.
    ///
    /// # Errors
    /// ETC is read-only, or another editor still holds the lock.
    pub fn take(etc: &Path, names: &[&str]) -> io::Result<Self> {
        Self::take_within(etc, names, LOCK_TIMEOUT)
    }

    fn take_within(etc: &Path, names: &[&str], patience: Duration) -> io::Result<Self> {
        let end = Instant::now() + patience;
        let record = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(etc.join(".pwd.lock"))?;
        let operation = FlockOperation::NonBlockingLockExclusive;
        retry(end, || {
            match rustix::fs::fcntl_lock(&record, operation) {
                Ok(()) => Ok(Some(())),
                // The system may report a held lock with either error (fcntl(2)).
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => Ok(None),
                Err(error) => Err(error.into()),
            }
        })?;
        let mut files = Vec::new();
        for name in names {
            files.push(retry(end, || lock_file(etc, name))?);
        }
        Ok(Self {
            _files: files,
            _record: record,
        })
    }
}

/// Repeats `attempt` until it returns a value or the time is over.
fn retry<T>(end: Instant, mut attempt: impl FnMut() -> io::Result<Option<T>>) -> io::Result<T> {
    loop {
        if let Some(value) = attempt()? {
            return Ok(value);
        }
        if Instant::now() >= end {
            let text = "another program holds the lock";
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        sleep(Duration::from_millis(10));
    }
}

/// Tries once to create `NAME.lock`: writes a file with our pid and links it there.
fn lock_file(etc: &Path, name: &str) -> io::Result<Option<RemovedOnDrop>> {
    let path = etc.join(format!("{name}.lock"));
    let own = RemovedOnDrop(etc.join(format!("{name}.{}", std::process::id())));
    create(&own.0, 0o600)?.write_all(std::process::id().to_string().as_bytes())?;
    match fs::hard_link(&own.0, &path) {
        Ok(()) => Ok(Some(RemovedOnDrop(path))),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if is_stale(&path) {
                fs::remove_file(&path)?;
            }
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Reports whether the lock's holder is dead. If the pid is our own, the lock is older than the
/// container's restart, after which we are PID 1 again.
fn is_stale(path: &Path) -> bool {
    let text = fs::read_to_string(path).unwrap_or_default();
    let text = text.trim_end_matches(['\0', '\n']);
    match text.parse().ok().and_then(Pid::from_raw) {
        Some(pid) if pid == rustix::process::getpid() => true,
        Some(pid) => rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH),
        None => false,
    }
}

#[cfg(test)]
#[path = "lock_tests.rs"]
mod tests;
