//! Straight to stderr, before there may be a thread that waits for its reader.
//!
//! A console that takes nothing (a full pipe that nobody reads, a terminal stopped
//! with Ctrl-S) would hold up the preparation for ever, with every signal blocked. So
//! it is asked first whether it takes something, and lines that find no room are
//! counted instead.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};

use super::logging;

/// How long a console may take nothing before lines are counted instead, in
/// milliseconds; once, until it takes something again.
const PATIENCE: u16 = 1000;

/// A pipe that is ready takes as much at once (`PIPE_BUF`, pipe(7)).
const PIPE_PART: usize = 4096;

/// A terminal that is ready takes at least some characters; it has no such promise.
const TERMINAL_PART: usize = 64;

static STALLED: AtomicBool = AtomicBool::new(false);
static LOST: AtomicU64 = AtomicU64::new(0);

/// Writes whole lines to stderr, if it takes them. Where it cannot be written at all,
/// nothing can be done about it.
pub fn write(lines: &[u8]) {
    let stderr = io::stderr();
    let part = if stderr.is_terminal() {
        TERMINAL_PART
    } else {
        PIPE_PART
    };
    let mut stderr = stderr.lock();
    if !takes_something(&stderr) {
        LOST.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let lost = LOST.swap(0, Ordering::Relaxed);
    let notice = (lost > 0).then(|| logging::losses(lost));
    let all = notice.into_iter().flatten().chain(lines.iter().copied());
    let all: Vec<u8> = all.collect();
    for part in all.chunks(part) {
        if !takes_something(&stderr) || stderr.write_all(part).is_err() {
            LOST.fetch_add(lost + 1, Ordering::Relaxed);
            return;
        }
    }
}

/// Draws a part of a line that a later one writes over: it may be left out.
pub fn draw(part: &[u8]) {
    let mut stderr = io::stderr().lock();
    if takes_something(&stderr) {
        // Where it cannot be written, it is not seen either.
        let _ = stderr.write_all(part);
    }
}

fn takes_something(stderr: &impl AsFd) -> bool {
    let patience = match STALLED.load(Ordering::Relaxed) {
        true => 0,
        false => PATIENCE,
    };
    let mut asked = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    let ready = loop {
        match poll(&mut asked, patience) {
            Err(Errno::EINTR) => {}
            // What cannot be asked is a closed descriptor, or a file that never waits.
            answer => break answer.map_or(true, |count| count > 0),
        }
    };
    STALLED.store(!ready, Ordering::Relaxed);
    ready
}
