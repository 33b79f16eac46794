//! Orphans of kernels and terminals, for those who want them ended: processes that became ours
//! and whose session has lost its leader, which a kernel and a terminal's shell are.
//!
//! The kernel does not tell when a process becomes ours. So this looks every few seconds, and
//! only where it was asked to.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getpid};
use tracing::info;

use super::everyone::{processes, signal_one, stat};

/// The time between two scans of `/proc`, and from TERM to KILL.
const EVERY: Duration = Duration::from_secs(2);

/// The scan for orphans; `None`: orphans keep running.
pub(super) struct Orphans(Option<Watched>);

struct Watched {
    due: Instant,
    /// The pid and start time of each process that got TERM.
    asked: BTreeSet<(i32, u64)>,
}

impl Orphans {
    pub fn new(end: bool) -> Self {
        Self(end.then(|| Watched {
            due: Instant::now() + EVERY,
            asked: BTreeSet::new(),
        }))
    }

    /// Waits until it is time to look.
    pub async fn due(&self) {
        match &self.0 {
            Some(watched) => tokio::time::sleep_until(watched.due.into()).await,
            None => std::future::pending().await,
        }
    }

    /// Ends the orphans of what the server started: TERM first, and KILL to those that are still
    /// there the next time.
    pub fn look(&mut self, server: Option<Pid>) {
        let Some(watched) = &mut self.0 else { return };
        watched.due = Instant::now() + EVERY;
        let Some((server, began)) = server.and_then(|pid| Some((pid, stat(pid)?.start))) else {
            return;
        };
        let us = getpid().as_raw_pid();
        let mut left = BTreeSet::new();
        let mut asked = 0;
        for pid in processes() {
            let Some(process) = stat(pid).filter(|process| {
                let ours = process.parent == us && pid != server && !process.ended;
                // A process that a hook started is older than the server.
                ours && process.start >= began && !leader_lives(process.session)
            }) else {
                continue;
            };
            let name = (pid.as_raw_pid(), process.start);
            if watched.asked.contains(&name) {
                signal_one(pid, process.start, Signal::KILL);
            } else {
                signal_one(pid, process.start, Signal::TERM);
                asked += 1;
            }
            left.insert(name);
        }
        watched.asked = left;
        if asked > 0 {
            info!("processes that a kernel or a terminal left behind are ended: {asked}");
        }
    }
}

fn leader_lives(session: i32) -> bool {
    // 0: a session of another namespace, such as of `docker exec`.
    let leader = Pid::from_raw(session).filter(|_| session > 0);
    session == 0
        || leader
            .and_then(stat)
            .is_some_and(|leader| leader.session == session && !leader.ended)
}
