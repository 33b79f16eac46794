//! Access to a hostile tree: every step is one name under an open directory.
//!
//! No call takes a path of several components ([`mount_tops`] excepted) and none follows a
//! link, so nothing outside the tree can be reached, whatever is renamed meanwhile.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{
    Access, AtFlags, FileType, Gid, Mode, OFlags, RawDir, StatVfsMountFlags, StatxFlags,
    StatxTimestamp, Uid,
};
use rustix::io::Errno;

use crate::volume::mounts::Mounts;

/// Flags that open a directory for listing.
pub(super) const LIST_FLAGS: OFlags = OFlags::DIRECTORY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
/// Flags that open anything without touching it: no FIFO blocks, no device wakes up.
pub(super) const HANDLE_FLAGS: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The identity of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Inode {
    pub dev: (u32, u32),
    pub ino: u64,
}

#[cfg(test)]
thread_local! {
    /// The fields that a stat lacks, as on an older kernel.
    pub(super) static MISSING_STAT_FIELDS: std::cell::Cell<StatxFlags> =
        const { std::cell::Cell::new(StatxFlags::empty()) };
}

/// PATH_MAX. A path of this length fits in no system call, so no default has one.
pub(super) const MAX_PATH: usize = 4096;

/// A time by the file system's clock: seconds and nanoseconds.
pub(super) type Time = (i64, u32);

/// The result of one statx(2).
#[derive(Debug, Clone, Copy)]
pub(super) struct FileStat {
    pub inode: Inode,
    /// The mount ID; `None` before Linux 5.8.
    pub mount: Option<u64>,
    pub kind: FileType,
    /// The mode bits, with setuid, setgid and sticky.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub links: u32,
    pub size: u64,
    pub modified: Time,
    pub changed: Time,
}

impl FileStat {
    /// Reports whether both are on the same mount, or on the same device if the kernel gives no
    /// mount IDs.
    pub fn same_mount(&self, other: &Self) -> bool {
        self.mount == other.mount && (self.mount.is_some() || self.inode.dev == other.inode.dev)
    }
}

/// Returns the top inodes of all visible mounts, which tell mounts apart if a stat has no mount
/// ID. A mount that is made later is not among them.
pub(super) fn mount_tops() -> HashSet<Inode> {
    let mounts = Mounts::read();
    let stats = mounts.points().filter_map(|point| {
        let place = CString::new(point.as_os_str().as_bytes()).ok()?;
        stat_name(rustix::fs::CWD, &place).ok()
    });
    stats.map(|stat| stat.inode).collect()
}

/// Stats `name` in `dir`. No link is followed.
pub(super) fn stat_name(dir: impl AsFd, name: &CStr) -> Result<FileStat, Errno> {
    statx(dir.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW)
}

/// Stats an open file descriptor.
pub(super) fn stat_fd(handle: impl AsFd) -> Result<FileStat, Errno> {
    statx(handle.as_fd(), c"", AtFlags::EMPTY_PATH)
}

/// Stats `name` in `dir`. A network file system asks its server instead of its cache.
pub(super) fn stat_uncached(dir: impl AsFd, name: &CStr) -> Result<FileStat, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_FORCE_SYNC;
    statx(dir.as_fd(), name, flags)
}

fn statx(dir: BorrowedFd<'_>, name: &CStr, flags: AtFlags) -> Result<FileStat, Errno> {
    let mask = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
    let stat = rustix::fs::statx(dir, name, flags | AtFlags::NO_AUTOMOUNT, mask)?;
    let filled = StatxFlags::from_bits_retain(stat.stx_mask);
    #[cfg(test)]
    let filled = filled - MISSING_STAT_FIELDS.get();
    let time = |t: StatxTimestamp| (t.tv_sec, t.tv_nsec);
    Ok(FileStat {
        inode: Inode {
            dev: (stat.stx_dev_major, stat.stx_dev_minor),
            ino: stat.stx_ino,
        },
        mount: filled
            .contains(StatxFlags::MNT_ID)
            .then_some(stat.stx_mnt_id),
        kind: FileType::from_raw_mode(stat.stx_mode.into()),
        mode: u32::from(stat.stx_mode) & 0o7777,
        uid: stat.stx_uid,
        gid: stat.stx_gid,
        links: stat.stx_nlink,
        size: stat.stx_size,
        modified: time(stat.stx_mtime),
        changed: time(stat.stx_ctime),
    })
}

/// Opens the directory at the top of a tree.
pub(super) fn open_top(path: &Path) -> Result<OwnedFd, Errno> {
    // The settings may name the directory through a link; below it, no link is followed.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

/// Opens the directory `name` in `dir` for listing, never through a link.
pub(super) fn open_dir(dir: impl AsFd, name: &CStr) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(dir, name, LIST_FLAGS, Mode::empty())
}

/// Opens `name` in `dir` as an O_PATH handle, which can be statted and changed but not read.
pub(super) fn open_handle(dir: impl AsFd, name: &CStr) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(dir, name, HANDLE_FLAGS, Mode::empty())
}

/// The user whose rights in a volume are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// The user that this process runs as.
    ThisProcess,
    /// This uid, which will own everything in the volume. Root asks on its behalf: root's own
    /// rights are wider or, without capabilities, narrower.
    Owner(u32),
}

impl Rights {
    pub(super) fn uid(self) -> u32 {
        match self {
            Self::ThisProcess => rustix::process::geteuid().as_raw(),
            Self::Owner(uid) => uid,
        }
    }

    /// Checks that entries of a directory can be made, renamed and removed.
    ///
    /// # Errors
    /// The error that the kernel would give.
    pub(super) fn may_change(self, dir: impl AsFd) -> Result<(), Errno> {
        self.may(dir, c".", Access::WRITE_OK | Access::EXEC_OK)
    }

    /// Checks that `name` in a directory allows this access.
    ///
    /// # Errors
    /// The error that the kernel would give.
    pub(super) fn may(self, dir: impl AsFd, name: &CStr, wanted: Access) -> Result<(), Errno> {
        let Self::Owner(_) = self else {
            // The real and the effective uid are the same, so AT_EACCESS would change nothing.
            return rustix::fs::accessat(dir, name, wanted, AtFlags::empty());
        };
        if is_read_only(&dir) {
            return Err(Errno::ROFS);
        }
        match stat_name(&dir, name)?.mode >> 6 & wanted.bits() == wanted.bits() {
            true => Ok(()),
            false => Err(Errno::ACCESS),
        }
    }
}

/// Changes the owner of what `handle` is, and of nothing else: there is no name to swap.
pub(super) fn chown_handle(handle: BorrowedFd<'_>, uid: u32, gid: u32) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    rustix::fs::chownat(handle, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
}

/// Reports whether the file system or mount of `dir` is read-only.
pub(super) fn is_read_only(dir: impl AsFd) -> bool {
    let system = rustix::fs::fstatvfs(dir);
    system.is_ok_and(|system| system.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// Returns the time of the clock that stamps inodes.
pub(super) fn now() -> Time {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    (now.tv_sec, u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// A tree whose paths are reached step by step from its open top.
///
/// The directories on the way to the last path stay open, so that paths in order open each
/// directory once.
pub(super) struct Tree {
    top: OwnedFd,
    /// The mode of new directories.
    mode: u32,
    /// The path of the last directory.
    path: Vec<u8>,
    /// The open directories on the way to it, each with the length of its path.
    open_dirs: Vec<(usize, OwnedFd)>,
}

/// The most directories on the way that stay open; the others are opened again.
const MAX_OPEN_DIRS: usize = 64;

impl Tree {
    pub fn new(top: OwnedFd) -> Self {
        Self {
            top,
            mode: 0o755,
            path: Vec::new(),
            open_dirs: Vec::new(),
        }
    }

    /// Opens the tree below a directory, whose mode new directories get.
    ///
    /// # Errors
    /// As openat(2).
    pub fn of(dir: impl AsFd) -> Result<Self, Errno> {
        let mut tree = Self::new(open_dir(dir, c".")?);
        tree.mode = stat_fd(&tree.top)?.mode & 0o777;
        Ok(tree)
    }

    /// Opens the same tree for another thread.
    ///
    /// # Errors
    /// As openat(2).
    pub fn reopen(&self) -> Result<Self, Errno> {
        let mut again = Self::new(open_dir(&self.top, c".")?);
        again.set_dir_mode(self.mode);
        Ok(again)
    }

    /// Sets the mode of directories that are made from now on.
    pub fn set_dir_mode(&mut self, mode: u32) {
        self.mode = mode;
    }

    pub fn top(&self) -> BorrowedFd<'_> {
        self.top.as_fd()
    }

    /// Opens the directory `path` (empty: the top). `make` makes the missing directories.
    ///
    /// Returns ENOTDIR if a link or a file is in the way.
    pub fn dir(&mut self, path: &[u8], make: bool) -> Result<BorrowedFd<'_>, Errno> {
        let both = self.path.iter().zip(path);
        let same = both.take_while(|(known, wanted)| known == wanted).count();
        let leads = |length| length <= same && path.get(length).is_none_or(|byte| *byte == b'/');
        while self
            .open_dirs
            .last()
            .is_some_and(|(length, _)| !leads(*length))
        {
            self.open_dirs.pop();
        }
        let known = self.open_dirs.last().map_or(0, |(length, _)| *length);
        self.path.truncate(known);
        self.path.extend_from_slice(&path[known..]);
        let mut done = if known == 0 { 0 } else { known + 1 };
        while done < path.len() {
            let rest = &path[done..];
            let name = rest.split(|byte| *byte == b'/').next().unwrap_or(rest);
            let step = name_of(name)?;
            let above = self.innermost();
            let flags = HANDLE_FLAGS | OFlags::DIRECTORY;
            let mut opened = rustix::fs::openat(above, &step, flags, Mode::empty());
            if opened.as_ref().is_err_and(|error| *error == Errno::NOENT) && make {
                let made = rustix::fs::mkdirat(above, &step, Mode::from(self.mode));
                if made.is_err_and(|error| error != Errno::EXIST) {
                    return Err(made.err().unwrap_or(Errno::IO));
                }
                opened = rustix::fs::openat(above, &step, flags, Mode::empty());
                if let (Ok(()), Ok(_)) = (made, &opened) {
                    set_exact_mode(above, &step, self.mode);
                }
            }
            done += name.len();
            if self.open_dirs.len() == MAX_OPEN_DIRS {
                self.open_dirs.remove(0);
            }
            self.open_dirs.push((done, opened?));
            done += 1;
        }
        Ok(self.innermost())
    }

    fn innermost(&self) -> BorrowedFd<'_> {
        let last = self.open_dirs.last();
        last.map_or(self.top.as_fd(), |(_, dir)| dir.as_fd())
    }

    /// Opens the directory `path` for listing.
    pub fn list(&mut self, path: &[u8]) -> Result<OwnedFd, Errno> {
        open_dir(self.dir(path, false)?, c".")
    }

    /// Stats `path`.
    ///
    /// # Errors
    /// ENOENT if nothing is there.
    pub fn stat(&mut self, path: &[u8]) -> Result<FileStat, Errno> {
        let (dir, name) = self.parent(path, false)?;
        stat_name(dir, &name)
    }

    /// Opens the directory that holds `path`. Also returns the name in it.
    pub fn parent(&mut self, path: &[u8], make: bool) -> Result<(BorrowedFd<'_>, CString), Errno> {
        let (dir, name) = split(path);
        let name = name_of(name)?;
        Ok((self.dir(dir, make)?, name))
    }
}

/// Returns a mode with x wherever it has r.
pub(super) fn with_x(mode: u32) -> u32 {
    mode | (mode & 0o444) >> 2
}

/// Gives a new directory exactly this mode, of which the umask may have removed bits. Does
/// nothing if the name is no longer a directory.
fn set_exact_mode(above: BorrowedFd<'_>, name: &CStr, mode: u32) {
    let Ok(dir) = open_dir(above, name) else {
        return;
    };
    if let Ok(stat) = stat_fd(&dir) {
        // Keeps setgid, which a shared parent passes on. Some file systems have no modes.
        let _ = rustix::fs::fchmod(&dir, Mode::from(mode | stat.mode & 0o6000));
    }
}

/// Splits a path into its directory (empty: the top) and its name.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// Returns the path of `name` in the directory `dir`.
pub(super) fn join(dir: &[u8], name: &CStr) -> Vec<u8> {
    let mut path = Vec::with_capacity(dir.len() + 1 + name.count_bytes());
    path.extend_from_slice(dir);
    if !dir.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name.to_bytes());
    path
}

/// Returns the path of `name` in the directory of `path`.
pub(super) fn beside(path: &[u8], name: &CStr) -> Vec<u8> {
    join(split(path).0, name)
}

/// Returns the path with `mark` before its extension. A dot at the front of a name starts none.
pub(super) fn with_mark(path: &[u8], mark: &[u8]) -> Vec<u8> {
    let (_, name) = split(path);
    let dot = name.iter().rposition(|byte| *byte == b'.');
    let stem = dot.filter(|at| *at > 0).unwrap_or(name.len());
    let at = path.len() - name.len() + stem;
    [&path[..at], mark, &path[at..]].concat()
}

/// Reports whether `path` is `directory` or below it.
pub(super) fn is_in(path: &[u8], directory: &[u8]) -> bool {
    let rest = path.strip_prefix(directory);
    rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

fn name_of(name: &[u8]) -> Result<CString, Errno> {
    let plain = !matches!(name, b"" | b"." | b"..");
    let name = CString::new(name).ok().filter(|_| plain);
    name.ok_or(Errno::INVAL)
}

/// Calls `each` with the name and type of every entry of `dir`, without `.` and `..`, until
/// it returns `false`. The type is `Unknown` if the file system lists none.
pub(super) fn entries(
    dir: impl AsFd,
    buffer: &mut [MaybeUninit<u8>],
    mut each: impl FnMut(&CStr, FileType) -> bool,
) -> Result<(), Errno> {
    let mut list = RawDir::new(dir, buffer);
    while let Some(entry) = list.next() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." && !each(name, entry.file_type()) {
            break;
        }
    }
    Ok(())
}
