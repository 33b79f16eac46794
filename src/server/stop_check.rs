//! Finds out whether a server has missed the request to stop.
//!
//! Jupyter logs the signal in its handler. If the signal comes while it writes another line, that
//! fails, and the handler ends before it stops anything. Whatever has not missed it stops to listen
//! in the same handler, so a server that still answers on a new connection has missed it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::server::probe::{Target, probe};
use crate::sys::lock;

/// The longest time between two checks.
const MAX_INTERVAL: Duration = Duration::from_secs(2);

/// How long an answer may take. A server that is busy answers later, and stops later.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// A check of the running server; clones share it.
#[derive(Clone, Default)]
pub(super) struct StopCheck(Arc<Mutex<Checked>>);

#[derive(Default)]
struct Checked {
    /// Where the server answers; `None`: it was not ready yet.
    target: Option<Target>,
    task: Option<JoinHandle<()>>,
}

impl StopCheck {
    /// Remembers where the server answers.
    pub fn set_target(&self, target: Target) {
        lock(&self.0).target = Some(target);
    }

    /// Begins when the server is asked to stop: `unheard` is notified each time that it answers
    /// as if it was not.
    pub fn begin(&self, stop_timeout: Duration, unheard: Arc<Notify>) {
        let mut checked = lock(&self.0);
        let Some(target) = checked.target.take() else {
            return;
        };
        let interval = (stop_timeout / 3).min(MAX_INTERVAL);
        checked.task = Some(tokio::spawn(async move {
            loop {
                tokio::time::sleep(interval).await;
                if probe(&target, ANSWER_TIMEOUT).await.is_ok() {
                    unheard.notify_one();
                }
            }
        }));
    }

    /// Ends with the server.
    pub fn end(&self) {
        let checked = std::mem::take(&mut *lock(&self.0));
        if let Some(task) = checked.task {
            task.abort();
        }
    }
}
