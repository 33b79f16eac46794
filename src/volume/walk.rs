//! One thread's share of the walk that hands the volume over to the user.
//!
//! Runs as root over ground that a stranger may change meanwhile. Each entry costs
//! one statx; only what is not the user's is opened (as a handle that cannot read),
//! looked at again, and changed through that handle.

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FileType, Gid, Uid};
use rustix::io::Errno;

use super::crew::{Common, Deed, Found};
use super::tree::{self, Inode, Look};
use super::{REPORT_EVERY, VolumeError, shown};

/// Hands over what `handle` is, and nothing else: there is no name to swap.
pub(super) fn give(handle: BorrowedFd<'_>, uid: u32, gid: u32) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    rustix::fs::chownat(handle, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
}

/// How many directories a thread holds open at once; a deeper tree reopens them.
pub(super) const OPEN_LEVELS: usize = 64;

/// A directory on the way from the volume to where the walk is.
struct Level {
    /// Closed while the walk is far below it.
    dir: Option<OwnedFd>,
    inode: Inode,
    /// Subdirectories still to enter.
    subdirs: Vec<CString>,
    /// The length of its path.
    path: usize,
}

/// What is still to be walked: directories that lie in each other, the outermost first,
/// with the subdirectories that nobody has entered yet.
pub(super) struct Part {
    levels: Vec<Level>,
    /// The path of the innermost one.
    path: Vec<u8>,
}

impl Part {
    pub fn is_done(&self) -> bool {
        self.levels.is_empty()
    }

    /// Gives half of the outermost subdirectories away; `None`: there is nothing to give.
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

/// Told of how many entries more were looked at; whether the walk goes on.
pub(super) type Tell<'a> = &'a mut dyn FnMut(u64) -> bool;

/// What one thread does of it.
pub(super) struct Walk<'a> {
    common: &'a Common<'a>,
    tell: Tell<'a>,
    pub found: Found,
    /// Whether the last entry was not the user's.
    changing: bool,
    /// The current directory.
    inside: Inode,
    /// Its path, for messages.
    path: Vec<u8>,
    buffer: Vec<MaybeUninit<u8>>,
}

impl<'a> Walk<'a> {
    /// A walk that has not begun. `tell` is called about every thousand entries.
    pub fn new(common: &'a Common<'a>, tell: Tell<'a>) -> Self {
        Self {
            common,
            tell,
            found: Found::default(),
            changing: false,
            inside: common.top.inode,
            path: Vec::new(),
            buffer: vec![MaybeUninit::uninit(); 64 * 1024],
        }
    }

    /// Settles the volume itself and what is in it; its subdirectories are left.
    pub fn begin(&mut self, dir: OwnedFd) -> Result<Part, VolumeError> {
        self.path = self.common.claim.directory.as_os_str().as_bytes().to_vec();
        let levels = self.enter(dir, self.path.len())?.into_iter().collect();
        let path = self.path.clone();
        Ok(Part { levels, path })
    }

    /// Walks a part to its end, or until `pause` says so before one of its directories.
    pub fn run(
        &mut self,
        part: &mut Part,
        mut pause: impl FnMut(&mut Part, &Found) -> bool,
    ) -> Result<(), VolumeError> {
        while !part.is_done() && !pause(part, &self.found) {
            self.step(part)?;
        }
        Ok(())
    }

    /// Enters the next directory of a part, or leaves one that has no more.
    fn step(&mut self, part: &mut Part) -> Result<(), VolumeError> {
        let Some(level) = part.levels.last_mut() else {
            return Ok(());
        };
        part.path.truncate(level.path);
        self.path.clone_from(&part.path);
        self.inside = level.inode;
        let (Some(dir), Some(name)) = (&level.dir, level.subdirs.pop()) else {
            self.leave(&mut part.levels);
            return Ok(());
        };
        match tree::open_dir(dir, &name) {
            Ok(child) => {
                part.path.push(b'/');
                part.path.extend_from_slice(name.to_bytes());
                self.path.clone_from(&part.path);
                let level = self.enter(child, part.path.len())?;
                part.levels.extend(level);
            }
            // Swapped for something else since it was listed.
            Err(Errno::NOTDIR | Errno::LOOP) => self.entry(dir.as_fd(), &name),
            Err(Errno::NOENT) => {}
            Err(error) => self.refuse(error, &name),
        }
        if let Some(far) = part.levels.len().checked_sub(OPEN_LEVELS) {
            part.levels[far].dir = None;
        }
        Ok(())
    }

    /// Leaves the last level and makes sure that the one above is open again.
    fn leave(&mut self, levels: &mut Vec<Level>) {
        let Some(done) = levels.pop() else { return };
        let last = levels.len() == 1;
        let (Some(above), Some(dir)) = (levels.last_mut(), done.dir) else {
            return;
        };
        if above.dir.is_some() || above.subdirs.is_empty() && last {
            return;
        }
        // Someone may have moved it: `..` counts only if it is where we came from.
        match tree::open_dir(&dir, c"..") {
            Ok(again) if tree::look_at(&again).is_ok_and(|look| look.inode == above.inode) => {
                above.dir = Some(again);
            }
            result => {
                let error = result.err().unwrap_or(Errno::STALE);
                self.refuse(error, c"..");
            }
        }
    }

    /// Settles one directory and its entries; its subdirectories are left to enter.
    fn enter(&mut self, dir: OwnedFd, path: usize) -> Result<Option<Level>, VolumeError> {
        let look = match tree::look_at(&dir) {
            Ok(look) if self.common.is_of_the_volume(&look) => look,
            Ok(_) => {
                self.found.mounts.push(shown(&self.path));
                return Ok(None);
            }
            Err(error) => {
                self.refuse(error, c".");
                return Ok(None);
            }
        };
        self.inside = look.inode;
        self.count()?;
        if look.uid != self.common.claim.uid {
            self.hand_over(dir.as_fd(), c".");
        }
        let mut subdirs = Vec::new();
        let mut stopped = Ok(());
        let mut buffer = std::mem::take(&mut self.buffer);
        let listed = tree::entries(&dir, &mut buffer, |name, kind| {
            if kind == FileType::Directory {
                subdirs.push(name.to_owned());
            } else {
                self.entry_or_subdir(dir.as_fd(), name, kind, &mut subdirs);
                stopped = self.count();
            }
            stopped.is_ok()
        });
        self.buffer = buffer;
        stopped?;
        match listed {
            Ok(()) => {}
            // Of the volume there may be no more than a handle.
            Err(Errno::BADF) => self.refuse(Errno::ACCESS, c"."),
            Err(error) => self.refuse(error, c"."),
        }
        Ok(Some(Level {
            dir: Some(dir),
            inode: look.inode,
            subdirs,
            path,
        }))
    }

    /// File systems that list no types need a look to tell directories.
    fn entry_or_subdir(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &CStr,
        kind: FileType,
        subdirs: &mut Vec<CString>,
    ) {
        let unknown = kind == FileType::Unknown;
        if unknown && tree::look(dir, name).is_ok_and(|look| look.kind == FileType::Directory) {
            subdirs.push(name.to_owned());
        } else {
            self.entry(dir, name);
        }
    }

    /// Settles one entry that is no directory.
    ///
    /// Next to what had to be changed there is mostly more of it: that is opened
    /// without being looked at by its name first.
    fn entry(&mut self, dir: BorrowedFd<'_>, name: &CStr) {
        if !self.changing {
            match tree::look(dir, name) {
                Ok(look) if !self.common.is_of_the_volume(&look) => {
                    let mount = self.under(name);
                    return self.found.mounts.push(mount);
                }
                Ok(look) if look.uid == self.common.claim.uid => return,
                Ok(_) => {}
                Err(Errno::NOENT) => return,
                Err(error) => return self.refuse(error, name),
            }
        }
        match tree::open_handle(dir, name) {
            Ok(handle) => self.hand_over(handle.as_fd(), name),
            Err(Errno::NOENT) => {}
            Err(error) => self.refuse(error, name),
        }
    }

    /// Hands over what `handle` really is, once it has been looked at through it.
    fn hand_over(&mut self, handle: BorrowedFd<'_>, name: &CStr) {
        let look = match tree::look_at(handle) {
            Ok(look) => look,
            Err(error) => return self.refuse(error, name),
        };
        if !self.common.is_of_the_volume(&look) {
            let mount = self.under(name);
            return self.found.mounts.push(mount);
        }
        self.changing = look.uid != self.common.claim.uid;
        if !self.changing {
            return;
        }
        match look.kind {
            // Its node is here, the device is not.
            FileType::BlockDevice | FileType::CharacterDevice => {
                let device = self.under(name);
                self.found.devices.push(device);
                return;
            }
            FileType::Directory => {}
            _ if look.links > 1 && !self.all_links_found(&look, name) => return,
            _ => {}
        }
        match self.common.deed {
            Deed::Do => {}
            Deed::Foresee(Some(error)) => return self.refuse(error, name),
            Deed::Foresee(None) => {
                let path = self.under(name);
                return self.found.foreseen.push(path);
            }
        }
        match give(handle, self.common.claim.uid, self.common.claim.gid) {
            Ok(()) => self.found.changed += 1,
            Err(error) => self.refuse(error, name),
        }
    }

    /// Notes a link; whether all are found with it.
    fn all_links_found(&self, look: &Look, name: &CStr) -> bool {
        let place = (self.inside, name.to_owned());
        self.common.links.complete(look, place, || self.under(name))
    }

    fn count(&mut self) -> Result<(), VolumeError> {
        self.found.checked += 1;
        let goes_on = !self.found.checked.is_multiple_of(REPORT_EVERY) || (self.tell)(REPORT_EVERY);
        goes_on.then_some(()).ok_or(VolumeError::Stopped)
    }

    fn under(&self, name: &CStr) -> String {
        if name == c"." {
            return shown(&self.path);
        }
        shown(&[&self.path, &b"/"[..], name.to_bytes()].concat())
    }

    fn refuse(&mut self, error: Errno, name: &CStr) {
        let path = self.under(name);
        self.found.refused.add(error, || path);
    }
}
