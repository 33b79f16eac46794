//! Sends signals to all remaining processes: as PID 1, to every process of the namespace that we
//! may signal; otherwise only to our own descendants.

use std::collections::BTreeSet;

use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal, set_child_subreaper,
    test_kill_process,
};

use crate::sys;
use crate::sys::proc::{Stat, all_pids, stat, text};
use crate::sys::{CallError, call_error};

/// Makes orphaned descendants our children, which they are anyway if we are PID 1.
///
/// # Errors
/// The error of prctl(2); Linux has the call since 3.4.
pub fn adopt_orphans() -> Result<(), CallError> {
    match getpid().is_init() {
        true => Ok(()),
        false => set_child_subreaper(Some(getpid())).map_err(call_error("PR_SET_CHILD_SUBREAPER")),
    }
}

/// Sends `signal` to all remaining processes. Failures are ignored: the process is gone, or it is
/// not ours to signal.
pub fn signal_all(signal: Signal) {
    if getpid().is_init() {
        let _ = sys::kill(-1, signal.as_raw());
        if signal == Signal::TERM {
            // A stopped process does not handle TERM before it is continued.
            let _ = sys::kill(-1, Signal::CONT.as_raw());
        }
        return;
    }
    for (pid, start) in descendants(getpid()) {
        signal_one(pid, start, signal);
    }
}

/// Signals the process with this pid and start time, and no later one with the same pid: the
/// pidfd is opened before the start time is checked, and never refers to another process.
pub(super) fn signal_one(pid: Pid, start: u64, signal: Signal) {
    let opened = pidfd_open(pid, PidfdFlags::empty());
    if stat(pid).is_none_or(|now| now.start != start) {
        return;
    }
    let send = |signal| {
        let sent = match &opened {
            Ok(process) => pidfd_send_signal(process, signal),
            Err(error) => Err(*error),
        };
        // Where the kernel or a sandbox does not know or allow these calls, use kill(2): the time
        // between the stat and the signal is too short for all pids to be used up.
        match sent {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(_) => drop(sys::kill(pid.as_raw_pid(), signal.as_raw())),
        }
    };
    send(signal);
    if signal == Signal::TERM {
        send(Signal::CONT);
    }
}

/// Reports whether descendants can still appear after all got KILL: those that were forked while
/// the descendants were being listed. For PID 1 the kernel leaves no such gap.
pub fn must_repeat_kill() -> bool {
    !getpid().is_init()
}

/// As PID 1 without children, reports whether a process is left that we may signal: one that
/// `docker exec` or the like brought into the namespace. Its end is not reported to us.
pub fn non_descendants_left() -> bool {
    getpid().is_init()
        && all_pids().any(|pid| {
            let alive = pid != getpid() && stat(pid).is_some_and(|stat| !stat.ended);
            alive && test_kill_process(pid).is_ok()
        })
}

/// Reports whether a process of this process group has not ended.
pub fn group_is_alive(group: Pid) -> bool {
    let of_it = |stat: Stat| stat.group == group.as_raw_pid() && !stat.ended;
    all_pids().any(|pid| stat(pid).is_some_and(of_it))
}

/// Returns the names of our descendants that have not ended.
pub fn names_of_descendants() -> BTreeSet<String> {
    let alive = |pid: &Pid| stat(*pid).is_some_and(|stat| !stat.ended);
    let pids = descendants(getpid()).into_iter().map(|(pid, _)| pid);
    let names = pids.filter(alive).filter_map(|pid| text(pid, "comm"));
    names.map(|name| name.trim_end().to_owned()).collect()
}

fn descendants(root: Pid) -> Vec<(Pid, u64)> {
    let all: Vec<(Pid, Stat)> = all_pids()
        .filter_map(|pid| Some((pid, stat(pid)?)))
        .collect();
    let mut ours = BTreeSet::from([root.as_raw_pid()]);
    let mut found = Vec::new();
    loop {
        let before = found.len();
        for (pid, stat) in &all {
            if ours.contains(&stat.parent) && ours.insert(pid.as_raw_pid()) {
                found.push((*pid, stat.start));
            }
        }
        if found.len() == before {
            return found;
        }
    }
}
