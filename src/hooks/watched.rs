//! A running hook: its output, its end, and the time it has.

use std::ffi::OsStr;
use std::fs;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal};
use tracing::info;

use super::{HookError, Surroundings};
use crate::supervisor::everyone;
use crate::supervisor::reaper::{self, Found};
use crate::supervisor::signals::Signals;
use crate::supervisor::stop::Ended;
use crate::sys;

/// A line of a hook's output is cut after this many bytes.
const LONGEST_LINE: usize = 8 * 1024;

/// How much of a hook's output is logged before its time and the signals are looked at: one
/// that never ceases must not hold up its own end. As much as a pipe usually holds.
const READS: usize = 16;

/// How much is logged of what it said before its end: as much as a pipe can hold.
const LAST_READS: usize = 257;

/// How long killed processes may take to vanish: one in uninterruptible sleep, or one that
/// root without CAP_KILL may not kill, must not hold up the start for ever.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// A running hook.
pub(super) struct Watched<'a> {
    pub hook: &'a Path,
    pub pid: Pid,
    pub outputs: Vec<Output>,
}

impl Watched<'_> {
    pub fn until_its_end(&mut self, surroundings: &Surroundings<'_>) -> Result<Ended, HookError> {
        let deadline = Instant::now() + surroundings.limit;
        loop {
            // In this order: an end that is noticed only after its signal was read
            // would be waited for until the limit.
            let stop = surroundings.signals.stop_requested().is_some();
            let ended = self.reaped();
            let most = if ended.is_some() { LAST_READS } else { READS };
            for output in self.outputs.iter_mut().filter(|output| output.open) {
                output.read(self.hook, most);
            }
            if let Some(ended) = ended {
                for output in &mut self.outputs {
                    output.close(self.hook);
                }
                return Ok(ended);
            }
            if stop {
                return Err(HookError::Stopped);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(HookError::TooLong {
                    path: self.hook.to_owned(),
                    limit: surroundings.limit,
                });
            }
            self.wait(surroundings.signals, left);
        }
    }

    /// Waits for output, a signal (also of a child's end), or the limit.
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
        // An error of poll(2) can only be EINTR here.
        let _ = poll(&mut watched, Some(&limit));
    }

    /// The hook's end, if it came. Orphans that come to us are reaped beside it.
    fn reaped(&self) -> Option<Ended> {
        loop {
            match reaper::look() {
                Found::Ended(pid, how) if pid == self.pid => return Some(how),
                Found::Ended(..) | Found::Stopped(..) => {}
                Found::Nothing | Found::NobodyLeft => return None,
            }
        }
    }
}

/// One of a hook's streams.
pub(super) struct Output {
    from: fs::File,
    open: bool,
    line: Vec<u8>,
}

impl Output {
    pub fn new(from: OwnedFd) -> Self {
        // Without it the last read would wait for what a hook left running.
        let _ = rustix::io::ioctl_fionbio(&from, true);
        Self {
            from: from.into(),
            open: true,
            line: Vec::new(),
        }
    }

    /// Logs what is there now, line by line, as far as so many reads go.
    fn read(&mut self, hook: &Path, most: usize) {
        let mut bytes = [0; 4096];
        for _ in 0..most {
            match self.from.read(&mut bytes) {
                Ok(0) => return self.close(hook),
                Ok(size) => {
                    for byte in &bytes[..size] {
                        if *byte == b'\n' || self.line.len() == LONGEST_LINE {
                            self.say(hook);
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

    /// The last line may have no end.
    fn close(&mut self, hook: &Path) {
        self.open = false;
        if !self.line.is_empty() {
            self.say(hook);
        }
    }

    fn say(&mut self, hook: &Path) {
        let name = hook.file_name().unwrap_or(OsStr::new("?"));
        let name = name.to_string_lossy();
        info!("{name}: {}", String::from_utf8_lossy(&self.line));
        self.line.clear();
    }
}

pub(super) fn kill_group(leader: Pid) {
    // It may be gone already, with its whole group.
    let _ = sys::kill(-leader.as_raw_pid(), Signal::KILL.as_raw());
}

/// Kills and reaps everyone below us; whether nobody is left.
pub(super) fn end_all_below() -> bool {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match reaper::look() {
            Found::NobodyLeft => return true,
            Found::Nothing if Instant::now() > deadline => return false,
            Found::Nothing => {
                everyone::signal(Signal::KILL);
                // Who is dying has a moment; there is nothing else to wait for.
                std::thread::sleep(Duration::from_millis(1));
            }
            Found::Ended(..) | Found::Stopped(..) => {}
        }
    }
}
