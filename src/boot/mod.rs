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
mod certificate_request;
mod changes;
pub mod check;
mod context;
mod dry_run;
pub mod failure;
mod home;
mod hooks;
mod hub_directory;
mod lab_files;
mod limits;
mod links;
pub mod notebooks;
mod owners;
mod passthrough;
mod progress;
mod report;
mod rescue;
mod root_phase;
mod serve;
mod termination_log;
mod unused_variables;
mod user_phase;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use tracing::warn;

use crate::boot::changes::{Changes, Section};
use crate::boot::context::{ServerUser, Start};
use crate::boot::failure::{Ending, Failure};
use crate::boot::report::Report;
use crate::degradation::Degradation;
use crate::identity::database;
use crate::identity::{Account, Dropped, Linux, Root, current, group_name, parent_with};
use crate::server::program;
use crate::server::program::Launch;
use crate::settings::resolve::Draft;
use crate::settings::{Key, Settings, own_variables};
use crate::state::Mode;
use crate::supervisor;
use crate::supervisor::processes;
use crate::supervisor::signals::Signals;
use crate::sys;
use crate::sys::env::variable;
pub use passthrough::command_hint;
pub use termination_log::TerminationLog;

/// Runs a start until its end; returns the exit code. `below`: it is, or is in, the COMMAND of
/// another start of this container.
pub fn start(draft: Draft, command: &[OsString], signals: &Signals, below: bool) -> u8 {
    sys::set_mmap_threshold();
    let dry_run = draft.settings().dry_run;
    let termination_log = TerminationLog::open();
    let ending = begin(draft, command, signals, below).unwrap_or_else(failure::report);
    if ending.code != 0 && !ending.words.is_empty() && !dry_run {
        termination_log.write(&ending.words, &ending.log);
    }
    u8::try_from(ending.code & 0xff).unwrap_or(1)
}

fn begin(
    draft: Draft,
    command: &[OsString],
    signals: &Signals,
    below: bool,
) -> Result<Ending, Failure> {
    supervisor::syscalls::check()?;
    let as_root = rustix::process::geteuid().is_root();
    let mut checked = check::check(draft, command, as_root).map_err(Failure::Settings)?;
    hub_directory::follow(&mut checked.settings, &checked.launch);
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
    // A dry run reports what is broken and ends; it is not rescued.
    let rescue_python = rescue::python(&checked.settings).filter(|_| !dry_run);
    run_phases(Start {
        // A restart in place needs them, too: until the end of the process.
        settings: Box::leak(Box::new(checked.settings)),
        launch: checked.launch,
        below,
        signals,
        password: checked.password,
        rescue_python,
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
    certificate_request::warn_of_no_effect(start.settings, start.mode());
    check::warn_of_stale_copies(start.settings);
    unused_variables::warn_of_unused_variables(start.settings, start.mode(), &start.password);
    let mut person = match Root::detect() {
        Some(root) => root_phase::run(&mut start, root)?,
        None => without_root(&mut start)?,
    };
    warn_of_home(start.settings, &person.account.home);
    report_readable_password(&mut start)?;
    let Account { name, uid, gid, .. } = &person.account;
    start.changes.planned(Section::IDENTITY, || {
        let group = group_name(*gid);
        format!("run as {name} (uid {uid}), group {group} (gid {gid})")
    });
    let ready = user_phase::run(&mut start, &mut person)?;
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

/// Warns of a HOME that a person set and that the image's own one replaces. Engines and sudo set it
/// to `/`, to root's, or to that of an account.
fn warn_of_home(settings: &Settings, home: &Path) {
    let set = variable("HOME").map(PathBuf::from);
    let of_engine = |set: &PathBuf| {
        let fixed = [Path::new("/"), Path::new("/root"), home];
        fixed.contains(&&**set) || database::users().iter().any(|user| user.home == *set)
    };
    let ours = settings.user.is_some() && !settings.origin(Key::Home).is_chosen();
    if let Some(set) = set.filter(|set| ours && set.is_absolute() && !of_engine(set)) {
        let (set, home) = (set.display(), home.display());
        warn!("HOME={set} has no effect, HOME is {home} here (remedy: use --home {set})");
    }
}

/// Reports a parent process of the user's with the password in its environment, such as Docker's own
/// init: this process protects only its own environment.
fn report_readable_password(start: &mut Start<'_>) -> Result<(), Failure> {
    let secrets = [
        own_variables::PASSWORD_ENV,
        own_variables::PASSWORD_HASH_ENV,
    ];
    let is_root = rustix::process::geteuid().is_root();
    let Some((process, name)) = parent_with(&secrets).filter(|_| !is_root) else {
        return Ok(());
    };
    start.report.degraded(Degradation::new(
        format!("every notebook can read {name} in the environment of {process}, the parent process"),
        "leave out --init, which is not needed; start as root, without `docker run --user`; or name \
         the password's file with JUPYTER_PASSWORD_FILE",
    ))
}

/// Prepares a start without root, and reports each thing that only root could have done.
fn without_root(start: &mut Start<'_>) -> Result<ServerUser, Failure> {
    let dropped = Dropped::without_root(start.settings.new_privileges, &Linux)?;
    let hooks = start.settings.hooks.directory.join("root");
    // The start above this one had root and ran them, or has reported all this.
    let below = start.below;
    if !below && fs::read_dir(&hooks).is_ok_and(|mut entries| entries.next().is_some()) {
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
    }
    if start.settings.user.is_some() && !below {
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
