//! Waits until a server is ready, and announces it: in the state, in the log with the welcome, and
//! to the service manager. All of this runs beside the supervisor's loop and never blocks it.

use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::Pid;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use crate::death::Diagnosis;
use crate::degradation::Degradation;
use crate::log::logger;
use crate::server::boot_times::{format_times, milliseconds};
use crate::server::load_failures::LoadFailure;
use crate::server::log_reader::LogReader;
use crate::server::probe::{Target, Url};
use crate::server::readiness::ready;
use crate::server::rescue::{RescuePlan, Rescued, unusable_without};
use crate::server::stop_check::StopCheck;
use crate::server::targets::Expected;
use crate::server::welcome::{DefaultPassword, Welcome};
use crate::server::{no_login, notify};
use crate::state::{Phase, StatePublisher};
use crate::sys;

/// The longest wait for the service manager's socket.
const NOTIFY_TIMEOUT: Duration = Duration::from_millis(200);

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

/// What a server lacks because it could not load it.
#[derive(Default)]
struct Without {
    /// Why it cannot be used and is ended; `None`: it can be.
    unusable: Option<Diagnosis>,
    /// What it lacks, if it can be used.
    degradations: Vec<Degradation>,
}

/// A server that was just started.
pub(super) struct StartedServer {
    /// Its process id.
    pub pid: Pid,
    /// The reader of its log.
    pub log: LogReader,
    /// The URLs in its log.
    pub urls: watch::Receiver<Vec<Url>>,
    /// The rescue that it is; `None`: it is the usual server.
    pub rescued: Option<Rescued>,
    /// The plan of a rescue, if it can be rescued itself.
    pub rescue_plan: Option<Arc<RescuePlan>>,
}

/// Announces the servers of a start, one after the other; clones share what was announced.
#[derive(Clone)]
pub(super) struct Announcer {
    options: Arc<WatchOptions>,
    state_writer: StatePublisher,
    stop_check: StopCheck,
    without: Arc<Mutex<Without>>,
    /// True once a server was ready: the end of the start is reported only once.
    boot_reported: Arc<AtomicBool>,
    /// True once the usual server was welcomed. After a rescue it is welcomed again.
    welcomed: Arc<AtomicBool>,
}

impl Announcer {
    /// Returns an announcer that tells `stop_check` where the server answers.
    pub fn new(options: WatchOptions, state_writer: StatePublisher, stop_check: StopCheck) -> Self {
        Self {
            options: Arc::new(options),
            state_writer,
            stop_check,
            without: Arc::default(),
            boot_reported: Arc::default(),
            welcomed: Arc::default(),
        }
    }

    /// Forgets what the last server lacked; returns what of that is in the state.
    pub fn take_degradations(&self) -> Vec<Degradation> {
        std::mem::take(&mut *sys::lock(&self.without)).degradations
    }

    /// Returns why the server is ended although it is ready; `None`: it is not.
    pub fn take_unusable(&self) -> Option<Diagnosis> {
        sys::lock(&self.without).unusable.take()
    }

    /// Reports that the server is stopped and was never ready. A hub does so when it gives up a
    /// start, mostly before the ready timeout, and shows its users no reason.
    pub fn report_early_stop(&self) {
        if self.options.hub && !self.boot_reported.load(Ordering::Relaxed) {
            warn!(
                "the server is stopped {:.2} s after the start, before it was ready (remedy: if \
                 JupyterHub gave up a slow start, give it more time with c.Spawner.start_timeout \
                 and c.Spawner.http_timeout; if it hangs, the lines above are its last)",
                self.options.start.elapsed().as_secs_f32()
            );
        }
    }

    /// Starts a task that waits for the server and announces it.
    pub fn start(&self, server: StartedServer) -> JoinHandle<()> {
        let spawned = Instant::now();
        let welcome = server.rescued.is_some() || !self.welcomed.load(Ordering::Relaxed);
        let password = self.options.default_password.clone();
        let password = password.filter(|_| welcome && server.rescued.is_none());
        // Takes some time, so it begins now.
        let password = password.map(DefaultPassword::check);
        let announcer = self.clone();
        tokio::spawn(async move {
            let target = announcer.wait_until_ready(&server).await;
            let degradations = announcer.check_configuration(&server).await;
            let password = match password {
                Some(answer) => answer.await.ok().flatten(),
                None => None,
            };
            // The first server that is ready ends the boot, whichever attempt it is. A later
            // restart reports only its own time.
            let options = &announcer.options;
            let boot = !announcer.boot_reported.load(Ordering::Relaxed);
            let (start, mut parts) = match boot {
                true => (options.start, options.parts.clone()),
                false => (spawned, Vec::new()),
            };
            parts.push(("server", spawned.elapsed()));
            announcer.publish(server.pid, &target, degradations, &parts);
            // The state comes first: a reader of the following lines may query it at once.
            announcer.state_writer.wait_written(STATE_TIMEOUT).await;
            announcer.boot_reported.store(true, Ordering::Relaxed);
            if welcome {
                announcer.welcome(&server, &target, password.as_deref());
            }
            info!("ready in {}", format_times(start.elapsed(), &parts));
            let socket = options.notify_socket.clone().filter(|_| boot);
            if let Some(socket) = socket {
                let _ = tokio::time::timeout(NOTIFY_TIMEOUT, notify::ready(socket)).await;
            }
            tokio::spawn(release_memory_after_start());
        })
    }

    async fn wait_until_ready(&self, server: &StartedServer) -> Target {
        let timeout = self.options.ready_timeout;
        let late = || report_late(timeout, &server.log.last());
        let urls = server.urls.clone();
        let target = ready(&self.options.expected, urls, timeout, late).await;
        self.stop_check.set_target(target.clone());
        target
    }

    /// Returns what the server lacks. Ends it if nobody could use it, and does not return then.
    async fn check_configuration(&self, server: &StartedServer) -> Vec<Degradation> {
        let open = server.log.needs_no_login() && !self.options.login_is_off;
        let failures = server.log.load_failures();
        server.log.stop_reading();
        let plan = server.rescue_plan.clone();
        if let Some(unusable) = unusable_without(&failures, plan).await {
            warn!("the server is ended: it runs without {}", unusable.lack());
            sys::lock(&self.without).unusable = Some(unusable.diagnosis());
            end_in_vain(server.pid, self.options.stop_timeout).await;
        }
        let mut degradations: Vec<_> = failures.iter().map(LoadFailure::degradation).collect();
        degradations.extend(open.then(no_login::degradation));
        degradations.iter().for_each(|lacking| warn!("{lacking}"));
        sys::lock(&self.without)
            .degradations
            .clone_from(&degradations);
        degradations
    }

    fn publish(
        &self,
        pid: Pid,
        target: &Target,
        degradations: Vec<Degradation>,
        parts: &[(&'static str, Duration)],
    ) {
        self.state_writer.update(|state| {
            if state.main_pid == Some(pid.as_raw_pid()) && state.phase != Phase::Stopping {
                state.enter(Phase::Ready);
            }
            state.degradations.extend(degradations);
            state.probe = Some(target.to_string());
            state.boot = milliseconds(parts);
        });
    }

    fn welcome(&self, server: &StartedServer, target: &Target, default_password: Option<&str>) {
        let welcome = Welcome {
            hub: self.options.hub,
            target,
            default_password,
            rescued: server.rescued.as_ref(),
            news: self.options.news.as_deref(),
        };
        logger::print_text(&welcome.text());
        self.welcomed
            .store(server.rescued.is_none(), Ordering::Relaxed);
    }
}

fn report_late(timeout: Duration, last_words: &str) {
    let last_words = match last_words {
        "" => " none so far".to_owned(),
        lines => format!("\n{lines}"),
    };
    error!(
        "the server does not answer after {} s; it keeps running. Its last words:{last_words}",
        timeout.as_secs_f32()
    );
    warn!(
        "a slow server is announced as soon as it answers (remedy: wait, or give it more time with \
         --ready-timeout; if it hangs, it may wait for a disk, for an address in the network or for \
         an extension: when that is mended, `ai-lab-entrypoint restart` tries again)"
    );
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
