//! Serving: runs the server, the command or nothing until the exit code is known.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::getpid;
use tracing::{info, warn};

use crate::boot::arguments;
use crate::boot::arguments::Arguments;
use crate::boot::certificate;
use crate::boot::changes::Section;
use crate::boot::context::{ServerUser, Start};
use crate::boot::dry_run;
use crate::boot::failure::{Ending, Failure, causes};
use crate::boot::lab_files::LabFiles;
use crate::boot::passthrough::{CommandObserver, command_hint, names_a_server};
use crate::boot::rescue;
use crate::boot::user_phase::{Ready, working_directory};
use crate::degradation::Degradation;
use crate::identity::Dropped;
use crate::jupyter_config::{ConfigLocation, ConfigSources};
use crate::log::logfile::Logfile;
use crate::password;
use crate::password::{Outcome, Wanted};
use crate::server::announce::WatchOptions;
use crate::server::boot_times::{format_times, milliseconds};
use crate::server::monitor::ServerObserver;
use crate::server::notify;
use crate::server::program::{Launch, ServerProgram};
use crate::server::targets::Expected;
use crate::server::welcome::DefaultPassword;
use crate::settings::{Orphans, saved};
use crate::state;
use crate::state::{
    Mode, PasswordLocation, Phase, State, StateDirectory, StatePublisher, WRITE_TIMEOUT,
};
use crate::supervisor;
use crate::supervisor::Main;
use crate::supervisor::attempt::{Attempt, Prepare, Server};
use crate::supervisor::backoff::Backoff;
use crate::supervisor::lifecycle::Times;
use crate::supervisor::spawn;
use crate::supervisor::spawn::Program;
use crate::sys::effects::Effects;
use crate::sys::env::Environment;
use crate::sys::env::variable;
use crate::tls::Handover;

/// Starts the server, the command or nothing, and supervises it until the end.
///
/// # Errors
/// An argument of the server cannot work, or the runtime could not be made.
pub fn run(mut start: Start<'_>, person: &ServerUser, ready: Ready) -> Result<Ending, Failure> {
    let keeper = open_state(&mut start, person)?;
    let program = match start.launch.clone() {
        Launch::Server(server) => return serve(start, person, ready, &server, keeper),
        Launch::Command(words) => Some(Program {
            name: words[0].clone(), // invariant: a command has a first word
            args: words[1..].to_vec(),
            environment: ready.environment.to_vec(),
            directory: None,
            umask: start.settings.server.umask,
        }),
        Launch::Idle => None,
    };
    if let Some(ending) = dry_run::end(&mut start, &ready.environment, program.as_ref()) {
        return Ok(ending);
    }
    warn_of_default(&mut start, &ready);
    let main = program.map_or(Main::Idle, Main::Command);
    run_command(start, main, ready.password, keeper)
}

/// Warns of a command that starts a server with the default password: no welcome names it.
fn warn_of_default(start: &mut Start<'_>, ready: &Ready) {
    if let (Launch::Command(words), Wanted::Default(secret)) = (&start.launch, &ready.wanted)
        && names_a_server(words)
        && password::is_effective(&ready.config_location, secret)
    {
        let text = start.settings.password.default.clone().unwrap_or_default();
        start.report.degraded_by_user(Degradation::new(
            format!(
                "a Jupyter server that this command starts has the default password `{text}`, which \
                 everybody knows"
            ),
            "docker run --env JUPYTER_PASSWORD=<your password> …",
        ));
    }
}

fn open_state(
    start: &mut Start<'_>,
    person: &ServerUser,
) -> Result<Option<StateDirectory>, Failure> {
    let wanted = &start.settings.state_dir;
    let opened = start.changes.make(
        Section::FILES,
        |effects| StateDirectory::open(&person.dropped, wanted, effects),
        |opened, words| {
            if let Ok(keeper) = opened {
                let directory = keeper.directory().display();
                words.planned(format_args!("write {directory}/{}", state::FILE));
            }
        },
    );
    match opened {
        Ok(keeper) => {
            if keeper.directory() != wanted && state::is_used_by_another(&person.dropped, wanted) {
                start.report.degraded(Degradation::new(
                    format!(
                        "{} belongs to a running start: the state of this one is kept elsewhere",
                        wanted.display()
                    ),
                    "name a directory of its own with --state-dir",
                ))?;
            }
            if keeper.directory() != wanted && state::holds_another_file(wanted) {
                start.report.degraded_by_user(Degradation::new(
                    format!(
                        "{} has a {} that no start wrote: it stays, and the state is kept elsewhere",
                        wanted.display(),
                        state::FILE
                    ),
                    "name a directory of its own with --state-dir",
                ));
            }
            if !start.recorded {
                record_settings(start, keeper.directory());
            }
            Ok(Some(keeper))
        }
        Err(error) => {
            start.report.degraded(Degradation::new(
                format!(
                    "the state can be kept nowhere ({error}): `healthcheck` will say unhealthy"
                ),
                "mount a tmpfs on /run, /dev/shm or /tmp, or name a directory with --state-dir",
            ))?;
            Ok(None)
        }
    }
}

/// Writes the user's record of the settings, where root wrote none.
fn record_settings(start: &mut Start<'_>, directory: &Path) {
    let text = saved::record_text(start.settings, &state::supervisor_id(getpid()));
    let written = start.changes.make(
        Section::FILES,
        |effects| effects.make(|| saved::write_user_record(directory, &text)),
        |_, words| {
            let path = saved::user_record_path(directory);
            words.planned(format_args!("write {}", path.display()));
        },
    );
    if let Err(error) = written {
        tracing::debug!("the settings cannot be recorded: {error}");
    }
}

fn new_state(
    start: &Start<'_>,
    password: Option<PasswordLocation>,
    keeper: Option<StateDirectory>,
) -> StatePublisher {
    let parts = milliseconds(&start.report.parts);
    let mut state = State::new(start.mode(), parts, start.report.degradations.clone());
    state.password = password;
    if let Launch::Server(server) = &start.launch {
        state.server = Some(server.title().into());
    }
    // A command, or nothing, counts as ready from the beginning.
    if matches!(start.mode(), Mode::Command | Mode::Idle) {
        state.enter(Phase::Ready);
    }
    StatePublisher::new(keeper, state)
}

fn times(start: &Start<'_>) -> Times {
    Times {
        stop: start.settings.server.stop_timeout,
        drain: start.settings.server.drain_timeout,
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

fn run_command(
    start: Start<'_>,
    main: Main,
    password: Option<PasswordLocation>,
    keeper: Option<StateDirectory>,
) -> Result<Ending, Failure> {
    // A later signal goes to the command, or ends an idle start.
    start.check_stop()?;
    let report = &start.report;
    info!(
        "prepared in {}",
        format_times(report.start.elapsed(), &report.parts)
    );
    if start.mode() == Mode::Idle {
        info!("no server and no command is named: waiting for a signal");
    }
    let hint = command_hint(start.command());
    let told = new_state(&start, password, keeper);
    let times = times(&start);
    runtime()?.block_on(async {
        told.wait_written(WRITE_TIMEOUT).await;
        let mut observer = CommandObserver::new(told.clone(), &main, hint);
        let code = supervisor::run(main, times, false, start.signals, &mut observer).await;
        told.wait_written(WRITE_TIMEOUT).await;
        Ok(Ending::from(code?))
    })
}

fn serve(
    mut start: Start<'_>,
    person: &ServerUser,
    ready: Ready,
    server: &ServerProgram,
    keeper: Option<StateDirectory>,
) -> Result<Ending, Failure> {
    let jupyters = ready.config_location.read();
    let handover = certificate::handover(&start, person)?;
    let file = handover.as_ref().map(Handover::path);
    let arguments = Arc::new(Arguments::new(&start, person, server, file));
    let argv = arguments.merged(&jupyters);
    arguments.report(&argv, &jupyters);
    let is_used = arguments.use_certificate(&argv);
    if handover.is_some() && !is_used {
        certificate::report_replaced(&mut start, &argv, &jupyters)?;
    }
    // If only a file of Jupyter's names another certificate, a restart may need this one.
    let without_files = arguments.merged(&ConfigSources::default());
    let handover = handover.filter(|_| arguments.use_certificate(&without_files));
    // The server inherits the file in memory at each of its starts, so it stays open until the end.
    // A rescue has it, too, if it can be used.
    let place = &ready.config_location;
    let _certificate = handover
        .map(|handover| certificate::give(&mut start, person, place, handover, is_used))
        .transpose()?;
    let shows_lab = arguments::shows_lab(server, &argv, &jupyters);
    let rescue = rescue::plan(&start, person, &ready, server, &arguments, shows_lab);
    let no_password = start.unprepared.is_some();
    let rescues = || (rescue.as_ref()).is_some_and(|plan| (plan.address)().is_some());
    match arguments.check(&argv, &jupyters) {
        Err(wrong) if arguments::are_in_files(&wrong) && rescues() => {
            start.unprepared.get_or_insert(wrong.to_string());
        }
        checked => checked.map_err(Failure::Settings)?,
    }
    match arguments.wrong_directory(&argv, &jupyters) {
        // A person's file must not end every later start.
        Some((wrong, true)) => start.report.degraded_by_user(wrong),
        Some((wrong, false)) => start.report.degraded(wrong)?,
        None => {}
    }
    let lab_files = shows_lab.then(|| lab_files(&start, person, &ready.environment));
    let damaged = lab_files.as_ref().and_then(LabFiles::damaged);
    match damaged.map(|(problem, remedy)| Degradation::new(problem, remedy)) {
        Some(damaged) if rescues() => {
            start.unprepared.get_or_insert(damaged.to_string());
        }
        Some(damaged) => start.report.degraded_by_user(damaged),
        None => {}
    }
    let lab_files = lab_files.filter(|_| rescues());
    let place = ready.config_location;
    let logfile = open_logfile(&mut start)?;
    let mut environment = ready.environment;
    if let Some(page) = arguments.first_page(&argv, &jupyters) {
        environment.set(arguments::PAGE, page);
    }
    let program = Program {
        name: server.in_venv(start.settings.server.venv.as_deref()),
        args: arguments.words(&argv),
        environment: environment.to_vec(),
        directory: working_directory(&start),
        umask: start.settings.server.umask,
    };
    if let Some(ending) = dry_run::end(&mut start, &environment, Some(&program)) {
        return Ok(ending);
    }
    let by_hub = variable("JUPYTERHUB_SERVICE_URL").filter(|_| server.hub);
    let by_hub = by_hub.and_then(|url| Expected::by_hub(url.to_str()?));
    let wanted = Arc::new((ready.wanted, place));
    let default_password = match &wanted.0 {
        Wanted::Default(_) => Some(effective_default(&start, wanted.clone())),
        _ => None,
    };
    let prepare = prepare(
        person.dropped,
        wanted,
        no_password,
        arguments,
        lab_files,
        program.clone(),
    );
    let directory = working_directory(&start).unwrap_or_default();
    let unprepared = start.unprepared.take().map(Attempt::Unprepared);
    let plan = WatchOptions {
        hub: server.hub,
        login_is_off: default_password.is_some() && jupyters.is_login_off(),
        expected: by_hub.unwrap_or_else(|| Expected::by_argv(&argv, directory)),
        ready_timeout: start.settings.server.ready_timeout,
        stop_timeout: start.settings.server.stop_timeout,
        default_password,
        rescue,
        news: ready.news,
        notify_socket: variable(notify::SOCKET_VARIABLE),
        start: start.report.start,
        parts: start.report.parts.clone(),
    };
    start.check_stop()?;
    // There was no server yet that earlier signals could restart or be passed on to.
    start.signals.discard_pending();
    let main = Main::Server(Server {
        attempt: unprepared.unwrap_or(Attempt::Usual(program)),
        backoff: Backoff::new(start.settings.server.restart),
        prepare,
    });
    let told = new_state(&start, ready.password, keeper);
    let times = times(&start);
    runtime()?.block_on(async {
        let mut watch = ServerObserver::new(plan, told.clone(), logfile)?;
        told.wait_written(WRITE_TIMEOUT).await;
        let end = start.settings.server.orphans == Orphans::End;
        let code = supervisor::run(main, times, end, start.signals, &mut watch).await;
        told.wait_written(WRITE_TIMEOUT).await;
        let (words, log) = watch.finish(start.signals).await;
        Ok(Ending {
            code: code?,
            words,
            log,
        })
    })
}

fn lab_files(start: &Start<'_>, person: &ServerUser, environment: &Environment) -> LabFiles {
    let venv = start.settings.server.venv.as_deref();
    let directory = working_directory(start).unwrap_or_default();
    LabFiles::of(environment, &person.account.home, &directory, venv)
}

/// Returns the default password, for the welcome.
fn effective_default(start: &Start<'_>, wanted: Arc<(Wanted, ConfigLocation)>) -> DefaultPassword {
    DefaultPassword {
        text: start.settings.password.default.clone().unwrap_or_default(),
        is_effective: Arc::new(move || match &*wanted {
            (Wanted::Default(secret), place) => password::is_effective(place, secret),
            _ => false,
        }),
    }
}

/// Returns the preparation of an in-place restart. Something else may have been configured since
/// the start, so it merges the arguments again, applies the default password again, and checks what
/// the server needs (`lab_files`: only if it can be rescued). Another password is applied only if
/// the start failed to (`failed`): `password set` may have changed it.
fn prepare(
    dropped: Dropped,
    wanted: Arc<(Wanted, ConfigLocation)>,
    failed: bool,
    arguments: Arc<Arguments>,
    lab_files: Option<LabFiles>,
    program: Program,
) -> Prepare {
    let failed = AtomicBool::new(failed);
    Arc::new(move || {
        let (wanted, place) = &*wanted;
        if failed.load(Ordering::Relaxed) || matches!(wanted, Wanted::Default(_)) {
            // The story of the start is over: a restart makes its changes by itself.
            let applied = password::apply(&dropped, place, wanted, Effects::Make)
                .map_err(|error| causes(&error))?;
            if applied.variable.is_some() {
                return Err(
                    "the password becomes effective when the container is restarted".into(),
                );
            }
            failed.store(false, Ordering::Relaxed);
            if let Some(note) = applied.note {
                info!("{note}");
            }
            match applied.outcome {
                Outcome::Changed => info!("{}", password::CHANGED),
                Outcome::NotSet(told) => warn!("{told}"),
                Outcome::Unchanged | Outcome::NotReadable(_) => {}
            }
        }
        let jupyters = place.read();
        let argv = arguments.merged(&jupyters);
        let checked = arguments.check(&argv, &jupyters);
        checked.map_err(|wrong| wrong.to_string())?;
        if let Some((problem, remedy)) = lab_files.as_ref().and_then(LabFiles::damaged) {
            return Err(Degradation::new(problem, remedy).to_string());
        }
        let program = Program {
            args: arguments.words(&argv),
            ..program.clone()
        };
        // The event loop enters the directory and executes the file: it must not wait for them.
        let _ = spawn::check_server(&program);
        Ok(program)
    })
}

fn open_logfile(start: &mut Start<'_>) -> Result<Option<Logfile>, Failure> {
    let Some(path) = &start.settings.log.server_file else {
        return Ok(None);
    };
    let opened = start.changes.make(
        Section::FILES,
        |effects| match effects {
            Effects::Make => Logfile::open(path).map(Some),
            Effects::Preview(_) => Logfile::can_open(path, effects).map(|()| None),
        },
        |opened, words| {
            words.planned_if(opened.is_ok(), format_args!("append to {}", path.display()));
        },
    );
    opened.or_else(|error| {
        start.report.degraded(Degradation::new(
            format!("the logfile {} cannot be written: {error}", path.display()),
            "name another one with --jupyter-logfile; the console has the same lines",
        ))?;
        Ok(None)
    })
}
