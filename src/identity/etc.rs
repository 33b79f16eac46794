//! Editing the account files of ETC as the shadow suite does: under the same locks,
//! replaced atomically.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, FlockOperation, StatVfsMountFlags, StatxAttributes, StatxFlags};
use rustix::process::Pid;

use super::kernel::may_chown;

/// How long another editor may hold a lock. Ours is a start that a person waits for;
/// every edit takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// The system's lock on the account files, held until dropped.
///
/// Two conventions, both honoured by passwd(1), usermod(8) and friends: the record
/// lock of lckpwdf(3) on `.pwd.lock`, and `FILE.lock` with the holder's pid inside.
#[derive(Debug)]
pub struct Lock {
    // Dropped in this order: the files first, the record lock last.
    _files: Vec<LockFile>,
    _record: File,
}

#[derive(Debug)]
struct LockFile(PathBuf);

impl Drop for LockFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl Lock {
    /// Locks `group` and `gshadow` of `etc`; waits at most two seconds.
    ///
    /// # Errors
    /// A read-only ETC, or another editor that does not end.
    pub fn take(etc: &Path) -> io::Result<Self> {
        Self::take_within(etc, PATIENCE)
    }

    fn take_within(etc: &Path, patience: Duration) -> io::Result<Self> {
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
                // Which of the two is up to the system (fcntl(2)).
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => Ok(None),
                Err(error) => Err(error.into()),
            }
        })?;
        let mut files = Vec::new();
        for name in ["group", "gshadow"] {
            files.push(retry(end, || lock_file(etc, name))?);
        }
        Ok(Self {
            _files: files,
            _record: record,
        })
    }
}

/// Tries until there is a value or the time is over.
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

/// One attempt at `NAME.lock`: a file with our pid, linked into place.
fn lock_file(etc: &Path, name: &str) -> io::Result<Option<LockFile>> {
    let path = etc.join(format!("{name}.lock"));
    let own = LockFile(etc.join(format!("{name}.{}", std::process::id())));
    create(&own.0, 0o600)?.write_all(std::process::id().to_string().as_bytes())?;
    match fs::hard_link(&own.0, &path) {
        Ok(()) => Ok(Some(LockFile(path))),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if is_stale(&path) {
                fs::remove_file(&path)?;
            }
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Whether the lock's holder is dead. Our own pid in it is one from before a restart
/// of the container, where we are PID 1 again.
fn is_stale(path: &Path) -> bool {
    let text = fs::read_to_string(path).unwrap_or_default();
    let text = text.trim_end_matches(['\0', '\n']);
    match text.parse().ok().and_then(Pid::from_raw) {
        Some(pid) if pid == rustix::process::getpid() => true,
        Some(pid) => rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH),
        None => false,
    }
}

/// The bytes of a file, `None` if there is none; links are not followed.
///
/// # Errors
/// It cannot be read, or is not a regular file.
pub fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let mut file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// The new content of a file, on disk beside it. Dropped, it is as if it never was.
#[derive(Debug)]
pub struct Replacement {
    path: PathBuf,
    new: LockFile,
}

impl Replacement {
    /// Whether [`Self::prepare`] could do it; nothing is written.
    ///
    /// # Errors
    /// As [`Self::prepare`].
    pub fn foresee(path: &Path) -> io::Result<()> {
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

    /// Writes `bytes` beside `path`, with its mode and owner; what has no file yet gets
    /// `mode` and is root's. To be called under [`Lock`].
    ///
    /// # Errors
    /// A read-only file system; an owner that we may not give a file to (no CAP_CHOWN);
    /// or a mount point: it belongs to whoever mounted it.
    pub fn prepare(path: &Path, bytes: &[u8], mode: u32) -> io::Result<Self> {
        refuse_mounts(path)?;
        // shadow(5)'s own name for a file in the making: `group+`.
        let mut name = path.as_os_str().to_owned();
        name.push("+");
        let new = LockFile(name.into());
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

    /// Puts it into the file's place, whole.
    ///
    /// # Errors
    /// rename(2)'s.
    pub fn put(self) -> io::Result<()> {
        fs::rename(&self.new.0, &self.path)?;
        // It is there, whether this file system flushes directories or not.
        let _ = File::open(parent(&self.path)).and_then(|directory| directory.sync_all());
        Ok(())
    }
}

fn refuse_mounts(path: &Path) -> io::Result<()> {
    match [path, parent(path)].into_iter().find(|path| is_mount(path)) {
        Some(mount) => {
            let text = format!("{} is a bind mount", mount.display());
            Err(io::Error::other(text))
        }
        None => Ok(()),
    }
}

fn is_read_only(path: &Path) -> bool {
    let system = rustix::fs::statvfs(path);
    system.is_ok_and(|system| system.f_flag.contains(StatVfsMountFlags::RDONLY))
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

/// A new, empty file; what a killed editor left behind under this name is removed.
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

/// Whether something is mounted at `path`. Kernels before 5.8 cannot tell; there the
/// rename onto a mounted file fails with EBUSY.
fn is_mount(path: &Path) -> bool {
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    let stat = rustix::fs::statx(CWD, path, flags, StatxFlags::empty());
    stat.is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

#[cfg(test)]
#[path = "etc_tests.rs"]
mod tests;
