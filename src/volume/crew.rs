//! Handing the volume over to the user, by several threads where there is much of it.
//!
//! The walk begins with one: most volumes are small. What is left after the first
//! thousand entries is shared out; who has nothing left to do is given half of what
//! another one still has to enter.

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

/// So many entries are walked before threads are worth their start.
const ALONE: u64 = 1024;

/// More threads wait for the same disk and the same locks of the kernel.
const MOST: usize = 4;

/// Whether what is not the user's is handed over.
#[derive(Clone, Copy)]
pub(super) enum Deed {
    Do,
    /// It is only told, or that the system would refuse it.
    Foresee(Option<Errno>),
}

/// What all threads of a walk know.
pub(super) struct Common<'a> {
    pub claim: &'a Claim,
    /// The volume's top.
    pub top: Look,
    /// The tops of other mounts, where looks do not tell the mount.
    pub mounts: HashSet<Inode>,
    pub deed: Deed,
    pub links: Links,
    /// Whether the first chown(2) that succeeded changed the owner; unset before it.
    pub heeds_chown: OnceLock<bool>,
}

impl Common<'_> {
    /// Whether what was seen is on the volume's own mount.
    pub fn is_of_the_volume(&self, look: &Look) -> bool {
        look.same_mount(&self.top)
            && (look.inode == self.top.inode || !self.mounts.contains(&look.inode))
    }

    /// Reports whether chown(2) made `handle` the user's. Stats only the first one: a file
    /// system ignores chown(2) for every file or for none.
    pub fn has_changed_hands(&self, handle: BorrowedFd<'_>) -> bool {
        let uid = self.claim.uid;
        let is_users = || tree::look_at(handle).is_ok_and(|look| look.uid == uid);
        *self.heeds_chown.get_or_init(is_users)
    }

    /// Reports whether the file system ignores chown(2), as far as that is known.
    pub fn ignores_chown(&self) -> bool {
        self.heeds_chown.get() == Some(&false)
    }
}

/// Files with several links: where they were found, and the path of the first place.
#[derive(Default)]
pub(super) struct Links {
    /// When the walk met the first of them, by the clock of the file system.
    began: OnceLock<Time>,
    found: Mutex<HashMap<Inode, (HashSet<Place>, String)>>,
}

/// A name in a directory.
type Place = (Inode, CString);

impl Links {
    /// Notes a link of `inode`. Returns whether all its links are found. `now` reads the
    /// clock of the file system; `look` stats the place after that.
    ///
    /// None must count twice, or it would stand for one outside. A name that is moved
    /// ahead of the walk stamps the inode, as linking and unlinking do, so a file whose
    /// stamp is not older than the first look at a link is not handed over this time. A
    /// directory that is moved with the name in it stamps nothing, but stays the same
    /// directory.
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

/// What a thread came upon.
#[derive(Default)]
pub(super) struct Found {
    /// Entries looked at.
    pub checked: u64,
    /// Entries handed over.
    pub changed: u64,
    /// The number of them by former owner, for the first few owners.
    pub former: BTreeMap<u32, u64>,
    /// What would be handed over.
    pub foreseen: Vec<String>,
    pub refused: Tally,
    /// Entries that kept their owner because the file system ignores chown(2).
    pub ignored: Counted,
    pub devices: Counted,
}

/// So many former owners are told; a hostile volume may have one for each file.
const MOST_OWNERS: usize = 8;

impl Found {
    /// Counts an entry that belonged to `uid`.
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

/// Hands over everything in `dir`, or foresees that, until `stop` says so.
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
    // Which thread finds what is chance.
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
        // Nobody would work while another one waits.
        1 => 0,
        number => number.min(MOST),
    };
    thread::scope(|scope| {
        // Who tells waits until it was heard, so that a stop is soon heard of, too.
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
            // A thread that panicked has said so; what it found is unknown.
            let found = thread.join().unwrap_or(Err(VolumeError::Stopped));
            all = all.and_then(|all| Ok(all.and(found?)));
        }
        match crew.is_stopped() {
            true => Err(VolumeError::Stopped),
            false => all,
        }
    })
}

/// What is shared out.
struct Crew {
    left: Mutex<Left>,
    changed: Condvar,
    /// How many wait for a part, beyond those that lie ready.
    wanted: AtomicUsize,
    stopped: AtomicBool,
}

struct Left {
    parts: Vec<Part>,
    /// How many threads walk a part of which they could give half away.
    walking: usize,
    /// How many wait for that.
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

    /// What each thread does.
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

    /// The next part; `None`: everything was walked, or is not to be.
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

    /// Gives half of a part to whoever waits for one.
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

    /// A part was walked, or given up.
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

/// Somebody walks a part, until this is dropped.
struct Walking<'a>(&'a Crew);

impl Drop for Walking<'_> {
    fn drop(&mut self) {
        self.0.walked();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What came of it.
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
