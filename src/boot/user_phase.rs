//! The user phase: the defaults, the password, core dumps, user hooks, and the environment of
//! the server or command. Nothing here runs as root, except in the old layout.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use nix::sys::resource::{Resource, setrlimit};
use rustix::fs::{Access, access};
use tracing::info;

use crate::boot::changes::{Section, Words};
use crate::boot::context::{ServerUser, Start, timed};
use crate::boot::failure::{Failure, causes};
use crate::boot::{home, limits, notebooks};
use crate::degradation::Degradation;
use crate::hooks;
use crate::hooks::Variables;
use crate::identity::Account;
use crate::jupyter_config::location::{CONFIG_PATH, ConfigInputs, LAB_CONFIG_NAME};
use crate::jupyter_config::precedence::Effective;
use crate::jupyter_config::{CommandLine, ConfigLocation, EnvironmentToken};
use crate::password;
use crate::password::hash;
use crate::password::{Applied, Outcome, PasswordError, Wanted};
use crate::server::ca_files;
use crate::server::notify;
use crate::server::prefix;
use crate::server::program::Launch;
use crate::settings::own_variables;
use crate::state::{Mode, PasswordLocation};
use crate::sys::env;
use crate::sys::env::Environment;
use crate::sys::env::variable;
use crate::volume::{lost_with_container, unusable_mounts};

/// The results of the user phase that serving needs.
pub struct Ready {
    /// The environment of the server or command.
    pub environment: Environment,
    /// The password that was wanted. It may or may not be effective.
    pub wanted: Wanted,
    /// Jupyter's config locations.
    pub config_location: ConfigLocation,
    /// Where the password is stored, for the verbs; `None` in hub mode.
    pub password: Option<PasswordLocation>,
    /// The news about the notebooks, for the welcome.
    pub news: Option<String>,
}

/// Does everything that needs only the user's rights.
///
/// # Errors
/// A password that cannot be set, a hook that fails, or under `--warning-as-error` any degradation.
pub fn run(start: &mut Start<'_>, person: &mut ServerUser) -> Result<Ready, Failure> {
    let mut environment = make_environment(start, person);
    // Before HOME and the password: root hooks may have named Jupyter's config location.
    take_variables(start, person, &mut environment);
    let elsewhere = home::move_home(start, person, &mut environment)?;
    let elsewhere = elsewhere.as_deref();

    let (result, time) = timed(|| match notebooks::make(start)? {
        true => notebooks::bring_defaults(start, person),
        false => Ok(None),
    });
    let news = result?;
    if let Some(directory) = &start.settings.notebooks.directory {
        let home = &person.account.home;
        let mut wrong = unusable_mounts(directory, home);
        // A server may work in another directory.
        let lost = || lost_with_container(directory, home, false, "--notebooks");
        wrong.extend((!is_server(start)).then(lost).flatten());
        start.report.all_degraded(wrong)?;
    }
    start.report.add_duration("notebooks", time);
    start.check_stop()?;

    let wanted = std::mem::replace(&mut start.password, Wanted::Nothing);
    let path = environment.get(CONFIG_PATH).map(OsStr::to_owned);
    let (place, time) = timed(|| set_password(start, person, elsewhere, &wanted, &mut environment));
    let mut place = place?;
    start.report.add_duration("password", time);
    report_overrides(start, &place, &wanted)?;
    start.check_stop()?;

    match setrlimit(Resource::RLIMIT_CORE, 0, 0) {
        Ok(()) => start.changes.done(format_args!("Disabled coredumps")),
        Err(error) => start.report.degraded(Degradation::new(
            format!("core dumps are not disabled: setrlimit failed: {error}"),
            "run with --ulimit core=0",
        ))?,
    }
    if is_server(start) {
        if let Some(few) = limits::raise_open_files() {
            start.report.degraded(few)?;
        }
        let requested = &start.settings.docker.grant_access;
        if let Some(unusable) = limits::unusable_gpu(requested) {
            start.report.degraded_by_user(unusable);
        }
    }
    let before = find_config_location(start, person, elsewhere, &environment);
    let hooks = start.settings.hooks.directory.join("user").exists();
    let read = hooks.then(|| before.read());
    let of_a_hook = |written: &Variables| {
        let mut environment = environment.clone();
        for (name, value) in written {
            environment.set(name, value);
        }
        environment.to_vec()
    };
    start.run_hooks("user", Section::USER_HOOKS, &of_a_hook, hooks::run_as_user)?;
    take_variables(start, person, &mut environment);
    let now = find_config_location(start, person, elsewhere, &environment);
    // A hook may have configured a login, beside which the default must not be effective.
    if now != before || read.is_some_and(|read| now.read() != read) {
        // The config locations changed: undo our value of the variable, unless a hook set it.
        let ours = before.config_path() == environment.get(CONFIG_PATH).unwrap_or_default();
        match path.filter(|_| ours) {
            Some(path) => environment.set(CONFIG_PATH, path),
            None if ours => environment.remove(CONFIG_PATH),
            None => {}
        }
        place = set_password(start, person, elsewhere, &wanted, &mut environment)?;
        start.check_stop()?;
    }
    report_environment(start, person, &environment);
    if let Some(path) = environment.get("PATH") {
        start.changes.done(format_args!(
            "Changed environment variable PATH to {}",
            path.to_string_lossy()
        ));
    }
    let password = (start.mode() != Mode::Hub).then(|| PasswordLocation {
        directory: place.directory().to_owned(),
        forced: wanted.is_forced(),
        on_the_line: line(start).sets_password(),
        config_path: environment
            .get(CONFIG_PATH)
            .and_then(|path| path.to_str())
            .map(str::to_owned),
    });
    Ok(Ready {
        environment,
        wanted,
        config_location: place,
        password,
        news,
    })
}

/// Moves the variables that hooks wrote into the environment. HOME is also where the server's files
/// are.
fn take_variables(start: &mut Start<'_>, person: &mut ServerUser, environment: &mut Environment) {
    for (name, value) in start.variables.drain(..) {
        if name == "HOME" {
            person.account.home = PathBuf::from(&value);
        }
        environment.set(&name, value);
    }
}

fn make_environment(start: &Start<'_>, person: &ServerUser) -> Environment {
    // A command notifies the service manager itself; for a server we do.
    let ours = matches!(start.launch, Launch::Server(_)).then_some(notify::SOCKET_VARIABLE);
    let empty = |name: &&str| std::env::var_os(name).is_some_and(|value| value.is_empty());
    let empty = ON_IF_EMPTY.into_iter().filter(empty);
    let own = own_variables::own_environment();
    let named = names_to_unset();
    let mut removed: Vec<&str> = own.chain(ours).chain(empty).collect();
    removed.extend(named.iter().map(String::as_str));
    let account = &person.account;
    let who = env::EnvironmentUser {
        name: &account.name,
        home: &account.home,
        shell: shell(account),
    };
    let venv = start.settings.server.venv.as_deref();
    Environment::new(std::env::vars_os(), &removed, who, venv)
}

/// Returns the shell for Jupyter's terminals. That of the account may be none: OpenShift enters
/// each uid with nologin, and Apptainer with a shell that only the host has.
fn shell(account: &Account) -> &Path {
    let starts = |shell: &&Path| {
        let refuses = shell.ends_with("nologin") || shell.ends_with("false");
        !refuses && access(*shell, Access::EXEC_OK).is_ok()
    };
    let mut shells = [&account.shell, Path::new("/bin/bash")].into_iter();
    shells.find(starts).unwrap_or(Path::new("/bin/sh"))
}

/// The variable of the Jupyter Docker Stacks that lists variables to remove from the server's
/// environment, separated by commas.
const UNSET: &str = "JUPYTER_ENV_VARS_TO_UNSET";

/// Returns the names that [`UNSET`] lists, and its own.
fn names_to_unset() -> Vec<String> {
    let Some(list) = variable(UNSET).and_then(|list| list.into_string().ok()) else {
        return Vec::new();
    };
    let names = list.split(',').map(str::trim);
    let names = names.filter(|name| !name.is_empty());
    names.chain([UNSET]).map(str::to_owned).collect()
}

/// Variables that `jupyter_core` treats as on even if they are empty.
const ON_IF_EMPTY: [&str; 2] = ["JUPYTER_PLATFORM_DIRS", "JUPYTER_PREFER_ENV_PATH"];

/// Sets the wanted password, if there is one; returns Jupyter's config locations.
fn set_password(
    start: &mut Start<'_>,
    person: &ServerUser,
    elsewhere: Option<&Path>,
    wanted: &Wanted,
    environment: &mut Environment,
) -> Result<ConfigLocation, Failure> {
    let place = find_config_location(start, person, elsewhere, environment);
    start.unprepared = None;
    let applied = start.changes.make(
        Section::PASSWORD,
        |effects| password::apply(&person.dropped, &place, wanted, effects),
        |applied, words| {
            if let Ok(applied) = applied {
                say_applied(applied, &place, words);
            }
        },
    );
    let applied = match applied {
        // A command starts no server, and may be the shell in which the file is repaired.
        Err(error @ PasswordError::Open { .. }) if !is_server(start) => {
            let told = Degradation::note(error.to_string());
            start.report.degraded(told)?;
            return Ok(place);
        }
        Err(error) if is_server(start) && start.rescue_python.is_some() => {
            start.unprepared = Some(causes(&error));
            return Ok(place);
        }
        applied => applied?,
    };
    if let Some((name, value)) = applied.variable {
        environment.set(name, value);
    }
    if let Outcome::NotSet(degradation) = applied.outcome {
        start.report.degraded(degradation)?;
    }
    // The note says that something else decides, which may be a password in plain text.
    if applied.note.is_some() && start.mode() == Mode::Lab {
        report_plain_text(start, &place)?;
    }
    Ok(place)
}

/// Reports if the effective password is surely no hash. Jupyter takes it for one.
fn report_plain_text(start: &mut Start<'_>, place: &ConfigLocation) -> Result<(), Failure> {
    match place.read().effective() {
        Effective::Hash(text) if !hash::may_be_hash(&text) => {
            start.report.degraded(Degradation::new(
                "the password in Jupyter's configuration or arguments is not a hash, so nobody can \
                 log in with it",
                "set the password itself with JUPYTER_PASSWORD, or use the output of `password hash`",
            ))
        }
        _ => Ok(()),
    }
}

fn say_applied(applied: &Applied, place: &ConfigLocation, words: &mut Words<'_>) {
    if let Some(note) = &applied.note {
        info!("{note}");
    }
    match &applied.outcome {
        Outcome::Changed => words.say(
            format_args!("{}", password::CHANGED),
            format_args!("write its hash to {}", place.file().display()),
        ),
        Outcome::Unchanged => words.planned(format_args!("leave it as it is")),
        Outcome::NotReadable(path) => {
            let path = path.display();
            words.planned(format_args!("look at {path}, once it is handed over"));
        }
        Outcome::NotSet(_) => {}
    }
}

/// Reports if something wins over a forced password: a configuration file in the server's
/// arguments, or another way to log in.
fn report_overrides(
    start: &mut Start<'_>,
    place: &ConfigLocation,
    wanted: &Wanted,
) -> Result<(), Failure> {
    if !wanted.is_forced() {
        return Ok(());
    }
    let line = line(start);
    if line.file.is_some() {
        start.report.degraded(Degradation::new(
            "the server's arguments name a configuration file, and Jupyter reads no other: the \
             password of the environment is not effective",
            "remove that argument, or write the password's hash into that file",
        ))?;
    }
    if let Some(other) = place.read().other_login() {
        start.report.degraded(Degradation::new(
            format!(
                "{other} replaces Jupyter's own login: the password of the environment may not be \
                 effective"
            ),
            "remove that setting, or the password",
        ))?;
    }
    Ok(())
}

/// Reports variables that make a server fail: missing certificates, a token that the login rejects. A
/// dry run skips this, because a hook or the defaults may create the files in the real start.
fn report_environment(start: &mut Start<'_>, person: &ServerUser, environment: &Environment) {
    let mode = start.mode();
    if !matches!(mode, Mode::Lab | Mode::Hub) || start.changes.plan().is_some() {
        return;
    }
    let directory = working_directory(start).unwrap_or_else(|| person.account.home.clone());
    for (_, unreadable) in ca_files::unreadable(environment, &directory) {
        start.report.degraded_by_user(unreadable);
    }
    if mode == Mode::Hub {
        return;
    }
    let token = EnvironmentToken::read(environment, &directory);
    if let Some(token) = token.filter(EnvironmentToken::is_unusable) {
        start.report.degraded_by_user(Degradation::new(
            format!(
                "the token of {} begins or ends with white space, which Jupyter's login removes: \
                 nobody can log in with it",
                token.source
            ),
            "write it without a line break, as `printf %s TOKEN` does",
        ));
    }
}

/// Returns Jupyter's config locations. `elsewhere` is the directory for the password if the file
/// in the user's own directory cannot be replaced.
pub(super) fn find_config_location(
    start: &Start<'_>,
    person: &ServerUser,
    elsewhere: Option<&Path>,
    environment: &Environment,
) -> ConfigLocation {
    let venv = start.settings.server.venv.as_deref();
    ConfigLocation::resolve(&ConfigInputs {
        environment: &|name| environment.get(name).map(OsStr::to_owned),
        home: &person.account.home,
        working_dir: start.settings.root_dir(),
        venv,
        prefix: prefix(start, environment),
        owns_venv: venv.is_some_and(|venv| owns(person, venv)),
        line: line(start),
        own_config_name: match &start.launch {
            Launch::Server(server) => server.config_name(),
            _ => LAB_CONFIG_NAME.into(),
        },
        password_dir: elsewhere.map(Path::to_owned),
    })
}

/// Returns the environment of the Python that runs the server; `None`: unknown.
fn prefix(start: &Start<'_>, environment: &Environment) -> Option<PathBuf> {
    let Launch::Server(server) = &start.launch else {
        return None;
    };
    let path = environment.get("PATH").unwrap_or_default();
    let program = server.in_venv(start.settings.server.venv.as_deref());
    prefix::of_program(&program, path)
}

fn is_server(start: &Start<'_>) -> bool {
    matches!(start.launch, Launch::Server(_))
}

/// Returns the settings about authentication in the server's arguments.
fn line(start: &Start<'_>) -> CommandLine {
    let Launch::Server(server) = &start.launch else {
        return CommandLine {
            is_unknown: true,
            ..CommandLine::default()
        };
    };
    let configured = start.settings.server.args.iter().map(OsStr::new);
    let command = server.args.iter().map(|arg| arg.as_os_str());
    CommandLine::of(configured.chain(command))
}

fn owns(person: &ServerUser, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).is_ok_and(|data| data.uid() == person.account.uid)
}

/// Returns the server's working directory, which is Jupyter's root directory, if it exists by now.
pub fn working_directory(start: &Start<'_>) -> Option<PathBuf> {
    let directory = start.settings.root_dir()?;
    let exists = directory.is_dir() || start.changes.is_given(directory);
    exists.then(|| directory.to_owned())
}
