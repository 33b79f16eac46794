//! Serving: runs the server, the command or nothing until the exit code is known.

use std::path::Path;
use std::sync::Arc;

use rustix::process::getpid;
use tracing::{error, info, warn};

use super::arguments::{self, arguments, in_venv};
use super::quiet::Quiet;
use super::user_phase::{self, Ready, working_directory};
use super::{Failure, Person, Start, variable};
use crate::cli::verbs;
use crate::degradation::Degradation;
use crate::identity::Dropped;
use crate::output::logfile::Logfile;
use crate::output::notify;
use crate::server::password::{self, Place, Secret, Wanted};
use crate::server::program::{Launch, ServerProgram};
use crate::server::readiness::Expected;
use crate::server::watch::{DefaultPassword, Plan, Watch, milliseconds, spent};
use crate::settings::{Orphans, record};
use crate::state::{self, Keeper, Mode, PasswordPlace, Phase, State, Told};
use crate::supervisor::restart::Backoff;
use crate::supervisor::spawn::Program;
use crate::supervisor::stop::Times;
use crate::supervisor::{self, Main, Prepare};

/// Starts the server, the command or nothing, and supervises it until the end.
///
/// # Errors
/// An argument of the server cannot work, or the runtime could not be made.
pub fn run(mut start: Start<'_>, person: &Person, ready: Ready) -> Result<i32, Failure> {
    let keeper = keep_state(&mut start, person)?;
    match start.launch.clone() {
        Launch::Server(server) => serve(start, person, ready, &server, keeper),
        Launch::Command(words) => {
            let program = Program {
                name: words[0].clone(), // invariant: a command has a first word
                args: words[1..].to_vec(),
                environment: ready.environment.to_vec(),
                directory: None,
                umask: start.settings.server.umask,
            };
            quiet(start, Main::Command(program), ready.password, keeper)
        }
        Launch::Idle => quiet(start, Main::Idle, ready.password, keeper),
    }
}

fn keep_state(start: &mut Start<'_>, person: &Person) -> Result<Option<Keeper>, Failure> {
    match Keeper::open(&person.dropped, &start.settings.state_dir) {
        Ok(keeper) => {
            let text = record::running(start.settings, &state::name_of(getpid()));
            if !start.recorded
                && let Err(error) = record::write_own(keeper.directory(), &text)
            {
                tracing::debug!("the settings cannot be recorded: {error}");
            }
            Ok(Some(keeper))
        }
        Err(error) => {
            start.report.degraded(stateless(&error))?;
            Ok(None)
        }
    }
}

pub(super) fn stateless(error: &std::io::Error) -> Degradation {
    Degradation::new(
        format!("the state can be kept nowhere ({error}): `healthcheck` will say unhealthy"),
        "mount a tmpfs on /run, /dev/shm or /tmp, or name a directory with --state-dir",
    )
}

fn told(start: &Start<'_>, password: Option<PasswordPlace>, keeper: Option<Keeper>) -> Told {
    let parts = milliseconds(&start.report.parts);
    let mut state = State::new(start.mode(), parts, start.report.degradations.clone());
    state.password = password;
    if let Launch::Server(server) = &start.launch {
        state.server = Some(server.title().into());
    }
    // A command, or nothing, counts as ready from the beginning.
    if Quiet::suits(start.mode()) {
        state.enter(Phase::Ready);
    }
    Told::new(keeper, state)
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

fn quiet(
    start: Start<'_>,
    main: Main,
    password: Option<PasswordPlace>,
    keeper: Option<Keeper>,
) -> Result<i32, Failure> {
    // A later signal goes to the command, or ends an idle start.
    start.go_on()?;
    let report = &start.report;
    info!(
        "prepared in {}",
        spent(report.start.elapsed(), &report.parts)
    );
    if start.mode() == Mode::Idle {
        info!("no server and no command is named: waiting for a signal");
    }
    let hint = mistyped(&start.launch);
    let told = told(&start, password, keeper);
    let times = times(&start);
    runtime()?.block_on(async {
        told.written().await;
        let mut observer = Quiet::new(told.clone(), hint);
        let code = supervisor::run(main, times, false, start.signals, &mut observer).await;
        told.written().await;
        Ok(code?)
    })
}

/// Returns a hint for a command that is not found and looks like a verb or a Jupyter script.
pub(super) fn mistyped(launch: &Launch) -> Option<String> {
    let Launch::Command(words) = launch else {
        return None;
    };
    let word = words.first()?.to_str()?;
    let (name, extension) = word.rsplit_once('.').unwrap_or((word, ""));
    if ["start", "start-notebook", "start-singleuser"].contains(&name)
        && ["sh", "py"].contains(&extension)
    {
        return Some(format!(
            "{word} is of the Jupyter Docker Stacks: leave it out, and give its options to jupyter-lab"
        ));
    }
    let verb = verbs::meant(word)?;
    Some(match verb == word {
        true => format!("`{verb}` is a verb only as the very first word"),
        false => format!("did you mean the verb `{verb}`?"),
    })
}

fn serve(
    mut start: Start<'_>,
    person: &Person,
    ready: Ready,
    server: &ServerProgram,
    keeper: Option<Keeper>,
) -> Result<i32, Failure> {
    let jupyters = ready.place.read();
    let argv = arguments(&start, person, server, &jupyters);
    let directory = working_directory(&start).unwrap_or_default();
    arguments::check(&start, server, &argv, &jupyters, &directory).map_err(Failure::Settings)?;
    let logfile = open_logfile(&mut start)?;
    let program = Program {
        name: in_venv(&start, server),
        args: [&server.module[..], &argv.args].concat(),
        environment: ready.environment.to_vec(),
        directory: working_directory(&start),
        umask: start.settings.server.umask,
    };
    let by_hub = variable("JUPYTERHUB_SERVICE_URL").filter(|_| server.hub);
    let by_hub = by_hub.and_then(|url| Expected::by_hub(url.to_str()?));
    let place = ready.place;
    let default = ready
        .default_password
        .map(|secret| Arc::new((secret, place)));
    let default_password = default.clone().map(|default| DefaultPassword {
        text: start.settings.password.default.clone().unwrap_or_default(),
        in_force: Arc::new(move || {
            let (secret, place) = &*default;
            password::is_in_force(place, secret)
        }),
    });
    let prepare = prepare(person.dropped, default);
    let plan = Plan {
        hub: server.hub,
        expected: by_hub.unwrap_or_else(|| Expected::by_argv(&argv, directory)),
        ready_timeout: start.settings.server.ready_timeout,
        default_password,
        notify_socket: variable(notify::VARIABLE),
        start: start.report.start,
        parts: start.report.parts.clone(),
    };
    start.go_on()?;
    // There was no server yet that earlier signals could restart or be passed on to.
    start.signals.forget();
    let backoff = Backoff::new(start.settings.server.restart);
    let main = Main::Server(program, backoff, prepare);
    let told = told(&start, ready.password, keeper);
    let times = times(&start);
    runtime()?.block_on(async {
        let mut watch = Watch::new(plan, told.clone(), logfile)?;
        told.written().await;
        let end = start.settings.server.orphans == Orphans::End;
        let code = supervisor::run(main, times, end, start.signals, &mut watch).await;
        told.written().await;
        watch.finish().await;
        Ok(code?)
    })
}

/// Returns the preparation of an in-place restart. It applies the default password again, because
/// something else may have been configured meanwhile.
fn prepare(dropped: Dropped, default: Option<Arc<(Secret, Place)>>) -> Prepare {
    Arc::new(move || {
        let Some((secret, place)) = default.as_deref() else {
            return;
        };
        match password::apply(&dropped, place, &Wanted::Default(secret.clone())) {
            Ok(applied) => user_phase::told(applied)
                .iter()
                .for_each(|told| warn!("{told}")),
            Err(error) => error!("{error}"),
        }
    })
}

fn open_logfile(start: &mut Start<'_>) -> Result<Option<Logfile>, Failure> {
    let Some(path) = &start.settings.log.server_file else {
        return Ok(None);
    };
    match Logfile::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) => {
            start.report.degraded(no_logfile(path, &error))?;
            Ok(None)
        }
    }
}

pub(super) fn no_logfile(path: &Path, error: &std::io::Error) -> Degradation {
    Degradation::new(
        format!("the logfile {} cannot be written: {error}", path.display()),
        "name another one with --jupyter-logfile; the console has the same lines",
    )
}
