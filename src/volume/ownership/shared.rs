//! The state that the threads of a walk share, and the counts of each thread.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::CString;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::io::Errno;

use crate::sys::lock;
use crate::volume::ownership::Claim;
use crate::volume::tree::{self, FileStat, Inode, Time};
use crate::volume::{ErrnoCounts, PathCount};

/// The treatment of an entry that the user does not own.
#[derive(Clone, Copy)]
pub(super) enum ChownMode {
    Apply,
    /// Preview: list it, or report the errno with which the system would refuse chown(2).
    PreviewOnly(Option<Errno>),
}

/// State that all threads of a walk share.
pub(super) struct WalkContext<'a> {
    pub claim: &'a Claim,
    /// Stat of the volume's top directory.
    pub top: FileStat,
    /// Inodes of all mount points, if statx(2) reports no mount ID (before Linux 5.8).
    pub mounts: HashSet<Inode>,
    pub chown_mode: ChownMode,
    pub links: Links,
    /// True if the first successful chown(2) changed the owner; unset before that call.
    pub chown_works: OnceLock<bool>,
}

impl WalkContext<'_> {
    /// Reports whether an entry is on the volume's own mount.
    pub fn is_of_the_volume(&self, stat: &FileStat) -> bool {
        stat.same_mount(&self.top)
            && (stat.inode == self.top.inode || !self.mounts.contains(&stat.inode))
    }

    /// Reports whether chown(2) made the user the owner of `handle`. Stats only the first
    /// one: a file system ignores chown(2) for every file or for none.
    pub fn chown_worked(&self, handle: BorrowedFd<'_>) -> bool {
        let uid = self.claim.uid;
        let is_users = || tree::stat_fd(handle).is_ok_and(|stat| stat.uid == uid);
        *self.chown_works.get_or_init(is_users)
    }

    /// Reports whether the file system is known to ignore chown(2).
    pub fn ignores_chown(&self) -> bool {
        self.chown_works.get() == Some(&false)
    }
}

/// Files with several links: the links found so far, and the path of the first one.
#[derive(Default)]
pub(super) struct Links {
    /// Time when the walk met the first such file, by the file system's clock.
    began: OnceLock<Time>,
    pub found: Mutex<HashMap<Inode, (HashSet<LinkName>, String)>>,
}

/// A link: the inode of its directory, and its name there.
type LinkName = (Inode, CString);

impl Links {
    /// Returns the files of which not all links were found.
    pub fn incomplete(self) -> PathCount {
        let links = self.found.into_inner();
        let links = links.unwrap_or_else(PoisonError::into_inner);
        PathCount {
            count: links.len() as u64,
            first: links.into_values().map(|(_, path)| path).min(),
        }
    }

    /// Records a link of `inode`. Returns whether all its links are found. `now` reads the
    /// clock of the file system; `stat` stats `place` after that.
    ///
    /// No link may count twice, or it would stand in for one outside of the volume. Renaming
    /// a file ahead of the walk updates its ctime, as link(2) and unlink(2) do, so a file
    /// whose ctime is not older than `began` is not handed over this time. Renaming its
    /// directory does not update the file's ctime, but the directory keeps its inode, so the
    /// link is recognised as the same one.
    pub fn complete(
        &self,
        inode: Inode,
        place: LinkName,
        now: impl FnOnce() -> Result<Time, Errno>,
        stat: impl FnOnce() -> Option<FileStat>,
        path: impl FnOnce() -> String,
    ) -> bool {
        let mut all = lock(&self.found);
        if self.began.get().is_none()
            && let Ok(now) = now()
        {
            let _ = self.began.set(now);
        }
        let (found, _) = all.entry(inode).or_insert_with(|| (HashSet::new(), path()));
        let Some((stat, began)) = stat().zip(self.began.get()) else {
            return false;
        };
        if stat.inode != inode {
            return false;
        }
        found.insert(place);
        let complete = found.len() as u64 == u64::from(stat.links) && stat.changed < *began;
        if complete {
            all.remove(&inode);
        }
        complete
    }
}

/// Results of one thread's walk.
#[derive(Default)]
pub(super) struct WalkCounts {
    /// Number of entries checked.
    pub checked: u64,
    /// Number of entries handed over.
    pub changed: u64,
    /// The number of these by former owner, for the first few owners.
    pub former: BTreeMap<u32, u64>,
    /// In a preview: paths of the entries that would be handed over.
    pub would_hand_over: Vec<String>,
    pub refused: ErrnoCounts,
    /// Entries that kept their owner because the file system ignores chown(2).
    pub ignored: PathCount,
    pub devices: PathCount,
}

/// Maximum number of owners that a thread counts; a hostile volume may have one per file.
const MAX_FORMER_OWNERS: usize = 8;

impl WalkCounts {
    /// Counts an entry that is handed over and belonged to `uid`.
    pub fn changed(&mut self, uid: u32) {
        self.changed += 1;
        self.belonged_to(uid, 1);
    }

    fn belonged_to(&mut self, uid: u32, count: u64) {
        if self.former.len() < MAX_FORMER_OWNERS || self.former.contains_key(&uid) {
            *self.former.entry(uid).or_default() += count;
        }
    }

    pub fn and(mut self, other: Self) -> Self {
        self.checked += other.checked;
        self.changed += other.changed;
        for (uid, count) in other.former {
            self.belonged_to(uid, count);
        }
        self.would_hand_over.extend(other.would_hand_over);
        self.refused.extend(other.refused);
        self.ignored.extend(other.ignored);
        self.devices.extend(other.devices);
        self
    }
}
