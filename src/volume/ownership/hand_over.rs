//! Hands single directories of HOME over to the user, without their contents.
//!
//! Docker makes the missing parents of a mount point as root. A new named volume belongs to
//! root as well, and so does what a derived image copies. Every step is one name under an
//! open directory, and no link is followed.

use std::cell::LazyCell;
use std::collections::{BTreeSet, HashSet};
use std::ffi::{CStr, CString, OsStr};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use rustix::io::Errno;

use crate::identity::Root;
use crate::sys::effects::Effects;
use crate::sys::trust;
use crate::volume::mounts::{Mount, Mounts};
use crate::volume::ownership::claim::{is_place_of_people, is_system_path};
use crate::volume::ownership::open::{Missing, open_volume};
use crate::volume::tree;
use crate::volume::tree::{FileStat, Inode};

/// HOME and its directories in which Jupyter, IPython, matplotlib and XDG programs keep state.
const STATE_PATHS: [&str; 21] = [
    "",
    ".cache",
    ".config",
    ".config/jupyter",
    ".config/matplotlib",
    ".ipython",
    ".ipython/profile_default",
    ".ipython/profile_default/startup",
    ".jupyter",
    ".jupyter/custom",
    ".jupyter/lab",
    ".jupyter/lab/user-settings",
    ".jupyter/lab/workspaces",
    ".jupyter/nbconfig",
    ".local",
    ".local/bin",
    ".local/lib",
    ".local/share",
    ".local/share/jupyter",
    ".local/share/jupyter/kernels",
    ".local/share/jupyter/runtime",
];

/// A mount that belongs to root counts as new only if it has fewer entries than this.
const MAX_ENTRIES: u32 = 1024;

/// A request to hand over directories: where, and to whom.
#[derive(Debug, Clone, Copy)]
pub struct HandOver<'a> {
    /// The user's HOME, or the notebooks directory.
    pub directory: &'a Path,
    /// The notebooks directory, which this start may have made in HOME.
    pub notebooks: Option<&'a Path>,
    /// The user's uid.
    pub uid: u32,
    /// The user's gid.
    pub gid: u32,
    /// Whether the owners are changed, or the directories only listed.
    pub effects: Effects<'a>,
}

/// Hands over HOME's state directories that belong to root, and the parent directories of
/// mounts in HOME's hidden directories, each without its contents. Leaves mounts with content
/// of root (a host directory, a ConfigMap), and whatever belongs to another user. Returns the
/// paths that were handed over; the user phase reports what could not be.
pub fn hand_over_directories(_: &Root, hand: &HandOver<'_>) -> Vec<PathBuf> {
    let mut paths: BTreeSet<PathBuf> = STATE_PATHS.iter().map(PathBuf::from).collect();
    paths.extend(parents_of_mounts(hand.directory));
    hand_over_each(hand, paths, false)
}

/// Hands over the tops of mounts inside a directory that are new: they belong to root alone, not
/// everyone may write there, and they hold nothing, see [`Content`]. Returns their paths.
pub fn hand_over_mounts(_: &Root, hand: &HandOver<'_>) -> Vec<PathBuf> {
    hand_over_each(hand, Mounts::read().below(hand.directory), false)
}

/// Does the same for a person's home, which may itself be a new volume, or a directory that the
/// engine made for the container's working directory or above a mount point.
pub fn hand_over_volumes(_: &Root, hand: &HandOver<'_>) -> Vec<PathBuf> {
    let mut paths = Mounts::read().below(hand.directory);
    paths.insert(PathBuf::new());
    hand_over_each(hand, paths, true)
}

fn hand_over_each(hand: &HandOver<'_>, paths: BTreeSet<PathBuf>, of_person: bool) -> Vec<PathBuf> {
    if paths.is_empty() {
        return Vec::new();
    }
    let Ok((home, _)) = open_volume(hand.directory, Missing::Fail) else {
        return Vec::new();
    };
    let Ok(top) = tree::stat_fd(&home) else {
        return Vec::new();
    };
    let walk = HomeWalk {
        hand,
        of_person,
        top: top.inode,
        mounts: LazyCell::new(Mounts::read),
        tops: LazyCell::new(tree::mount_tops),
    };
    let mut handed = Vec::new();
    let mut absent: Option<PathBuf> = None;
    for path in paths {
        // Nothing is below it either, and a path comes after those above it.
        if (absent.as_ref()).is_some_and(|absent| path.starts_with(absent)) {
            continue;
        }
        match walk.reach(&home, &path) {
            Ok(true) => handed.push(hand.directory.join(path)),
            Err(Errno::NOENT) => absent = Some(path),
            Ok(false) | Err(_) => {}
        }
    }
    handed
}

/// Returns the directories between HOME and the mount points in its hidden directories.
fn parents_of_mounts(home: &Path) -> BTreeSet<PathBuf> {
    let mounts = Mounts::read().below(home).into_iter();
    let hidden = mounts.filter(|path| path.as_os_str().as_bytes().starts_with(b"."));
    let parents = hidden.flat_map(|path| {
        let parents: Vec<PathBuf> = path.ancestors().skip(1).map(Path::to_owned).collect();
        parents
    });
    parents.filter(|path| *path != Path::new("")).collect()
}

/// The content that a new directory of root's may have, besides `lost+found`.
#[derive(Clone, Copy, PartialEq)]
enum Content {
    /// Of a volume of the engine's: mounts, directories of root's, and what is the user's.
    OfVolume,
    /// Of a directory or disk of the host's in place of HOME or of a hidden directory there: mounts,
    /// directories on the way to one, and what this start has made.
    OfHome,
    /// Of a directory on the way to a mount: that mount.
    ToMount,
    /// Of another directory or disk of the host's. Its `/home` may hold mounts of its own.
    Nothing,
}

struct HomeWalk<'a> {
    hand: &'a HandOver<'a>,
    /// True for a person's home, whose owner the image did not choose.
    of_person: bool,
    /// HOME, or the notebooks directory.
    top: Inode,
    mounts: LazyCell<Mounts>,
    /// Needed only if a stat has no mount ID.
    tops: LazyCell<HashSet<Inode>>,
}

impl HomeWalk<'_> {
    /// Goes down to a path below HOME and hands it over if it qualifies. Reports whether it does.
    fn reach(&self, home: &OwnedFd, path: &Path) -> Result<bool, Errno> {
        let mut here = tree::open_dir(home, c".")?;
        let above = tree::open_handle(&here, c"..")?;
        let mut stat = tree::stat_fd(&here)?;
        let mut mounted = self.is_mounted(&stat, &tree::stat_fd(&above)?);
        let mut foreign = mounted && self.is_not_new(&here, &stat, Path::new(""));
        // HOME itself qualifies only if it is new: otherwise the image chose its owner.
        let mut candidate = mounted || path == Path::new("") && self.is_engines(&here, &stat);
        for step in path.iter() {
            let name = CString::new(step.as_bytes()).map_err(|_| Errno::INVAL)?;
            let next = tree::open_dir(&here, &name)?;
            let below = tree::stat_fd(&next)?;
            mounted = self.is_mounted(&below, &stat);
            foreign = match mounted {
                true => self.is_not_new(&next, &below, path),
                false => foreign || ![0, self.hand.uid].contains(&below.uid),
            };
            (here, stat, candidate) = (next, below, true);
        }
        // The user can rename any neighbouring directory to this name. So a directory that
        // the user cannot read stays root's.
        let readable = mounted || stat.mode & 0o005 == 0o005;
        let shared = mounted && self.is_shared(&stat);
        if foreign || !candidate || !readable || shared || stat.uid != 0 {
            return Ok(false);
        }
        match self.hand.effects {
            Effects::Make => tree::chown_handle(here.as_fd(), self.hand.uid, self.hand.gid)?,
            Effects::Preview(_) if tree::is_read_only(&here) => return Err(Errno::ROFS),
            Effects::Preview(_) => {}
        }
        Ok(true)
    }

    /// Reports whether a person's home is as the engine makes one: in the container's own file
    /// system, with nothing in it, and at a path where only root can have made it.
    fn is_engines(&self, home: &OwnedFd, stat: &FileStat) -> bool {
        self.of_person
            && is_place_of_people(home, stat)
            && trust::root_only_path(self.hand.directory).is_ok()
            && !self.is_not_new(home, stat, Path::new(""))
    }

    fn is_mounted(&self, stat: &FileStat, above: &FileStat) -> bool {
        !stat.same_mount(above) || stat.mount.is_none() && self.tops.contains(&stat.inode)
    }

    /// Reports whether a directory was made for several users: everyone or another group has rights
    /// there. Its owner could take the files of all of them.
    fn is_shared(&self, stat: &FileStat) -> bool {
        stat.mode & 0o002 != 0 || ![0, self.hand.gid].contains(&stat.gid)
    }

    /// Reports whether the top of a mount at this path is neither the user's nor new.
    fn is_not_new(&self, dir: &OwnedFd, stat: &FileStat, path: &Path) -> bool {
        if stat.uid == self.hand.uid {
            return false;
        }
        let mount = self.mounts.of(dir);
        let of_engine =
            |mount: &Mount| mount.is_volume_of_an_engine() || mount.point == Path::new("/");
        let path = path.as_os_str().as_bytes();
        let content = match mount.is_some_and(of_engine) || self.is_shared(stat) {
            true => Content::OfVolume,
            false if path.is_empty() || path.starts_with(b".") => Content::OfHome,
            false => Content::Nothing,
        };
        // The host's `/srv` is empty as well.
        let of_system = mount.is_some_and(|mount| {
            is_system_path(&mount.root) && self.mounts.is_of_hosts_root(mount)
        });
        let new = || self.is_new(dir, stat, content, &mut MAX_ENTRIES.clone()) == Ok(true);
        stat.uid != 0 || of_system || !new()
    }

    /// Reports whether a directory has no other content than this.
    fn is_new(
        &self,
        dir: &OwnedFd,
        stat: &FileStat,
        content: Content,
        budget: &mut u32,
    ) -> Result<bool, Errno> {
        let mut names: Vec<CString> = Vec::new();
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut small = true;
        tree::entries(dir, &mut buffer, |name, _| {
            names.push(name.to_owned());
            *budget = budget.saturating_sub(1);
            small = *budget > 0;
            small
        })?;
        for name in &names {
            if !small || !self.is_negligible(dir, name, stat, content, budget)? {
                return Ok(false);
            }
        }
        Ok(small && (content != Content::ToMount || !names.is_empty()))
    }

    fn is_negligible(
        &self,
        dir: &OwnedFd,
        name: &CStr,
        above: &FileStat,
        content: Content,
        budget: &mut u32,
    ) -> Result<bool, Errno> {
        let stat = tree::stat_name(dir, name)?;
        let directory = stat.kind == FileType::Directory;
        if directory && name == c"lost+found" {
            return Ok(true);
        }
        if self.is_mounted(&stat, above) || content == Content::Nothing {
            return Ok(content != Content::Nothing);
        }
        if stat.uid == self.hand.uid {
            let made = above.inode == self.top && self.is_made_by_a_start(name);
            return Ok(content == Content::OfVolume || made);
        }
        let below = match content {
            Content::OfVolume => content,
            _ => Content::ToMount,
        };
        let root = stat.uid == 0 && directory;
        Ok(root && self.is_new(&tree::open_dir(dir, name)?, &stat, below, budget)?)
    }

    /// Reports whether a start makes a directory with this name in HOME before HOME is handed over.
    fn is_made_by_a_start(&self, name: &CStr) -> bool {
        let name = Path::new(OsStr::from_bytes(name.to_bytes()));
        let below = |path: &Path| Some(path.strip_prefix(self.hand.directory).ok()?.to_owned());
        let notebooks = self.hand.notebooks.and_then(below);
        notebooks.is_some_and(|path| path.starts_with(name))
            || STATE_PATHS.iter().any(|path| name == Path::new(path))
    }
}

#[cfg(test)]
#[path = "hand_over_tests.rs"]
mod tests;
