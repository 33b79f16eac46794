//! Puts files into the volume: whole or not at all, and never over a person's file.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags};
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
    let look = tree::stat_fd(&file).map_err(|_| Errno::IO)?;
    match look.kind {
        FileType::RegularFile => Ok((File::from(file), look)),
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
    let look = same.then_some(before);
    Ok(Digested {
        digest,
        size,
        file_stat: look,
    })
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
    mut from: File,
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
        let look = tree::stat_fd(&to).map_err(Fault::Volume)?;
        Ok((Content::File(digest), look))
    });
    match staged {
        Ok((content, look)) => Ok((name, content, look)),
        Err(fault) => {
            discard(dir, &name);
            Err(fault)
        }
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

/// Operations that the file system supports; tests switch them off.
#[derive(Debug, Clone, Copy)]
pub(super) struct RenameSupport {
    pub noreplace: bool,
    pub link: bool,
    pub exchange: bool,
}

impl RenameSupport {
    pub const ALL: Self = Self {
        noreplace: true,
        link: true,
        exchange: true,
    };

    fn rename(
        self,
        dir: BorrowedFd<'_>,
        from: &CStr,
        to: &CStr,
        how: RenameFlags,
    ) -> Result<(), Errno> {
        let able = if how == RenameFlags::EXCHANGE {
            self.exchange
        } else {
            self.noreplace
        };
        match able {
            true => rustix::fs::renameat_with(dir, from, dir, to, how),
            false => Err(Errno::INVAL),
        }
    }
}

/// Result of placing a staged file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Placed {
    /// The file is in place.
    Done,
    /// Someone else created, changed or deleted the file meanwhile: that stays.
    Conflict,
    /// The file system refuses it, or cannot do it without a risk for someone's file.
    FsRefused(Errno),
    /// The old file could not be read, so it may be a person's: it is back in place.
    OldUnreadable(Errno),
    /// Someone wrote while we exchanged the files back: their file has this name.
    Displaced(CString),
    /// `stop` returned true. The old file is in place; the next start removes the rest.
    Stopped,
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
        let look = tree::stat_name(dir, name).map_err(Fault::Volume)?;
        if look.kind == FileType::RegularFile && !(self.size)(look.size) {
            return Ok(false);
        }
        Ok(content(dir, name, self.stop)?.is_some_and(self.ours))
    }
}

/// Renames the staged `temp` to `name` if nothing has that name. `temp` is gone afterwards
/// in every case.
pub(super) fn install(
    dir: BorrowedFd<'_>,
    temp: &CStr,
    name: &CStr,
    able: RenameSupport,
) -> Placed {
    let placed = match able.rename(dir, temp, name, RenameFlags::NOREPLACE) {
        Ok(()) => return Placed::Done,
        Err(Errno::EXIST) => Placed::Conflict,
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) if able.link => {
            match rustix::fs::linkat(dir, temp, dir, name, AtFlags::empty()) {
                Ok(()) => Placed::Done,
                Err(Errno::EXIST) => Placed::Conflict,
                Err(error) => Placed::FsRefused(error),
            }
        }
        Err(error) => Placed::FsRefused(error),
    };
    discard(dir, temp);
    placed
}

/// Exchanges the staged `temp`, whose content is `new`, for the file `name`. Exchanges them
/// back if the old file turns out not to be ours.
pub(super) fn replace(
    dir: BorrowedFd<'_>,
    temp: &CStr,
    name: &CStr,
    new: Content,
    able: RenameSupport,
    judge: &OursCheck<'_>,
) -> Placed {
    // From here on the temporary name may hold a person's file. It must not look like one
    // that the next start removes without reading it.
    let old = temporary(OLD);
    if let Err(error) = rustix::fs::renameat(dir, temp, dir, &old) {
        discard(dir, temp);
        return Placed::FsRefused(error);
    }
    if let Err(error) = able.rename(dir, &old, name, RenameFlags::EXCHANGE) {
        discard(dir, &old);
        return match error {
            Errno::NOENT => Placed::Conflict,
            error => Placed::FsRefused(error),
        };
    }
    let back = match judge.is_ours(dir, &old) {
        Ok(true) => {
            discard(dir, &old);
            return Placed::Done;
        }
        Ok(false) => Placed::Conflict,
        Err(Fault::Stopped) => Placed::Stopped,
        Err(fault) => Placed::OldUnreadable(fault.errno()),
    };
    let is_new = OursCheck {
        ours: &|found| found == new,
        ..*judge
    };
    match able.rename(dir, &old, name, RenameFlags::EXCHANGE) {
        Ok(()) => match is_new.is_ours(dir, &old) {
            Ok(true) => {
                discard(dir, &old);
                back
            }
            Err(Fault::Stopped) => Placed::Stopped,
            _ => Placed::Displaced(old),
        },
        // Someone deleted our file at `name`: the person's file goes back there.
        Err(Errno::NOENT) if able.rename(dir, &old, name, RenameFlags::NOREPLACE).is_ok() => back,
        _ => Placed::Displaced(old),
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
