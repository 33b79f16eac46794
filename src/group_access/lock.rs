//! Edits the account files of the directory ETC as the shadow suite does: under the same locks, and
//! with atomic replacement.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, FlockOperation, OFlags, StatxAttributes, StatxFlags};
use rustix::process::Pid;

use crate::identity::syscall::may_chown;
use crate::sys::dir::is_read_only;
use crate::sys::regular_file::open_regular;

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

#[derive(Debug)]
struct RemovedOnDrop(PathBuf);

impl Drop for RemovedOnDrop {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
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

/// Returns the bytes of a file; `None` if it does not exist. Follows no link.
///
/// # Errors
/// It cannot be read, or is not a regular file.
pub fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut file = match open_regular(path, OFlags::NOFOLLOW) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// A temporary file with the new content, beside the file to replace. Removed when dropped.
#[derive(Debug)]
pub struct Replacement {
    path: PathBuf,
    new: RemovedOnDrop,
}

impl Replacement {
    /// Checks that [`Self::prepare`] would succeed, without writing.
    ///
    /// # Errors
    /// As [`Self::prepare`].
    pub fn can_prepare(path: &Path) -> io::Result<()> {
        refuse_mounts(path)?;
        if is_read_only(parent(path)) {
            return Err(io::Error::from_raw_os_error(libc::EROFS));
        }
        match fs::symlink_metadata(path) {
            Ok(old) if (old.uid(), old.gid()) != (0, 0) && !may_chown() => {
                Err(io::Error::from_raw_os_error(libc::EPERM))
            }
            _ => Ok(()),
        }
    }

    /// Writes `bytes` to a temporary file beside `path`, with the mode and owner of `path`. A new
    /// file gets `mode` and belongs to root. The caller must hold [`Lock`].
    ///
    /// # Errors
    /// A read-only file system; an owner that we may not set (no CAP_CHOWN); or a bind mount at
    /// `path` or its directory, which is not ours to change.
    pub fn prepare(path: &Path, bytes: &[u8], mode: u32) -> io::Result<Self> {
        refuse_mounts(path)?;
        // shadow(5) uses the same name for a temporary file: `group+`.
        let mut name = path.as_os_str().to_owned();
        name.push("+");
        let new = RemovedOnDrop(name.into());
        let mut file = create(&new.0, 0o600)?;
        match fs::symlink_metadata(path) {
            Ok(old) => {
                std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid()))?;
                file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o7777))?;
            }
            Err(_) => file.set_permissions(fs::Permissions::from_mode(mode))?,
        }
        file.write_all(bytes)?;
        file.sync_all()?;
        let path = path.to_owned();
        Ok(Self { path, new })
    }

    /// Renames the temporary file over the old one, atomically.
    ///
    /// # Errors
    /// As rename(2).
    pub fn rename_over(self) -> io::Result<()> {
        fs::rename(&self.new.0, &self.path)?;
        // The rename is done, even if this file system cannot flush a directory.
        let _ = File::open(parent(&self.path)).and_then(|directory| directory.sync_all());
        Ok(())
    }
}

/// Renames all temporary files over the old ones, in this order. If one cannot be replaced, such as
/// a bind mount before Linux 5.8, those before it get their old content again.
///
/// # Errors
/// As rename(2).
pub fn replace_all(replacements: Vec<Replacement>) -> io::Result<()> {
    let mut replaced: Vec<(PathBuf, Option<Vec<u8>>)> = Vec::new();
    for replacement in replacements {
        let path = replacement.path.clone();
        match read(&path).and_then(|old| replacement.rename_over().map(|()| old)) {
            Ok(old) => replaced.push((path, old)),
            Err(error) => {
                for (path, old) in replaced.iter().rev() {
                    let old = old.as_ref().map(|old| Replacement::prepare(path, old, 0));
                    old.map_or(Ok(()), |old| old.and_then(Replacement::rename_over))?;
                }
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Checks that neither a path nor its directory is a bind mount.
///
/// # Errors
/// Names the mount.
pub fn refuse_mounts(path: &Path) -> io::Result<()> {
    match [path, parent(path)].into_iter().find(|path| is_mount(path)) {
        Some(mount) => {
            let text = format!("{} is a bind mount", mount.display());
            Err(io::Error::other(text))
        }
        None => Ok(()),
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

/// Creates an empty file, after removing one that a killed editor left under this name.
fn create(path: &Path, mode: u32) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
}

/// Reports whether `path` is a mount point. Kernels before 5.8 do not report it; there, the rename
/// onto a mounted file fails with EBUSY.
fn is_mount(path: &Path) -> bool {
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    let stat = rustix::fs::statx(CWD, path, flags, StatxFlags::empty());
    stat.is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

#[cfg(test)]
#[path = "lock_tests.rs"]
mod tests;
