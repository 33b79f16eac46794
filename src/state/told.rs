//! The current state. A separate thread writes it to its file, so that no disk holds the
//! supervisor up.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::watch;
use tracing::warn;

use super::{Keeper, State};

/// Maximum wait for the state to be written.
const PATIENCE: Duration = Duration::from_millis(100);

/// The current state and the keeper that writes it; shared with the tasks.
#[derive(Clone)]
pub struct Told(Arc<Shared>);

struct Shared {
    keeper: Option<Keeper>,
    now: Mutex<Now>,
    /// True while a thread writes. The thread ends when there is nothing more to write.
    writing: watch::Sender<bool>,
}

struct Now {
    state: State,
    /// The text to write next: always the latest state; `None`: there is nothing to write.
    next: Option<Vec<u8>>,
    /// True if the last write failed: further failures in a row are not logged.
    refused: bool,
}

impl Told {
    /// Begins with this state, and has it written. Without a keeper no state is written.
    pub fn new(keeper: Option<Keeper>, state: State) -> Self {
        let told = Self(Arc::new(Shared {
            keeper,
            now: Mutex::new(Now {
                state,
                next: None,
                refused: false,
            }),
            writing: watch::Sender::new(false),
        }));
        told.update(|_| {});
        told
    }

    /// Changes the state and has it written, without waiting for that.
    pub fn update(&self, change: impl FnOnce(&mut State)) {
        let mut now = self.0.now();
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
            self.0.outcome(Err(error));
        }
    }

    fn start_thread(&self, keeper: Keeper) -> io::Result<()> {
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

    /// Waits until the latest state is written, but no longer than a working disk takes
    /// (`PATIENCE`).
    pub async fn written(&self) {
        let mut writing = self.0.writing.subscribe();
        let written = writing.wait_for(|writing| !writing);
        let _ = tokio::time::timeout(PATIENCE, written).await;
    }
}

impl Shared {
    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes until there is nothing more to write.
    fn write_all(&self, keeper: &Keeper) {
        loop {
            let mut now = self.now();
            let Some(text) = now.next.take() else {
                self.writing.send_replace(false);
                return;
            };
            drop(now);
            self.outcome(keeper.write(&text));
        }
    }

    /// Logs the first of several failed writes in a row. Does not hold the lock while it logs: a
    /// console may be slow.
    fn outcome(&self, written: io::Result<()>) {
        let known = std::mem::replace(&mut self.now().refused, written.is_err());
        if let Err(error) = written
            && !known
        {
            warn!("the state cannot be written: {error}");
        }
    }
}
