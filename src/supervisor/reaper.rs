//! The one reaper: no other place in the program waits for a process.

use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, WaitStatus, wait};

use super::stop::Ended;

/// What one look at our children told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// This child ended, and is reaped: its number means nothing any more.
    Ended(Pid, Ended),
    /// This child was stopped by this signal (TSTP, TTIN, TTOU or STOP) and can be continued.
    Stopped(Pid, i32),
    /// There are children, and nothing to tell about them now.
    Nothing,
    /// There is no child.
    NobodyLeft,
}

/// Looks once, without waiting. As PID 1 or subreaper, orphans are our children too.
///
/// `wait` with `WUNTRACED`, in rustix rather than nix, because nix knows no
/// real-time signals and would lose the status of a child that one of them ended.
pub fn look() -> Found {
    loop {
        return match wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
            Ok(Some((pid, status))) => match change(status) {
                Some(Change::Ended(ended)) => Found::Ended(pid, ended),
                Some(Change::Stopped(by)) => Found::Stopped(pid, by),
                None => continue,
            },
            Ok(None) => Found::Nothing,
            Err(Errno::INTR) => continue,
            // ECHILD; nothing else is possible with these arguments.
            Err(_) => Found::NobodyLeft,
        };
    }
}

enum Change {
    Ended(Ended),
    Stopped(i32),
}

fn change(status: WaitStatus) -> Option<Change> {
    if let Some(code) = status.exit_status() {
        return Some(Change::Ended(Ended::Exit(code)));
    }
    if let Some(number) = status.terminating_signal() {
        return Some(Change::Ended(Ended::Signal(number)));
    }
    status.stopping_signal().map(Change::Stopped)
}
