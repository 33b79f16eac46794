//! Looking after a running server: its log, its readiness, and what the world is
//! told about it. Everything here runs beside the supervisor's loop and never holds
//! it up.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Pid;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use super::probe::Url;
use super::pump::{self, pump};
use super::readiness::{Expected, Words, ready};
use super::welcome::Welcome;
use crate::output::json::Lines;
use crate::output::sink::{Finish, Sink};
use crate::output::{logging, notify};
use crate::settings::LogFormat;
use crate::state::{Phase, Told};
use crate::supervisor::Observer;
use crate::supervisor::spawn::SpawnError;
use crate::supervisor::stop::Ended;
use crate::sys;

/// How long the last words of a server that ended are waited for, while a process
/// that it left behind holds its output open.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// How long a slow reader may take for the last lines after everyone has ended: with
/// both grace periods still less than Docker's 10 s.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The server's streams, by the names that JSON lines give them.
const STDOUT: &str = "stdout";
const STDERR: &str = "stderr";

/// The default password, and how to find out whether it is the one in force.
#[derive(Clone)]
pub struct DefaultPassword {
    /// The password; public by nature.
    pub text: String,
    /// Whether it is in force. Takes some 50 ms of computing.
    pub in_force: Arc<dyn Fn() -> bool + Send + Sync>,
}

/// What is known about the server before it is started.
pub struct Plan {
    /// `Mode::Lab` or `Mode::Hub`.
    pub hub: bool,
    /// Where it will answer.
    pub expected: Expected,
    /// After this an unready server is reported.
    pub ready_timeout: Duration,
    /// The default password, if there is one.
    pub default_password: Option<DefaultPassword>,
    /// `$NOTIFY_SOCKET`.
    pub notify_socket: Option<OsString>,
    /// When the whole start began, and what it has spent its time on so far.
    pub start: Instant,
    /// The parts of the boot line that are over.
    pub parts: Vec<(&'static str, Duration)>,
}

/// Where the server's output goes.
struct Outputs {
    stdout: Sink,
    stderr: Sink,
    logfile: Option<Sink>,
}

/// An observer of a server.
pub struct Watch {
    plan: Plan,
    told: Told,
    outputs: Option<Outputs>,
    finishes: Vec<Finish>,
    words: Option<Words>,
    /// How many streams of servers there were so far.
    streams: u32,
    pumps: Vec<JoinHandle<()>>,
    readiness: Option<JoinHandle<()>>,
    /// Whether the server was asked to stop.
    asked: bool,
    /// Whether a server was ready, and the world was told that the start is over.
    announced: Arc<AtomicBool>,
    farewells: Vec<JoinHandle<()>>,
}

impl Watch {
    /// Opens the ways to the console. Our own log goes through them from now on.
    ///
    /// # Errors
    /// A thread could not be started.
    pub fn new(
        plan: Plan,
        told: Told,
        logfile: Option<crate::output::logfile::Logfile>,
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
        let stderr = sink(Sink::start(stderr, logging::losses)?);
        let outputs = Outputs {
            // One queue for one place, such as a terminal, keeps both streams in order.
            stdout: match same {
                true => stderr.clone(),
                false => sink(Sink::start(stdout, logging::losses_of_stdout)?),
            },
            stderr,
            logfile: match logfile {
                Some(file) => Some(sink(Sink::start(file, logging::losses_of_logfile)?)),
                None => None,
            },
        };
        logging::through(Some(outputs.stderr.clone()));
        Ok(Self {
            plan,
            told,
            outputs: Some(outputs),
            finishes,
            words: None,
            streams: 0,
            pumps: Vec::new(),
            readiness: None,
            asked: false,
            announced: Arc::default(),
            farewells: Vec::new(),
        })
    }

    /// Waits until everything that was said has been written, as far as somebody
    /// reads it.
    pub async fn finish(mut self) {
        for task in self.farewells.drain(..).chain(self.pumps.drain(..)) {
            let _ = tokio::time::timeout(LAST_WORDS, task).await;
        }
        logging::through(None);
        self.outputs = None;
        // Beside each other: the console and the logfile may both be slow.
        let waits: Vec<_> = self.finishes.into_iter().map(Finish::wait).collect();
        let waits: Vec<_> = waits.into_iter().map(tokio::spawn).collect();
        let all = async {
            for wait in waits {
                let _ = wait.await;
            }
        };
        let _ = tokio::time::timeout(LAST_LINES, all).await;
    }

    fn pump(&mut self, from: OwnedFd, stream: &'static str, words: &Words) {
        let Some(outputs) = &self.outputs else { return };
        self.streams += 1;
        let console = match stream {
            STDOUT => &outputs.stdout,
            _ => &outputs.stderr,
        };
        let to = pump::Outputs {
            console: console.of(self.streams),
            json: (logging::format() == LogFormat::Json).then(|| Lines::new(stream)),
            logfile: outputs.logfile.as_ref().map(|file| file.of(self.streams)),
        };
        let mut words = words.clone();
        self.pumps.push(tokio::spawn(async move {
            if let Err(error) = pump(from, to, &mut words).await {
                error!("the server's log cannot be read: {error}");
            }
        }));
    }

    fn await_readiness(&mut self, pid: Pid, words: Words, urls: watch::Receiver<Vec<Url>>) {
        let expected = self.plan.expected.clone();
        let timeout = self.plan.ready_timeout;
        let told = self.told.clone();
        let spawned = Instant::now();
        // The first server that is ready ends the boot, whichever attempt it is; a restart
        // after that tells its own part alone.
        let announced = self.announced.clone();
        let boot = !announced.load(Ordering::Relaxed);
        let (start, parts) = match boot {
            true => (self.plan.start, self.plan.parts.clone()),
            false => (spawned, Vec::new()),
        };
        let notify_socket = self.plan.notify_socket.clone().filter(|_| boot);
        let default_password = self.plan.default_password.clone().filter(|_| boot);
        let default_password = default_password.map(in_force);
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
            // Who reads that it is ready may ask at once.
            told.written().await;
            if boot {
                let welcome = Welcome {
                    hub,
                    target: &target,
                    default_password: default.as_deref(),
                };
                logging::say(&welcome.text());
            }
            info!("ready in {}", spent(start.elapsed(), &parts));
            if let Some(socket) = notify_socket {
                let _ = tokio::time::timeout(LAST_WORDS, told_ready(socket)).await;
            }
            sys::give_back_memory();
        }));
    }
}

/// Finds out beside everything else whether the default password is in force, and
/// if so tells it.
fn in_force(default: DefaultPassword) -> oneshot::Receiver<String> {
    let (tell, answer) = oneshot::channel();
    // If there is no thread, the channel is closed and the password not named.
    let _ = std::thread::Builder::new()
        .name("password".into())
        .spawn(move || {
            if (default.in_force)() {
                let _ = tell.send(default.text);
            }
        });
    answer
}

/// Says to a service manager that the start is over. Its socket may be on a disk that
/// hangs, so a thread of its own looks for it.
async fn told_ready(socket: OsString) {
    let (tell, answer) = oneshot::channel();
    let thread = std::thread::Builder::new().name("notify".into());
    let started = thread.stack_size(64 * 1024).spawn(move || {
        let _ = tell.send(notify::ready(&socket));
    });
    let answer = match started {
        Ok(_) => answer.await.unwrap_or(Ok(())),
        Err(error) => Err(error),
    };
    if let Err(error) = answer {
        warn!("{} does not take READY=1: {error}", notify::VARIABLE);
    }
}

/// Whether two descriptors are the same pipe, terminal or file.
fn is_same(one: &std::fs::File, other: &std::fs::File) -> bool {
    let identity = |file: &std::fs::File| file.metadata().map(|data| (data.dev(), data.ino()));
    matches!((identity(one), identity(other)), (Ok(one), Ok(other)) if one == other)
}

/// The boot line's figures: `0.71 s (claim 3 ms, server 640 ms)`.
pub fn spent(all: Duration, parts: &[(&'static str, Duration)]) -> String {
    let parts: Vec<String> = parts
        .iter()
        .map(|(name, time)| format!("{name} {} ms", time.as_millis()))
        .collect();
    format!("{:.2} s ({})", all.as_secs_f64(), parts.join(", "))
}

/// The parts as the state tells them.
pub fn milliseconds(parts: &[(&'static str, Duration)]) -> Vec<(String, u64)> {
    let number = |time: &Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    parts
        .iter()
        .map(|(name, time)| ((*name).into(), number(time)))
        .collect()
}

impl Observer for Watch {
    fn started(&mut self, pid: Pid, output: Option<(OwnedFd, OwnedFd)>) {
        self.asked = false;
        self.told.update(|state| {
            state.main_pid = Some(pid.as_raw_pid());
            state.restarts += u32::from(state.last_exit.is_some());
        });
        let (words, urls) = Words::new();
        if let Some((stdout, stderr)) = output {
            self.pump(stdout, STDOUT, &words);
            self.pump(stderr, STDERR, &words);
        }
        self.words = Some(words.clone());
        self.await_readiness(pid, words, urls);
    }

    fn stopping(&mut self, again: bool) {
        self.asked = true;
        let phase = if again {
            info!("restarting the server in place");
            Phase::Restarting
        } else {
            Phase::Stopping
        };
        self.told.update(|state| state.enter(phase));
    }

    fn ended(&mut self, how: Ended, again: Option<Duration>) {
        let mut early = false;
        if let Some(readiness) = self.readiness.take() {
            early = !self.asked && !readiness.is_finished();
            readiness.abort();
        }
        self.told.update(|state| {
            state.main_pid = None;
            state.last_exit = Some(how.code());
            state.enter(phase_after(again));
        });
        let pumps: Vec<_> = self.pumps.drain(..).collect();
        self.farewells.retain(|task| !task.is_finished());
        self.farewells.push(tokio::spawn(async move {
            // What it said comes before what is said about its end. A pump that goes
            // on for what the server left behind does so without being waited for.
            for pump in pumps {
                let _ = tokio::time::timeout(LAST_WORDS, pump).await;
            }
            farewell(how, early, again);
        }));
    }

    fn failed(&mut self, error: &SpawnError, again: Option<Duration>) {
        error!("{error}");
        tell_again(again);
        self.told.update(|state| state.enter(phase_after(again)));
    }
}

fn farewell(how: Ended, early: bool, again: Option<Duration>) {
    let code = how.code();
    let by = match how {
        Ended::Signal(number) => format!(" (signal {number})"),
        Ended::Exit(_) => String::new(),
    };
    let early = if early {
        " before it was ready; its last words are above"
    } else {
        ""
    };
    if code != 0 {
        error!("Jupyter server terminated with error code {code}{by}{early}");
    } else {
        info!("the server ended{early}");
    }
    tell_again(again);
}

fn tell_again(again: Option<Duration>) {
    if let Some(wait) = again.filter(|wait| !wait.is_zero()) {
        warn!("the server is started again in {} s", wait.as_secs());
    }
}

fn phase_after(again: Option<Duration>) -> Phase {
    match again {
        Some(_) => Phase::Restarting,
        None => Phase::Stopping,
    }
}
