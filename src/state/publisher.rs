//! The current state. A separate thread writes it to its file, so that a slow disk does not block
//! the supervisor.

use std::io;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tokio::sync::watch;
use tracing::warn;

use crate::state::{State, StateDirectory};
use crate::sys::lock;

/// The longest wait for the state to be written before a program is started or this one ends. Only a
/// slow disk or a busy machine needs it: an end without it would leave a temporary file.
pub const WRITE_TIMEOUT: Duration = Duration::from_millis(300);

/// The current state and the keeper that writes it; shared with the tasks.
#[derive(Clone)]
pub struct StatePublisher(Arc<Shared>);

struct Shared {
    keeper: Option<StateDirectory>,
    now: Mutex<Latest>,
    /// True while a thread writes. The thread ends when there is nothing more to write.
    writing: watch::Sender<bool>,
}

struct Latest {
    state: State,
    /// The text to write next: always the latest state; `None`: there is nothing to write.
    next: Option<Vec<u8>>,
    /// True if the last write failed: further failures in a row are not logged.
    last_failed: bool,
}

impl StatePublisher {
    /// Starts with this state and has it written. Without a keeper nothing is written.
    pub fn new(keeper: Option<StateDirectory>, state: State) -> Self {
        let told = Self(Arc::new(Shared {
            keeper,
            now: Mutex::new(Latest {
                state,
                next: None,
                last_failed: false,
            }),
            writing: watch::Sender::new(false),
        }));
        told.update(|_| {});
        told
    }

    /// Changes the state and has it written, without waiting for that.
    pub fn update(&self, change: impl FnOnce(&mut State)) {
        let mut now = lock(&self.0.now);
        change(&mut now.state);
        let text = now.state.text();
        let Some(keeper) = self.0.keeper.clone() else {
            return;
        };
        let started = text.map_err(io::Error::from).and_then(|text| {
            now.next = Some(text);
            match self.0.writing.send_replace(true) {
                true => Ok(()), // the thread takes it
                false => self.start_thread(keeper),
            }
        });
        drop(now);
        if let Err(error) = started {
            self.0.log_failure(Err(error));
        }
    }

    fn start_thread(&self, keeper: StateDirectory) -> io::Result<()> {
        let shared = self.0.clone();
        let thread = thread::Builder::new().name("state".into());
        let started = thread
            .stack_size(64 * 1024)
            .spawn(move || shared.write_all(&keeper));
        if started.is_err() {
            self.0.writing.send_replace(false);
        }
        started.map(drop)
    }

    /// Waits until the latest state is written, at most for this time.
    pub async fn wait_written(&self, timeout: Duration) {
        let mut writing = self.0.writing.subscribe();
        let written = writing.wait_for(|writing| !writing);
        let _ = tokio::time::timeout(timeout, written).await;
    }
}

impl Shared {
    /// Writes until there is nothing more to write.
    fn write_all(&self, keeper: &StateDirectory) {
        loop {
            let mut now = lock(&self.now);
            let Some(text) = now.next.take() else {
                self.writing.send_replace(false);
                return;
            };
            drop(now);
            self.log_failure(keeper.write(&text));
        }
    }

    /// Logs the first of several failed writes in a row. Does not hold the lock while it logs: a
    /// console may be slow.
    fn log_failure(&self, written: io::Result<()>) {
        let known = std::mem::replace(&mut lock(&self.now).last_failed, written.is_err());
        if let Err(error) = written
            && !known
        {
            warn!("the state cannot be written: {error}");
        }
    }
}
