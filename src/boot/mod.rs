//! A start, from the settings to the exit code: one call per phase, in order.
//!
//! ```text
//! Settings → root phase → Dropped → user phase → Serve → exit code
//! ```
//!
//! Only this module knows the order. A dry run is the same story: [`changes`] previews each change
//! instead of making it. Before the runtime or any other thread exists, the root
//! phase is over, the threads that walked a large volume have ended, and root is dropped for
//! good (except in the old layout).

mod account;
mod arguments;
mod certificate;
mod changes;
pub mod check;
mod dry_run;
mod home;
mod lab_files;
mod limits;
mod links;
pub mod notebooks;
mod owners;
mod passthrough;
mod report;
mod rescue;
mod root_phase;
mod serve;
mod termination_log;
mod unused_variables;
mod user_phase;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tracing::error;

use crate::death::memory::KillCounter;
use crate::degradation::Degradation;
use crate::hooks;
use crate::hooks::{HookContext, HookError, Hooks, Variables};
use crate::identity::{Account, Dropped, Linux, Root, current, group_name};
use crate::password::Wanted;
use crate::server::program;
use crate::server::program::Launch;
use crate::settings::resolve::Draft;
use crate::settings::{Settings, SettingsError};
use crate::state::Mode;
use crate::supervisor;
use crate::supervisor::processes;
use crate::supervisor::signals::Signals;
use crate::sys;
use crate::sys::effects::Effects;
use crate::volume::{DefaultsPreview, VolumeError};
use certificate::CertificateRequest;
use changes::{Changes, Section, Words};
use report::Report;
pub use termination_log::TerminationLog;

/// Exit code for invalid settings (`EX_CONFIG` of sysexits.h).
pub const EX_CONFIG: u8 = 78;

/// Why a start ends before its server or command is started.
#[derive(Debug)]
pub enum Failure {
    /// Settings are invalid: exit code 78.
    Settings(SettingsError),
    /// The preparation failed: exit code 1. The text says what failed, why, and what to do.
    Preparation(String),
    /// A signal asked to stop: exit code 128 plus its number.
    Stopped {
        /// The number of the signal.
        signal: i32,
    },
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Preparation(causes(&error))
    }
}

/// Returns an error and its causes as one sentence.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// The data that all phases share.
pub struct Start<'a> {
    /// The checked settings.
    pub settings: &'a Settings,
    /// The program to run: a server, a command, or nothing.
    pub launch: Launch,
    /// All signals of this process.
    pub signals: &'a Signals,
    /// The password that is wanted.
    pub password: Wanted,
    /// The Python of a rescue; `None`: there is none, or a rescue is not wanted.
    pub rescue_python: Option<PathBuf>,
    /// Why the usual server must not be started, only a rescue; `None`: it can be.
    pub unprepared: Option<String>,
    /// The request for https; `None`: there is none.
    pub tls: Option<CertificateRequest>,
    /// Variables that hooks wrote for the server's environment and that are not in it yet.
    pub variables: hooks::Variables,
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
    fn check_stop(&self) -> Result<(), Failure> {
        match self.signals.stop_requested() {
            Some(received) => Err(Failure::Stopped {
                signal: received.number,
            }),
            None => Ok(()),
        }
    }

    /// Runs the hooks of a phase and keeps the variables that they wrote for the server's
    /// environment.
    fn run_hooks(
        &mut self,
        phase: &str,
        section: Section,
        environment: &dyn Fn(&Variables) -> Vec<(OsString, OsString)>,
        run: fn(&Path, &HookContext<'_>) -> Result<Hooks, HookError>,
    ) -> Result<(), Failure> {
        let settings = &self.settings.hooks;
        let directory = settings.directory.join(phase);
        let run = |effects: Effects<'_>| {
            let surroundings = HookContext {
                limit: settings.timeout,
                environment,
                signals: self.signals,
                effects,
            };
            run(&directory, &surroundings)
        };
        let words = |hooks: &Result<Hooks, _>, words: &mut Words<'_>| {
            let hooks = hooks.iter().flat_map(|hooks| &hooks.paths);
            words.planned_all(hooks.map(|hook| format!("run {}", hook.display())));
        };
        let exists = directory.exists();
        let mut memory = exists.then(KillCounter::of_container).flatten();
        let (result, time) = timed(|| self.changes.make(section, run, words));
        self.check_stop()?;
        match result {
            Ok(hooks) => self.variables.extend(hooks.variables),
            Err(error) => {
                if let Some(kills) = memory.as_mut().and_then(KillCounter::report_new) {
                    error!("{kills}");
                }
                return Err(self.hook_failed(error));
            }
        }
        if exists {
            self.report.add_duration("hooks", time);
        }
        Ok(())
    }

    /// Converts the failure of a hook to that of the start. A hook that cannot be trusted counts
    /// as an invalid setting.
    fn hook_failed(&self, error: HookError) -> Failure {
        match error {
            HookError::Untrusted { .. } => {
                Failure::Settings(check::untrusted(self.settings, &error))
            }
            _ => error.into(),
        }
    }

    /// Returns a function that reports whether a stop signal has arrived, so that long work ends.
    fn stop(&self) -> impl Fn() -> bool + use<'a> {
        let signals = self.signals;
        move || signals.stop_requested().is_some()
    }

    /// Returns the mode of the state: what is run.
    fn mode(&self) -> Mode {
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
    /// The account.
    pub account: Account,
    /// Proof that root is dropped, was never there, or is kept on purpose.
    pub dropped: Dropped,
}

/// The end of a start that ran a server, a command or nothing.
pub struct Ending {
    /// The exit code.
    pub code: i32,
    /// Why the server failed; empty: it did not, or a command was run, which has its own words.
    pub words: String,
    /// The last lines of the server's log.
    pub log: String,
}

impl From<i32> for Ending {
    fn from(code: i32) -> Self {
        Self {
            code,
            words: String::new(),
            log: String::new(),
        }
    }
}

/// Runs a start until its end; returns the exit code.
pub fn start(draft: Draft, command: &[OsString], signals: &Signals) -> u8 {
    sys::set_mmap_threshold();
    let dry_run = draft.settings().dry_run;
    let termination_log = TerminationLog::open();
    let ending = begin(draft, command, signals).unwrap_or_else(report_failure);
    if ending.code != 0 && !ending.words.is_empty() && !dry_run {
        termination_log.write(&ending.words, &ending.log);
    }
    u8::try_from(ending.code & 0xff).unwrap_or(1)
}

/// Logs why a start failed.
fn report_failure(failure: Failure) -> Ending {
    let (code, lines) = match failure {
        Failure::Settings(errors) => {
            let line = |wrong| format!("settings: {wrong}");
            (EX_CONFIG.into(), errors.0.iter().map(line).collect())
        }
        Failure::Preparation(reason) => (1, vec![reason]),
        Failure::Stopped { signal } => {
            tracing::info!("stopped by signal {signal} before anything was started");
            (128 + signal, Vec::new())
        }
    };
    lines.iter().for_each(|line| error!("{line}"));
    Ending {
        words: lines.join("\n"),
        ..code.into()
    }
}

fn begin(draft: Draft, command: &[OsString], signals: &Signals) -> Result<Ending, Failure> {
    supervisor::syscalls::check()?;
    let as_root = rustix::process::geteuid().is_root();
    let checked = check::check(draft, command, as_root).map_err(Failure::Settings)?;
    let mut report = Report::new(checked.settings.strict);
    for name in checked.overridden_args {
        report.degraded(Degradation::new(
            format!(
                "the server's argument {name} is left out: the password of the environment or of \
                 the password file is effective"
            ),
            "remove that argument",
        ))?;
    }
    let dry_run = checked.settings.dry_run;
    run_phases(Start {
        settings: &checked.settings,
        launch: checked.launch,
        signals,
        password: checked.password,
        // A dry run reports what is broken and ends; it is not rescued.
        rescue_python: rescue::python(&checked.settings).filter(|_| !dry_run),
        unprepared: None,
        tls: checked.tls,
        variables: Vec::new(),
        recorded: false,
        changes: Changes::new(dry_run),
        notebooks: None,
        report,
    })
}

fn run_phases(mut start: Start<'_>) -> Result<Ending, Failure> {
    adopt_orphans(&mut start)?;
    announce_hub(&mut start)?;
    if matches!(start.launch, Launch::Server(_)) {
        check::warn_of_timeouts(start.settings);
    }
    certificate::warn_of_no_effect(start.settings, start.mode());
    check::warn_of_stale_copies(start.settings);
    unused_variables::warn_of_unused_variables(start.settings, start.mode(), &start.password);
    let person = match Root::detect() {
        Some(root) => root_phase::run(&mut start, root)?,
        None => without_root(&mut start)?,
    };
    let Account { name, uid, gid, .. } = &person.account;
    start.changes.planned(Section::IDENTITY, || {
        let group = group_name(*gid);
        format!("run as {name} (uid {uid}), group {group} (gid {gid})")
    });
    let ready = user_phase::run(&mut start, &person)?;
    serve::run(start, &person, ready)
}

/// Makes orphans our children before the first hook: its orphans could not be killed otherwise.
fn adopt_orphans(start: &mut Start<'_>) -> Result<(), Failure> {
    let Err(refused) = processes::adopt_orphans() else {
        return Ok(());
    };
    start.report.degraded(Degradation::new(
        format!("processes that others leave behind may outlive this one: {refused}"),
        "leave --init out: PID 1 has all orphans",
    ))
}

/// Reports missing JupyterHub variables: the server looks healthy, but no one can log in.
fn announce_hub(start: &mut Start<'_>) -> Result<(), Failure> {
    if start.mode() != Mode::Hub {
        return Ok(());
    }
    let missing = program::missing_hub_variables(&|name| variable(name).is_some());
    if missing.is_empty() {
        return Ok(());
    }
    start.report.degraded(Degradation::new(
        format!(
            "this is to be a single-user server of JupyterHub, but {} not set: \
             nobody will be able to log in",
            are(&missing)
        ),
        "let JupyterHub start this container, or start jupyter-lab instead",
    ))
}

/// Returns `A is`, `A and B are`, `A, B and C are`.
fn are(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => format!("{one} is"),
        [most @ .., last] => format!("{} and {last} are", most.join(", ")),
    }
}

/// Prepares a start without root, and reports each thing that only root could have done.
fn without_root(start: &mut Start<'_>) -> Result<ServerUser, Failure> {
    let (dropped, degradations) = Dropped::without_root(start.settings.new_privileges, &Linux)?;
    start.report.all_degraded(degradations)?;
    let hooks = start.settings.hooks.directory.join("root");
    if fs::read_dir(&hooks).is_ok_and(|mut entries| entries.next().is_some()) {
        start.report.degraded(Degradation::note(format!(
            "started without root: there is {}, but its root hooks are not run",
            hooks.display()
        )))?;
    }
    let mut account = current();
    if let Some(user) = &start.settings.user {
        if let Some(home) = &user.home {
            account.home.clone_from(home);
        }
        if let Some(new) = &user.new {
            account.name.clone_from(&new.name);
        }
        start.report.degraded(Degradation::new(
            format!(
                "started as uid {} rather than root: the owner of the volume and the groups are as \
                 they are",
                account.uid
            ),
            "leave out `docker run --user`, and USER in a derived image: the server becomes the \
             owner of a mounted directory by itself, and HOME and pip work; nothing where the \
             platform chooses the uid",
        ))?;
    }
    account::name_own(start, &mut account);
    Ok(ServerUser { account, dropped })
}

/// Returns an environment variable that is set and not empty.
fn variable(name: impl AsRef<OsStr>) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Does some work; returns its result and its duration.
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed())
}
