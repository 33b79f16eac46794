//! Reads regular files of a limited length: those with secrets, which only root may be able to
//! read, and those that are read through any link.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

use crate::sys::trust;

/// The flags of every open(2). Opening a FIFO without a writer must not block the start.
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);

/// Reads a file of at most `limit` KiB.
///
/// # Errors
/// The file cannot be opened, is not a regular file, or is longer.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    open(path).and_then(|file| read_limited(file, limit))
}

/// Reads a file of at most `limit` KiB through any link, as most programs do.
///
/// # Errors
/// The file cannot be opened, is no regular file, or is longer ([`ErrorKind::FileTooLarge`]).
pub fn read_through_links(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read_limited(open_regular(path, OFlags::empty())?, limit)
}

/// Opens a regular file for reading, with these flags of open(2) besides. Another kind of file is
/// not touched: a FIFO without a writer does not block.
///
/// # Errors
/// The file cannot be opened, or is no regular file.
pub fn open_regular(path: &Path, flags: OFlags) -> io::Result<File> {
    regular(rustix::fs::open(path, READ | flags, Mode::empty())?)
}

fn regular(opened: OwnedFd) -> io::Result<File> {
    let file = File::from(opened);
    let kind = file.metadata()?.file_type();
    if kind.is_file() {
        return Ok(file);
    }
    Err(io::Error::other(if kind.is_dir() {
        "it is a directory (an engine makes one if a mounted file is missing on the host)"
    } else {
        "it is not a regular file"
    }))
}

/// Reads at most `limit` KiB from an open file or pipe.
///
/// # Errors
/// It cannot be read, or has more ([`ErrorKind::FileTooLarge`]).
pub fn read_limited(from: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    // One read is enough for most; from nothing, the standard library begins with 32 bytes.
    let mut bytes = Vec::with_capacity(4 << 10);
    let most = limit * 1024;
    from.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let limit = match limit % 1024 {
            0 => format!("{} MiB", limit / 1024),
            _ => format!("{limit} KiB"),
        };
        let problem = format!("it is longer than {limit}");
        return Err(io::Error::new(ErrorKind::FileTooLarge, problem));
    }
    Ok(bytes)
}

/// Opens a file. Root follows no link that another user could have made: such a link could make
/// root read a file that this user must not read.
fn open(path: &Path) -> io::Result<File> {
    if !rustix::process::geteuid().is_root() {
        return open_regular(path, OFlags::empty());
    }
    if !path.try_exists()? {
        return Err(Errno::NOENT.into());
    }
    let path = trust::resolve_root_links(path).map_err(io::Error::other)?;
    let flags = READ | OFlags::NOFOLLOW;
    match openat2(CWD, &path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
        // Linux before 5.6 lacks openat2, and a sandbox may forbid it.
        Err(Errno::NOSYS | Errno::PERM) => open_regular(&path, OFlags::NOFOLLOW),
        opened => regular(opened?),
    }
}
