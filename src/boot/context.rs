//! The data that all phases of a start share, and the user that the server runs as.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::boot::certificate_request::CertificateRequest;
use crate::boot::changes::Changes;
use crate::boot::failure::Failure;
use crate::boot::report::Report;
use crate::hooks::Variables;
use crate::identity::{Account, Dropped};
use crate::password::Wanted;
use crate::server::program::Launch;
use crate::settings::Settings;
use crate::state::Mode;
use crate::supervisor::signals::Signals;
use crate::volume::{DefaultsPreview, VolumeError};

/// The data that all phases share.
pub struct Start<'a> {
    /// The checked settings.
    pub settings: &'static Settings,
    /// The program to run: a server, a command, or nothing.
    pub launch: Launch,
    /// True if the start is, or is in, the COMMAND of another start of this container.
    pub below: bool,
    /// All signals of this process.
    pub signals: &'a Signals,
    pub password: Wanted,
    /// The Python of a rescue; `None`: there is none, or a rescue is not wanted.
    pub rescue_python: Option<PathBuf>,
    /// Why the usual server must not be started, only a rescue; `None`: it can be.
    pub unprepared: Option<String>,
    /// The request for https; `None`: there is none.
    pub tls: Option<CertificateRequest>,
    /// Variables that hooks wrote for the server's environment and that are not in it yet.
    pub variables: Variables,
    /// True if root wrote a record of the settings for the verbs.
    pub recorded: bool,
    /// The changes: made, or previewed by a dry run.
    pub changes: Changes,
    /// In a dry run: root's preview of the notebooks, if only root can read them now.
    pub notebooks: Option<Result<DefaultsPreview, VolumeError>>,
    /// The report, which logs each degradation and keeps it for the state.
    pub report: Report,
}

impl<'a> Start<'a> {
    /// Returns an error if a stop signal has arrived.
    pub fn check_stop(&self) -> Result<(), Failure> {
        match self.signals.stop_requested() {
            Some(received) => Err(Failure::Stopped {
                signal: received.number,
            }),
            None => Ok(()),
        }
    }

    /// Returns a function that reports whether a stop signal has arrived, so that long work ends.
    pub fn stop(&self) -> impl Fn() -> bool + use<'a> {
        let signals = self.signals;
        move || signals.stop_requested().is_some()
    }

    /// Returns the words of the command; empty: none is run.
    pub fn command(&self) -> &[OsString] {
        match &self.launch {
            Launch::Command(words) => words,
            Launch::Server(_) | Launch::Idle => &[],
        }
    }

    /// Returns the mode of the state: what is run.
    pub fn mode(&self) -> Mode {
        match &self.launch {
            Launch::Server(server) if server.hub => Mode::Hub,
            Launch::Server(_) => Mode::Lab,
            Launch::Command(_) => Mode::Command,
            Launch::Idle => Mode::Idle,
        }
    }
}

/// The user that the server runs as after the drop.
pub struct ServerUser {
    pub account: Account,
    /// Proof that root is dropped, was never there, or is kept on purpose.
    pub dropped: Dropped,
}

/// Does some work; returns its result and its duration.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed())
}
