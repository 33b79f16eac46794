//! Reads files of the volume, and writes whole files under temporary names in it.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use sha2::Digest as _;

use crate::volume::defaults::manifest::{Content, Digest};
use crate::volume::tree;
use crate::volume::tree::FileStat;

/// Prefix of files that are incomplete, or complete and not yet in place.
pub(super) const NEW: &[u8] = b".ai-lab.new-";
/// Prefix of files that take part in a replacement: a person may have written them.
pub(super) const OLD: &[u8] = b".ai-lab.old-";

/// Returns a random temporary name, so that no one else uses it.
pub(super) fn temporary(prefix: &[u8]) -> CString {
    let mut random = [0; 8];
    let filled = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::NONBLOCK);
    let serial = match filled {
        Ok(8) => u64::from_ne_bytes(random),
        // Early after boot. The name must differ from earlier ones: a rename replaces its target.
        _ => std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .map_or(0, |time| time.as_nanos() as u64),
    };
    let name = format!("{}{serial:016x}", String::from_utf8_lossy(prefix));
    CString::new(name).unwrap_or_default()
}

/// Reports whether `name` is one that [`temporary`] makes with `prefix`.
pub(super) fn is_temporary(name: &[u8], prefix: &[u8]) -> bool {
    let serial = name.strip_prefix(prefix);
    serial.is_some_and(|serial| serial.len() == 16 && serial.iter().all(u8::is_ascii_hexdigit))
}

/// How reading or writing can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Reading a file failed: of the image, or, in [`digest`], of either side.
    Source(Errno),
    /// Another operation on the volume failed.
    Volume(Errno),
    /// The caller's `stop` returned true.
    Stopped,
}

impl Fault {
    /// Returns the errno, whichever side failed; EINTR for `Stopped`.
    pub fn errno(self) -> Errno {
        match self {
            Self::Source(error) | Self::Volume(error) => error,
            Self::Stopped => Errno::INTR,
        }
    }
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// Bytes that are read into memory before `stop` is asked again.
const READ_CHUNK: u64 = 4 << 20;

/// Maximum number of bytes of a file that are read and written at once.
pub(super) const BUFFER: usize = 256 << 10;

/// Hashes `from` and, if given, writes it to `to`. Returns the digest and the number of
/// bytes. Asks `stop` each time the buffer was filled.
fn hash_and_copy(
    from: &mut impl Read,
    mut to: Option<&mut File>,
    buffer: &mut [u8],
    stop: &dyn Fn() -> bool,
) -> Result<(Digest, u64), Fault> {
    let mut hash = sha2::Sha256::new();
    let mut all = 0;
    loop {
        let size = match from.read(buffer) {
            Ok(0) => return Ok((Digest(hash.finalize().into()), all)),
            Ok(size) => size,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Fault::Source(errno(&error))),
        };
        hash.update(&buffer[..size]);
        all += size as u64;
        if let Some(to) = &mut to {
            let written = to.write_all(&buffer[..size]);
            written.map_err(|error| Fault::Volume(errno(&error)))?;
        }
        if size == buffer.len() && stop() {
            return Err(Fault::Stopped);
        }
    }
}

/// Opens a regular file for reading; refuses a FIFO or device without touching it.
pub(super) fn open_file(dir: BorrowedFd<'_>, name: &CStr) -> Result<(File, FileStat), Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    if tree::stat_name(dir, name)?.kind != FileType::RegularFile {
        return Err(Errno::INVAL);
    }
    let file = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    // A file that could be opened can be statted, so this error is not about its mode bits.
    let stat = tree::stat_fd(&file).map_err(|_| Errno::IO)?;
    match stat.kind {
        FileType::RegularFile => Ok((File::from(file), stat)),
        _ => Err(Errno::INVAL),
    }
}

/// Limit for a file whose size the file system does not report, in bytes.
const UNSIZED: u64 = 64 << 20;

/// Result of reading a regular file.
#[derive(Debug)]
pub(super) struct Digested {
    pub digest: Digest,
    /// Number of bytes read.
    pub size: u64,
    /// The file's stat; `None` if the file changed while it was read.
    pub file_stat: Option<FileStat>,
}

/// Reads and hashes a regular file.
pub(super) fn digest(
    dir: BorrowedFd<'_>,
    name: &CStr,
    stop: &dyn Fn() -> bool,
) -> Result<Digested, Fault> {
    let (file, before) = open_file(dir, name).map_err(Fault::Source)?;
    // Another process may append to the file all the time.
    let limit = match before.size {
        0 => UNSIZED,
        size => size.saturating_add(1),
    };
    let mut file = file.take(limit);
    let size = usize::try_from(before.size).unwrap_or(BUFFER);
    // One byte more than the file has, to see its end. Some file systems report no size.
    let mut buffer = vec![0; size.saturating_add(1).clamp(4096, BUFFER)];
    let (digest, size) = hash_and_copy(&mut file, None, &mut buffer, stop)?;
    let after = tree::stat_fd(file.get_ref()).map_err(Fault::Source)?;
    let same = after.changed == before.changed && after.size == before.size;
    let stat = same.then_some(before);
    Ok(Digested {
        digest,
        size,
        file_stat: stat,
    })
}

/// The bytes of a file, and its stat if it did not change while it was read.
pub(super) type FileBytes = (Vec<u8>, Option<FileStat>);

/// Reads a whole regular file.
///
/// # Errors
/// EFBIG if it is longer than `limit`.
pub(super) fn read(dir: BorrowedFd<'_>, name: &CStr, limit: u64) -> Result<FileBytes, Errno> {
    read_until(dir, name, limit, &|| false)
}

/// Reads like [`read`].
///
/// # Errors
/// As [`read`], or ECANCELED if `stop` returned true.
pub(super) fn read_until(
    dir: BorrowedFd<'_>,
    name: &CStr,
    limit: u64,
    stop: &dyn Fn() -> bool,
) -> Result<FileBytes, Errno> {
    let (file, before) = open_file(dir, name)?;
    if before.size > limit {
        return Err(Errno::FBIG);
    }
    let mut bytes = Vec::with_capacity(before.size as usize + 1);
    let mut file = file.take(limit.saturating_add(1));
    while file
        .by_ref()
        .take(READ_CHUNK)
        .read_to_end(&mut bytes)
        .map_err(|error| errno(&error))?
        > 0
    {
        if stop() {
            return Err(Errno::CANCELED);
        }
    }
    if bytes.len() as u64 > limit {
        return Err(Errno::FBIG);
    }
    let after = tree::stat_fd(file.get_ref())?;
    let same = after.changed == before.changed && after.size == before.size;
    Ok((bytes, same.then_some(before)))
}

/// Returns a link's content and its text.
pub(super) fn link(dir: BorrowedFd<'_>, name: &CStr) -> Result<(Content, CString), Errno> {
    let text = rustix::fs::readlinkat(dir, name, Vec::new())?;
    Ok((Content::Link(Digest::of(text.to_bytes())), text))
}

/// Writes a complete file under a temporary name in `dir`.
///
/// It is on disk only after the caller has flushed the file system. `buffer` must not be
/// empty; what is in it does not matter.
pub(super) fn stage_file(
    dir: BorrowedFd<'_>,
    mut from: impl Read,
    mode: u32,
    buffer: &mut [u8],
    stop: &dyn Fn() -> bool,
) -> Result<(CString, Content, FileStat), Fault> {
    let name = temporary(NEW);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let to = rustix::fs::openat(dir, &name, flags, Mode::from(0o600)).map_err(Fault::Volume)?;
    let mut to = File::from(to);
    let staged = hash_and_copy(&mut from, Some(&mut to), buffer, stop).and_then(|(digest, _)| {
        match rustix::fs::fchmod(&to, Mode::from(mode)) {
            Ok(()) => {}
            // Some file systems have no mode bits: the file is still right.
            Err(Errno::PERM | Errno::ACCESS | Errno::NOSYS | Errno::NOTSUP | Errno::INVAL) => {}
            Err(error) => return Err(Fault::Volume(error)),
        }
        let stat = tree::stat_fd(&to).map_err(Fault::Volume)?;
        Ok((Content::File(digest), stat))
    });
    match staged {
        Ok((content, stat)) => Ok((name, content, stat)),
        Err(fault) => {
            discard(dir, &name);
            Err(fault)
        }
    }
}

/// Writes a complete file under a temporary name in `dir`, and flushes it.
pub(super) fn stage_flushed(
    dir: BorrowedFd<'_>,
    text: &[u8],
    mode: u32,
) -> Result<(CString, Content), Errno> {
    let mut buffer = vec![0; BUFFER];
    let staged = stage_file(dir, text, mode, &mut buffer, &|| false);
    let (name, content, _) = staged.map_err(Fault::errno)?;
    match fsync(dir, &name) {
        Ok(()) => Ok((name, content)),
        Err(error) => {
            discard(dir, &name);
            Err(error)
        }
    }
}

/// One of our files under a temporary name. It is removed if it is not put in place.
pub(super) struct StagedText {
    dir: OwnedFd,
    temp: CString,
    name: &'static CStr,
    in_place: bool,
}

impl StagedText {
    /// Writes the file `name` of `dir` under a temporary name, and flushes its data.
    pub fn write(dir: impl AsFd, name: &'static CStr, text: &[u8]) -> Result<Self, Errno> {
        let dir = tree::open_dir(dir, c".")?;
        let temp = temporary(NEW);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(&dir, &temp, flags, Mode::from(0o644))?);
        // From here on the file is ours to remove.
        let staged = Self {
            dir,
            temp,
            name,
            in_place: false,
        };
        file.write_all(text).map_err(|error| errno(&error))?;
        rustix::fs::fdatasync(&file)?;
        Ok(staged)
    }

    /// Renames the file to its name, which needs no room any more.
    pub fn put_in_place(mut self) -> Result<(), Errno> {
        rustix::fs::renameat(&self.dir, &self.temp, &self.dir, self.name)?;
        self.in_place = true;
        Ok(())
    }
}

impl Drop for StagedText {
    fn drop(&mut self) {
        if !self.in_place {
            discard(self.dir.as_fd(), &self.temp);
        }
    }
}

/// Flushes one staged file. One that someone removed must not fail the whole batch.
pub(super) fn fsync(dir: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::openat(dir, name, flags, Mode::empty()) {
        Ok(file) => rustix::fs::fsync(file),
        Err(Errno::NOENT | Errno::LOOP) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes a link under a temporary name in `dir`.
pub(super) fn stage_link(dir: BorrowedFd<'_>, text: &CStr) -> Result<CString, Errno> {
    let name = temporary(NEW);
    rustix::fs::symlinkat(text, dir, &name)?;
    Ok(name)
}

/// Removes a temporary file of ours; if that fails, the next start removes it.
pub(super) fn discard(dir: BorrowedFd<'_>, name: &CStr) {
    let _ = rustix::fs::unlinkat(dir, name, AtFlags::empty());
}

/// Decides whether a file is ours. Does not read a file that cannot be.
#[derive(Clone, Copy)]
pub(super) struct OursCheck<'a> {
    /// Reports whether a start brought this content in.
    pub ours: &'a dyn Fn(Content) -> bool,
    /// Reports whether a file of ours can have this size.
    pub size: &'a dyn Fn(u64) -> bool,
    pub stop: &'a dyn Fn() -> bool,
}

impl OursCheck<'_> {
    /// Reports whether the file `name` is ours.
    pub fn is_ours(&self, dir: BorrowedFd<'_>, name: &CStr) -> Result<bool, Fault> {
        let stat = tree::stat_name(dir, name).map_err(Fault::Volume)?;
        if stat.kind == FileType::RegularFile && !(self.size)(stat.size) {
            return Ok(false);
        }
        Ok(content(dir, name, self.stop)?.is_some_and(self.ours))
    }
}

/// Returns the content of `name`; `None` if no default can be of its kind.
pub(super) fn content(
    dir: BorrowedFd<'_>,
    name: &CStr,
    stop: &dyn Fn() -> bool,
) -> Result<Option<Content>, Fault> {
    Ok(
        match tree::stat_name(dir, name).map_err(Fault::Volume)?.kind {
            FileType::Symlink => Some(link(dir, name).map_err(Fault::Volume)?.0),
            FileType::RegularFile => {
                let digest = digest(dir, name, stop)?.digest;
                Some(Content::File(digest))
            }
            FileType::Directory => Some(Content::Directory),
            _ => None,
        },
    )
}

#[cfg(test)]
#[path = "atomic_tests.rs"]
mod tests;
