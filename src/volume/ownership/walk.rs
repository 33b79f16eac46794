//! One thread's share of the walk that hands the volume over to the user.
//!
//! Runs as root over a tree that other users may change meanwhile. An entry that belongs to
//! the user costs one statx(2). Any other is opened as an O_PATH handle, which cannot read,
//! statted again and changed through that handle.

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FileType, Uid};
use rustix::io::Errno;

use crate::volume::ownership::shared::{ChownMode, WalkContext, WalkCounts};
use crate::volume::pace::Pace;
use crate::volume::tree;
use crate::volume::tree::{FileStat, Inode, Time};
use crate::volume::{VolumeError, shown};

/// Messages leave out the middle of a path longer than this, in bytes.
const MAX_SHOWN_PATH: usize = 1024;

/// The most directories that a thread holds open at once; a deeper tree reopens them.
pub(super) const OPEN_LEVELS: usize = 64;

/// A directory on the path from the volume to the current directory.
struct Level {
    /// The open directory; `None` while the walk is many levels below it.
    dir: Option<OwnedFd>,
    inode: Inode,
    /// Subdirectories that are still to be entered.
    subdirs: Vec<CString>,
    /// The length of its path, in bytes.
    path: usize,
}

/// A part of the volume that is still to be walked: nested directories, the outermost first,
/// with their subdirectories that are not yet entered.
pub(super) struct Part {
    levels: Vec<Level>,
    /// The path of the innermost directory, or of one below it.
    path: Vec<u8>,
}

impl Part {
    pub fn is_done(&self) -> bool {
        self.levels.is_empty()
    }

    /// Splits off half of the outermost remaining subdirectories; `None` if that is not possible.
    pub fn split(&mut self) -> Option<Self> {
        let mut open = self.levels.iter_mut().filter(|level| level.dir.is_some());
        let level = open.find(|level| !level.subdirs.is_empty())?;
        let dir = level.dir.as_ref()?.try_clone().ok()?;
        let kept = level.subdirs.len() / 2;
        Some(Self {
            path: self.path[..level.path].to_vec(),
            levels: vec![Level {
                dir: Some(dir),
                inode: level.inode,
                subdirs: level.subdirs.split_off(kept),
                path: level.path,
            }],
        })
    }
}

/// Gets the number of newly examined entries, and returns whether the walk goes on.
pub(super) type OnProgress<'a> = &'a mut dyn FnMut(u64) -> bool;

/// One thread's walk.
pub(super) struct Walk<'a> {
    common: &'a WalkContext<'a>,
    on_progress: OnProgress<'a>,
    pub walk_counts: WalkCounts,
    /// True if the last entry was not the user's and chown(2) is not ignored.
    changing: bool,
    /// The current directory.
    inside: Inode,
    /// Its path, for messages.
    path: Vec<u8>,
    pace: Pace,
    /// The number of examined entries that `tell` was called with.
    reported_entries: u64,
    buffer: Vec<MaybeUninit<u8>>,
}

impl<'a> Walk<'a> {
    /// Returns a walk that has not begun. It calls `tell` every 1024 entries, or earlier when
    /// 100 ms have passed.
    pub fn new(common: &'a WalkContext<'a>, tell: OnProgress<'a>) -> Self {
        Self {
            common,
            on_progress: tell,
            walk_counts: WalkCounts::default(),
            changing: false,
            inside: common.top.inode,
            path: Vec::new(),
            pace: Pace::new(),
            reported_entries: 0,
            buffer: vec![MaybeUninit::uninit(); 64 * 1024],
        }
    }

    /// Hands over the volume itself and the entries in it, but does not enter subdirectories.
    pub fn begin(&mut self, dir: OwnedFd) -> Result<Part, VolumeError> {
        self.path = self.common.claim.directory.as_os_str().as_bytes().to_vec();
        let levels = self.enter(dir, self.path.len())?.into_iter().collect();
        let path = std::mem::take(&mut self.path);
        Ok(Part { levels, path })
    }

    /// Walks a part to its end, or until `pause` returns true before one of its directories.
    pub fn run(
        &mut self,
        part: &mut Part,
        mut pause: impl FnMut(&mut Part, &WalkCounts) -> bool,
    ) -> Result<(), VolumeError> {
        while !part.is_done() && !pause(part, &self.walk_counts) {
            self.pace()?;
            // No copy: a hostile path can have megabytes.
            std::mem::swap(&mut self.path, &mut part.path);
            let step = self.step(&mut part.levels);
            std::mem::swap(&mut self.path, &mut part.path);
            step?;
        }
        Ok(())
    }

    /// Enters the next directory of a part, or leaves one that has no more.
    fn step(&mut self, levels: &mut Vec<Level>) -> Result<(), VolumeError> {
        let Some(level) = levels.last_mut() else {
            return Ok(());
        };
        self.path.truncate(level.path);
        self.inside = level.inode;
        let (Some(dir), Some(name)) = (&level.dir, level.subdirs.pop()) else {
            self.leave(levels);
            return Ok(());
        };
        match tree::open_dir(dir, &name) {
            Ok(child) => {
                self.path.push(b'/');
                self.path.extend_from_slice(name.to_bytes());
                let level = self.enter(child, self.path.len())?;
                levels.extend(level);
            }
            // Replaced by something else since it was listed.
            Err(Errno::NOTDIR | Errno::LOOP) => self.entry(dir.as_fd(), &name),
            Err(Errno::NOENT) => {}
            Err(error) => self.count_refused(error, &name),
        }
        if let Some(far) = levels.len().checked_sub(OPEN_LEVELS) {
            levels[far].dir = None;
        }
        Ok(())
    }

    /// Leaves the last level and makes sure that its parent is open again.
    fn leave(&mut self, levels: &mut Vec<Level>) {
        let Some(done) = levels.pop() else { return };
        let last = levels.len() == 1;
        let (Some(above), Some(dir)) = (levels.last_mut(), done.dir) else {
            return;
        };
        if above.dir.is_some() || above.subdirs.is_empty() && last {
            return;
        }
        // The directory may have been moved: `..` counts only if it is where we came from.
        match tree::open_dir(&dir, c"..") {
            Ok(again) if tree::stat_fd(&again).is_ok_and(|stat| stat.inode == above.inode) => {
                above.dir = Some(again);
            }
            result => {
                let error = result.err().unwrap_or(Errno::STALE);
                self.count_refused(error, c"..");
            }
        }
    }

    /// Hands over one directory and its entries, but does not enter its subdirectories.
    fn enter(&mut self, dir: OwnedFd, path: usize) -> Result<Option<Level>, VolumeError> {
        let stat = match tree::stat_fd(&dir) {
            Ok(stat) if self.common.is_of_the_volume(&stat) => stat,
            // Another mount, which is not entered.
            Ok(_) => return Ok(None),
            Err(error) => {
                self.count_refused(error, c".");
                return Ok(None);
            }
        };
        self.inside = stat.inode;
        self.walk_counts.checked += 1;
        if stat.uid != self.common.claim.uid {
            self.hand_over(dir.as_fd(), dir.as_fd(), c".");
        }
        let mut subdirs = Vec::new();
        let mut stopped = Ok(());
        let mut buffer = std::mem::take(&mut self.buffer);
        let listed = tree::entries(&dir, &mut buffer, |name, kind| {
            if kind == FileType::Directory {
                subdirs.push(name.to_owned());
            } else {
                self.entry_or_subdir(dir.as_fd(), name, kind, &mut subdirs);
                self.walk_counts.checked += 1;
            }
            stopped = self.pace();
            stopped.is_ok()
        });
        self.buffer = buffer;
        stopped?;
        match listed {
            Ok(()) => {}
            // The volume may be open only as an O_PATH handle, which cannot be listed.
            Err(Errno::BADF) => self.count_refused(Errno::ACCESS, c"."),
            Err(error) => self.count_refused(error, c"."),
        }
        Ok(Some(Level {
            dir: Some(dir),
            inode: stat.inode,
            subdirs,
            path,
        }))
    }

    /// Hands over an entry or notes a subdirectory. A stat decides if the list has no types.
    fn entry_or_subdir(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &CStr,
        kind: FileType,
        subdirs: &mut Vec<CString>,
    ) {
        let unknown = kind == FileType::Unknown;
        if unknown && tree::stat_name(dir, name).is_ok_and(|stat| stat.kind == FileType::Directory)
        {
            subdirs.push(name.to_owned());
        } else {
            self.entry(dir, name);
        }
    }

    /// Hands over one entry that is not a directory.
    ///
    /// After an entry that had to be changed, the next one mostly has to be changed too. So it is
    /// opened without a stat by its name first.
    fn entry(&mut self, dir: BorrowedFd<'_>, name: &CStr) {
        if !self.changing {
            match tree::stat_name(dir, name) {
                Ok(stat) if !self.common.is_of_the_volume(&stat) => return,
                Ok(stat) if stat.uid == self.common.claim.uid => return,
                Ok(_) if self.common.ignores_chown() => return self.count_ignored(name),
                Ok(_) => {}
                Err(Errno::NOENT) => return,
                Err(error) => return self.count_refused(error, name),
            }
        }
        match tree::open_handle(dir, name) {
            Ok(handle) => self.hand_over(handle.as_fd(), dir, name),
            Err(Errno::NOENT) => {}
            Err(error) => self.count_refused(error, name),
        }
    }

    /// Stats `handle`, which was `name` in `dir`, and hands over what it really is, unless that
    /// belongs to the user or is not on the volume.
    fn hand_over(&mut self, handle: BorrowedFd<'_>, dir: BorrowedFd<'_>, name: &CStr) {
        let stat = match tree::stat_fd(handle) {
            Ok(stat) => stat,
            Err(error) => return self.count_refused(error, name),
        };
        if !self.common.is_of_the_volume(&stat) {
            return;
        }
        let is_users = stat.uid == self.common.claim.uid;
        self.changing = !is_users && !self.common.ignores_chown();
        match (is_users, self.changing) {
            (true, _) => return,
            (false, false) => return self.count_ignored(name),
            (false, true) => {}
        }
        match stat.kind {
            // Its node is in the volume, but the device is not.
            FileType::BlockDevice | FileType::CharacterDevice => {
                let path = path_below(&self.path, name);
                return self.walk_counts.devices.add(path);
            }
            FileType::Directory => {}
            _ if stat.links > 1 && !self.all_links_found(&stat, dir, name) => return,
            _ => {}
        }
        match self.common.chown_mode {
            ChownMode::Apply => {}
            ChownMode::PreviewOnly(Some(error)) => return self.count_refused(error, name),
            ChownMode::PreviewOnly(None) => {
                return self
                    .walk_counts
                    .would_hand_over
                    .push(path_below(&self.path, name)());
            }
        }
        match tree::chown_handle(handle, self.common.claim.uid, self.common.claim.gid) {
            Ok(()) if self.common.chown_worked(handle) => self.walk_counts.changed(stat.uid),
            Ok(()) => self.count_ignored(name),
            Err(error) => self.count_refused(error, name),
        }
    }

    /// Records `name` as a link of `seen`. Reports whether all its links are found.
    fn all_links_found(&self, seen: &FileStat, dir: BorrowedFd<'_>, name: &CStr) -> bool {
        let now = || match self.common.chown_mode {
            ChownMode::Apply => clock_of(dir, self.common.claim.uid),
            ChownMode::PreviewOnly(_) => Ok(tree::now()),
        };
        let stat = || tree::stat_uncached(dir, name).ok();
        let place = (self.inside, name.to_owned());
        let links = &self.common.links;
        links.complete(seen.inode, place, now, stat, path_below(&self.path, name))
    }

    /// Reports the progress when it is due.
    fn pace(&mut self) -> Result<(), VolumeError> {
        if !self.pace.is_due() {
            return Ok(());
        }
        let more = self.walk_counts.checked - self.reported_entries;
        self.reported_entries = self.walk_counts.checked;
        (self.on_progress)(more)
            .then_some(())
            .ok_or(VolumeError::Stopped)
    }

    fn count_refused(&mut self, error: Errno, name: &CStr) {
        self.walk_counts
            .refused
            .add(error, path_below(&self.path, name));
    }

    fn count_ignored(&mut self, name: &CStr) {
        self.walk_counts.ignored.add(path_below(&self.path, name));
    }
}

/// Returns the path of `name` in the directory `path`, for messages.
fn path_below(path: &[u8], name: &CStr) -> impl FnOnce() -> String {
    move || {
        let whole = match name.to_bytes() {
            b"." => path.to_vec(),
            name => [path, b"/", name].concat(),
        };
        let half = MAX_SHOWN_PATH / 2;
        match whole.len() > MAX_SHOWN_PATH {
            true => {
                let (head, tail) = (&whole[..half], &whole[whole.len() - half..]);
                format!("{}[...]{}", shown(head), shown(tail))
            }
            false => shown(&whole),
        }
    }
}

/// Reads the clock that stamps inodes on this file system, which may be a server's clock.
/// chown(2) of the directory to the user, who already owns it, sets its ctime.
fn clock_of(dir: BorrowedFd<'_>, uid: u32) -> Result<Time, Errno> {
    rustix::fs::chownat(
        dir,
        c"",
        Some(Uid::from_raw(uid)),
        None,
        AtFlags::EMPTY_PATH,
    )?;
    Ok(tree::stat_uncached(dir, c".")?.changed)
}
