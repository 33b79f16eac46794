//! Observes a running server: pumps its log, waits for its readiness, and reports both in the log
//! and in the state. Everything here runs beside the supervisor's loop and never blocks it.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Pid;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use crate::death::{Diagnosis, diagnose};
use crate::degradation::Degradation;
use crate::log::logfile::Logfile;
use crate::log::logger;
use crate::log::pump::ChunkObserver;
use crate::server::config_failures::ConfigFailure;
use crate::server::end_report::{killed_by_us, report_end, report_restart};
use crate::server::memory::MemoryWatch;
use crate::server::no_login;
use crate::server::notify;
use crate::server::outputs::{Outputs, STDERR, STDOUT};
use crate::server::probe::Url;
use crate::server::readiness::{LogReader, ready};
use crate::server::rescue::{RescuePlan, Rescued, Rescuer, unusable_without};
use crate::server::stop_check::StopCheck;
use crate::server::targets::Expected;
use crate::server::welcome::{DefaultPassword, Welcome};
use crate::state::{Phase, StatePublisher};
use crate::supervisor::Observer;
use crate::supervisor::attempt::{Preparation, RescueReason};
use crate::supervisor::lifecycle::Ended;
use crate::supervisor::spawn::SpawnError;
use crate::sys;

/// How long to wait for the last output of a server that ended, while a process that it left
/// behind holds the pipe open; also for the service manager's socket.
const OUTPUT_TIMEOUT: Duration = Duration::from_millis(200);

/// The longest wait for the state before the server is announced: on a busy disk a write takes long,
/// and whoever reads the announcement asks for the state.
const STATE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long after the server is ready its start still has work: the server logs its last lines.
const START_SETTLES: Duration = Duration::from_secs(1);

/// What is known about the server before it is started.
pub struct WatchOptions {
    /// True for `Mode::Hub`, false for `Mode::Lab`.
    pub hub: bool,
    /// True if the configuration turns the login off, which is reported already.
    pub login_is_off: bool,
    /// The targets at which the server is expected to answer.
    pub expected: Expected,
    /// The time after which an unready server is reported.
    pub ready_timeout: Duration,
    /// The time after which a server that has not ended is killed.
    pub stop_timeout: Duration,
    /// The default password; `None` if this start sets another one or none.
    pub default_password: Option<DefaultPassword>,
    /// The rescue of a server that ends before it is ready; `None`: there is none.
    pub rescue: Option<RescuePlan>,
    /// The news about the notebooks, for the welcome.
    pub news: Option<String>,
    /// The value of `$NOTIFY_SOCKET`; `None` if it is unset or empty.
    pub notify_socket: Option<OsString>,
    /// The time at which the whole start began.
    pub start: Instant,
    /// The finished parts of the start, for the boot line, with the time that each took.
    pub parts: Vec<(&'static str, Duration)>,
}

/// What a server lacks because it could not read files of its configuration.
#[derive(Default)]
struct Without {
    /// Why it cannot be used and is ended; `None`: it can be.
    unusable: Option<Diagnosis>,
    /// What it lacks, if it can be used.
    degradations: Vec<Degradation>,
}

/// Everything that looks at the server's log as it passes.
struct ChunkObservers {
    log_reader: LogReader,
    memory: Option<MemoryWatch>,
}

impl ChunkObserver for ChunkObservers {
    fn observe(&mut self, chunk: &[u8]) {
        self.log_reader.observe(chunk);
        if let Some(memory) = &self.memory {
            memory.read_soon();
        }
    }
}

/// The supervisor's observer of a server.
pub struct ServerObserver {
    plan: WatchOptions,
    state_writer: StatePublisher,
    outputs: Outputs,
    log_reader: Option<LogReader>,
    pumps: Vec<JoinHandle<()>>,
    readiness: Option<JoinHandle<()>>,
    rescuer: Rescuer,
    /// The watch on the container's memory, from the first start of the server on.
    memory: Option<MemoryWatch>,
    /// True if the server is a rescue.
    is_rescue: bool,
    /// True if the server was asked to stop.
    stop_asked: bool,
    /// Finds out whether the server has missed that.
    stop_check: StopCheck,
    /// Why we sent KILL to the server; `None`: we did not.
    killed: Option<Diagnosis>,
    /// What the server lacks because it could not read its configuration.
    without: Arc<Mutex<Without>>,
    /// True once a server was ready: the end of the start is reported only once.
    boot_reported: Arc<AtomicBool>,
    /// True once the usual server was welcomed. After a rescue it is welcomed again.
    welcomed: Arc<AtomicBool>,
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
        mut plan: WatchOptions,
        told: StatePublisher,
        logfile: Option<Logfile>,
    ) -> io::Result<Self> {
        let outputs = Outputs::start(logfile)?;
        let rescuer = Rescuer::new(plan.rescue.take());
        Ok(Self {
            plan,
            state_writer: told,
            outputs,
            log_reader: None,
            pumps: Vec::new(),
            readiness: None,
            rescuer,
            is_rescue: false,
            memory: None,
            stop_asked: false,
            stop_check: StopCheck::default(),
            killed: None,
            without: Arc::default(),
            boot_reported: Arc::default(),
            welcomed: Arc::default(),
            end_reports: Vec::new(),
            last_words: Arc::default(),
        })
    }

    /// Waits until all output is written, as long as its readers make progress and within the
    /// limits above. Returns why the last server failed, and the last lines of its log.
    pub async fn finish(mut self) -> (String, String) {
        for task in self.end_reports.drain(..).chain(self.pumps.drain(..)) {
            let _ = tokio::time::timeout(OUTPUT_TIMEOUT, task).await;
        }
        self.outputs.finish().await;
        std::mem::take(&mut lock(&self.last_words))
    }

    fn pump(&mut self, from: OwnedFd, stream: &'static str, words: &LogReader) {
        let observer = ChunkObservers {
            log_reader: words.clone(),
            memory: self.memory.clone(),
        };
        self.pumps.push(self.outputs.pump(from, stream, observer));
    }

    fn await_readiness(
        &mut self,
        pid: Pid,
        words: LogReader,
        urls: watch::Receiver<Vec<Url>>,
        rescued: Option<Rescued>,
    ) {
        let expected = self.plan.expected.clone();
        let timeout = self.plan.ready_timeout;
        let told = self.state_writer.clone();
        let spawned = Instant::now();
        // The first server that is ready ends the boot, whichever attempt it is. A later restart
        // reports only its own time.
        let announced = self.boot_reported.clone();
        let boot = !announced.load(Ordering::Relaxed);
        let (start, parts) = match boot {
            true => (self.plan.start, self.plan.parts.clone()),
            false => (spawned, Vec::new()),
        };
        let notify_socket = self.plan.notify_socket.clone().filter(|_| boot);
        let welcomed = self.welcomed.clone();
        let welcome = rescued.is_some() || !welcomed.load(Ordering::Relaxed);
        let default_password = self.plan.default_password.clone();
        let default_password = default_password.filter(|_| welcome && rescued.is_none());
        let news = self.plan.news.clone();
        let default_password = default_password.map(DefaultPassword::check);
        let (hub, login_is_off) = (self.plan.hub, self.plan.login_is_off);
        let stop_timeout = self.plan.stop_timeout;
        let (rescuer, without) = (self.rescuer.plan(), self.without.clone());
        let stop_check = self.stop_check.clone();
        self.readiness = Some(tokio::spawn(async move {
            let late = || {
                error!(
                    "the server does not answer after {} s; it keeps running. Its last words:\n{}",
                    timeout.as_secs_f32(),
                    words.last()
                );
            };
            let target = ready(&expected, urls, timeout, late).await;
            let (failures, open) = (words.config_failures(), words.needs_no_login());
            words.stop_reading();
            stop_check.set_target(target.clone());
            if let Some(unusable) = unusable_without(&failures, rescuer).await {
                warn!(
                    "the server is ended: it runs without {}, which decides where it listens or \
                     who may log in",
                    unusable.path
                );
                lock(&without).unusable = Some(unusable.diagnosis());
                end_in_vain(pid, stop_timeout).await;
            }
            let mut degradations: Vec<_> =
                failures.iter().map(ConfigFailure::degradation).collect();
            degradations.extend((open && !login_is_off).then(no_login::degradation));
            degradations.iter().for_each(|told| warn!("{told}"));
            lock(&without).degradations.clone_from(&degradations);
            let default = match default_password {
                Some(answer) => answer.await.ok(),
                None => None,
            };
            announced.store(true, Ordering::Relaxed);
            let mut parts = parts;
            parts.push(("server", spawned.elapsed()));
            told.update(|state| {
                if state.main_pid == Some(pid.as_raw_pid()) && state.phase != Phase::Stopping {
                    state.enter(Phase::Ready);
                }
                state.degradations.extend(degradations);
                state.probe = Some(target.to_string());
                state.boot = milliseconds(&parts);
            });
            // The state comes first: a reader of the following lines may query it at once.
            told.wait_written(STATE_TIMEOUT).await;
            if welcome {
                let welcome = Welcome {
                    hub,
                    target: &target,
                    default_password: default.as_deref(),
                    rescued: rescued.as_ref(),
                    news: news.as_deref(),
                };
                logger::print_text(&welcome.text());
                welcomed.store(rescued.is_none(), Ordering::Relaxed);
            }
            info!("ready in {}", format_times(start.elapsed(), &parts));
            if let Some(socket) = notify_socket {
                let _ = tokio::time::timeout(OUTPUT_TIMEOUT, notify::ready(socket)).await;
            }
            tokio::spawn(release_memory_after_start());
        }));
    }
}

/// Ends a server that nobody could use. Its end is that of this task.
async fn end_in_vain(pid: Pid, stop_timeout: Duration) {
    // This task ends before the process is reaped, so the pid is not another one's.
    let _ = sys::kill(pid.as_raw_pid(), libc::SIGTERM);
    tokio::time::sleep(stop_timeout).await;
    let _ = sys::kill(pid.as_raw_pid(), libc::SIGKILL);
    std::future::pending::<()>().await;
}

/// Gives back the memory of the start when it is over: its last lines would bring some back.
async fn release_memory_after_start() {
    tokio::time::sleep(START_SETTLES).await;
    sys::release_memory();
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Formats the times of the boot line: `0.71 s (claim 3 ms, server 640 ms)`.
pub fn format_times(all: Duration, parts: &[(&'static str, Duration)]) -> String {
    let parts: Vec<String> = parts
        .iter()
        .map(|(name, time)| format!("{name} {} ms", time.as_millis()))
        .collect();
    format!("{:.2} s ({})", all.as_secs_f64(), parts.join(", "))
}

/// Converts the parts of the start to milliseconds, for the state.
pub fn milliseconds(parts: &[(&'static str, Duration)]) -> Vec<(String, u64)> {
    let number = |time: &Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    parts
        .iter()
        .map(|(name, time)| ((*name).into(), number(time)))
        .collect()
}

impl Observer for ServerObserver {
    fn started(&mut self, pid: Pid, output: Option<(OwnedFd, OwnedFd)>, rescue: bool) {
        self.stop_asked = false;
        let rescued = self.rescuer.take_started().filter(|_| rescue);
        self.is_rescue = rescue;
        self.killed = None;
        let earlier = std::mem::take(&mut *lock(&self.without)).degradations;
        if self.memory.is_none() {
            self.memory = MemoryWatch::start(self.state_writer.clone());
        }
        self.state_writer.update(|state| {
            state.main_pid = Some(pid.as_raw_pid());
            state.restarts += u32::from(state.last_exit.is_some());
            state.degradations.retain(|told| !earlier.contains(told));
            state.rescue = rescued.as_ref().map(|rescued| rescued.broken.to_string());
        });
        let (words, urls) = LogReader::new();
        if let Some((stdout, stderr)) = output {
            self.pump(stdout, STDOUT, &words);
            self.pump(stderr, STDERR, &words);
        }
        self.log_reader = Some(words.clone());
        self.await_readiness(pid, words, urls, rescued);
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

    fn stopping(&mut self, again: bool, unheard: &Arc<Notify>) {
        self.stop_asked = true;
        self.stop_check
            .begin(self.plan.stop_timeout, unheard.clone());
        let phase = if again {
            info!("restarting the server in place");
            Phase::Restarting
        } else {
            Phase::Stopping
        };
        self.state_writer.update(|state| state.enter(phase));
    }

    fn killing(&mut self, late: bool) {
        self.killed = Some(killed_by_us(late, self.plan.stop_timeout));
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
        let unusable = lock(&self.without).unusable.take();
        self.end_reports.retain(|task| !task.is_finished());
        self.end_reports.push(tokio::spawn(async move {
            // The server's last output comes before the report of its end. A pump goes on, but is
            // no longer waited for, if a process that the server left behind holds its pipe open.
            for pump in pumps {
                let _ = tokio::time::timeout(OUTPUT_TIMEOUT, pump).await;
            }
            let diagnosis = match how {
                _ if unusable.is_some() => unusable,
                Ended::Signal(libc::SIGKILL) => killed.or_else(|| Some(memory?.diagnosis())),
                _ => None,
            };
            let log = log_reader.as_ref().map(LogReader::tail);
            let diagnosis = diagnosis.or_else(|| diagnose(how, was_ready, log.as_ref()?));
            let words = report_end(how, early, again, diagnosis.as_ref());
            // The end of the usual server says more than that of its rescue.
            if failed_rescue {
                return;
            }
            let last = log_reader.map(|log| log.last()).unwrap_or_default();
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

fn phase_after(again: Option<Duration>) -> Phase {
    match again {
        Some(_) => Phase::Restarting,
        None => Phase::Stopping,
    }
}
