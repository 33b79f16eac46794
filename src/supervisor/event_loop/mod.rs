//! The event loop of PID 1.
//!
//! [`run`] waits only for the next event. Signals arrive through one file descriptor, deadlines
//! through timers. Other work that goes with a running main process (its log, its readiness) runs
//! in separate tasks.

mod attempts;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getpgrp, getpid, getppid};
use tokio::sync::Notify;
use tracing::error;

use crate::supervisor::attempt::{Preparation, RescueReason, Server};
use crate::supervisor::lifecycle::{Effect, Ended, Event, RunState, Times};
use crate::supervisor::orphans::Orphans;
use crate::supervisor::reaper::{self, ChildEvent};
use crate::supervisor::rt_queue::RealtimeQueue;
use crate::supervisor::signals::{Received, Signals};
use crate::supervisor::spawn::{Program, SpawnError};
use crate::supervisor::terminal::Terminal;
use crate::supervisor::{lifecycle, processes};
use crate::sys;

/// The main process, and how the supervisor treats it.
pub enum Main {
    /// A server: the supervisor translates signals for it and can restart it.
    Server(Server),
    /// A command: it gets every signal unchanged, as if there were no supervisor.
    Command(Program),
    /// No main process.
    Idle,
}

/// Receives what happens to the main process. No method may block.
pub trait Observer {
    /// The main process was started; `output` holds the read ends of its stdout and stderr pipes.
    /// `rescue`: it is the rescue that was prepared last.
    fn started(&mut self, pid: Pid, output: Option<(OwnedFd, OwnedFd)>, rescue: bool);
    /// Reports whether the main process became ready.
    fn is_ready(&self) -> bool;
    /// Begins to prepare a rescue of the server; `None`: it gets none. If it ended, `ended`
    /// follows.
    fn rescue(&mut self, _reason: &RescueReason) -> Option<Preparation> {
        None
    }
    /// The preparation found that nobody could use a rescue. The next try follows after `again`;
    /// `None`: there is no next try.
    fn not_rescued(&mut self, _again: Option<Duration>) {}
    /// Everything was asked to stop.
    fn exit_asked(&mut self) {}
    /// The main process was asked to stop; if `again`, it is started again after its end.
    /// `unheard` is notified if it has missed that.
    fn stopping(&mut self, again: bool, unheard: &Arc<Notify>);
    /// The main process gets KILL: if `late`, because it has not ended in time, otherwise because
    /// a second signal asked for that.
    fn killing(&mut self, _late: bool) {}
    /// The main process ended. It is started again after `again`; `None`: never.
    fn ended(&mut self, how: Ended, again: Option<Duration>);
    /// The main process could not be started. The next try follows after `again`; `None`: none.
    fn failed(&mut self, error: &SpawnError, again: Option<Duration>);
    /// A process that is not the main process ended, and was reaped.
    fn reaped(&mut self) {}
}

/// Maximum number of children to reap before signals get their turn, and of signals to read
/// before children get theirs: a storm of one must not hold up the other.
const BATCH: usize = 256;

/// Interval, during the drain, between checks whether processes that are not our descendants have
/// ended: the kernel does not report their end to us.
const NON_DESCENDANT_INTERVAL: Duration = Duration::from_millis(5);

/// Delay before a command that TTIN or TTOU stopped is continued, while another process group has
/// the foreground: continued at once, the command would stop again and again.
const CONTINUE_DELAY: Duration = Duration::from_millis(100);

/// Starts the main process, supervises all processes until the end and returns the exit code.
/// If `end_orphans`, ends the processes that kernels and terminals leave behind. Call it on a
/// current-thread runtime, after [`processes::adopt_orphans`], while no other thread is alive that
/// could wait for a process.
///
/// # Errors
/// The file descriptor for signals could not be watched.
pub async fn run(
    main: Main,
    times: Times,
    end_orphans: bool,
    signals: &Signals,
    observer: &mut dyn Observer,
) -> io::Result<i32> {
    let source = sys::watch(signals.as_fd())?;
    let mut life = EventLoop::new(main, times, signals, observer);
    let mut orphans = Orphans::new(end_orphans);
    loop {
        let more_signals = life.read_signals();
        let more_children = life.reap();
        if let Some(code) = life.exit {
            return Ok(code);
        }
        if more_signals || more_children {
            // Let the log pump and the other tasks run, and check the timer.
            tokio::task::yield_now().await;
            life.check_timer();
            continue;
        }
        tokio::select! {
            ready = source.readable() => ready?.clear_ready(),
            () = life.timer() => life.check_timer(),
            () = life.realtime_queue.room() => life.send_waiting(),
            () = life.non_descendant_check() => {}
            () = life.continue_timer() => life.continue_command(),
            () = life.unheard.notified() => life.event(Event::Unheard),
            () = orphans.due() => orphans.scan_processes(life.pid),
        }
    }
}

/// The state of the event loop, from the first start of the main process to the exit.
struct EventLoop<'a> {
    main: Main,
    times: Times,
    signals: &'a Signals,
    observer: &'a mut dyn Observer,
    state: RunState,
    pid: Option<Pid>,
    /// When to continue a command that TTIN or TTOU stopped; `None`: there is nothing to continue.
    continue_at: Option<Instant>,
    realtime_queue: RealtimeQueue<'a>,
    /// True if only processes are left whose end the kernel does not report to us.
    only_non_descendants: bool,
    /// True once a start of the main process has succeeded: a later failure is no misspelt name.
    has_started: bool,
    since: Instant,
    timer_end: Option<Instant>,
    /// The preparation of the next attempt; `None`: none was begun.
    preparation: Option<Preparation>,
    /// How the attempt before a rescue ended; `None`: there is no rescue.
    before_rescue: Option<Ended>,
    /// Notified if the main process has missed that it was asked to stop.
    unheard: Arc<Notify>,
    terminal: Option<Terminal>,
    exit: Option<i32>,
}

impl<'a> EventLoop<'a> {
    fn new(main: Main, times: Times, signals: &'a Signals, observer: &'a mut dyn Observer) -> Self {
        let state = match main {
            Main::Idle => RunState::Idle,
            _ => RunState::Running,
        };
        let terminal = match main {
            Main::Command(_) => Terminal::foreground_terminal(),
            _ => None,
        };
        let mut life = Self {
            main,
            times,
            signals,
            observer,
            state,
            pid: None,
            continue_at: None,
            realtime_queue: RealtimeQueue::new(signals),
            only_non_descendants: false,
            has_started: false,
            since: Instant::now(),
            timer_end: None,
            preparation: None,
            before_rescue: None,
            unheard: Arc::default(),
            terminal,
            exit: None,
        };
        if state == RunState::Running {
            life.spawn();
        }
        life
    }

    async fn timer(&self) {
        let Some(alarm) = self.timer_end else {
            return std::future::pending().await;
        };
        tokio::time::sleep_until(alarm.into()).await;
        if let Some(mut preparation) = self.pending_preparation() {
            let _ = preparation.changed().await;
        }
    }

    fn check_timer(&mut self) {
        let over = self.timer_end.is_some_and(|alarm| alarm <= Instant::now());
        if over && matches!(self.state, RunState::Backoff { .. }) {
            self.prepare();
        }
        if over && self.pending_preparation().is_none() {
            self.timer_end = None;
            if let RunState::Killing { again: true } = self.state {
                error!("the server has not ended after KILL: it is waited for");
            }
            self.event(Event::Timeout);
        }
    }

    async fn non_descendant_check(&self) {
        if !self.only_non_descendants {
            return std::future::pending().await;
        }
        tokio::time::sleep(NON_DESCENDANT_INTERVAL).await;
    }

    async fn continue_timer(&self) {
        match self.continue_at {
            Some(time) => tokio::time::sleep_until(time.into()).await,
            None => std::future::pending().await,
        }
    }

    /// Reads a batch of signals. Returns true if there may be more.
    fn read_signals(&mut self) -> bool {
        for _ in 0..BATCH {
            match self.signals.next() {
                Some(received) => self.signal(received),
                None => return false,
            }
        }
        true
    }

    /// Reaps a batch of children. Returns true if there may be more.
    fn reap(&mut self) -> bool {
        for _ in 0..BATCH {
            match reaper::poll_child() {
                ChildEvent::Ended(pid, how) if self.pid == Some(pid) => self.main_ended(how),
                ChildEvent::Ended(..) => self.observer.reaped(),
                ChildEvent::Stopped(pid, by) => self.stopped(pid, by),
                ChildEvent::NoChange => {
                    self.only_non_descendants = false;
                    if matches!(self.state, RunState::DrainKilling { .. })
                        && processes::must_repeat_kill()
                    {
                        processes::signal_all(Signal::KILL);
                    }
                    return false;
                }
                ChildEvent::NoChildLeft => {
                    // When we exit, the kernel kills processes that are not our
                    // descendants. They get the same drain time as our descendants.
                    let draining = matches!(self.state, RunState::Draining { .. });
                    self.only_non_descendants = draining && processes::non_descendants_left();
                    if !self.only_non_descendants {
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

    /// Handles a command that was stopped. If we are PID 1, no other process can continue it, so
    /// we do. Otherwise we stop too, so that a shell sees a stopped job. STOP may be from a process
    /// that only pauses the command: then we stop only if a shell at a terminal can continue us.
    fn stopped(&mut self, pid: Pid, by: i32) {
        if self.pid != Some(pid) || !matches!(self.main, Main::Command(_)) {
            return;
        }
        if !getpid().is_init() {
            let has_shell = getppid().is_some_and(|parent| !parent.is_init());
            let at_terminal = self.terminal.is_some();
            let is_job = match by == Signal::STOP.as_raw() {
                true => has_shell && at_terminal,
                false => has_shell || at_terminal,
            };
            if is_job {
                let _ = sys::kill(getpid().as_raw_pid(), Signal::STOP.as_raw());
            }
            return;
        }
        // These stop a process that uses the terminal and is not in its foreground.
        let behind = [Signal::TTIN, Signal::TTOU]
            .iter()
            .any(|wants| wants.as_raw() == by);
        let front = self.terminal.and_then(Terminal::foreground);
        match (self.terminal, front.filter(|front| behind && *front != pid)) {
            (Some(_), Some(others)) if processes::group_is_alive(others) => {
                self.continue_at = Some(Instant::now() + CONTINUE_DELAY);
            }
            // No process is left in the foreground process group.
            (Some(terminal), Some(_)) => {
                terminal.set_foreground(pid);
                self.continue_command();
            }
            _ => self.continue_command(),
        }
    }

    /// Continues the command and all processes of its group, which were stopped with it.
    fn continue_command(&mut self) {
        self.continue_at = None;
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
            (Main::Server(..), Some(pid)) if received.is_passed_to_server() => {
                self.forward(pid, received);
            }
            (Main::Server(..), _) if received.is_restart() => {
                self.abandon_rescue();
                self.event(Event::Restart);
            }
            _ if received.is_stop() => {
                self.observer.exit_asked();
                self.event(Event::Stop);
            }
            _ => {}
        }
    }

    /// Forwards a signal once, without waiting.
    fn forward(&mut self, pid: Pid, received: Received) {
        if received.is_real_time() {
            return self.realtime_queue.send(pid, received);
        }
        let mut target = pid.as_raw_pid();
        if received.number == Signal::CONT.as_raw()
            && let Some(terminal) = self.terminal
        {
            // The parent shell continued us. The whole job was stopped with the command,
            // so it gets CONT, and the terminal if we are in the foreground again.
            if terminal.foreground() == Some(getpgrp()) {
                terminal.set_foreground(pid);
            }
            target = -target;
        }
        // The process may have just ended, or refuse our signals: nothing else can be done.
        let _ = sys::kill(target, received.number);
    }

    fn send_waiting(&mut self) {
        if let Some(pid) = self.pid {
            self.realtime_queue.pass_on(pid);
        }
    }

    fn event(&mut self, event: Event) {
        let (state, effects) = lifecycle::step(self.state, event, self.times);
        let before = std::mem::replace(&mut self.state, state);
        match state {
            RunState::Stopping { again } if state != before => {
                self.observer.stopping(again, &self.unheard);
            }
            RunState::Killing { .. } if matches!(before, RunState::Stopping { .. }) => {
                self.observer.killing(event == Event::Timeout);
            }
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
            Effect::TermAll => processes::signal_all(Signal::TERM),
            Effect::KillAll => processes::signal_all(Signal::KILL),
            Effect::Arm(time) => self.timer_end = Some(Instant::now() + time),
            Effect::Disarm => self.timer_end = None,
            Effect::Spawn => self.spawn(),
            Effect::Exit(code) => self.exit = Some(code),
        }
    }

    /// Signals the main process. Its pid is forgotten when it is reaped, so this cannot reach
    /// another process that reuses the pid.
    fn signal_main(&self, signal: Signal) {
        if let Some(pid) = self.pid {
            let _ = sys::kill(pid.as_raw_pid(), signal.as_raw());
            if signal == Signal::TERM {
                let _ = sys::kill(pid.as_raw_pid(), Signal::CONT.as_raw());
            }
        }
    }
}
