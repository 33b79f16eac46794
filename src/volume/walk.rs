//! The walk that hands the volume over to the user.
//!
//! Runs as root over ground that a stranger may change meanwhile. Each entry costs
//! one statx; only what is not the user's is opened (as a handle that cannot read),
//! looked at again, and changed through that handle.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FileType, Gid, Uid};
use rustix::io::Errno;

use super::owner::{Claim, Claimed};
use super::tree::{self, Inode, Look, Time};
use super::{Progress, REPORT_EVERY, Tally, VolumeError, shown};
use crate::degradation::Degradation;

/// Hands over what `handle` is, and nothing else: there is no name to swap.
pub(super) fn give(handle: BorrowedFd<'_>, uid: u32, gid: u32) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    rustix::fs::chownat(handle, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
}

/// How many directories are held open at once; a deeper tree reopens them.
pub(super) const OPEN_LEVELS: usize = 128;

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

pub(super) struct Walk<'a> {
    claim: &'a Claim,
    top: Look,
    stop: &'a dyn Fn() -> bool,
    progress: &'a mut dyn FnMut(Progress),
    /// When the walk began, by the clock that stamps inodes.
    began: Time,
    checked: u64,
    changed: u64,
    /// What would be handed over; `None`: it is.
    foreseen: Option<Vec<String>>,
    /// Whether the last entry was not the user's.
    changing: bool,
    /// The path of the current directory, for messages.
    path: Vec<u8>,
    /// Files with several links: how many were found, and where the first was.
    links: HashMap<Inode, (u32, String)>,
    refused: Tally,
    mounts: Vec<String>,
    devices: Vec<String>,
    buffer: Vec<MaybeUninit<u8>>,
}

impl<'a> Walk<'a> {
    /// A walk that has not begun, of the volume that looks like `top`.
    pub fn new(
        claim: &'a Claim,
        top: Look,
        stop: &'a dyn Fn() -> bool,
        progress: &'a mut dyn FnMut(Progress),
    ) -> Self {
        Self {
            claim,
            top,
            stop,
            progress,
            began: tree::now(),
            checked: 0,
            changed: 0,
            foreseen: None,
            changing: false,
            path: claim.directory.as_os_str().as_bytes().to_vec(),
            links: HashMap::new(),
            refused: Tally::default(),
            mounts: Vec::new(),
            devices: Vec::new(),
            buffer: vec![MaybeUninit::uninit(); 64 * 1024],
        }
    }

    /// Only tells what it would hand over.
    pub fn only_foreseeing(self) -> Self {
        Self {
            foreseen: Some(Vec::new()),
            ..self
        }
    }

    /// Hands over everything in `dir`, as long as nobody says stop.
    pub fn run(&mut self, dir: OwnedFd) -> Result<(), VolumeError> {
        let mut levels: Vec<Level> = Vec::new();
        levels.extend(self.enter(dir, self.path.len())?);
        while let Some(level) = levels.last_mut() {
            self.path.truncate(level.path);
            let (Some(dir), Some(name)) = (&level.dir, level.subdirs.pop()) else {
                self.leave(&mut levels);
                continue;
            };
            match tree::open_dir(dir, &name) {
                Ok(child) => {
                    self.path.push(b'/');
                    self.path.extend_from_slice(name.to_bytes());
                    if let Some(level) = self.enter(child, self.path.len())? {
                        levels.push(level);
                    }
                }
                // Swapped for something else since it was listed.
                Err(Errno::NOTDIR | Errno::LOOP) => self.entry(dir.as_fd(), &name),
                Err(Errno::NOENT) => {}
                Err(error) => self.refuse(error, &name),
            }
            if let Some(far) = levels.len().checked_sub(OPEN_LEVELS) {
                levels[far].dir = None;
            }
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
            Ok(look) if look.same_mount(&self.top) => look,
            Ok(_) => {
                self.mounts.push(shown(&self.path));
                return Ok(None);
            }
            Err(error) => {
                self.refuse(error, c".");
                return Ok(None);
            }
        };
        self.count()?;
        if look.uid != self.claim.uid {
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
        if let Err(error) = listed {
            self.refuse(error, c".");
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
                Ok(look) if !look.same_mount(&self.top) => {
                    let mount = self.under(name);
                    return self.mounts.push(mount);
                }
                Ok(look) if look.uid == self.claim.uid => return,
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
        if !look.same_mount(&self.top) {
            let mount = self.under(name);
            return self.mounts.push(mount);
        }
        self.changing = look.uid != self.claim.uid;
        if !self.changing {
            return;
        }
        match look.kind {
            // Its node is here, the device is not.
            FileType::BlockDevice | FileType::CharacterDevice => {
                let device = self.under(name);
                self.devices.push(device);
                return;
            }
            FileType::Directory => {}
            _ if look.links > 1 && !self.all_links_found(&look, name) => return,
            _ => {}
        }
        if self.foreseen.is_some() {
            let path = self.under(name);
            self.foreseen
                .iter_mut()
                .for_each(|all| all.push(path.clone()));
            return;
        }
        match give(handle, self.claim.uid, self.claim.gid) {
            Ok(()) => self.changed += 1,
            Err(error) => self.refuse(error, name),
        }
    }

    /// Counts a link; whether it is the last one.
    ///
    /// A name that is renamed ahead of the walk would be counted twice and stand for
    /// one outside. Renaming, linking and unlinking stamp the inode, so a file whose
    /// stamp is not older than the walk is not handed over this time.
    fn all_links_found(&mut self, look: &Look, name: &CStr) -> bool {
        let first = || shown(&[&self.path, &b"/"[..], name.to_bytes()].concat());
        let (found, _) = self.links.entry(look.inode).or_insert_with(|| (0, first()));
        *found += 1;
        let complete = *found == look.links && look.changed < self.began;
        if complete {
            self.links.remove(&look.inode);
        }
        complete
    }

    fn count(&mut self) -> Result<(), VolumeError> {
        self.checked += 1;
        if !self.checked.is_multiple_of(REPORT_EVERY) {
            return Ok(());
        }
        (self.progress)(Progress {
            done: self.checked,
            total: None,
        });
        if (self.stop)() {
            return Err(VolumeError::Stopped);
        }
        Ok(())
    }

    fn under(&self, name: &CStr) -> String {
        if name == c"." {
            return shown(&self.path);
        }
        shown(&[&self.path, &b"/"[..], name.to_bytes()].concat())
    }

    fn refuse(&mut self, error: Errno, name: &CStr) {
        let path = self.under(name);
        self.refused.add(error, || path);
    }

    /// What came of it.
    pub fn finish(self) -> Claimed {
        let owner = format!("{}:{}", self.claim.uid, self.claim.gid);
        let what = format!("hand over to {owner}");
        let remedy = "the server can still use what its user may read and write; change the owner \
                      where the volume lives, or use --volume-owner adopt or keep";
        let mut degradations: Vec<_> = self.refused.degradations(&what, remedy).collect();
        let mut links: Vec<_> = self.links.into_values().map(|(_, path)| path).collect();
        links.sort();
        let groups = [
            (
                self.mounts,
                "did not enter other mounts inside the volume",
                "mount them with the right owner",
            ),
            (
                links,
                "did not hand over files that have links outside the volume",
                "replace them by copies, or change their owner where the volume lives",
            ),
            (
                self.devices,
                "did not hand over device nodes",
                "remove them from the volume",
            ),
        ];
        for (paths, cause, remedy) in groups {
            if let Some(first) = paths.first() {
                let cause = format!("{cause}: {}, first {first}", paths.len());
                degradations.push(Degradation::new(cause, remedy));
            }
        }
        Claimed {
            checked: self.checked,
            changed: self.changed,
            created: false,
            adopted: None,
            foreseen: self.foreseen.unwrap_or_default(),
            degradations,
        }
    }
}
