//! The attempts to run the main process: which one is next, and what follows its end.

use std::time::{Duration, Instant};

use rustix::process::{getpgrp, getpid};
use tokio::sync::watch;

use crate::supervisor::attempt::{Attempt, Preparation, RescueReason, prepare_in_thread};
use crate::supervisor::lifecycle::{Ended, Event, RunState};
use crate::supervisor::spawn;
use crate::supervisor::spawn::{Program, SpawnError};
use crate::supervisor::terminal::Terminal;

use crate::supervisor::event_loop::{EventLoop, Main};

impl EventLoop<'_> {
    /// Starts the main process.
    pub(super) fn spawn(&mut self) {
        let (program, rescue) = match self.next_program() {
            Some((Ok(program), rescue)) => (program, rescue),
            Some((Err(error), _)) => return self.spawn_failed(&error),
            None => return,
        };
        let spawned = match &self.main {
            Main::Server(_) => spawn::server(&program),
            _ => spawn::command(&program, self.terminal.map(Terminal::descriptor)),
        };
        match spawned {
            Ok(spawned) => {
                self.pid = Some(spawned.pid);
                self.has_started = true;
                self.since = Instant::now();
                self.observer.started(spawned.pid, spawned.output, rescue);
            }
            Err(error) => self.spawn_failed(&error),
        }
    }

    /// Returns the program of the next attempt, and whether it is a rescue; `None`: there is none,
    /// or it is prepared first.
    fn next_program(&mut self) -> Option<(Result<Program, SpawnError>, bool)> {
        let prepared = self.preparation.take();
        let prepared = prepared.map(|channel| channel.borrow().clone());
        let attempt = match &mut self.main {
            Main::Server(server) => {
                let attempt = prepared.unwrap_or_else(|| server.attempt.clone());
                if let Attempt::Usual(_) = &attempt {
                    server.attempt.clone_from(&attempt);
                }
                attempt
            }
            Main::Command(program) => Attempt::Usual(program.clone()),
            Main::Idle => return None,
        };
        match attempt {
            Attempt::Usual(program) => Some((Ok(program), false)),
            Attempt::Rescue(program) => Some((program, true)),
            Attempt::NoRescue => {
                self.not_rescued();
                None
            }
            Attempt::Unprepared(reason) => {
                let why = RescueReason::Unprepared(reason.clone());
                match self.rescue_instead(&why) {
                    true => None,
                    false => Some((Err(SpawnError::unprepared(reason)), false)),
                }
            }
        }
    }

    /// Begins a rescue instead of an attempt that cannot be made. Returns false if there is none.
    fn rescue_instead(&mut self, reason: &RescueReason) -> bool {
        let rescued = self.before_rescue.is_none() && self.begin_rescue(reason);
        if rescued {
            let (ended, again) = (reason.ended(), Some(Duration::ZERO));
            self.event(Event::MainEnded { ended, again });
        }
        rescued
    }

    /// Begins to prepare a rescue. Returns false if there is none.
    fn begin_rescue(&mut self, reason: &RescueReason) -> bool {
        self.preparation = self.observer.rescue(reason);
        if self.preparation.is_some() {
            self.before_rescue = Some(match reason.ended() {
                // Jupyter ends so if we end it, and nobody could use it.
                Ended::Exit(0) => Ended::Exit(1),
                ended => ended,
            });
        }
        self.preparation.is_some()
    }

    fn spawn_failed(&mut self, error: &SpawnError) {
        self.take_terminal_back();
        let reason = RescueReason::NotStarted {
            cause: error.to_string(),
            code: error.code,
        };
        if self.rescue_instead(&reason) {
            return;
        }
        let ended = self.before_rescue.take().unwrap_or(reason.ended());
        let again = self.again_after_failure(ended);
        self.observer.failed(error, again);
        self.event(Event::MainEnded { ended, again });
    }

    /// The failed attempt counts, and its rescue is not made.
    fn not_rescued(&mut self) {
        let ended = self.before_rescue.take().unwrap_or(Ended::Exit(1));
        let again = self.again_after_failure(ended);
        self.observer.not_rescued(again);
        self.event(Event::MainEnded { ended, again });
    }

    /// Returns the wait before the next try after one without a process; `None`: there is none.
    fn again_after_failure(&mut self, ended: Ended) -> Option<Duration> {
        match &mut self.main {
            Main::Server(server) if self.has_started => {
                server.backoff.next_wait(ended, Duration::ZERO)
            }
            _ => None,
        }
    }

    /// Gives up a rescue that has not been started: a restart tries the usual server.
    pub(super) fn abandon_rescue(&mut self) {
        let waits = matches!(self.state, RunState::Backoff { .. });
        if waits && self.before_rescue.take().is_some() {
            self.preparation = None;
        }
    }

    /// Returns the channel of a preparation that the next attempt still has to wait for.
    pub(super) fn pending_preparation(&self) -> Option<Preparation> {
        let preparation = self.preparation.as_ref()?;
        let waits =
            matches!(self.state, RunState::Backoff { .. }) && preparation.has_changed().is_ok();
        waits.then(|| preparation.clone())
    }

    /// Begins to prepare the next attempt, unless a rescue is being prepared.
    pub(super) fn prepare(&mut self) {
        let Main::Server(server) = &self.main else {
            return;
        };
        if self.preparation.is_none() {
            let prepare = server.prepare.clone();
            let (sender, preparation) = watch::channel(server.attempt.clone());
            prepare_in_thread(sender, move || {
                prepare().map_or_else(Attempt::Unprepared, Attempt::Usual)
            });
            self.preparation = Some(preparation);
        }
    }

    pub(super) fn main_ended(&mut self, ended: Ended) {
        self.pid = None;
        self.realtime_queue.clear();
        self.continue_at = None;
        self.take_terminal_back();
        let early = self.state == RunState::Running && !self.observer.is_ready();
        let before_rescue = self.before_rescue.take().filter(|_| early);
        let rescued =
            early && before_rescue.is_none() && self.begin_rescue(&RescueReason::Ended(ended));
        let again = match (&mut self.main, self.state) {
            (Main::Server(_), RunState::Running) if rescued => Some(Duration::ZERO),
            (Main::Server(server), RunState::Running) => {
                let ended = before_rescue.unwrap_or(ended);
                server.backoff.next_wait(ended, self.since.elapsed())
            }
            (_, RunState::Stopping { again: true } | RunState::Killing { again: true }) => {
                Some(Duration::ZERO)
            }
            _ => None,
        };
        self.observer.ended(ended, again);
        // If the rescue fails, too, the code is that of what was to be rescued.
        let ended = before_rescue.unwrap_or(ended);
        self.event(Event::MainEnded { ended, again });
    }

    /// Takes the foreground back: a parent process, if there is one, waits for the terminal.
    fn take_terminal_back(&self) {
        if let Some(terminal) = self.terminal
            && !getpid().is_init()
        {
            terminal.set_foreground(getpgrp());
        }
    }
}
