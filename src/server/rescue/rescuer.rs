//! Rescues a server: decides whether a failed attempt is rescued, and has the rescue prepared.

use std::sync::{Arc, Mutex};

use tokio::sync::watch;
use tracing::{error, warn};

use crate::death;
use crate::death::Diagnosis;
use crate::server::load_failures::LoadFailure;
use crate::server::rescue::{Address, Broken, RescuePlan, Rescued};
use crate::supervisor::attempt::{
    Attempt, Preparation, PreparationSender, RescueReason, prepare_in_thread,
};
use crate::supervisor::lifecycle::Ended;
use crate::supervisor::spawn::SpawnError;
use crate::sys;
use crate::sys::lock;

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
        let (sender, preparation) = watch::channel(Attempt::NoRescue);
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
            return; // it would wait for the hub as long again
        }
        let broken = Broken::ended(how, diagnosis, log);
        prepare(self.plan, broken, &self.prepared, self.sender);
    }
}

/// Returns the first of these that a server must not run without, if it can be rescued.
pub async fn unusable_without(
    failures: &[LoadFailure],
    plan: Option<Arc<RescuePlan>>,
) -> Option<LoadFailure> {
    let plan = plan.filter(|_| !failures.is_empty())?;
    let all = failures.to_vec();
    let find = move || all.into_iter().find(|failure| plan.is_needed(failure));
    sys::in_thread("config", find).await.ok().flatten()
}

/// Held while a rescue is prepared.
static PREPARING: Mutex<()> = Mutex::new(());

/// Prepares a rescue in a thread of its own, unless it is given up: nobody awaits it then.
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
    let awaited = sender.clone();
    prepare_in_thread(sender, move || {
        let is_awaited = |_: &Address| !awaited.is_closed();
        // The usual server may be about to listen at an address where nobody awaits a rescue.
        let address = (plan.address)().filter(is_awaited);
        let address = address.filter(Address::can_listen);
        // All rescues use one directory.
        let _one_at_a_time = lock(&PREPARING);
        let Some(address) = address.filter(is_awaited) else {
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
            Err(error) => Err(SpawnError::unprepared(format!(
                "the server cannot be rescued: {error}; run with --tmpfs /tmp"
            ))),
        })
    });
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc::channel;

    use super::*;
    use crate::server::rescue::Login;
    use crate::server::rescue::tests::plan;

    /// Waits for the end of a preparation.
    fn prepared(mut preparation: Preparation) -> Attempt {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(async {
            while preparation.changed().await.is_ok() {}
            preparation.borrow().clone()
        })
    }

    /// Somebody restarts the server while a rescue is prepared; the usual one may fail again.
    #[test]
    fn a_rescue_that_was_given_up_changes_nothing_any_more() {
        for fails_again in [false, true] {
            let (begun, has_begun) = channel();
            let (go_on, awaited) = channel();
            let (with_plan, plan_is_used) = channel::<()>();
            let first = Mutex::new(Some((begun, awaited)));
            let made = Arc::new(AtomicU32::new(0));
            let mut plan = plan(false, Login::Hub);
            plan.address = Box::new(move || {
                let _ = &with_plan;
                let first = lock(&first).take();
                if let Some((begun, awaited)) = first {
                    begun.send(()).unwrap();
                    awaited.recv().unwrap();
                }
                Some(Address::default())
            });
            plan.login = Box::new({
                let made = made.clone();
                move || {
                    made.fetch_add(1, Ordering::Relaxed);
                    Err(io::Error::other("no file of this test's"))
                }
            });
            let mut rescuer = Rescuer::new(Some(plan));
            let reason = RescueReason::Unprepared("x".into());
            let given_up = rescuer.begin(&reason).unwrap();
            has_begun.recv().unwrap();
            drop(given_up);
            if fails_again {
                let rescue = rescuer.begin(&reason).unwrap();
                assert!(matches!(prepared(rescue), Attempt::Rescue(Err(_))));
            }
            go_on.send(()).unwrap();
            drop(rescuer);
            // Both have ended.
            assert!(plan_is_used.recv().is_err());
            assert_eq!(made.load(Ordering::Relaxed), u32::from(fails_again));
        }
    }
}
