//! PID 1: the event loop, signals, the reaper, the terminal, stop and restart.
//!
//! [`run`] never blocks on anything but the next event: signals arrive through one
//! descriptor, time through one timer, and whatever else has to be done while the
//! main process lives (its log, its readiness) runs as tasks beside it.

pub mod check;
pub mod everyone;
mod held;
pub mod interpreter;
mod orphans;
pub mod reaper;
pub mod restart;
pub mod signals;
pub mod spawn;
pub mod stop;
pub mod terminal;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getpid};
use tokio::sync::watch;
use tracing::error;

use crate::sys;
use held::Held;
use orphans::Orphans;
use reaper::Found;
use restart::Backoff;
use signals::{Received, Signals};
use spawn::{Program, SpawnError};
use stop::{Effect, Ended, Event, State, Times};
use terminal::Terminal;

/// Prepares the next start of a server, on a thread of its own: it may wait for a disk.
pub type Prepare = Arc<dyn Fn() + Send + Sync>;

/// What the main process is to us.
pub enum Main {
    /// A server that we look after: signals are translated, it can be restarted.
    Server(Program, Backoff, Prepare),
    /// A command that should not notice us: every signal is its own.
    Command(Program),
    /// None.
    Idle,
}

/// Who is told what happens to the main process. Nothing here may block.
pub trait Observer {
    /// It was started; `output` are the reading ends of its stdout and stderr.
    fn started(&mut self, pid: Pid, output: Option<(OwnedFd, OwnedFd)>);
    /// It was asked to stop, for good or to be started `again`.
    fn stopping(&mut self, again: bool);
    /// It ended; `again`: it is started again after this time.
    fn ended(&mut self, how: Ended, again: Option<Duration>);
    /// It could not be started; `again`: that is tried again after this time.
    fn failed(&mut self, error: &SpawnError, again: Option<Duration>);
}

/// How many children are reaped before signals get their turn, and how many signals
/// are read before children get theirs: a storm of one must not hold up the other.
const BATCH: usize = 256;

/// How soon it is looked again, during the drain, whether strangers have ended: they are
/// nobody's whose end we hear of.
const STRANGERS: Duration = Duration::from_millis(5);

/// How long a command that was stopped for want of the foreground stays so while others
/// have it: continued at once, it would be stopped again and again.
const FOREGROUND: Duration = Duration::from_millis(100);

/// Starts the main process and looks after everything until the end; returns the
/// exit code. `end_orphans`: what kernels and terminals leave behind is ended. Call it on a current-thread runtime, with no other thread alive that
/// could wait for a process, after [`everyone::adopt_orphans`].
///
/// # Errors
/// The descriptor of signals could not be watched.
pub async fn run(
    main: Main,
    times: Times,
    end_orphans: bool,
    signals: &Signals,
    observer: &mut dyn Observer,
) -> io::Result<i32> {
    let source = sys::watch(signals.as_fd())?;
    let mut life = Life::new(main, times, signals, observer);
    let mut orphans = Orphans::new(end_orphans);
    loop {
        let more_signals = life.read_signals();
        let more_children = life.reap();
        if let Some(code) = life.exit {
            return Ok(code);
        }
        if more_signals || more_children {
            // The log pump and the others have their turn, and the timer its own.
            tokio::task::yield_now().await;
            life.check_timer();
            continue;
        }
        tokio::select! {
            ready = source.readable() => ready?.clear_ready(),
            () = life.timer() => life.check_timer(),
            () = life.held.room() => life.pass_on(),
            () = life.strangers() => {}
            () = life.foreground() => life.go_on(),
            () = orphans.due() => orphans.look(life.pid),
        }
    }
}

/// The life of the main process and of everyone else.
struct Life<'a> {
    main: Main,
    times: Times,
    signals: &'a Signals,
    observer: &'a mut dyn Observer,
    state: State,
    pid: Option<Pid>,
    /// When it goes on, if it was stopped for want of the foreground.
    goes_on: Option<Instant>,
    held: Held<'a>,
    /// Whether only those are left whose end we do not hear of.
    strangers: bool,
    /// Whether the main process could be started once: what fails later is no misprint.
    came_up: bool,
    since: Instant,
    alarm: Option<Instant>,
    /// The channel closes when the next start is prepared.
    prepared: Option<watch::Receiver<()>>,
    terminal: Option<Terminal>,
    exit: Option<i32>,
}

impl<'a> Life<'a> {
    fn new(main: Main, times: Times, signals: &'a Signals, observer: &'a mut dyn Observer) -> Self {
        let state = match main {
            Main::Idle => State::Idle,
            _ => State::Running,
        };
        let terminal = match main {
            Main::Command(_) => Terminal::ours(),
            _ => None,
        };
        let mut life = Self {
            main,
            times,
            signals,
            observer,
            state,
            pid: None,
            goes_on: None,
            held: Held::new(signals),
            strangers: false,
            came_up: false,
            since: Instant::now(),
            alarm: None,
            prepared: None,
            terminal,
            exit: None,
        };
        if state == State::Running {
            life.spawn();
        }
        life
    }

    fn spawn(&mut self) {
        let spawned = match &self.main {
            Main::Server(program, ..) => spawn::server(program),
            Main::Command(program) => {
                spawn::command(program, self.terminal.map(Terminal::descriptor))
            }
            Main::Idle => return,
        };
        match spawned {
            Ok(spawned) => {
                self.pid = Some(spawned.pid);
                self.came_up = true;
                self.since = Instant::now();
                self.observer.started(spawned.pid, spawned.output);
            }
            Err(error) => {
                self.take_terminal_back();
                let ended = Ended::Exit(error.code());
                let again = match &mut self.main {
                    Main::Server(_, backoff, _) if self.came_up => {
                        backoff.after(ended, Duration::ZERO)
                    }
                    _ => None,
                };
                self.observer.failed(&error, again);
                self.event(Event::SpawnFailed { ended, again });
            }
        }
    }

    async fn timer(&self) {
        let Some(alarm) = self.alarm else {
            return std::future::pending().await;
        };
        tokio::time::sleep_until(alarm.into()).await;
        if let Some(mut prepared) = self.unprepared() {
            let _ = prepared.changed().await;
        }
    }

    /// Returns the preparation that the next start still waits for.
    fn unprepared(&self) -> Option<watch::Receiver<()>> {
        let prepared = self.prepared.as_ref()?;
        let waits = matches!(self.state, State::Backoff { .. }) && prepared.has_changed().is_ok();
        waits.then(|| prepared.clone())
    }

    /// Starts the preparation of the next start.
    fn prepare(&mut self) {
        let Main::Server(.., prepare) = &self.main else {
            return;
        };
        let (working, prepared) = watch::channel(());
        let prepare = prepare.clone();
        let thread = std::thread::Builder::new().name("prepare".into());
        let started = thread.spawn(move || {
            prepare();
            drop(working);
        });
        if let Err(error) = started {
            error!("the next start of the server is not prepared: {error}");
        }
        self.prepared = Some(prepared);
    }

    fn check_timer(&mut self) {
        let over = self.alarm.is_some_and(|alarm| alarm <= Instant::now());
        if over && self.unprepared().is_none() {
            self.alarm = None;
            if let State::Killing { again: true } = self.state {
                error!("the server has not ended after KILL: it is waited for");
            }
            self.event(Event::Timeout);
        }
    }

    async fn strangers(&self) {
        if !self.strangers {
            return std::future::pending().await;
        }
        tokio::time::sleep(STRANGERS).await;
    }

    async fn foreground(&self) {
        match self.goes_on {
            Some(time) => tokio::time::sleep_until(time.into()).await,
            None => std::future::pending().await,
        }
    }

    /// Reads a batch of signals; whether there may be more.
    fn read_signals(&mut self) -> bool {
        for _ in 0..BATCH {
            match self.signals.next() {
                Some(received) => self.signal(received),
                None => return false,
            }
        }
        true
    }

    /// Reaps a batch; whether there may be more.
    fn reap(&mut self) -> bool {
        for _ in 0..BATCH {
            match reaper::look() {
                Found::Ended(pid, how) if self.pid == Some(pid) => self.main_ended(how),
                Found::Ended(..) => {}
                Found::Stopped(pid, by) => self.stopped(pid, by),
                Found::Nothing => {
                    self.strangers = false;
                    if matches!(self.state, State::DrainKilling { .. })
                        && everyone::must_sweep_again()
                    {
                        everyone::signal(Signal::KILL);
                    }
                    return false;
                }
                Found::NobodyLeft => {
                    // With us, the kernel kills who was not below us; they have the
                    // same time to end by themselves as everyone else.
                    let draining = matches!(self.state, State::Draining { .. });
                    self.strangers = draining && everyone::strangers_are_left();
                    if !self.strangers {
                        self.event(Event::NobodyLeft);
                    }
                    return false;
                }
            }
            if self.exit.is_some() {
                return false;
            }
        }
        true
    }

    fn main_ended(&mut self, ended: Ended) {
        self.pid = None;
        self.held.clear();
        self.goes_on = None;
        self.take_terminal_back();
        let again = match (&mut self.main, self.state) {
            (Main::Server(_, backoff, _), State::Running) => {
                backoff.after(ended, self.since.elapsed())
            }
            (_, State::Stopping { again: true } | State::Killing { again: true }) => {
                Some(Duration::ZERO)
            }
            _ => None,
        };
        self.observer.ended(ended, again);
        self.event(Event::MainEnded { ended, again });
    }

    /// Whoever is above us, if anybody is, waits for the terminal.
    fn take_terminal_back(&self) {
        if let Some(terminal) = self.terminal
            && !getpid().is_init()
        {
            terminal.take_back();
        }
    }

    /// A command that stopped itself: as PID 1 there is nobody who could continue
    /// it; otherwise we stop too, so that the shell above us sees a stopped job.
    fn stopped(&mut self, pid: Pid, by: i32) {
        if self.pid != Some(pid) || !matches!(self.main, Main::Command(_)) {
            return;
        }
        if !getpid().is_init() {
            let _ = sys::kill(getpid().as_raw_pid(), Signal::STOP.as_raw());
            return;
        }
        // It uses the terminal, and is not in its foreground.
        let behind = [Signal::TTIN, Signal::TTOU]
            .iter()
            .any(|wants| wants.as_raw() == by);
        let front = self.terminal.and_then(Terminal::foreground);
        match (self.terminal, front.filter(|front| behind && *front != pid)) {
            (Some(_), Some(others)) if everyone::group_lives(others) => {
                self.goes_on = Some(Instant::now() + FOREGROUND);
            }
            // Nobody is left there.
            (Some(terminal), Some(_)) => {
                terminal.give_to(pid);
                self.go_on();
            }
            _ => self.go_on(),
        }
    }

    /// The command goes on, with everyone who was stopped with it.
    fn go_on(&mut self) {
        self.goes_on = None;
        if let Some(pid) = self.pid {
            let _ = sys::kill(-pid.as_raw_pid(), Signal::CONT.as_raw());
        }
    }

    fn signal(&mut self, received: Received) {
        if received.is_child() {
            return;
        }
        match (&self.main, self.pid) {
            (Main::Command(_), Some(pid)) => self.forward(pid, received),
            (Main::Server(..), Some(pid)) if received.is_for_the_server() => {
                self.forward(pid, received);
            }
            (Main::Server(..), _) if received.is_restart() => self.event(Event::Restart),
            _ if received.is_stop() => self.event(Event::Stop),
            _ => {}
        }
    }

    /// Passes a signal on, once, and never waits.
    fn forward(&mut self, pid: Pid, received: Received) {
        if received.is_real_time() {
            return self.held.send(pid, received);
        }
        let mut target = pid.as_raw_pid();
        if received.number == Signal::CONT.as_raw()
            && let Some(terminal) = self.terminal
        {
            // The shell above us put us into the foreground again: the whole job
            // was stopped with the command, and gets the terminal back.
            if terminal.is_ours_now() {
                terminal.give_to(pid);
            }
            target = -target;
        }
        // That it just ended, or may not be signalled by us, is as it is.
        let _ = sys::kill(target, received.number);
    }

    fn pass_on(&mut self) {
        if let Some(pid) = self.pid {
            self.held.pass_on(pid);
        }
    }

    fn event(&mut self, event: Event) {
        let (state, effects) = stop::step(self.state, event, self.times);
        let before = std::mem::replace(&mut self.state, state);
        match state {
            State::Stopping { again } if state != before => self.observer.stopping(again),
            State::Backoff { .. } if state != before => self.prepare(),
            _ => {}
        }
        for effect in effects {
            self.carry_out(effect);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::TermMain => self.signal_main(Signal::TERM),
            Effect::KillMain => self.signal_main(Signal::KILL),
            Effect::TermAll => everyone::signal(Signal::TERM),
            Effect::KillAll => everyone::signal(Signal::KILL),
            Effect::Arm(time) => self.alarm = Some(Instant::now() + time),
            Effect::Disarm => self.alarm = None,
            Effect::Spawn => self.spawn(),
            Effect::Exit(code) => self.exit = Some(code),
        }
    }

    /// The pid is known only until it is reaped, so it cannot be another's by now.
    fn signal_main(&self, signal: Signal) {
        if let Some(pid) = self.pid {
            let _ = sys::kill(pid.as_raw_pid(), signal.as_raw());
            if signal == Signal::TERM {
                let _ = sys::kill(pid.as_raw_pid(), Signal::CONT.as_raw());
            }
        }
    }
}
