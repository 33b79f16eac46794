//! When to signal whom, restart and exit: a pure state machine.
//!
//! ```text
//!            Stop              main ended             nobody left
//! Running ──────────► Stopping ───────────► Draining ─────────────► Done
//!  ▲   │                 │ grace period over   │ drain time over
//!  │   │                 ▼                     ▼
//!  │   │              Killing             DrainKilling ───────────► Done
//!  │   ├─ Restart ──► Stopping, Killing, and then Backoff
//!  │   └─ main ended by itself ──► Draining, or
//!  └───── time over ── Backoff
//! ```
//!
//! The server gets one TERM and the grace period. When it is gone, everyone else
//! gets TERM and the drain time, then KILL. Nothing is signalled after it was
//! reaped: a state without a main process has no effect that names it.

use std::time::Duration;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With this exit code.
    Exit(i32),
    /// By this signal.
    Signal(i32),
}

impl Ended {
    /// The exit code a shell would give it: 128+n for signal n.
    pub const fn code(self) -> i32 {
        match self {
            Self::Exit(code) => code,
            Self::Signal(number) => 128 + number,
        }
    }
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Somebody asks to stop everything (TERM, INT, QUIT, or the terminal hung up).
    Stop,
    /// Somebody asks to restart the server in place.
    Restart,
    /// The main process has ended and was reaped.
    MainEnded {
        /// How.
        ended: Ended,
        /// When the restart policy starts it again, if it does.
        again: Option<Duration>,
    },
    /// The main process could not be started.
    SpawnFailed {
        /// With the exit code that says so: 126 or 127.
        ended: Ended,
        /// When the restart policy tries it again, if it does.
        again: Option<Duration>,
    },
    /// No child is left.
    NobodyLeft,
    /// The armed time is over.
    Timeout,
}

/// What has to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// TERM to the main process.
    TermMain,
    /// KILL to the main process.
    KillMain,
    /// TERM to everyone left.
    TermAll,
    /// KILL to everyone left.
    KillAll,
    /// `Timeout` after this time; replaces an armed one.
    Arm(Duration),
    /// No `Timeout` any more.
    Disarm,
    /// Start the main process.
    Spawn,
    /// End with this code.
    Exit(i32),
}

/// Where we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// There is no main process: reap and wait.
    Idle,
    /// The main process runs.
    Running,
    /// It got TERM.
    Stopping {
        /// It is started again when it is gone.
        again: bool,
    },
    /// It got KILL.
    Killing {
        /// It is started again when it is gone.
        again: bool,
    },
    /// It is gone, and is started again after a while or at once.
    Backoff {
        /// Its exit code.
        code: i32,
    },
    /// It is gone for good; the others got TERM.
    Draining {
        /// The exit code.
        code: i32,
        /// Somebody asked to stop; who asks again wants it now.
        asked: bool,
    },
    /// The others got KILL.
    DrainKilling {
        /// The exit code.
        code: i32,
    },
    /// Everything is over.
    Done,
}

impl State {
    /// Whether the main process exists, as far as we know.
    pub fn has_main(self) -> bool {
        matches!(
            self,
            Self::Running | Self::Stopping { .. } | Self::Killing { .. }
        )
    }
}

/// The grace periods.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// From TERM to KILL of the main process.
    pub stop: Duration,
    /// From TERM to KILL of everyone else.
    pub drain: Duration,
}

/// How long killed processes may take to vanish before we stop waiting for them:
/// one in uninterruptible sleep must not hold up the exit.
pub const KILL_PATIENCE: Duration = Duration::from_millis(500);

/// The exit code of a main process that even KILL did not end in time.
const KILLED: i32 = Ended::Signal(9).code();

/// One step: the next state and what has to be done, in order.
pub fn step(state: State, event: Event, times: Times) -> (State, Vec<Effect>) {
    use Effect::{Arm, Disarm, Exit, KillAll, KillMain, Spawn, TermAll, TermMain};
    use State::{Backoff, Done, DrainKilling, Draining, Idle, Killing, Running, Stopping};

    let drain = |code, asked| {
        let effects = vec![TermAll, Arm(times.drain)];
        (Draining { code, asked }, effects)
    };
    let at_once = |code| (Backoff { code }, vec![Arm(Duration::ZERO)]);
    let stay = (state, Vec::new());
    match state {
        Idle => match event {
            Event::Stop => drain(0, true),
            _ => stay,
        },
        Running => match event {
            Event::Stop => (Stopping { again: false }, vec![TermMain, Arm(times.stop)]),
            Event::Restart => (Stopping { again: true }, vec![TermMain, Arm(times.stop)]),
            Event::MainEnded { ended, again } | Event::SpawnFailed { ended, again } => {
                match again {
                    Some(wait) => (Backoff { code: ended.code() }, vec![Arm(wait)]),
                    None => drain(ended.code(), false),
                }
            }
            Event::NobodyLeft | Event::Timeout => stay,
        },
        Stopping { again } => match event {
            // TERM is on its way already; only its purpose changes.
            Event::Stop if again => (Stopping { again: false }, Vec::new()),
            Event::Stop | Event::Timeout => (Killing { again }, vec![KillMain, Arm(KILL_PATIENCE)]),
            Event::MainEnded { ended, .. } if again => at_once(ended.code()),
            Event::MainEnded { ended, .. } => drain(ended.code(), true),
            Event::Restart | Event::SpawnFailed { .. } | Event::NobodyLeft => stay,
        },
        Killing { again } => match event {
            Event::Stop if again => (Killing { again: false }, vec![Arm(KILL_PATIENCE)]),
            Event::MainEnded { ended, .. } if again => at_once(ended.code()),
            Event::MainEnded { ended, .. } => drain(ended.code(), true),
            // A server that hangs on a disk is the one that people restart: it is waited for.
            Event::Timeout if again => stay,
            Event::Timeout => drain(KILLED, true),
            Event::Stop | Event::Restart | Event::SpawnFailed { .. } | Event::NobodyLeft => stay,
        },
        Backoff { code } => match event {
            Event::Stop => drain(code, true),
            Event::Restart => at_once(code),
            Event::Timeout => (Running, vec![Disarm, Spawn]),
            _ => stay,
        },
        Draining { code, asked } => match event {
            Event::NobodyLeft => (Done, vec![Disarm, Exit(code)]),
            Event::Stop if !asked => (Draining { code, asked: true }, Vec::new()),
            Event::Stop | Event::Timeout => {
                (DrainKilling { code }, vec![KillAll, Arm(KILL_PATIENCE)])
            }
            _ => stay,
        },
        DrainKilling { code } => match event {
            Event::NobodyLeft | Event::Timeout => (Done, vec![Disarm, Exit(code)]),
            _ => stay,
        },
        Done => stay,
    }
}

#[cfg(test)]
#[path = "stop_tests.rs"]
mod tests;
