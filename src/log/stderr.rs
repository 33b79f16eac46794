//! Writes to stderr without a thread, for the time before one may be started.
//!
//! A console that accepts no bytes (a full pipe without a reader, a terminal stopped with Ctrl-S)
//! would block the preparation for ever, with every signal blocked. So each write is preceded by a
//! poll, and lines that find no room are counted instead.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};

/// How long to wait for the console, in milliseconds, before lines are counted instead. After that
/// there is no wait until it accepts bytes again.
const POLL_TIMEOUT: u16 = 1000;

/// A pipe that is ready accepts this many bytes at once (`PIPE_BUF`, pipe(7)).
const PIPE_PART: usize = 4096;

/// A terminal that is ready accepts at least a few bytes; no minimum is promised.
const TERMINAL_PART: usize = 64;

static STALLED: AtomicBool = AtomicBool::new(false);
static LOST: AtomicU64 = AtomicU64::new(0);

/// Writes `lines` to stderr, or counts them as one lost line if it accepts no bytes. An error on
/// stderr is ignored, because it can be reported nowhere.
pub fn write(lines: &[u8], losses: fn(u64) -> Vec<u8>) {
    let stderr = io::stderr();
    let part = if stderr.is_terminal() {
        TERMINAL_PART
    } else {
        PIPE_PART
    };
    let mut stderr = stderr.lock();
    if !is_writable(&stderr) {
        LOST.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let lost = LOST.swap(0, Ordering::Relaxed);
    let notice = (lost > 0).then(|| losses(lost));
    let all = notice.into_iter().flatten().chain(lines.iter().copied());
    let all: Vec<u8> = all.collect();
    for part in all.chunks(part) {
        if !is_writable(&stderr) || stderr.write_all(part).is_err() {
            LOST.fetch_add(lost + 1, Ordering::Relaxed);
            return;
        }
    }
}

/// Draws a part of a line that a later part overwrites, so it may be dropped.
pub fn draw(part: &[u8]) {
    let mut stderr = io::stderr().lock();
    if is_writable(&stderr) {
        let _ = stderr.write_all(part);
    }
}

fn is_writable(stderr: &impl AsFd) -> bool {
    let patience = match STALLED.load(Ordering::Relaxed) {
        true => 0,
        false => POLL_TIMEOUT,
    };
    let mut asked = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    let ready = loop {
        match poll(&mut asked, patience) {
            Err(Errno::EINTR) => {}
            // The poll fails for a closed file descriptor, or for a file that never blocks.
            answer => break answer.map_or(true, |count| count > 0),
        }
    };
    STALLED.store(!ready, Ordering::Relaxed);
    ready
}
