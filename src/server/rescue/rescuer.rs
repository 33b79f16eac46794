//! Rescues a server: decides whether a failed attempt is rescued, and has the rescue prepared.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{oneshot, watch};
use tracing::{error, warn};

use crate::death;
use crate::death::Diagnosis;
use crate::server::config_failures::ConfigFailure;
use crate::server::rescue::{Broken, RescuePlan, Rescued};
use crate::supervisor::attempt::{
    Attempt, Preparation, PreparationSender, RescueReason, prepare_in_thread,
};
use crate::supervisor::lifecycle::Ended;
use crate::supervisor::spawn::SpawnError;

/// The rescues of a server, one after the other.
pub struct Rescuer {
    plan: Option<Arc<RescuePlan>>,
    /// Where the rescue of the server that just ended is awaited; `None`: it gets none.
    awaited: Option<PreparationSender>,
    /// The rescue that was prepared last. Each has its own place: one that was given up may still
    /// be under way.
    prepared: Arc<Mutex<Option<Rescued>>>,
}

impl Rescuer {
    /// Returns the rescuer; `plan`: `None` if there is never a rescue.
    pub fn new(plan: Option<RescuePlan>) -> Self {
        Self {
            plan: plan.map(Arc::new),
            awaited: None,
            prepared: Arc::default(),
        }
    }

    /// Returns the plan; `None`: there is never a rescue.
    pub fn plan(&self) -> Option<Arc<RescuePlan>> {
        self.plan.clone()
    }

    /// Begins to prepare a rescue; `None`: there is none. After a server that ended, the work
    /// begins with [`AwaitedRescue::prepare`].
    pub fn begin(&mut self, reason: &RescueReason) -> Option<Preparation> {
        let plan = self.plan.clone()?;
        let (sender, preparation) = watch::channel(None);
        self.prepared = Arc::default();
        match reason {
            RescueReason::Ended(_) => self.awaited = Some(sender),
            // Somebody misspelt it. Nobody can mend that in the lab.
            RescueReason::NotStarted { .. } if !plan.program_of_venv => return None,
            RescueReason::Unprepared(cause) | RescueReason::NotStarted { cause, .. } => {
                error!("{cause}");
                prepare(plan, Broken::new(cause.clone()), &self.prepared, sender);
            }
        }
        Some(preparation)
    }

    /// Returns the rescue that is awaited after the end of a server; `None`: there is none.
    pub fn awaited(&mut self) -> Option<AwaitedRescue> {
        Some(AwaitedRescue {
            plan: self.plan.clone()?,
            sender: self.awaited.take()?,
            prepared: self.prepared.clone(),
        })
    }

    /// Returns the rescue that was just started.
    pub fn take_started(&self) -> Option<Rescued> {
        lock(&self.prepared).take()
    }
}

/// A rescue that waits for what the server that ended has said.
pub struct AwaitedRescue {
    plan: Arc<RescuePlan>,
    sender: PreparationSender,
    prepared: Arc<Mutex<Option<Rescued>>>,
}

impl AwaitedRescue {
    /// Prepares the rescue after a server that ended in this way; `log`: its last lines.
    pub fn prepare(self, how: Ended, diagnosis: Option<Diagnosis>, log: String) {
        if self.plan.hub && death::hub_is_away(&log) {
            // It would wait for the hub as long again.
            self.sender.send_replace(Some(Attempt::NoRescue));
            return;
        }
        let broken = Broken::ended(how, diagnosis, log);
        prepare(self.plan, broken, &self.prepared, self.sender);
    }
}

/// Returns the first of these files that a server must not run without, if it can be rescued.
pub async fn unusable_without(
    failures: &[ConfigFailure],
    plan: Option<Arc<RescuePlan>>,
) -> Option<ConfigFailure> {
    let plan = plan.filter(|_| !failures.is_empty())?;
    let all = failures.to_vec();
    // Reading the files may wait for a disk.
    let (tell, answer) = oneshot::channel();
    let thread = std::thread::Builder::new().name("config".into());
    let started = thread.spawn(move || {
        let mut all = all.into_iter();
        let found = all.find(|failure| plan.is_needed(&failure.path));
        let _ = tell.send(found);
    });
    started.ok()?;
    answer.await.ok().flatten()
}

/// Prepares a rescue in a thread of its own, unless it was given up.
fn prepare(
    plan: Arc<RescuePlan>,
    broken: Broken,
    prepared: &Arc<Mutex<Option<Rescued>>>,
    sender: PreparationSender,
) {
    if sender.is_closed() {
        return;
    }
    let prepared = prepared.clone();
    prepare_in_thread(sender, move || {
        let address = (plan.address)().filter(|address| address.can_listen());
        let Some(address) = address else {
            return Attempt::NoRescue;
        };
        warn!(
            "rescue: the server is started once more, without your configuration and extensions, \
             so that you can mend what broke (--rescue never leaves it ended)"
        );
        Attempt::Rescue(match plan.prepare(&address, &broken) {
            Ok((program, login)) => {
                *lock(&prepared) = Some(Rescued { broken, login });
                Ok(program)
            }
            Err(source) => Err(Arc::new(SpawnError::Rescue { source })),
        })
    });
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}
