//! Observes the servers of a start, one after the other: pumps the log, and reports how each one
//! ended and why. Everything here runs beside the supervisor's loop and never blocks it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::Pid;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tracing::{error, info};

use crate::death::{Diagnosis, diagnose};
use crate::log::logfile::Logfile;
use crate::server::announce::{Announcer, StartedServer, WatchOptions};
use crate::server::end_report::{killed_by_us, report_end, report_restart};
use crate::server::log_reader::LogReader;
use crate::server::memory::MemoryWatch;
use crate::server::outputs::{Outputs, Pump, STDERR, STDOUT};
use crate::server::rescue::Rescuer;
use crate::server::stop_check::StopCheck;
use crate::state::{Phase, StatePublisher};
use crate::supervisor::Observer;
use crate::supervisor::attempt::{Preparation, RescueReason};
use crate::supervisor::lifecycle::Ended;
use crate::supervisor::signals::{Received, Signals};
use crate::supervisor::spawn::SpawnError;
use crate::sys;
use crate::sys::lock;

/// The supervisor's observer of a server.
pub struct ServerObserver {
    stop_timeout: Duration,
    state_writer: StatePublisher,
    outputs: Outputs,
    log_reader: Option<LogReader>,
    pumps: Vec<Pump>,
    announcer: Announcer,
    /// The announcement of the running server, which is over when the server is ready.
    readiness: Option<JoinHandle<()>>,
    rescuer: Rescuer,
    /// The watch on the container's memory, from the first start of the server on.
    memory: Option<MemoryWatch>,
    /// True if the server is a rescue.
    is_rescue: bool,
    /// True if the server was asked to stop.
    stop_asked: bool,
    /// True if everything was asked to stop.
    exit_asked: bool,
    /// Finds out whether the server has missed that.
    stop_check: StopCheck,
    /// Why we sent KILL to the server; `None`: we did not.
    killed: Option<Diagnosis>,
    end_reports: Vec<JoinHandle<()>>,
    /// Why the last server failed, and the last lines of its log.
    last_words: Arc<Mutex<(String, String)>>,
}

impl ServerObserver {
    /// Starts the writers to the console and the logfile. Our own log uses them from now on.
    ///
    /// # Errors
    /// A descriptor cannot be duplicated, or a thread cannot be started.
    pub fn new(
        mut options: WatchOptions,
        state_writer: StatePublisher,
        logfile: Option<Logfile>,
    ) -> io::Result<Self> {
        let outputs = Outputs::start(logfile)?;
        let rescuer = Rescuer::new(options.rescue.take());
        let stop_check = StopCheck::default();
        Ok(Self {
            stop_timeout: options.stop_timeout,
            announcer: Announcer::new(options, state_writer.clone(), stop_check.clone()),
            state_writer,
            outputs,
            log_reader: None,
            pumps: Vec::new(),
            readiness: None,
            rescuer,
            is_rescue: false,
            memory: None,
            stop_asked: false,
            exit_asked: false,
            stop_check,
            killed: None,
            end_reports: Vec::new(),
            last_words: Arc::default(),
        })
    }

    /// Waits until all output is written, as long as its readers make progress, and not much
    /// longer than until `signals` have a request to stop. Returns why the last server failed, and
    /// the last lines of its log.
    pub async fn finish(self, signals: &Signals) -> (String, String) {
        let reports = async {
            for report in self.end_reports {
                let _ = report.await;
            }
        };
        let stop = async {
            if !self.exit_asked {
                stop_requested(signals).await;
            }
        };
        self.outputs.finish(reports, stop).await;
        std::mem::take(&mut lock(&self.last_words))
    }

    fn pump(&mut self, from: OwnedFd, stream: &'static str, log: &LogReader) {
        let (mut log_reader, memory) = (log.clone(), self.memory.clone());
        let observer = move |chunk: &[u8]| {
            log_reader.observe(chunk);
            if let Some(memory) = &memory {
                memory.read_soon();
            }
        };
        self.pumps.push(self.outputs.pump(from, stream, observer));
    }
}

impl Observer for ServerObserver {
    fn started(&mut self, pid: Pid, output: Option<(OwnedFd, OwnedFd)>, rescue: bool) {
        self.stop_asked = false;
        let rescued = self.rescuer.take_started().filter(|_| rescue);
        self.is_rescue = rescue;
        self.killed = None;
        let earlier = self.announcer.take_degradations();
        if self.memory.is_none() {
            self.memory = MemoryWatch::start(self.state_writer.clone());
        }
        self.state_writer.update(|state| {
            state.main_pid = Some(pid.as_raw_pid());
            state.restarts += u32::from(state.last_exit.is_some());
            state.degradations.retain(|told| !earlier.contains(told));
            state.rescue = rescued.as_ref().map(|rescued| rescued.broken.to_string());
        });
        let (log, urls) = LogReader::new();
        if let Some((stdout, stderr)) = output {
            self.pump(stdout, STDOUT, &log);
            self.pump(stderr, STDERR, &log);
        }
        self.log_reader = Some(log.clone());
        self.readiness = Some(self.announcer.start(StartedServer {
            pid,
            log,
            urls,
            rescued,
            rescue_plan: self.rescuer.plan().filter(|_| !rescue),
        }));
    }

    fn is_ready(&self) -> bool {
        self.readiness.as_ref().is_some_and(JoinHandle::is_finished)
    }

    fn rescue(&mut self, reason: &RescueReason) -> Option<Preparation> {
        let preparation = self.rescuer.begin(reason)?;
        if let RescueReason::Unprepared(cause) | RescueReason::NotStarted { cause, .. } = reason {
            *lock(&self.last_words) = (cause.clone(), String::new());
        }
        Some(preparation)
    }

    fn not_rescued(&mut self, again: Option<Duration>) {
        report_restart(again);
        self.state_writer
            .update(|state| state.enter(phase_after(again)));
    }

    fn exit_asked(&mut self) {
        self.exit_asked = true;
    }

    fn stopping(&mut self, again: bool, unheard: &Arc<Notify>) {
        self.stop_asked = true;
        self.stop_check.begin(self.stop_timeout, unheard.clone());
        let phase = if again {
            info!("restarting the server in place");
            Phase::Restarting
        } else {
            if !self.is_ready() {
                self.announcer.report_early_stop();
            }
            Phase::Stopping
        };
        if !self.is_ready()
            && let Some(readiness) = self.readiness.take()
        {
            // It may still answer, and must not be announced any more.
            readiness.abort();
        }
        self.state_writer.update(|state| state.enter(phase));
    }

    fn killing(&mut self, late: bool) {
        self.killed = Some(killed_by_us(late, self.stop_timeout));
    }

    fn ended(&mut self, how: Ended, again: Option<Duration>) {
        let (mut early, mut was_ready) = (false, false);
        if let Some(readiness) = self.readiness.take() {
            was_ready = readiness.is_finished();
            early = !self.stop_asked && !was_ready;
            readiness.abort();
        }
        self.stop_check.end();
        self.state_writer.update(|state| {
            state.main_pid = None;
            state.last_exit = Some(how.code());
            state.enter(phase_after(again));
        });
        let pumps: Vec<_> = self.pumps.drain(..).collect();
        let log_reader = self.log_reader.take().filter(|_| !self.stop_asked);
        let (killed, memory) = (self.killed.take(), self.memory.clone());
        let last_words = self.last_words.clone();
        let failed_rescue = early && self.is_rescue;
        let state_writer = self.state_writer.clone();
        let rescue = self.rescuer.awaited();
        let unusable = self.announcer.take_unusable();
        self.end_reports.retain(|task| !task.is_finished());
        self.end_reports.push(tokio::spawn(async move {
            // The server's last output comes before the report of its end.
            for pump in pumps {
                pump.wait().await;
            }
            let diagnosis = match how {
                _ if unusable.is_some() => unusable,
                Ended::Signal(libc::SIGKILL) => killed.or_else(|| Some(memory?.diagnosis())),
                _ => None,
            };
            let log = log_reader.as_ref().map(LogReader::tail);
            let diagnosis = diagnosis.or_else(|| diagnose(how, was_ready, log.as_ref()?));
            let last = log_reader.map(|log| log.last()).unwrap_or_default();
            let early = early.then_some(last.as_str());
            let words = report_end(how, early, again, diagnosis.as_ref());
            // The end of the usual server says more than that of its rescue.
            if failed_rescue {
                return;
            }
            *lock(&last_words) = (words, last);
            state_writer.update(|state| state.last_reason = diagnosis.clone());
            if let Some(rescue) = rescue {
                rescue.prepare(how, diagnosis, log.unwrap_or_default());
            }
        }));
    }

    fn failed(&mut self, error: &SpawnError, again: Option<Duration>) {
        error!("{error}");
        *lock(&self.last_words) = (error.to_string(), String::new());
        report_restart(again);
        self.state_writer.update(|state| {
            state.last_reason = None;
            state.enter(phase_after(again));
        });
    }

    fn reaped(&mut self) {
        if let Some(memory) = &self.memory {
            memory.read_soon();
        }
    }
}

/// Waits, after the event loop, for a signal that asks to stop. Returns also if none can be waited
/// for.
async fn stop_requested(signals: &Signals) {
    let Ok(source) = sys::watch(signals.as_fd()) else {
        return;
    };
    while !std::iter::from_fn(|| signals.next()).any(Received::is_stop) {
        match source.readable().await {
            Ok(mut ready) => ready.clear_ready(),
            Err(_) => return,
        }
    }
}

fn phase_after(again: Option<Duration>) -> Phase {
    match again {
        Some(_) => Phase::Restarting,
        None => Phase::Stopping,
    }
}
