//! Ownership of the volume: the walk that hands it over to the user.
//!
//! Runs as root over ground that a stranger may change meanwhile. Each entry costs
//! one statx; only what is not the user's is opened (as a handle that cannot read),
//! looked at again, and changed through that handle.

use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, Uid};
use rustix::io::Errno;

use super::tree::{self, Inode, Look, Time};
use super::{Progress, REPORT_EVERY, Tally, VolumeError, shown};
use crate::degradation::Degradation;
use crate::identity::Root;
use crate::settings::VolumeOwner;

/// Whose the volume is to be.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The notebooks directory; created, with every missing parent, if absent.
    pub directory: PathBuf,
    /// What happens to its ownership.
    pub policy: VolumeOwner,
    /// The user.
    pub uid: u32,
    /// The user's group.
    pub gid: u32,
}

/// What [`claim`] did.
#[derive(Debug, Default)]
pub struct Claimed {
    /// Entries looked at.
    pub checked: u64,
    /// Entries handed over to the user.
    pub changed: u64,
    /// Whether the directory was absent and is there now.
    pub created: bool,
    /// With `adopt`: the uid and gid that the server runs with.
    pub adopted: Option<(u32, u32)>,
    /// What could not be handed over, counted.
    pub degradations: Vec<Degradation>,
}

/// Settles who owns the volume.
///
/// `stop` is asked about every thousand entries, and `progress` told.
///
/// # Errors
///
/// When the directory cannot be opened or created, `adopt` finds uid 0, or `stop`
/// said so; what a single entry refuses is a degradation.
pub fn claim(
    _: &Root,
    claim: &Claim,
    stop: &dyn Fn() -> bool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Claimed, VolumeError> {
    let (dir, created) = open_volume(&claim.directory, claim.uid, claim.gid)?;
    let open_error = |source: Errno| VolumeError::Open {
        directory: claim.directory.clone(),
        at: claim.directory.display().to_string(),
        source: source.into(),
    };
    let top = tree::look_at(&dir).map_err(open_error)?;
    match claim.policy {
        VolumeOwner::Keep => Ok(Claimed {
            created,
            ..Claimed::default()
        }),
        VolumeOwner::Adopt if top.uid == 0 && claim.uid != 0 => {
            Err(VolumeError::AdoptRoot(claim.directory.clone()))
        }
        VolumeOwner::Adopt => {
            let gid = if top.gid == 0 { claim.gid } else { top.gid };
            Ok(Claimed {
                created,
                adopted: Some((top.uid, gid)),
                ..Claimed::default()
            })
        }
        VolumeOwner::Chown => {
            let mut walk = Walk::new(claim, top, stop, progress);
            walk.run(dir)?;
            Ok(Claimed {
                created,
                ..walk.finish()
            })
        }
    }
}

/// Opens the volume, making what is missing of its path for the user.
///
/// The path itself may lie where the user can write (`/home/jupyter/notebooks`), and
/// the user of the container's last run may have put a link to `/etc` there: a link
/// is followed only if root made it in a directory where nobody else can replace it.
fn open_volume(path: &Path, uid: u32, gid: u32) -> Result<(OwnedFd, bool), VolumeError> {
    let mut way = PathBuf::new();
    let fail = |way: &Path, source: Errno| VolumeError::Open {
        directory: path.to_owned(),
        at: shown(way.as_os_str().as_bytes()),
        source: source.into(),
    };
    let start = |absolute: bool| {
        let flags = tree::HANDLE | rustix::fs::OFlags::DIRECTORY;
        let from = if absolute { "/" } else { "." };
        rustix::fs::open(from, flags, Mode::empty()).map_err(|e| fail(Path::new(from), e))
    };
    let mut dir = start(path.is_absolute())?;
    let mut rest = steps(path);
    let mut created = false;
    let mut links = 0;
    while let Some(step) = rest.pop() {
        let name = CString::new(step.as_bytes()).map_err(|_| fail(&way, Errno::INVAL))?;
        let parent = way.clone();
        way.push(&step);
        let handle = match tree::open_handle(&dir, &name) {
            Err(Errno::NOENT) => {
                match rustix::fs::mkdirat(&dir, &name, Mode::from(0o755)) {
                    Err(e) if e != Errno::EXIST => return Err(fail(&way, e)),
                    _ => created = true,
                }
                let made = tree::open_dir(&dir, &name).map_err(|e| fail(&way, e))?;
                give(made.as_fd(), uid, gid).map_err(|e| fail(&way, e))?;
                made
            }
            other => other.map_err(|e| fail(&way, e))?,
        };
        let look = tree::look_at(&handle).map_err(|e| fail(&way, e))?;
        match look.kind {
            FileType::Directory => dir = handle,
            FileType::Symlink => {
                let above = tree::look_at(&dir).map_err(|e| fail(&way, e))?;
                let firm = above.mode & 0o022 == 0 || above.mode & 0o1000 != 0;
                if look.uid != 0 || above.uid != 0 || !firm {
                    return Err(VolumeError::Link {
                        directory: path.to_owned(),
                        at: shown(way.as_os_str().as_bytes()),
                    });
                }
                links += 1;
                if links > 40 {
                    return Err(fail(&way, Errno::LOOP));
                }
                let target =
                    rustix::fs::readlinkat(&handle, c"", Vec::new()).map_err(|e| fail(&way, e))?;
                let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                way = parent;
                if target.is_absolute() {
                    dir = start(true)?;
                    way = PathBuf::from("/");
                }
                rest.extend(steps(&target));
            }
            _ => return Err(fail(&way, Errno::NOTDIR)),
        }
    }
    let dir = tree::open_dir(&dir, c".").map_err(|e| fail(&way, e))?;
    let root = tree::look_at(start(true)?).map_err(|e| fail(&way, e))?;
    let here = tree::look_at(&dir).map_err(|e| fail(&way, e))?;
    if root.inode == here.inode && root.same_mount(&here) {
        return Err(VolumeError::Everything);
    }
    Ok((dir, created))
}

/// The steps of a path, last first.
fn steps(path: &Path) -> Vec<OsString> {
    let steps = path.components().rev().filter_map(|step| match step {
        Component::Normal(name) => Some(name),
        Component::ParentDir => Some(OsStr::new("..")),
        _ => None,
    });
    steps.map(OsStr::to_owned).collect()
}

/// Hands over what `handle` is, and nothing else: there is no name to swap.
fn give(handle: BorrowedFd<'_>, uid: u32, gid: u32) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    rustix::fs::chownat(handle, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
}

/// How many directories are held open at once; a deeper tree reopens them.
const OPEN_LEVELS: usize = 128;

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

struct Walk<'a> {
    claim: &'a Claim,
    top: Look,
    stop: &'a dyn Fn() -> bool,
    progress: &'a mut dyn FnMut(Progress),
    /// When the walk began, by the clock that stamps inodes.
    began: Time,
    checked: u64,
    changed: u64,
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
    fn new(
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
            path: claim.directory.as_os_str().as_bytes().to_vec(),
            links: HashMap::new(),
            refused: Tally::default(),
            mounts: Vec::new(),
            devices: Vec::new(),
            buffer: vec![MaybeUninit::uninit(); 64 * 1024],
        }
    }

    fn run(&mut self, dir: OwnedFd) -> Result<(), VolumeError> {
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
    fn entry(&mut self, dir: BorrowedFd<'_>, name: &CStr) {
        match tree::look(dir, name) {
            Ok(look) if !look.same_mount(&self.top) => {
                let mount = self.under(name);
                self.mounts.push(mount);
            }
            Ok(look) if look.uid == self.claim.uid => {}
            Ok(_) => match tree::open_handle(dir, name) {
                Ok(handle) => self.hand_over(handle.as_fd(), name),
                Err(Errno::NOENT) => {}
                Err(error) => self.refuse(error, name),
            },
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
        if !look.same_mount(&self.top) || look.uid == self.claim.uid {
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
        shown(&[&self.path, &b"/"[..], name.to_bytes()].concat())
    }

    fn refuse(&mut self, error: Errno, name: &CStr) {
        let path = self.under(name);
        self.refused.add(error, || path);
    }

    fn finish(self) -> Claimed {
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
            degradations,
        }
    }
}

#[cfg(test)]
#[path = "owner_tests.rs"]
mod tests;
