//! Observes a running server: pumps its log, waits for its readiness, and reports both in the log
//! and in the state. Everything here runs beside the supervisor's loop and never blocks it.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Pid;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use crate::death::{Diagnosis, diagnose};
use crate::log::logger;
use crate::log::pump;
use crate::log::pump::{ChunkObserver, pump};
use crate::log::server_json::JsonLines;
use crate::log::sink::{Finish, Sink};
use crate::server::end_report::{killed_by_us, report_end, report_restart};
use crate::server::memory::MemoryWatch;
use crate::server::notify;
use crate::server::probe::Url;
use crate::server::readiness::{LogReader, ready};
use crate::server::rescue::{Broken, RescuePlan, Rescued};
use crate::server::targets::Expected;
use crate::server::welcome::Welcome;
use crate::settings::LogFormat;
use crate::state::{Phase, StatePublisher};
use crate::supervisor::Observer;
use crate::supervisor::attempt::{
    Attempt, Preparation, PreparationSender, RescueReason, prepare_in_thread,
};
use crate::supervisor::lifecycle::Ended;
use crate::supervisor::spawn::SpawnError;
use crate::sys;

/// How long to wait for the last output of a server that ended, while a process that it left
/// behind holds the pipe open; also for the service manager's socket.
const OUTPUT_TIMEOUT: Duration = Duration::from_millis(200);

/// How long a slow reader may take for the last lines after all processes have ended. Together
/// with the default stop and drain timeouts this is less than Docker's 10 s.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The names of the server's streams in JSON lines.
const STDOUT: &str = "stdout";
const STDERR: &str = "stderr";

/// The default password, and a check whether it is effective.
#[derive(Clone)]
pub struct DefaultPassword {
    /// The password, which is public.
    pub text: String,
    /// Reports whether the password is effective. Computes for some 50 ms.
    pub is_effective: Arc<dyn Fn() -> bool + Send + Sync>,
}

/// What is known about the server before it is started.
pub struct WatchOptions {
    /// True for `Mode::Hub`, false for `Mode::Lab`.
    pub hub: bool,
    /// The targets at which the server is expected to answer.
    pub expected: Expected,
    /// The time after which an unready server is reported.
    pub ready_timeout: Duration,
    /// The time after which a server that has not ended is killed.
    pub stop_timeout: Duration,
    /// The default password; `None` if this start sets another one or none.
    pub default_password: Option<DefaultPassword>,
    /// The rescue of a server that ends before it is ready; `None`: there is none.
    pub rescue: Option<Arc<RescuePlan>>,
    /// The news about the notebooks, for the welcome.
    pub news: Option<String>,
    /// The value of `$NOTIFY_SOCKET`; `None` if it is unset or empty.
    pub notify_socket: Option<OsString>,
    /// The time at which the whole start began.
    pub start: Instant,
    /// The finished parts of the start, for the boot line, with the time that each took.
    pub parts: Vec<(&'static str, Duration)>,
}

/// The destinations of the server's output.
struct Outputs {
    stdout: Sink,
    stderr: Sink,
    logfile: Option<Sink>,
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
    outputs: Option<Outputs>,
    finishes: Vec<Finish>,
    log_reader: Option<LogReader>,
    /// Number of server streams so far, over all starts; the sinks use it as the stream's source.
    streams: u32,
    pumps: Vec<JoinHandle<()>>,
    readiness: Option<JoinHandle<()>>,
    /// Where the rescue of the server that just ended is awaited; `None`: it gets none.
    awaited_rescue: Option<PreparationSender>,
    /// The rescue that was prepared and not started yet.
    rescued: Arc<Mutex<Option<Rescued>>>,
    /// The watch on the container's memory, from the first start of the server on.
    memory: Option<MemoryWatch>,
    /// True if the server is a rescue.
    is_rescue: bool,
    /// True if the server was asked to stop.
    stop_asked: bool,
    /// Why we sent KILL to the server; `None`: we did not.
    killed: Option<Diagnosis>,
    /// True once a server was ready: the end of the start is reported only once.
    boot_reported: Arc<AtomicBool>,
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
        plan: WatchOptions,
        told: StatePublisher,
        logfile: Option<crate::log::logfile::Logfile>,
    ) -> io::Result<Self> {
        let mut finishes = Vec::new();
        let mut sink = |(sink, finish): (Sink, Finish)| {
            finishes.push(finish);
            sink
        };
        let console = |stream| rustix::io::fcntl_dupfd_cloexec(stream, 3).map(std::fs::File::from);
        let stdout = console(rustix::stdio::stdout())?;
        let stderr = console(rustix::stdio::stderr())?;
        let same = is_same(&stdout, &stderr);
        let stderr = sink(Sink::start(stderr, logger::losses)?);
        let outputs = Outputs {
            // If both are the same file, such as a terminal, one queue keeps them in order.
            stdout: match same {
                true => stderr.clone(),
                false => sink(Sink::start(stdout, logger::losses_of_stdout)?),
            },
            stderr,
            logfile: match logfile {
                Some(file) => Some(sink(Sink::start(file, logger::losses_of_logfile)?)),
                None => None,
            },
        };
        logger::set_sink(Some(outputs.stderr.clone()));
        Ok(Self {
            plan,
            state_writer: told,
            outputs: Some(outputs),
            finishes,
            log_reader: None,
            streams: 0,
            pumps: Vec::new(),
            readiness: None,
            awaited_rescue: None,
            rescued: Arc::default(),
            is_rescue: false,
            memory: None,
            stop_asked: false,
            killed: None,
            boot_reported: Arc::default(),
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
        logger::set_sink(None);
        self.outputs = None;
        // Waits for all at the same time: the console and the logfile may both be slow.
        let waits: Vec<_> = self.finishes.into_iter().map(Finish::wait).collect();
        let waits: Vec<_> = waits.into_iter().map(tokio::spawn).collect();
        let all = async {
            for wait in waits {
                let _ = wait.await;
            }
        };
        let _ = tokio::time::timeout(FLUSH_TIMEOUT, all).await;
        std::mem::take(&mut lock(&self.last_words))
    }

    fn pump(&mut self, from: OwnedFd, stream: &'static str, words: &LogReader) {
        let Some(outputs) = &self.outputs else { return };
        self.streams += 1;
        let console = match stream {
            STDOUT => &outputs.stdout,
            _ => &outputs.stderr,
        };
        let to = pump::StreamOutputs {
            console: console.for_source(self.streams),
            json: (logger::format() == LogFormat::Json).then(|| JsonLines::new(stream)),
            logfile: outputs
                .logfile
                .as_ref()
                .map(|file| file.for_source(self.streams)),
        };
        let mut observer = ChunkObservers {
            log_reader: words.clone(),
            memory: self.memory.clone(),
        };
        self.pumps.push(tokio::spawn(async move {
            if let Err(error) = pump(from, to, &mut observer).await {
                error!("the server's log cannot be read: {error}");
            }
        }));
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
        let default_password = self.plan.default_password.clone();
        let default_password = default_password.filter(|_| boot && rescued.is_none());
        let news = self.plan.news.clone();
        let default_password = default_password.map(check_default_password);
        let hub = self.plan.hub;
        self.readiness = Some(tokio::spawn(async move {
            let late = || {
                error!(
                    "the server does not answer after {} s; it keeps running. Its last words:\n{}",
                    timeout.as_secs_f32(),
                    words.last()
                );
            };
            let target = ready(&expected, urls, timeout, late).await;
            words.stop_reading();
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
                state.probe = Some(target.to_string());
                state.boot = milliseconds(&parts);
            });
            // The state comes first: a reader of the following lines may query it at once.
            told.wait_written().await;
            if boot || rescued.is_some() {
                let welcome = Welcome {
                    hub,
                    target: &target,
                    default_password: default.as_deref(),
                    rescued: rescued.as_ref(),
                    news: news.as_deref(),
                };
                logger::print_text(&welcome.text());
            }
            info!("ready in {}", format_times(start.elapsed(), &parts));
            if let Some(socket) = notify_socket {
                let _ = tokio::time::timeout(OUTPUT_TIMEOUT, notify::ready(socket)).await;
            }
            sys::release_memory();
        }));
    }
}

/// Checks on a thread of its own whether the default password is effective, and if so sends the
/// password.
fn check_default_password(default: DefaultPassword) -> oneshot::Receiver<String> {
    let (tell, answer) = oneshot::channel();
    // If the thread cannot start, the channel closes and the welcome does not name the password.
    let _ = std::thread::Builder::new()
        .name("password".into())
        .spawn(move || {
            if (default.is_effective)() {
                let _ = tell.send(default.text);
            }
        });
    answer
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reports whether two file descriptors refer to the same pipe, terminal or file.
fn is_same(one: &std::fs::File, other: &std::fs::File) -> bool {
    let identity = |file: &std::fs::File| file.metadata().map(|data| (data.dev(), data.ino()));
    matches!((identity(one), identity(other)), (Ok(one), Ok(other)) if one == other)
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
    fn started(&mut self, pid: Pid, output: Option<(OwnedFd, OwnedFd)>) {
        self.stop_asked = false;
        let rescued = lock(&self.rescued).take();
        self.is_rescue = rescued.is_some();
        self.killed = None;
        if self.memory.is_none() {
            self.memory = MemoryWatch::start(self.state_writer.clone());
        }
        self.state_writer.update(|state| {
            state.main_pid = Some(pid.as_raw_pid());
            state.restarts += u32::from(state.last_exit.is_some());
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
        let plan = self.plan.rescue.clone()?;
        if !plan.can_listen() {
            return None;
        }
        let (sender, preparation) = watch::channel(None);
        match reason {
            RescueReason::Ended(_) => self.awaited_rescue = Some(sender),
            // Somebody misspelt it. Nobody can mend that in the lab.
            RescueReason::NotStarted { .. } if !plan.program_of_venv => return None,
            RescueReason::Unprepared(cause) | RescueReason::NotStarted { cause, .. } => {
                error!("{cause}");
                let broken = Broken::new(cause.clone());
                prepare_rescue(plan, broken, self.rescued.clone(), sender);
            }
        }
        Some(preparation)
    }

    fn stopping(&mut self, again: bool) {
        self.stop_asked = true;
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
        let mut early = false;
        if let Some(readiness) = self.readiness.take() {
            early = !self.stop_asked && !readiness.is_finished();
            readiness.abort();
        }
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
        let rescue = self.plan.rescue.clone().zip(self.awaited_rescue.take());
        let rescued = self.rescued.clone();
        self.end_reports.retain(|task| !task.is_finished());
        self.end_reports.push(tokio::spawn(async move {
            // The server's last output comes before the report of its end. A pump goes on, but is
            // no longer waited for, if a process that the server left behind holds its pipe open.
            for pump in pumps {
                let _ = tokio::time::timeout(OUTPUT_TIMEOUT, pump).await;
            }
            let diagnosis = match how {
                Ended::Signal(libc::SIGKILL) => killed.or_else(|| memory?.diagnosis()),
                _ => None,
            };
            let log = log_reader.as_ref().map(LogReader::tail);
            let diagnosis = diagnosis.or_else(|| diagnose(how, log.as_ref()?));
            let words = report_end(how, early, again, diagnosis.as_ref());
            // The end of the usual server says more than that of its rescue.
            if failed_rescue {
                return;
            }
            let last = log_reader.map(|log| log.last()).unwrap_or_default();
            *lock(&last_words) = (words, last);
            state_writer.update(|state| state.last_reason = diagnosis.clone());
            if let Some((plan, sender)) = rescue {
                let broken = Broken::ended(how, diagnosis, log.unwrap_or_default());
                prepare_rescue(plan, broken, rescued, sender);
            }
        }));
    }

    fn failed(&mut self, error: &SpawnError, again: Option<Duration>) {
        // It may have been the rescue that could not be started.
        lock(&self.rescued).take();
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

/// Prepares a rescue in a thread of its own.
fn prepare_rescue(
    plan: Arc<RescuePlan>,
    broken: Broken,
    rescued: Arc<Mutex<Option<Rescued>>>,
    sender: PreparationSender,
) {
    warn!(
        "rescue: the server is started once more, without your configuration and extensions, so \
         that you can mend what broke (--rescue never leaves it ended)"
    );
    prepare_in_thread(sender, move || {
        Attempt::Rescue(match plan.prepare(&broken) {
            Ok((program, login)) => {
                *lock(&rescued) = Some(Rescued { broken, login });
                Ok(program)
            }
            Err(source) => Err(Arc::new(SpawnError::Rescue { source })),
        })
    });
}

fn phase_after(again: Option<Duration>) -> Phase {
    match again {
        Some(_) => Phase::Restarting,
        None => Phase::Stopping,
    }
}
