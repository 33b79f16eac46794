//! The server's logfile: appended to and rotated; never a link or a device.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tracing::warn;

use crate::sys::effects::Effects;
use crate::sys::whole_file::PRIVATE;

/// The size in bytes at which the file is rotated.
pub const ROTATE_AT: u64 = 10 * 1024 * 1024;

/// The number of rotated files that are kept; `NAME.1` is the newest.
pub const KEPT_FILES: u32 = 3;

/// An open logfile.
#[derive(Debug)]
pub struct Logfile {
    path: PathBuf,
    file: File,
    size: u64,
    /// True after a write that failed: the next ones most likely fail as well.
    fails: bool,
}

impl Logfile {
    /// Opens or creates the file, which no other user can read: Jupyter writes the token that it
    /// made to its log, and HOME may be a directory of the machine. Refuses a link, a FIFO or a device without waiting for it.
    ///
    /// # Errors
    /// As open(2), or the file is not a regular one.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(PRIVATE)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(path)?;
        let data = file.metadata()?;
        if !data.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        // An older version let others read it. Another user's file cannot be changed.
        if data.mode() & 0o004 != 0 {
            let _ = file.set_permissions(Permissions::from_mode(PRIVATE));
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            size: data.len(),
            fails: false,
        })
    }

    /// Checks that [`Self::open`] would succeed, in a preview.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn can_open(path: &Path, effects: Effects<'_>) -> io::Result<()> {
        match fs::symlink_metadata(path) {
            Ok(data) if data.is_symlink() => Err(io::Error::from_raw_os_error(libc::ELOOP)),
            Ok(data) if !data.is_file() => Err(io::Error::other("it is not a regular file")),
            Ok(_) if rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok() => Ok(()),
            // The start may hand the file over to the user, with its directory.
            Ok(_) => effects.check_writable(path),
            Err(_) => {
                let directory = path.parent().unwrap_or(Path::new("/"));
                // No step of a start creates the directory.
                fs::metadata(directory)?;
                effects.check_writable(directory)
            }
        }
    }

    fn rotated_path(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }

    /// Reports the first error of several, on the console.
    fn report(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.fails, true) {
            warn!(
                "the logfile {} cannot be written any more: {error} (remedy: make room, or see \
                 what its file system lacks; until then, only the console has the server's lines)",
                self.path.display()
            );
        }
    }

    /// Renames the file to `NAME.1` and opens a new one. If someone has removed or replaced the
    /// file, only opens the path anew.
    fn rotate(&mut self) -> io::Result<()> {
        let there = fs::symlink_metadata(&self.path);
        let ours = self.file.metadata()?;
        let same = |data: &fs::Metadata| (data.dev(), data.ino()) == (ours.dev(), ours.ino());
        if !there.is_ok_and(|data| same(&data)) {
            *self = Self::open(&self.path)?;
            return Ok(());
        }
        for number in (1..KEPT_FILES).rev() {
            let _ = fs::rename(self.rotated_path(number), self.rotated_path(number + 1));
        }
        fs::rename(&self.path, self.rotated_path(1))?;
        *self = Self::open(&self.path)?;
        Ok(())
    }
}

impl AsFd for Logfile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Write for Logfile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // No other process will read a removed file. Some file systems count no links.
        let removed = self.file.metadata().is_ok_and(|data| data.nlink() == 0);
        let removed = removed && !self.path.exists();
        if (removed || self.size >= ROTATE_AT) && self.rotate().is_err() {
            // If nothing can be renamed, one long file is better than none. Try again after as many
            // bytes.
            self.size = 0;
        }
        let written = self
            .file
            .write(bytes)
            .inspect_err(|error| self.report(error))?;
        // A disk that is almost full takes a part, and then nothing.
        self.fails &= written < bytes.len();
        self.size += u64::try_from(written).unwrap_or(0);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_is_put_aside_and_three_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        for round in 0..6u8 {
            let mut log = Logfile::open(&path).unwrap();
            log.write_all(&[round]).unwrap();
            log.size = ROTATE_AT;
            log.write_all(b"next").unwrap();
        }
        let mut names: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["log", "log.1", "log.2", "log.3"]);
        assert_eq!(fs::read(dir.path().join("log.1")).unwrap(), b"next\x05");
        for name in names {
            let mode = fs::metadata(dir.path().join(&name)).unwrap().mode();
            assert_eq!(mode & 0o7777, PRIVATE, "{name}");
        }
    }

    #[test]
    fn one_that_was_taken_away_begins_anew_and_costs_no_kept_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        let mut log = Logfile::open(&path).unwrap();
        log.write_all(b"first").unwrap();
        log.size = ROTATE_AT;
        log.write_all(b"second").unwrap();
        // The file is removed; later it is moved, with another one in its place.
        fs::remove_file(&path).unwrap();
        log.size = ROTATE_AT;
        log.write_all(b"third").unwrap();
        assert_eq!(
            (read("log"), read("log.1")),
            ("third".into(), "first".into())
        );
        fs::rename(&path, dir.path().join("moved")).unwrap();
        fs::write(&path, "theirs, ").unwrap();
        log.size = ROTATE_AT;
        log.write_all(b"fourth").unwrap();
        assert_eq!(read("log"), "theirs, fourth");
        assert_eq!(
            (read("moved"), read("log.1")),
            ("third".into(), "first".into())
        );
        assert!(!dir.path().join("log.2").exists());
    }

    #[test]
    fn what_is_no_regular_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [&link, &fifo, &dir.path().to_owned(), &"/dev/null".into()] {
            assert!(Logfile::open(path).is_err(), "{}", path.display());
        }
    }
}
