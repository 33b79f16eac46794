//! Hands the volume over to the user, with several threads if it is large.
//!
//! The walk begins in one thread, since most volumes are small. What is left after the
//! first thousand entries is shared between threads: one that has nothing left to do gets
//! half of what another one still has to enter.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::CString;
use std::num::NonZero;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;

use rustix::io::Errno;

use super::owner::{Claim, Claimed};
use super::tree::{self, Inode, Look, Time};
use super::walk::{Part, Walk};
use super::{Counted, Progress, Tally, VolumeError};
use crate::degradation::Degradation;

/// Number of entries that are walked before it pays off to start threads.
const ALONE: u64 = 1024;

/// Maximum number of threads; more only wait for the same disk and the same kernel locks.
const MOST: usize = 4;

/// What to do with an entry that the user does not own.
#[derive(Clone, Copy)]
pub(super) enum Deed {
    Do,
    /// Preview: list it, or report the errno with which the system would refuse chown(2).
    Foresee(Option<Errno>),
}

/// State that all threads of a walk share.
pub(super) struct Common<'a> {
    pub claim: &'a Claim,
    /// Stat of the volume's top directory.
    pub top: Look,
    /// Inodes of all mount points, if statx(2) reports no mount ID (before Linux 5.8).
    pub mounts: HashSet<Inode>,
    pub deed: Deed,
    pub links: Links,
    /// True if the first successful chown(2) changed the owner; unset before that call.
    pub heeds_chown: OnceLock<bool>,
}

impl Common<'_> {
    /// Reports whether an entry is on the volume's own mount.
    pub fn is_of_the_volume(&self, look: &Look) -> bool {
        look.same_mount(&self.top)
            && (look.inode == self.top.inode || !self.mounts.contains(&look.inode))
    }

    /// Reports whether chown(2) made the user the owner of `handle`. Stats only the first
    /// one: a file system ignores chown(2) for every file or for none.
    pub fn has_changed_hands(&self, handle: BorrowedFd<'_>) -> bool {
        let uid = self.claim.uid;
        let is_users = || tree::look_at(handle).is_ok_and(|look| look.uid == uid);
        *self.heeds_chown.get_or_init(is_users)
    }

    /// Reports whether the file system is known to ignore chown(2).
    pub fn ignores_chown(&self) -> bool {
        self.heeds_chown.get() == Some(&false)
    }
}

/// Files with several links: the links found so far, and the path of the first one.
#[derive(Default)]
pub(super) struct Links {
    /// Time when the walk met the first such file, by the file system's clock.
    began: OnceLock<Time>,
    found: Mutex<HashMap<Inode, (HashSet<Place>, String)>>,
}

/// A link: the inode of its directory, and its name there.
type Place = (Inode, CString);

impl Links {
    /// Records a link of `inode`. Returns whether all its links are found. `now` reads the
    /// clock of the file system; `look` stats `place` after that.
    ///
    /// No link may count twice, or it would stand in for one outside of the volume. Renaming
    /// a file ahead of the walk updates its ctime, as link(2) and unlink(2) do, so a file
    /// whose ctime is not older than `began` is not handed over this time. Renaming its
    /// directory does not update the file's ctime, but the directory keeps its inode, so the
    /// link is recognised as the same one.
    pub fn complete(
        &self,
        inode: Inode,
        place: Place,
        now: impl FnOnce() -> Result<Time, Errno>,
        look: impl FnOnce() -> Option<Look>,
        path: impl FnOnce() -> String,
    ) -> bool {
        let mut all = lock(&self.found);
        if self.began.get().is_none()
            && let Ok(now) = now()
        {
            let _ = self.began.set(now);
        }
        let (found, _) = all.entry(inode).or_insert_with(|| (HashSet::new(), path()));
        let Some((look, began)) = look().zip(self.began.get()) else {
            return false;
        };
        if look.inode != inode {
            return false;
        }
        found.insert(place);
        let complete = found.len() as u64 == u64::from(look.links) && look.changed < *began;
        if complete {
            all.remove(&inode);
        }
        complete
    }
}

/// Results of one thread's walk.
#[derive(Default)]
pub(super) struct Found {
    /// Number of entries checked.
    pub checked: u64,
    /// Number of entries handed over.
    pub changed: u64,
    /// The number of these by former owner, for the first few owners.
    pub former: BTreeMap<u32, u64>,
    /// In a preview: paths of the entries that would be handed over.
    pub foreseen: Vec<String>,
    pub refused: Tally,
    /// Entries that kept their owner because the file system ignores chown(2).
    pub ignored: Counted,
    pub devices: Counted,
}

/// Maximum number of owners that a thread counts; a hostile volume may have one per file.
const MOST_OWNERS: usize = 8;

impl Found {
    /// Counts an entry that is handed over and belonged to `uid`.
    pub fn changed(&mut self, uid: u32) {
        self.changed += 1;
        self.belonged_to(uid, 1);
    }

    fn belonged_to(&mut self, uid: u32, count: u64) {
        if self.former.len() < MOST_OWNERS || self.former.contains_key(&uid) {
            *self.former.entry(uid).or_default() += count;
        }
    }

    fn and(mut self, other: Self) -> Self {
        self.checked += other.checked;
        self.changed += other.changed;
        for (uid, count) in other.former {
            self.belonged_to(uid, count);
        }
        self.foreseen.extend(other.foreseen);
        self.refused.extend(other.refused);
        self.ignored.extend(other.ignored);
        self.devices.extend(other.devices);
        self
    }
}

/// Hands over everything in `dir`, or previews that, until `stop` returns true.
pub(super) fn hand_over(
    claim: &Claim,
    dir: OwnedFd,
    top: Look,
    deed: Deed,
    stop: &dyn Fn() -> bool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Claimed, VolumeError> {
    let common = Common {
        claim,
        top,
        mounts: match top.mount {
            Some(_) => HashSet::new(),
            None => tree::mount_tops(),
        },
        deed,
        links: Links::default(),
        heeds_chown: OnceLock::new(),
    };
    let mut done = 0;
    let mut tell = |more| {
        done += more;
        progress(Progress { done, total: None });
        !stop()
    };
    let mut alone = Walk::new(&common, &mut tell);
    let mut rest = alone.begin(dir)?;
    alone.run(&mut rest, |_, found| found.checked >= ALONE)?;
    let mut found = alone.found;
    if !rest.is_done() {
        found = found.and(share(&common, rest, &mut tell)?);
    }
    // The order depends on the threads.
    found.foreseen.sort();
    Ok(finish(claim, found, common.links))
}

/// Walks the rest with several threads.
fn share(
    common: &Common<'_>,
    rest: Part,
    tell: &mut dyn FnMut(u64) -> bool,
) -> Result<Found, VolumeError> {
    let crew = Crew::new(rest);
    let number = match thread::available_parallelism().map_or(1, NonZero::get) {
        // On one processor, threads only take turns.
        1 => 0,
        number => number.min(MOST),
    };
    thread::scope(|scope| {
        // Without a buffer, a thread waits until its report is received and then sees a stop.
        let (sender, receiver) = mpsc::sync_channel(0);
        let threads: Vec<_> = (0..number)
            .map_while(|_| {
                let (crew, sender) = (&crew, sender.clone());
                let mut tell = move |more| sender.send(more).is_ok() && !crew.is_stopped();
                let work = move || crew.work(Walk::new(common, &mut tell));
                thread::Builder::new().spawn_scoped(scope, work).ok()
            })
            .collect();
        drop(sender);
        if threads.is_empty() {
            return crew.work(Walk::new(common, tell));
        }
        for more in receiver {
            if !tell(more) {
                crew.stop();
            }
        }
        let mut all = Ok(Found::default());
        for thread in threads {
            // The panic is logged by the hook; the results of this thread are lost.
            let found = thread.join().unwrap_or(Err(VolumeError::Stopped));
            all = all.and_then(|all| Ok(all.and(found?)));
        }
        match crew.is_stopped() {
            true => Err(VolumeError::Stopped),
            false => all,
        }
    })
}

/// The parts of a walk that its threads share.
struct Crew {
    left: Mutex<Left>,
    changed: Condvar,
    /// Number of threads that wait for a part, beyond the parts that are ready.
    wanted: AtomicUsize,
    stopped: AtomicBool,
}

struct Left {
    parts: Vec<Part>,
    /// Number of threads that walk a part; each could give half of it away.
    walking: usize,
    /// Number of threads that wait for a part.
    waiting: usize,
}

impl Crew {
    fn new(rest: Part) -> Self {
        Self {
            left: Mutex::new(Left {
                parts: vec![rest],
                walking: 0,
                waiting: 0,
            }),
            changed: Condvar::new(),
            wanted: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
        }
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Runs one thread: walks parts until none is left.
    fn work(&self, mut walk: Walk<'_>) -> Result<Found, VolumeError> {
        while let Some(mut part) = self.take() {
            let _walking = Walking(self);
            walk.run(&mut part, |part, _| {
                self.give(part);
                false
            })?;
        }
        Ok(walk.found)
    }

    /// Waits for the next part. Returns `None` if everything is walked, or on a stop.
    fn take(&self) -> Option<Part> {
        let mut left = lock(&self.left);
        while !self.is_stopped() {
            if let Some(part) = left.parts.pop() {
                left.walking += 1;
                return Some(part);
            }
            if left.walking == 0 {
                return None;
            }
            left.waiting += 1;
            self.note(&left);
            left = self
                .changed
                .wait(left)
                .unwrap_or_else(PoisonError::into_inner);
            left.waiting -= 1;
            self.note(&left);
        }
        None
    }

    /// Gives half of a part to a thread that waits for one.
    fn give(&self, part: &mut Part) {
        if self.wanted.load(Ordering::Relaxed) == 0 {
            return;
        }
        if let Some(half) = part.split() {
            let mut left = lock(&self.left);
            left.parts.push(half);
            self.note(&left);
            self.changed.notify_one();
        }
    }

    /// Records that a thread has finished or given up a part.
    fn walked(&self) {
        let mut left = lock(&self.left);
        left.walking -= 1;
        if left.walking == 0 {
            self.changed.notify_all();
        }
    }

    fn note(&self, left: &Left) {
        let wanted = left.waiting.saturating_sub(left.parts.len());
        self.wanted.store(wanted, Ordering::Relaxed);
    }
}

/// Marks a thread as walking a part until this is dropped.
struct Walking<'a>(&'a Crew);

impl Drop for Walking<'_> {
    fn drop(&mut self) {
        self.0.walked();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Turns the results of the walk into counts and degradations.
fn finish(claim: &Claim, found: Found, links: Links) -> Claimed {
    let owner = format!("{}:{}", claim.uid, claim.gid);
    let what = format!("hand over to {owner}");
    let remedy = "the server can still use what its user may read and write; change the owner \
                      where the volume lives, or use --volume-owner adopt or keep";
    let mut degradations: Vec<_> = found.refused.degradations(&what, remedy).collect();
    let links = links
        .found
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    let links = Counted {
        count: links.len() as u64,
        first: links.into_values().map(|(_, path)| path).min(),
    };
    let ignored = found.ignored.count > 0;
    let mount = format!(
        "mount it with uid={},gid={} (CIFS, FUSE), or use --volume-owner adopt or keep",
        claim.uid, claim.gid
    );
    let groups = [
        (
            found.ignored,
            "the file system of the notebooks ignores chown; entries that keep their owner",
            mount.as_str(),
        ),
        (
            links,
            "did not hand over files that have links outside the volume",
            "replace them by copies, or change their owner where the volume lives",
        ),
        (
            found.devices,
            "did not hand over device nodes",
            "remove them from the volume",
        ),
    ];
    for (Counted { count, first }, cause, remedy) in groups {
        if let Some(first) = first {
            let cause = format!("{cause}: {count}, first {first}");
            degradations.push(Degradation::new(cause, remedy));
        }
    }
    Claimed {
        checked: found.checked,
        changed: found.changed,
        former: found.former,
        ignored,
        created: false,
        adopted: None,
        foreseen: found.foreseen,
        degradations,
    }
}

#[cfg(test)]
#[path = "crew_tests.rs"]
mod tests;
