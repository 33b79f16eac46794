//! Decides when to signal processes, to restart and to exit: a pure state machine.
//!
//! ```text
//!            Stop              main ended             no child left
//! Running ──────────► Stopping ───────────► Draining ─────────────► Done
//!  ▲   │                 │ grace period over   │ drain time over
//!  │   │                 ▼                     ▼
//!  │   │              Killing             DrainKilling ───────────► Done
//!  │   ├─ Restart ──► Stopping, Killing, and then Backoff
//!  │   └─ main ended by itself ──► Draining, or
//!  └───── time over ── Backoff
//! ```
//!
//! The server gets one TERM, and one more each time that it has missed it, the grace period, then
//! KILL. After its end all other processes get TERM, the drain time, then KILL. The main process is
//! not signalled after it was reaped: states without a main process have no effect that names it.

use std::time::Duration;

/// The way a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It exited with this code.
    Exit(i32),
    /// This signal ended it.
    Signal(i32),
}

impl Ended {
    /// Returns the exit code that a shell would give: 128+n for signal n.
    pub const fn code(self) -> i32 {
        match self {
            Self::Exit(code) => code,
            Self::Signal(number) => 128 + number,
        }
    }
}

/// An event that changes the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A request to stop everything (TERM, INT, QUIT, or the terminal hung up).
    Stop,
    /// A request to restart the server in place.
    Restart,
    /// The main process has ended and was reaped, or could not be started.
    MainEnded {
        /// The way it ended; exit code 126 or 127 if it could not be started.
        ended: Ended,
        /// The wait until the restart policy starts it again; `None`: it does not.
        again: Option<Duration>,
    },
    /// The main process has missed TERM.
    Unheard,
    /// No child is left.
    NobodyLeft,
    /// The armed timer has expired.
    Timeout,
}

/// An action to carry out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Send TERM to the main process.
    TermMain,
    /// Send KILL to the main process.
    KillMain,
    /// Send TERM to all remaining processes.
    TermAll,
    /// Send KILL to all remaining processes.
    KillAll,
    /// Raise `Timeout` after this time; replaces an armed timer.
    Arm(Duration),
    /// Cancel the armed timer.
    Disarm,
    /// Start the main process.
    Spawn,
    /// Exit with this code.
    Exit(i32),
}

/// The state of the main process and of the stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// There is no main process: reap and wait.
    Idle,
    /// The main process runs.
    Running,
    /// The main process got TERM.
    Stopping {
        /// True if it is started again after its end.
        again: bool,
    },
    /// The main process got KILL.
    Killing {
        /// True if it is started again after its end.
        again: bool,
    },
    /// The main process is gone, and is started again after a wait or at once.
    Backoff {
        /// Its exit code.
        code: i32,
    },
    /// No main process is waited for any more; all other processes got TERM.
    Draining {
        /// The exit code of the supervisor.
        code: i32,
        /// True if a stop was requested: one more request means KILL at once.
        asked: bool,
    },
    /// All other processes got KILL.
    DrainKilling {
        /// The exit code of the supervisor.
        code: i32,
    },
    /// Everything is over: the supervisor exits.
    Done,
}

/// The grace periods.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// The time from TERM to KILL of the main process.
    pub stop: Duration,
    /// The time from TERM to KILL of all other processes.
    pub drain: Duration,
}

/// Maximum wait for killed processes to vanish: a process in uninterruptible sleep must not hold
/// up the exit.
pub const KILL_TIMEOUT: Duration = Duration::from_millis(500);

/// The exit code for a main process that even KILL did not end in time.
const KILLED_EXIT_CODE: i32 = Ended::Signal(9).code();

/// Returns the next state, and the effects to carry out in this order.
pub fn step(state: RunState, event: Event, times: Times) -> (RunState, Vec<Effect>) {
    use Effect::{Arm, Disarm, Exit, KillAll, KillMain, Spawn, TermAll, TermMain};
    use RunState::{Backoff, Done, DrainKilling, Draining, Idle, Killing, Running, Stopping};

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
            Event::MainEnded { ended, again } => match again {
                Some(wait) => (Backoff { code: ended.code() }, vec![Arm(wait)]),
                None => drain(ended.code(), false),
            },
            Event::Unheard | Event::NobodyLeft | Event::Timeout => stay,
        },
        Stopping { again } => match event {
            // TERM was already sent; only what follows it changes.
            Event::Stop if again => (Stopping { again: false }, Vec::new()),
            Event::Unheard => (state, vec![TermMain]),
            Event::Stop | Event::Timeout => (Killing { again }, vec![KillMain, Arm(KILL_TIMEOUT)]),
            Event::MainEnded { ended, .. } if again => at_once(ended.code()),
            Event::MainEnded { ended, .. } => drain(ended.code(), true),
            Event::Restart | Event::NobodyLeft => stay,
        },
        Killing { again } => match event {
            Event::Stop if again => (Killing { again: false }, vec![Arm(KILL_TIMEOUT)]),
            Event::MainEnded { ended, .. } if again => at_once(ended.code()),
            Event::MainEnded { ended, .. } => drain(ended.code(), true),
            // Users restart a server that hangs on a disk: wait for its end.
            Event::Timeout if again => stay,
            Event::Timeout => drain(KILLED_EXIT_CODE, true),
            Event::Stop | Event::Restart | Event::Unheard | Event::NobodyLeft => stay,
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
                (DrainKilling { code }, vec![KillAll, Arm(KILL_TIMEOUT)])
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
#[path = "lifecycle_tests.rs"]
mod tests;
