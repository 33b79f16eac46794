//! Tells when Linux kills processes of the container because there is no memory.
//!
//! Version 2 of control groups notifies. Version 1 notifies no container, so its counter is read
//! when something shows that a process may have ended: a child of ours was reaped, or the server
//! logs something, as Jupyter does when it starts a kernel again. Nothing is read while nothing
//! happens.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::fs::inotify;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tracing::warn;

use crate::death::memory::{Cgroup, KillCounter};
use crate::death::{Diagnosis, memory};
use crate::state::StatePublisher;
use crate::sys;

/// The shortest time between two reads of the counter.
const READ_INTERVAL: Duration = Duration::from_millis(100);

/// How long after a kill the end of the server may be that of the killed process. Linux takes some
/// seconds to free the memory of a large process, and reports its end only then.
const SAME_TIME: Duration = Duration::from_secs(10);

/// How soon after a kill the end of the server is certainly that of the killed process.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A watch on the memory of the container; clones share it.
#[derive(Clone)]
pub(super) struct MemoryWatch(Arc<Shared>);

struct Shared {
    counter: Mutex<Counted>,
    /// True if kills are notified.
    notified: bool,
    wake: Notify,
    state_writer: StatePublisher,
}

struct Counted {
    counter: KillCounter,
    last_read: Instant,
    /// Between which times the last kill was; both are the same if it was notified.
    last_kill: Option<(Instant, Instant)>,
}

impl MemoryWatch {
    /// Begins to watch; `None`: this container's memory is not counted where we could read it.
    pub fn start(state_writer: StatePublisher) -> Option<Self> {
        Self::of(Cgroup::of("self")?, state_writer)
    }

    fn of(cgroup: Cgroup, state_writer: StatePublisher) -> Option<Self> {
        // Without a notification the other reasons to read remain.
        let events = cgroup.events().and_then(|file| notifications(&file).ok());
        let counter = KillCounter::new(cgroup)?;
        state_writer.update(|state| state.memory = Some(counter.kills().clone()));
        let watch = Self(Arc::new(Shared {
            counter: Mutex::new(Counted {
                counter,
                last_read: Instant::now(),
                last_kill: None,
            }),
            notified: events.is_some(),
            wake: Notify::new(),
            state_writer,
        }));
        tokio::spawn(watch.clone().run(events));
        Some(watch)
    }

    /// Asks for a reading of the counter, which follows soon.
    pub fn read_soon(&self) {
        self.0.wake.notify_one();
    }

    async fn run(self, events: Option<OwnedFd>) {
        let events = events.as_ref().map(|events| sys::watch(events.as_fd()));
        let events = events.and_then(Result::ok);
        loop {
            tokio::select! {
                () = self.0.wake.notified() => {}
                () = notified(events.as_ref()) => {}
            }
            self.read();
            // A group at its limit notifies all the time.
            tokio::time::sleep(READ_INTERVAL).await;
        }
    }

    /// Reads the counter, and reports the processes that were killed since the last time.
    fn read(&self) {
        let mut counted = self.counted();
        let now = Instant::now();
        let before = std::mem::replace(&mut counted.last_read, now);
        let (kills, more) = counted.counter.update();
        if more == 0 {
            return;
        }
        let kills = kills.clone();
        let earliest = if self.0.notified { now } else { before };
        counted.last_kill = Some((earliest, now));
        drop(counted);
        warn!("{}", kills.report(more));
        let update = |state: &mut crate::state::State| state.memory = Some(kills);
        self.0.state_writer.update(update);
    }

    /// Returns why KILL ended the server just now, which we did not send: Linux counts every process
    /// that it kills for lack of memory, before that process ends.
    pub fn diagnosis(&self) -> Diagnosis {
        self.read();
        let counted = self.counted();
        let is_server = |kill| is_killed_server(kill, Instant::now());
        match counted.last_kill.and_then(is_server) {
            Some(known) => counted.counter.kills().diagnosis(known),
            None => memory::killed_by_another(),
        }
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        sys::lock(&self.0.counter)
    }
}

/// Reports whether a server that ended `now` is what was killed between two times; `None`: it is
/// not, as that was too long ago. `Some(false)`: most likely, but something else may have been.
fn is_killed_server((earliest, latest): (Instant, Instant), now: Instant) -> Option<bool> {
    let within = |time, limit| now.duration_since(time) < limit;
    within(latest, SAME_TIME).then(|| within(latest, AT_ONCE) && within(earliest, SAME_TIME))
}

/// Returns a descriptor that becomes readable when a file of a control group changes.
fn notifications(file: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
    let descriptor = inotify::init(flags)?;
    inotify::add_watch(&descriptor, file, inotify::WatchFlags::MODIFY)?;
    Ok(descriptor)
}

/// Waits for a notification and takes all that are there; without a descriptor, for ever.
async fn notified(events: Option<&AsyncFd<BorrowedFd<'_>>>) {
    let Some(events) = events else {
        return std::future::pending().await;
    };
    let Ok(mut ready) = events.readable().await else {
        return std::future::pending().await;
    };
    while rustix::io::read(events.get_ref(), &mut [0; 1024]).is_ok_and(|read| read > 0) {}
    ready.clear_ready();
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;
    use crate::state::{Mode, State};

    /// The kernel reports the end of a large process late, and version 1 nothing at all.
    #[test]
    fn an_end_is_attributed_to_a_kill_at_about_the_same_time() {
        let kill = Instant::now();
        let after = |seconds| kill + Duration::from_secs(seconds);
        for (earliest, end, known) in [
            (kill, after(0), Some(true)),
            // Meanwhile a person may have sent KILL to the server.
            (kill, after(2), Some(false)),
            (kill, after(9), Some(false)),
            (kill, after(11), None),
            // Version 1: it was before the last read.
            (kill - Duration::from_secs(5), after(0), Some(true)),
            // Nothing was read for an hour: the kill may have been of something else.
            (kill - Duration::from_secs(3600), after(0), Some(false)),
        ] {
            assert_eq!(is_killed_server((earliest, kill), end), known, "{end:?}");
        }
    }

    /// Nothing else asks it to read.
    #[test]
    fn version_two_is_read_when_it_notifies() {
        let directory = tempfile::tempdir().unwrap();
        let events = directory.path().join("memory.events");
        fs::write(&events, "oom 0\noom_kill 0\n").unwrap();
        let top = directory.path().display();
        let mount = format!("1 1 0:1 / {top} rw - cgroup2 cgroup rw\n");
        let cgroup = Cgroup::locate("0::/\n", &mount).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let state = State::new(Mode::Lab, Vec::new(), Vec::new());
            let watch = MemoryWatch::of(cgroup, StatePublisher::new(None, state)).unwrap();
            let killed = async {
                while watch.counted().counter.kills().killed == 0 {
                    tokio::task::yield_now().await;
                }
            };
            let other = watch.diagnosis();
            let killed = tokio::time::timeout(Duration::from_secs(20), killed);
            let kill = async { fs::write(&events, "oom 1\noom_kill 1\n").unwrap() };
            let (killed, ()) = tokio::join!(killed, kill);
            killed.unwrap();
            assert_eq!(
                other,
                memory::killed_by_another(),
                "nothing was killed before"
            );
            assert_ne!(watch.diagnosis(), other, "it was just now");
        });
    }
}
