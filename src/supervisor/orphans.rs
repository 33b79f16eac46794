//! Ends the orphans of kernels and terminals, if asked to: processes that became our children and
//! whose session has lost its leader. A kernel and the shell of a terminal lead their sessions.
//!
//! The Linux kernel does not report when a process becomes our child, so this scans `/proc` every
//! two seconds, and only if asked to.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getpid};
use tracing::info;

use crate::supervisor::processes::signal_one;
use crate::sys::proc::{all_pids, stat};

/// The time between two scans of `/proc`, and from TERM to KILL.
const SCAN_INTERVAL: Duration = Duration::from_secs(2);

/// The scan for orphans; `None`: orphans keep running.
pub(super) struct Orphans(Option<OrphanScan>);

struct OrphanScan {
    due: Instant,
    /// The pid and start time of each process that got TERM.
    got_term: BTreeSet<(i32, u64)>,
}

impl Orphans {
    pub fn new(end: bool) -> Self {
        Self(end.then(|| OrphanScan {
            due: Instant::now() + SCAN_INTERVAL,
            got_term: BTreeSet::new(),
        }))
    }

    /// Waits until the next scan is due; for ever, if orphans keep running.
    pub async fn due(&self) {
        match &self.0 {
            Some(watched) => tokio::time::sleep_until(watched.due.into()).await,
            None => std::future::pending().await,
        }
    }

    /// Scans once for orphans that started after the running server. Each gets TERM, and KILL if
    /// it is still there at the next scan.
    pub fn scan_processes(&mut self, server: Option<Pid>) {
        let Some(watched) = &mut self.0 else { return };
        watched.due = Instant::now() + SCAN_INTERVAL;
        let Some((server, began)) = server.and_then(|pid| Some((pid, stat(pid)?.start))) else {
            return;
        };
        let us = getpid().as_raw_pid();
        let mut left = BTreeSet::new();
        let mut asked = 0;
        for pid in all_pids() {
            let Some(process) = stat(pid).filter(|process| {
                let ours = process.parent == us && pid != server && !process.ended;
                // Older processes, such as those that a hook started, are not the server's.
                ours && process.start >= began && !leader_lives(process.session)
            }) else {
                continue;
            };
            let name = (pid.as_raw_pid(), process.start);
            if watched.got_term.contains(&name) {
                signal_one(pid, process.start, Signal::KILL);
            } else {
                signal_one(pid, process.start, Signal::TERM);
                asked += 1;
            }
            left.insert(name);
        }
        watched.got_term = left;
        if asked > 0 {
            info!("processes that a kernel or a terminal left behind are ended: {asked}");
        }
    }
}

fn leader_lives(session: i32) -> bool {
    // 0: the session belongs to another namespace, as with `docker exec`.
    let leader = Pid::from_raw(session).filter(|_| session > 0);
    session == 0
        || leader
            .and_then(stat)
            .is_some_and(|leader| leader.session == session && !leader.ended)
}
