//! Real-time signals on their way to the main process. None may be lost: while the kernel's queue
//! for that process is full, they wait here in their order.

use std::collections::VecDeque;
use std::time::Duration;

use rustix::process::Pid;

use crate::supervisor::signals::{Received, Signals};
use crate::sys;

/// Maximum number of signals that wait here. More stay in our own kernel queue, until that is
/// full too and the kernel reports this to their sender.
const MAX_WAITING: usize = 16 * 1024;

/// Interval between attempts to send while there is no room.
const RETRY_INTERVAL: Duration = Duration::from_millis(1);

/// Signals that wait for room in the queue of the main process.
pub struct RealtimeQueue<'a> {
    signals: &'a Signals,
    waiting: VecDeque<Received>,
}

impl<'a> RealtimeQueue<'a> {
    /// Returns an empty queue; `signals` is the source that the signals are read from.
    pub fn new(signals: &'a Signals) -> Self {
        let waiting = VecDeque::new();
        Self { signals, waiting }
    }

    /// Sends a signal to the main process, after those that already wait.
    pub fn send(&mut self, pid: Pid, received: Received) {
        if !self.waiting.is_empty() || !try_queue(pid, received) {
            self.waiting.push_back(received);
            self.update_hold();
        }
    }

    /// Sends the waiting signals, as far as there is room.
    pub fn pass_on(&mut self, pid: Pid) {
        while let Some(first) = self.waiting.front() {
            if !try_queue(pid, *first) {
                break;
            }
            self.waiting.pop_front();
        }
        self.update_hold();
    }

    /// Drops the waiting signals: the process that they were for has ended.
    pub fn clear(&mut self) {
        self.waiting.clear();
        self.update_hold();
    }

    /// Waits until there may be room; for ever, if no signal waits.
    pub async fn room(&self) {
        if self.waiting.is_empty() {
            return std::future::pending().await;
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }

    /// Empties our own kernel queue, until [`MAX_WAITING`] signals wait here. The kernel has one limit
    /// per user for all queues, so signals in ours may take the room in that of the main process.
    fn update_hold(&self) {
        self.signals
            .hold_real_time(self.waiting.len() >= MAX_WAITING);
    }
}

/// Sends a real-time signal. Returns false if there was no room for it. If sigqueue(3) is refused,
/// kill(2) sends the signal without its value. That the process has just ended is ignored.
fn try_queue(pid: Pid, received: Received) -> bool {
    let sent = sys::queue_signal(pid.as_raw_pid(), received.number, received.value);
    match sent.err().and_then(|error| error.raw_os_error()) {
        Some(libc::EAGAIN) => return false,
        None | Some(libc::ESRCH) => {}
        Some(_) => _ = sys::kill(pid.as_raw_pid(), received.number),
    }
    true
}
