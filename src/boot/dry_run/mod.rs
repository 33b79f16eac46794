//! `--dry-run`: prints the changes that a start would make, previewed on the real volume,
//! socket and accounts. Nothing is changed and nothing is run.
//!
//! Root is dropped as in a start, so that the user's part is previewed with the user's rights.
//! The preview of the root phase comes before the drop.

mod as_root;
mod plan;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use tracing::{error, info};

use crate::boot::arguments::ServerCheck;
use crate::boot::dry_run::plan::{DryRunPlan, quoted};
use crate::boot::home::Moved;
use crate::boot::user_phase::{
    defaults, find_config_location, make_environment, no_notebooks, report_overrides,
    without_defaults, working_directory,
};
use crate::boot::write_access::WriteAccess;
use crate::boot::{Failure, ServerUser, Start, arguments, certificate, serve, without_root};
use crate::hooks;
use crate::identity::{Account, Root, current, group_name};
use crate::jupyter_config::ConfigLocation;
use crate::log::logfile::Logfile;
use crate::password;
use crate::password::{Outcome, PasswordError, Wanted};
use crate::server::program::Launch;
use crate::settings::saved;
use crate::state::{Mode, StateDirectory};
use crate::supervisor::spawn;
use crate::supervisor::spawn::Program;
use crate::sys::env::Environment;
use crate::tls::Handover;
use crate::volume;
use crate::volume::{Decision, Defaults, DefaultsPreview, Rights, VolumeError, preview_defaults};

/// Prints the plan; returns the exit code.
///
/// # Errors
/// The errors that would end the start, too.
pub fn run(mut start: Start<'_>) -> Result<i32, Failure> {
    let mut plan = DryRunPlan::default();
    let (person, notebooks) = match Root::detect() {
        Some(root) => as_root::preview_root_phase(&mut start, root, &mut plan)?,
        None => (own_account(&mut start, &mut plan)?, None),
    };
    let account = &person.account;
    plan.heading("identity");
    plan.line(format!(
        "run as {} (uid {}), group {} (gid {})",
        account.name,
        account.uid,
        group_name(account.gid),
        account.gid
    ));
    let mut environment = make_environment(&start, &person);
    let elsewhere = home_part(&mut start, &person, &mut environment, &mut plan)?;
    let there = directory_part(&mut start, &mut plan)?;
    let notebooks = match notebooks.filter(|_| there) {
        Some((defaults, Ok(preview))) => {
            let readable = volume::drop_unreadable(&person.dropped, &defaults, preview);
            Some((defaults, readable))
        }
        None if there => preview_notebooks(&start, &plan, Rights::ThisProcess),
        other => other,
    };
    start.check_stop()?;
    if let Some((defaults, preview)) = notebooks {
        notebooks_part(&mut start, &defaults, preview, &mut plan)?;
    }
    let place = find_config_location(&start, &person, elsewhere.as_deref(), &environment);
    password_part(&mut start, &person, &place, &mut environment, &mut plan)?;
    files_part(&mut start, &person, &mut plan)?;
    let directory = start.settings.hooks.directory.join("user");
    hooks_part("user", hooks::list(&directory)?, &mut plan);
    hooks::warn_of_non_hooks(&directory);
    variables_part(&environment, &mut plan);
    let program = command_part(&mut start, &person, &place, &environment, &mut plan)?;
    plan.heading("nothing was changed");
    // A closed stdout is no error.
    let _ = std::io::stdout().write_all(plan.text.as_bytes());
    Ok(program.map_or(0, |program| preview_exit_code(&start, &program)))
}

/// Previews the account of a start without root.
fn own_account(start: &mut Start<'_>, plan: &mut DryRunPlan) -> Result<ServerUser, Failure> {
    let person = without_root(start)?;
    let Account { name, uid, gid, .. } = &person.account;
    if person.account.in_passwd && !current().in_passwd {
        plan.heading("account");
        plan.line(format!("enter {name} in /etc/passwd ({uid}:{gid})"));
    }
    Ok(person)
}

/// Returns the exit code of a start whose program cannot be started, and logs why; 0: it can.
fn preview_exit_code(start: &Start<'_>, program: &Program) -> i32 {
    let foreseen = match start.launch {
        Launch::Server(_) => spawn::check_server(program),
        _ => spawn::check_command(program),
    };
    let Err(wrong) = foreseen else {
        return 0;
    };
    match serve::command_hint(&start.launch).filter(|_| wrong.code() == 127) {
        Some(hint) => error!("{wrong}; {hint}"),
        None => error!("{wrong}"),
    }
    wrong.code()
}

/// The defaults, and a preview of what a start would do with them.
type NotebooksPreview = (Defaults, Result<DefaultsPreview, VolumeError>);

fn hooks_part(phase: &str, hooks: Vec<std::path::PathBuf>, plan: &mut DryRunPlan) {
    if hooks.is_empty() {
        return;
    }
    plan.heading(&format!(
        "{phase} hooks (what they would change is not known)"
    ));
    hooks
        .iter()
        .for_each(|hook| plan.line(format!("run {}", hook.display())));
}

fn home_part(
    start: &mut Start<'_>,
    person: &ServerUser,
    environment: &mut Environment,
    plan: &mut DryRunPlan,
) -> Result<Option<PathBuf>, Failure> {
    let writable = |directory: &Path| plan.write_access.writable(directory);
    let Some(moved) = Moved::find(person, environment, &writable) else {
        return Ok(None);
    };
    let made = plan.write_access.writable(&moved.base);
    if made.is_ok() {
        for (directory, problem, place) in moved.moved_directories() {
            plan.line(format!(
                "{directory} {problem} in HOME: use {}",
                place.display()
            ));
        }
    }
    if let Some(report) = moved.report(person, &made) {
        start.report.degraded(report)?;
    }
    Ok(made
        .is_ok()
        .then(|| moved.set_variables(environment))
        .flatten())
}

/// Previews the notebooks directory, which the user makes if root would not. Returns true if it
/// would exist.
fn directory_part(start: &mut Start<'_>, plan: &mut DryRunPlan) -> Result<bool, Failure> {
    let Some(directory) = &start.settings.notebooks.directory else {
        return Ok(true);
    };
    let made = plan.write_access.has(directory) && WriteAccess::is_reachable(directory);
    if made || directory.is_dir() {
        return Ok(true);
    }
    match plan.write_access.writable(directory) {
        Ok(()) => {
            plan.heading("notebooks directory");
            plan.line(format!("make {}", directory.display()));
            plan.write_access.add_tree(directory);
            Ok(true)
        }
        Err(error) => {
            let told = no_notebooks(directory, &error);
            start.report.degraded(told)?;
            Ok(false)
        }
    }
}

fn preview_notebooks(
    start: &Start<'_>,
    plan: &DryRunPlan,
    rights: Rights,
) -> Option<NotebooksPreview> {
    let defaults = defaults(start)?;
    let made = plan.write_access.has(&defaults.volume);
    let preview = preview_defaults(&defaults, made, rights, &|| start.stop_requested());
    Some((defaults, preview))
}

fn notebooks_part(
    start: &mut Start<'_>,
    defaults: &Defaults,
    preview: Result<DefaultsPreview, VolumeError>,
    plan: &mut DryRunPlan,
) -> Result<(), Failure> {
    let preview = match preview {
        Ok(preview) => preview,
        Err(error) => return start.report.degraded(without_defaults(&error)),
    };
    start.report.all_degraded(preview.degradations)?;
    if preview.files.is_empty() {
        return Ok(());
    }
    plan.heading("notebooks");
    for action in &preview.files {
        plan.line(action);
    }
    let writes = |decision| {
        use Decision::{Adopt, Beside, Install, Replace, ReplaceRun};
        matches!(decision, Install | Replace | ReplaceRun | Beside | Adopt)
    };
    let mut written = preview.files.iter().map(|action| action.decision);
    if preview.recorded && written.any(writes) {
        let manifest = defaults.volume.join(volume::MANIFEST);
        plan.line(format!("record them in {}", manifest.display()));
    }
    if preview.news {
        let news = defaults.volume.join(volume::NEWS);
        plan.line(format!("write what is new to {}", news.display()));
    }
    Ok(())
}

fn password_part(
    start: &mut Start<'_>,
    person: &ServerUser,
    place: &ConfigLocation,
    environment: &mut Environment,
    plan: &mut DryRunPlan,
) -> Result<(), Failure> {
    let wanted = std::mem::replace(&mut start.password, Wanted::Nothing);
    let writable = |directory: &Path| plan.write_access.writable(directory);
    let foreseen = match password::preview_apply(&person.dropped, place, &wanted, &writable) {
        // Another user's file that would be handed over: only root could read it now.
        Err(PasswordError::File { path, source, .. })
            if source.kind() == ErrorKind::PermissionDenied && writable(&path).is_ok() =>
        {
            plan.heading("password");
            plan.line(format!(
                "look at {}, once it is handed over",
                path.display()
            ));
            return report_overrides(start, place, &wanted);
        }
        foreseen => foreseen?,
    };
    if let Some(note) = foreseen.note {
        info!("{note}");
    }
    let line = match foreseen.outcome {
        Outcome::Changed => Some(format!("write its hash to {}", place.file().display())),
        Outcome::Unchanged => Some("leave it as it is".into()),
        Outcome::NotSet(degradation) => {
            start.report.degraded(degradation)?;
            None
        }
    };
    if let Some(line) = line {
        plan.heading("password");
        plan.line(line);
    }
    if let Some((name, value)) = foreseen.variable {
        environment.set(name, value);
    }
    report_overrides(start, place, &wanted)
}

/// Previews the other files that a start writes: state, record and log.
fn files_part(
    start: &mut Start<'_>,
    person: &ServerUser,
    plan: &mut DryRunPlan,
) -> Result<(), Failure> {
    let wanted = &start.settings.state_dir;
    let writable = |directory: &Path| plan.write_access.writable(directory);
    let state = StateDirectory::preview(&person.dropped, wanted, &writable);
    let server = matches!(start.launch, Launch::Server(_));
    let logfile = start.settings.log.server_file.as_ref().filter(|_| server);
    let log = logfile.map(|path| (path, Logfile::can_open(path, &writable)));
    let mut lines = Vec::new();
    match state {
        Ok(found) => {
            let record = match start.recorded {
                true => saved::ROOT_RECORD.into(),
                false => saved::user_record_path(&found),
            };
            let (found, record) = (found.display(), record.display());
            lines.push(format!("write {found}/state.json and {record}"));
        }
        Err(error) => start.report.degraded(serve::no_state(&error))?,
    }
    match log {
        Some((path, Ok(()))) => lines.push(format!("append to {}", path.display())),
        Some((path, Err(error))) => start.report.degraded(serve::no_logfile(path, &error))?,
        None => {}
    }
    if !lines.is_empty() {
        plan.heading("files");
        lines.iter().for_each(|line| plan.line(line));
    }
    Ok(())
}

/// Lists the variables that differ from those of this process, sorted by name. Only values
/// that we set are shown.
fn variables_part(environment: &Environment, plan: &mut DryRunPlan) {
    let before: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
    let after: BTreeMap<&OsStr, &OsStr> = environment.iter().collect();
    plan.heading("variables");
    for (name, value) in &after {
        if before.get(*name).is_none_or(|known| known != value) {
            let (name, value) = (name.to_string_lossy(), value.to_string_lossy());
            plan.line(format!("set {name}={value}"));
        }
    }
    for name in before.keys() {
        if !after.contains_key(name.as_os_str()) {
            plan.line(format!("remove {}", name.to_string_lossy()));
        }
    }
}

fn command_part(
    start: &mut Start<'_>,
    person: &ServerUser,
    place: &ConfigLocation,
    environment: &Environment,
    plan: &mut DryRunPlan,
) -> Result<Option<Program>, Failure> {
    plan.heading(match start.mode() {
        Mode::Lab | Mode::Hub => "server",
        Mode::Command => "command",
        Mode::Idle => "no command: wait for a signal",
    });
    let (program, args) = match &start.launch.clone() {
        Launch::Server(server) => {
            let jupyters = find_config_location(start, person, None, environment).read();
            let handover = certificate::handover(start, person)?;
            let file = handover.as_ref().map(Handover::path);
            let argv = arguments::arguments(start, person, server, &jupyters, file.as_deref());
            if let Some(handover) = &handover {
                certificate::report_replaced(start, handover, &argv, &jupyters)?;
            }
            let check = ServerCheck::new(start, server, &argv, file);
            check.check(&jupyters).map_err(Failure::Settings)?;
            if handover.is_some_and(|handover| certificate::is_used(&handover, &argv)) {
                let writable = |directory: &Path| plan.write_access.writable(directory);
                let line = certificate::preview(start, person, place, &writable)?;
                plan.line(line);
            }
            let args = [&server.module[..], &argv.args].concat();
            (arguments::in_venv(start, server), args)
        }
        Launch::Command(words) => (words[0].clone(), words[1..].to_vec()), // invariant: not empty
        Launch::Idle => return Ok(None),
    };
    let server = matches!(start.launch, Launch::Server(_));
    let directory = working_directory(start).filter(|_| server);
    if let Some(directory) = &directory {
        plan.line(format!("in {}", directory.display()));
    }
    if let Some(umask) = start.settings.server.umask {
        plan.line(format!("with umask {umask:03o}"));
    }
    let words = std::iter::once(&program).chain(&args);
    let words = saved::mask_secrets(words.map(|word| word.to_string_lossy()));
    let words: Vec<String> = words.into_iter().map(quoted).collect();
    plan.line(words.join(" "));
    // A directory that would be handed over can be entered then, so it is not checked now.
    let directory = directory.filter(|place| plan.write_access.writable(place).is_err());
    Ok(Some(Program {
        name: program,
        args,
        environment: environment.to_vec(),
        directory,
        umask: start.settings.server.umask,
    }))
}
