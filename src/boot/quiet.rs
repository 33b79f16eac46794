//! The observer of a command or of nothing. It keeps the state and logs why the command could
//! not be started. A command prints everything else itself.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::process::Pid;
use tracing::error;

use crate::state::{Mode, Phase, Told};
use crate::supervisor::Observer;
use crate::supervisor::spawn::SpawnError;
use crate::supervisor::stop::Ended;
use crate::sys;

/// An observer of a command, or of nothing.
pub struct Quiet {
    told: Told,
    /// A guess at the command that was meant; `None`: there is none.
    hint: Option<String>,
}

impl Quiet {
    /// Returns an observer, which logs `hint` if the command is not found.
    pub fn new(told: Told, hint: Option<String>) -> Self {
        Self { told, hint }
    }

    /// Reports whether this observer is enough for `mode`.
    pub fn suits(mode: Mode) -> bool {
        matches!(mode, Mode::Command | Mode::Idle)
    }
}

impl Observer for Quiet {
    fn started(&mut self, pid: Pid, _: Option<(OwnedFd, OwnedFd)>) {
        self.told.update(|state| {
            state.main_pid = Some(pid.as_raw_pid());
        });
        sys::give_back_memory();
    }

    fn stopping(&mut self, _: bool) {
        self.told.update(|state| state.enter(Phase::Stopping));
    }

    fn ended(&mut self, how: Ended, _: Option<Duration>) {
        self.told.update(|state| {
            state.main_pid = None;
            state.last_exit = Some(how.code());
            state.enter(Phase::Stopping);
        });
    }

    fn failed(&mut self, error: &SpawnError, _: Option<Duration>) {
        match &self.hint {
            Some(hint) if error.code() == 127 => error!("{error}; {hint}"),
            _ => error!("{error}"),
        }
        self.told.update(|state| state.enter(Phase::Stopping));
    }
}
