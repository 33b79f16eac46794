//! What is told of a command, or of nothing: its state, and why it could not be started.
//! For the rest it speaks for itself.

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
    /// What else the command's name may have meant.
    hint: Option<String>,
}

impl Quiet {
    /// `hint` is told of a command that is not found.
    pub fn new(told: Told, hint: Option<String>) -> Self {
        Self { told, hint }
    }

    /// Whether `mode` needs no more than this.
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
