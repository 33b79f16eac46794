//! Real-time signals on their way to the main process. Every one of them counts, and its
//! queue may be full: they wait here then, in their order.

use std::collections::VecDeque;
use std::time::Duration;

use rustix::process::Pid;

use super::signals::{Received, Signals};
use crate::sys;

/// How many wait here. More stay in our own queue, until the kernel tells their sender that
/// it is full.
const MOST: usize = 16 * 1024;

/// How soon room is looked for again.
const NO_ROOM: Duration = Duration::from_millis(1);

/// Those for which there was no room.
pub struct Held<'a> {
    signals: &'a Signals,
    waiting: VecDeque<Received>,
}

impl<'a> Held<'a> {
    /// None; `signals` is where they come from.
    pub fn new(signals: &'a Signals) -> Self {
        let waiting = VecDeque::new();
        Self { signals, waiting }
    }

    /// Passes one on, behind those that wait.
    pub fn send(&mut self, pid: Pid, received: Received) {
        if !self.waiting.is_empty() || !has_room(pid, received) {
            self.waiting.push_back(received);
            self.hold();
        }
    }

    /// Passes on those that wait, as far as there is room.
    pub fn pass_on(&mut self, pid: Pid) {
        while let Some(first) = self.waiting.front() {
            if !has_room(pid, *first) {
                break;
            }
            self.waiting.pop_front();
        }
        self.hold();
    }

    /// Whoever they were for has ended.
    pub fn clear(&mut self) {
        self.waiting.clear();
        self.hold();
    }

    /// Until there may be room; for ever, if none waits.
    pub async fn room(&self) {
        if self.waiting.is_empty() {
            return std::future::pending().await;
        }
        tokio::time::sleep(NO_ROOM).await;
    }

    /// Our own queue and the main process's share one limit, as they share a user: what
    /// is left in ours may be what takes its room. So they are taken out of it first.
    fn hold(&self) {
        self.signals.hold_real_time(self.waiting.len() >= MOST);
    }
}

/// Sends a real-time signal; whether there was room for it. Where the call is refused, the
/// signal goes without its value. Any other failure (the process just ended) is as it is.
fn has_room(pid: Pid, received: Received) -> bool {
    let sent = sys::queue(pid.as_raw_pid(), received.number, received.value);
    match sent.err().and_then(|error| error.raw_os_error()) {
        Some(libc::EAGAIN) => return false,
        None | Some(libc::ESRCH) => {}
        Some(_) => _ = sys::kill(pid.as_raw_pid(), received.number),
    }
    true
}
