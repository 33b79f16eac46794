//! A running hook: its output, its end, and its time limit.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal};
use tracing::info;

use crate::hooks::error::HookError;
use crate::hooks::variables::Variables;
use crate::supervisor::lifecycle::Ended;
use crate::supervisor::processes;
use crate::supervisor::reaper;
use crate::supervisor::reaper::ChildEvent;
use crate::supervisor::signals::Signals;
use crate::sys;
use crate::sys::effects::Effects;

/// The longest line of a hook's output that is logged as one, in bytes. Longer lines are split.
const LONGEST_LINE: usize = 8 * 1024;

/// The reads of 4 KiB per stream before the time limit and the signals are checked again, so that
/// endless output does not delay the end of a hook. Together as much as a pipe usually holds.
const READS: usize = 16;

/// The reads of 4 KiB per stream after the end of a hook: as much as a pipe can hold.
const LAST_READS: usize = 257;

/// The time limit for killed processes to disappear. A process in uninterruptible sleep, or one
/// that root without CAP_KILL may not kill, must not block the start for ever.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// The common parameters of all hooks of a phase.
pub struct HookContext<'a> {
    /// The time limit of one hook.
    pub limit: Duration,
    /// Returns the environment of a hook, given the variables that the hooks before it wrote.
    pub environment: &'a dyn Fn(&Variables) -> Vec<(OsString, OsString)>,
    /// All signals of this process. A stop signal ends a hook at once.
    pub signals: &'a Signals,
    /// `Preview` finds the hooks and runs none.
    pub effects: Effects<'a>,
}

/// A running hook.
pub(super) struct Watched<'a> {
    pub hook: &'a Path,
    pub pid: Pid,
    pub outputs: Vec<Output>,
}

impl Watched<'_> {
    pub fn wait_for_end(&mut self, surroundings: &HookContext<'_>) -> Result<Ended, HookError> {
        let deadline = Instant::now() + surroundings.limit;
        loop {
            // Signals are read before the hook is reaped. In the other order its SIGCHLD could be
            // read and dropped after the reaping, and `wait` would sleep until the limit.
            let stop = surroundings.signals.stop_requested().is_some();
            let ended = self.reaped();
            let most = if ended.is_some() { LAST_READS } else { READS };
            for output in self.outputs.iter_mut().filter(|output| output.open) {
                output.read(self.hook, most);
            }
            if let Some(ended) = ended {
                for output in &mut self.outputs {
                    output.log_rest(self.hook);
                }
                return Ok(ended);
            }
            if stop {
                return Err(HookError::Other("stopped".into()));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let what = format!(
                    "took longer than {} s and was killed; --hook-timeout gives it more",
                    surroundings.limit.as_secs_f32()
                );
                return Err(HookError::of(self.hook, what));
            }
            self.wait(surroundings.signals, left);
        }
    }

    /// Waits for output, for a signal (the end of a child sends one), or for the limit.
    fn wait(&self, signals: &Signals, limit: Duration) {
        let open = self.outputs.iter().filter(|output| output.open);
        let mut watched: Vec<PollFd<'_>> = open
            .map(|output| PollFd::new(&output.from, PollFlags::IN))
            .collect();
        let signals = signals.as_fd();
        watched.push(PollFd::new(&signals, PollFlags::IN));
        let limit = Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        };
        // poll(2) can only fail with EINTR here.
        let _ = poll(&mut watched, Some(&limit));
    }

    /// Returns how the hook ended, if it has ended. Also reaps orphans that became our children.
    fn reaped(&self) -> Option<Ended> {
        loop {
            match reaper::poll_child() {
                ChildEvent::Ended(pid, how) if pid == self.pid => return Some(how),
                ChildEvent::Ended(..) | ChildEvent::Stopped(..) => {}
                ChildEvent::NoChange | ChildEvent::NoChildLeft => return None,
            }
        }
    }
}

/// One output stream of a hook.
pub(super) struct Output {
    from: fs::File,
    open: bool,
    line: Vec<u8>,
}

impl Output {
    pub fn new(from: OwnedFd) -> Self {
        // Otherwise the last read would wait for processes that the hook left running.
        let _ = rustix::io::ioctl_fionbio(&from, true);
        Self {
            from: from.into(),
            open: true,
            line: Vec::new(),
        }
    }

    /// Logs the output that is available now, line by line, in at most `most` reads.
    fn read(&mut self, hook: &Path, most: usize) {
        let mut bytes = [0; 4096];
        for _ in 0..most {
            match self.from.read(&mut bytes) {
                Ok(0) => return self.close(hook),
                Ok(size) => {
                    for byte in &bytes[..size] {
                        if *byte == b'\n' || self.line.len() == LONGEST_LINE {
                            self.log_line(hook);
                        }
                        if *byte != b'\n' {
                            self.line.push(*byte);
                        }
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.close(hook),
            }
        }
    }

    /// Marks the stream as closed, and logs a last line that has no newline.
    fn close(&mut self, hook: &Path) {
        self.open = false;
        self.log_rest(hook);
    }

    fn log_rest(&mut self, hook: &Path) {
        if !self.line.is_empty() {
            self.log_line(hook);
        }
    }

    /// Goes on logging what the processes write that a hook left running, in a thread: without a
    /// reader, SIGPIPE would end them. Without a thread, they live until then.
    pub fn follow(mut self, hook: &Path) {
        if !self.open {
            return;
        }
        let _ = rustix::io::ioctl_fionbio(&self.from, false);
        let hook = hook.to_owned();
        let thread = thread::Builder::new().name("hook".into());
        let _ = thread.stack_size(64 * 1024).spawn(move || {
            while self.open {
                self.read(&hook, READS);
            }
        });
    }

    fn log_line(&mut self, hook: &Path) {
        let name = hook.file_name().unwrap_or(OsStr::new("?"));
        let name = name.to_string_lossy();
        info!("{name}: {}", String::from_utf8_lossy(&self.line));
        self.line.clear();
    }
}

pub(super) fn kill_group(leader: Pid) {
    // The whole group may have ended already.
    let _ = sys::kill(-leader.as_raw_pid(), Signal::KILL.as_raw());
}

/// Kills and reaps all descendants (as PID 1: all other processes). Returns true if none is left.
pub(super) fn kill_descendants() -> bool {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match reaper::poll_child() {
            ChildEvent::NoChildLeft => return true,
            ChildEvent::NoChange if Instant::now() > deadline => return false,
            ChildEvent::NoChange => {
                processes::signal_all(Signal::KILL);
                // Killed processes need a moment to end. There is no event to wait for here.
                std::thread::sleep(Duration::from_millis(1));
            }
            ChildEvent::Ended(..) | ChildEvent::Stopped(..) => {}
        }
    }
}
