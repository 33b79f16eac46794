//! The only reaper: besides the trial call in `check`, no other code waits for a process.

use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, WaitStatus, wait};

use crate::supervisor::lifecycle::Ended;

/// The result of polling the children once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildEvent {
    /// This child ended and was reaped: from now on another process may have its pid.
    Ended(Pid, Ended),
    /// This child was stopped by this signal (TSTP, TTIN, TTOU or STOP) and can be continued.
    Stopped(Pid, i32),
    /// There are children, and none has changed state.
    NoChange,
    /// There is no child.
    NoChildLeft,
}

/// Polls the children once, without waiting. As PID 1 or subreaper, orphans are our children too.
///
/// This is wait(2) with `WUNTRACED` from rustix rather than nix, because nix does not know
/// real-time signals and would lose the status of a child that one of them ended.
pub fn poll_child() -> ChildEvent {
    loop {
        return match wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
            Ok(Some((pid, status))) => match event(pid, status) {
                Some(event) => event,
                None => continue,
            },
            Ok(None) => ChildEvent::NoChange,
            Err(Errno::INTR) => continue,
            // ECHILD: no other error is possible with these arguments.
            Err(_) => ChildEvent::NoChildLeft,
        };
    }
}

fn event(pid: Pid, status: WaitStatus) -> Option<ChildEvent> {
    if let Some(code) = status.exit_status() {
        return Some(ChildEvent::Ended(pid, Ended::Exit(code)));
    }
    if let Some(number) = status.terminating_signal() {
        return Some(ChildEvent::Ended(pid, Ended::Signal(number)));
    }
    let stopped = status.stopping_signal();
    stopped.map(|number| ChildEvent::Stopped(pid, number))
}
