//! Hands the volume over to the user, with several threads if it is large.
//!
//! The walk begins in one thread, since most volumes are small. After the first thousand
//! entries, several threads share the rest: a thread without work gets half of the directories
//! that another one still has to enter.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError, mpsc};
use std::thread;

use crate::degradation::Degradation;
use crate::sys::lock;
use crate::volume::ownership::shared::{ChownMode, Links, WalkContext, WalkCounts};
use crate::volume::ownership::walk::{Part, Walk};
use crate::volume::ownership::{Claim, Claimed};
use crate::volume::threads::threads;
use crate::volume::tree;
use crate::volume::tree::FileStat;
use crate::volume::{PathCount, Progress, VolumeError};

/// Number of entries that are walked before it pays off to start threads.
const SINGLE_THREAD_ENTRIES: u64 = 1024;

/// Hands over everything in `dir`, or previews that, until `stop` returns true.
pub(super) fn hand_over(
    claim: &Claim,
    dir: OwnedFd,
    top: FileStat,
    chown_mode: ChownMode,
    stop: &dyn Fn() -> bool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Claimed, VolumeError> {
    let common = WalkContext {
        claim,
        top,
        mounts: match top.mount {
            Some(_) => HashSet::new(),
            None => tree::mount_tops(),
        },
        chown_mode,
        links: Links::default(),
        chown_works: OnceLock::new(),
    };
    let mut done = 0;
    let mut tell = |more| {
        done += more;
        progress(Progress { done, total: None });
        !stop()
    };
    let mut alone = Walk::new(&common, &mut tell);
    let mut rest = alone.begin(dir)?;
    alone.run(&mut rest, |_, found| found.checked >= SINGLE_THREAD_ENTRIES)?;
    let mut found = alone.walk_counts;
    if !rest.is_done() {
        found = found.and(share(&common, rest, &mut tell)?);
    }
    // The order depends on the threads.
    found.would_hand_over.sort();
    Ok(finish(claim, found, common.links))
}

/// Walks the rest with several threads.
fn share(
    common: &WalkContext<'_>,
    rest: Part,
    tell: &mut dyn FnMut(u64) -> bool,
) -> Result<WalkCounts, VolumeError> {
    let queue = PartQueue::new(rest);
    thread::scope(|scope| {
        // Without a buffer, a thread waits until its report is received and then sees a stop.
        let (sender, receiver) = mpsc::sync_channel(0);
        let threads: Vec<_> = (0..threads())
            .map_while(|_| {
                let (queue, sender) = (&queue, sender.clone());
                let mut tell = move |more| sender.send(more).is_ok() && !queue.is_stopped();
                let work = move || queue.work(Walk::new(common, &mut tell));
                thread::Builder::new().spawn_scoped(scope, work).ok()
            })
            .collect();
        drop(sender);
        if threads.is_empty() {
            return queue.work(Walk::new(common, tell));
        }
        for more in receiver {
            if !tell(more) {
                queue.stop();
            }
        }
        let mut all = Ok(WalkCounts::default());
        for thread in threads {
            // The panic is logged by the hook; the results of this thread are lost.
            let found = thread.join().unwrap_or(Err(VolumeError::Stopped));
            all = all.and_then(|all| Ok(all.and(found?)));
        }
        match queue.is_stopped() {
            true => Err(VolumeError::Stopped),
            false => all,
        }
    })
}

/// The parts of a walk that its threads share.
struct PartQueue {
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

impl PartQueue {
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
    fn work(&self, mut walk: Walk<'_>) -> Result<WalkCounts, VolumeError> {
        while let Some(mut part) = self.take() {
            let _walking = WalkingGuard(self);
            walk.run(&mut part, |part, _| {
                self.give_half(part);
                false
            })?;
        }
        Ok(walk.walk_counts)
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
    fn give_half(&self, part: &mut Part) {
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
    fn part_done(&self) {
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
struct WalkingGuard<'a>(&'a PartQueue);

impl Drop for WalkingGuard<'_> {
    fn drop(&mut self) {
        self.0.part_done();
    }
}

/// Turns the results of the walk into counts and degradations.
fn finish(claim: &Claim, found: WalkCounts, links: Links) -> Claimed {
    let owner = format!("{}:{}", claim.uid, claim.gid);
    let what = format!("hand over to {owner}");
    let remedy = "the server can still use what its user may read and write; change the owner \
                      on the host, or use --volume-owner adopt or keep";
    let mut degradations: Vec<_> = found.refused.degradations(&what, remedy).collect();
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
            links.incomplete(),
            "did not hand over files that have links outside the volume",
            "replace them by copies, or change their owner on the host",
        ),
        (
            found.devices,
            "did not hand over device nodes",
            "remove them from the volume",
        ),
    ];
    for (PathCount { count, first }, cause, remedy) in groups {
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
        would_hand_over: found.would_hand_over,
        degradations,
    }
}

#[cfg(test)]
#[path = "parallel_tests.rs"]
mod tests;
