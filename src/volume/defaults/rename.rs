//! Moves an entry to a name that nothing has, in the best way that the file system offers.
//! Nothing is overwritten.

use std::ffi::CStr;
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::volume::defaults::atomic;
use crate::volume::tree;
use crate::volume::tree::FileStat;

/// A name in an open directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct At<'a> {
    pub dir: BorrowedFd<'a>,
    pub name: &'a CStr,
}

impl<'a> At<'a> {
    pub fn new(dir: BorrowedFd<'a>, name: &'a CStr) -> Self {
        Self { dir, name }
    }

    pub fn stat(self) -> Result<FileStat, Errno> {
        tree::stat_name(self.dir, self.name)
    }

    /// Removes a file of ours; if that fails, the next start removes it.
    pub fn discard(self) {
        atomic::discard(self.dir, self.name);
    }
}

/// Reports whether the file system lacks the flag of renameat2(2) that was used: NFS, 9p, CephFS
/// and most FUSE file systems have none, CIFS has no RENAME_EXCHANGE.
pub(super) fn lacks_flag(error: Errno) -> bool {
    matches!(error, Errno::INVAL | Errno::NOSYS | Errno::NOTSUP)
}

/// Reports whether this link cannot be made here at all: FAT has none, CIFS has some only with a
/// server of Unix, some servers have none between directories.
fn lacks_links(error: Errno) -> bool {
    matches!(error, Errno::PERM | Errno::XDEV | Errno::MLINK) || lacks_flag(error)
}

/// Moves `from` to the vacant name `to`. `reserving` is called before an empty file reserves
/// the name, which is left there if the process is killed.
///
/// # Errors
/// EEXIST if the name is taken. After an error, `from` is where it was.
pub(super) fn move_to(from: At<'_>, to: At<'_>, reserving: &dyn Fn()) -> Result<(), Errno> {
    let moved = match rename_with(from, to, RenameFlags::NOREPLACE) {
        Err(error) if lacks_flag(error) => link(from, to, reserving),
        moved => moved,
    };
    match moved {
        // A start that was killed had made the link. Or NFS has repeated a call whose answer was
        // lost, and found the link that it had made.
        Err(Errno::EXIST) if is_same_file(from, to) => {
            from.discard();
            Ok(())
        }
        moved => moved,
    }
}

fn link(from: At<'_>, to: At<'_>, reserving: &dyn Fn()) -> Result<(), Errno> {
    match rustix::fs::linkat(from.dir, from.name, to.dir, to.name, AtFlags::empty()) {
        Ok(()) => {
            from.discard();
            Ok(())
        }
        Err(error) if lacks_links(error) => move_to_reserved(from, to, reserving),
        Err(error) => Err(error),
    }
}

/// Renames with flags of renameat2(2).
pub(super) fn rename_with(from: At<'_>, to: At<'_>, flags: RenameFlags) -> Result<(), Errno> {
    rustix::fs::renameat_with(from.dir, from.name, to.dir, to.name, flags)
}

/// Renames; what has the name `to` is replaced.
pub(super) fn rename_over(from: At<'_>, to: At<'_>) -> Result<(), Errno> {
    rustix::fs::renameat(from.dir, from.name, to.dir, to.name)
}

/// Reports whether both names are links of one file.
fn is_same_file(one: At<'_>, other: At<'_>) -> bool {
    let inode = |at: At<'_>| at.stat().map(|stat| stat.inode);
    matches!((inode(one), inode(other)), (Ok(one), Ok(other)) if one == other)
}

/// Reserves the name `to` with an empty file of ours and renames `from` over it, if it is still
/// ours and empty.
///
/// The content is not written into the reserved file: a kill would leave half of it, and an
/// editor that saves there meanwhile would mix its text with ours. In exchange, what is saved
/// into the empty file between the last stat and the rename is lost: some microseconds, where
/// writing and flushing takes milliseconds.
fn move_to_reserved(from: At<'_>, to: At<'_>, reserving: &dyn Fn()) -> Result<(), Errno> {
    if from.stat()?.kind == FileType::Directory {
        // rename(2) replaces a directory only if it is empty.
        rustix::fs::mkdirat(to.dir, to.name, Mode::from(0o755))?;
        return rename_over(from, to);
    }
    reserving();
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let reserved = rustix::fs::openat(to.dir, to.name, flags, Mode::from(0o600))?;
    let made = tree::stat_fd(&reserved)?;
    let is_untouched = || match tree::stat_uncached(to.dir, to.name) {
        Ok(now) => Ok(now.inode == made.inode && now.size == 0 && now.modified == made.modified),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error),
    };
    if !is_untouched()? {
        return Err(Errno::EXIST);
    }
    // CIFS and some FUSE file systems replace no open file.
    drop(reserved);
    let renamed = rename_over(from, to);
    if renamed.is_err() && is_untouched() == Ok(true) {
        to.discard();
    }
    renamed
}
