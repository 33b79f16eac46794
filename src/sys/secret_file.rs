//! Reads regular files of a limited length: those with secrets, which only root may be able to
//! read, and those of the server's user.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

use crate::sys::trust;

/// Reads a file of at most `limit` KiB.
///
/// # Errors
/// The file cannot be opened, is not a regular file, or is longer.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    open(path).and_then(|file| read_limited(file, limit))
}

/// Reads a file of at most `limit` KiB as the server will: as its user, through any link.
///
/// # Errors
/// The file cannot be opened, is no regular file, or is longer.
pub fn read_of_user(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    // Opening a FIFO without a writer must not block the start.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file: File = rustix::fs::open(path, flags, Mode::empty())?.into();
    match file.metadata()?.is_file() {
        true => read_limited(file, limit),
        false => Err(io::Error::other("it is not a regular file")),
    }
}

/// Reads at most `limit` KiB from an open file or pipe.
///
/// # Errors
/// It cannot be read, or has more.
pub fn read_limited(from: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = limit * 1024;
    from.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("it is longer than {limit} KiB")));
    }
    Ok(bytes)
}

/// Opens a file. Root follows no link that another user could have made: such a link could make
/// root read a file that this user must not read.
fn open(path: &Path) -> io::Result<File> {
    // Opening a FIFO without a writer must not block the start.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file: File = if rustix::process::geteuid().is_root() {
        if !path.try_exists()? {
            return Err(Errno::NOENT.into());
        }
        let path = trust::resolve_root_links(path).map_err(io::Error::other)?;
        let flags = flags | OFlags::NOFOLLOW;
        match openat2(CWD, &path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
            // Linux before 5.6 lacks openat2, and a sandbox may forbid it.
            Err(Errno::NOSYS | Errno::PERM) => rustix::fs::open(&path, flags, Mode::empty())?,
            opened => opened?,
        }
        .into()
    } else {
        rustix::fs::open(path, flags, Mode::empty())?.into()
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    Ok(file)
}
