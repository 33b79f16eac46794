//! The verbs, most of which ask a running supervisor: through `docker exec`, in a terminal,
//! or by Docker's HEALTHCHECK.

pub mod client;
pub mod config;
pub mod diff;
pub mod healthcheck;
pub mod notebooks;
pub mod password;
pub mod restart;
pub mod status;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::boot::check;
use crate::cli::verbs::Config;
use crate::cli::{Verb, printed};
use crate::identity::{DropError, Dropped};
use crate::password::PasswordError;
use crate::settings::resolve;
use crate::settings::resolve::{CliSettings, Draft};
use crate::settings::saved;
use crate::settings::saved::Record;
use crate::settings::{SettingError, Settings, SettingsError};
use crate::state;
use crate::state::{State, StateError};
use crate::sys::text;
use crate::sys::trust;
use crate::volume::VolumeError;
use client::Supervisor;

/// Why a verb fails.
#[derive(Debug, thiserror::Error)]
pub enum VerbError {
    /// No supervisor runs here.
    #[error(
        "no ai-lab-entrypoint runs here: this verb asks a running one, so use it in its \
             container, such as `docker exec CONTAINER ai-lab-entrypoint status`"
    )]
    NoSupervisor,
    /// The verb is started as root and cannot become the user that it should run as.
    #[error("cannot become uid {uid}, the supervisor's user: {source}")]
    Drop {
        /// The uid of that user.
        uid: u32,
        /// The cause.
        source: DropError,
    },
    /// The state is missing or cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// The signal could not be sent.
    #[error("the supervisor (process {pid}) cannot be signalled: {source}")]
    Signal {
        /// The supervisor's process id.
        pid: i32,
        /// kill(2)'s error.
        source: std::io::Error,
    },
    /// There is no server to restart, for this reason.
    #[error("there is no server to restart: {0}")]
    NoServer(String),
    /// The settings are invalid.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The notebooks cannot be read or written.
    #[error("{}", crate::boot::failure::causes(.0))]
    Volume(#[from] VolumeError),
    /// The password cannot be set.
    #[error("{}", crate::boot::failure::causes(.0))]
    Password(#[from] PasswordError),
    /// The text that was typed cannot be a password.
    #[error(transparent)]
    Typed(#[from] SettingError),
    /// The two passwords that were typed differ.
    #[error("the two passwords differ: nothing was changed")]
    Differ,
    /// The terminal cannot be read.
    #[error("the terminal cannot be read: {0}")]
    Terminal(std::io::Error),
    /// JupyterHub does the login, so there is no password.
    #[error(
        "this is a single-user server of JupyterHub, which has its own login: there is no password"
    )]
    Hub,
    /// A directory is not configured: its description, and the option that names it.
    #[error("no {0} is configured here: name it with --{1}")]
    NotConfigured(&'static str, &'static str),
    /// The file is outside the notebooks directory.
    #[error("{} is not in the notebooks directory {}", file.display(), directory.display())]
    Outside {
        /// The file, as typed.
        file: PathBuf,
        /// The notebooks directory.
        directory: PathBuf,
    },
    /// The state cannot be written as JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// The runtime for the probe could not be made.
    #[error("the probe could not be started: {0}")]
    Runtime(std::io::Error),
}

/// Runs a verb; returns its exit code.
pub fn run(verb: &Verb, typed: CliSettings) -> ExitCode {
    let done = match verb {
        Verb::Healthcheck => {
            RunningSupervisor::new(&typed).and_then(|asked| healthcheck::run(&asked))
        }
        Verb::Status { json } => {
            RunningSupervisor::new(&typed).and_then(|asked| status::run(&asked, *json))
        }
        Verb::Restart => RunningSupervisor::new(&typed).and_then(|asked| restart::run(&asked)),
        Verb::Notebooks(what) => notebooks::run(what, typed),
        Verb::Seal { directory } => notebooks::seal(directory),
        Verb::Password(what) => password::run(*what, typed),
        Verb::Config(Config::Show { origin }) => config::show(*origin, typed),
        Verb::Config(Config::Check { file }) => config::check(file.as_deref(), typed),
        Verb::Completions(shell) => Ok(print(printed::completions(*shell).as_bytes())),
        Verb::Man => Ok(print(&printed::manual())),
    };
    done.unwrap_or_else(|error| match error {
        VerbError::Settings(SettingsError(wrong)) => {
            for wrong in wrong {
                print_error(&format!("settings: {wrong}"));
            }
            ExitCode::from(crate::boot::failure::EX_CONFIG)
        }
        error => {
            print_error(&error);
            ExitCode::FAILURE
        }
    })
}

/// Prints a verb's text. Characters that a terminal would obey are escaped, except line breaks
/// and tabs: the text may hold the user's files and names.
fn print_text(what: &str) {
    print(text::shown_lines(what).as_bytes());
}

/// Prints a verb's JSON.
fn print_json(what: &str) {
    print(format!("{}\n", text::json(what)).as_bytes());
}

/// Prints our own text as it is. A closed stdout is no error.
fn print(what: &[u8]) -> ExitCode {
    let _ = std::io::stdout().write_all(what);
    ExitCode::SUCCESS
}

/// Returns the exit code of a verb.
fn exit_code(done: bool) -> ExitCode {
    match done {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Writes a line for each problem to stderr.
fn print_errors<T: std::fmt::Display>(problems: &[T]) {
    for problem in problems {
        print_error(problem);
    }
}

/// Writes one line to stderr.
fn print_error(what: &dyn std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{}", text::shown(&what.to_string()));
}

/// The settings and the rights of a verb. It also works without a supervisor.
#[derive(Debug)]
pub struct VerbContext {
    /// The settings of the running start, or those that a start would have now.
    pub settings: Settings,
    /// The record that the running start wrote; `None`: there is none, or root does not trust it.
    pub record: Option<Record>,
    /// The running supervisor with its state; `None`: no supervisor runs, or it has no state.
    pub running: Option<RunningSupervisor>,
    /// Proof that root is dropped, was never there, or is kept on purpose.
    pub dropped: Dropped,
}

impl VerbContext {
    /// Becomes the user of the supervisor, or of a start if none runs, and reads the settings.
    ///
    /// # Errors
    /// The settings are invalid, the user is unknown, or root cannot be dropped.
    pub fn find(typed: CliSettings) -> Result<Self, VerbError> {
        let Some(supervisor) = Supervisor::find() else {
            return Self::alone(typed);
        };
        let reached = AsSupervisor::new(supervisor)?;
        let found = reached.state(&typed);
        let (state, directory) = match reached.supervisor.uid {
            // Without a state, a supervisor of uid 0 may not have dropped root yet: files that
            // a verb writes as root would be in the user's way.
            0 => Some(found?).unzip(),
            _ => found.ok().unzip(),
        };
        let record = directory.and_then(|directory| reached.record_in(&directory));
        let record = reached.record.or(record);
        let supervisor = reached.supervisor;
        Ok(Self {
            settings: draft(typed, record.as_ref()).finish()?,
            record,
            running: state.map(|state| RunningSupervisor { supervisor, state }),
            dropped: reached.dropped,
        })
    }

    /// Becomes the user that a start would have, and reads the settings, where no supervisor runs.
    fn alone(typed: CliSettings) -> Result<Self, VerbError> {
        let mut draft = draft(typed, None);
        let mut account = None;
        if rustix::process::geteuid().is_root() {
            let named = check::account(draft.settings());
            account = draft.checked(named).flatten();
        }
        let settings = draft.finish()?;
        let dropped = client::drop_to_account(account)?;
        Ok(Self {
            settings,
            record: None,
            running: None,
            dropped,
        })
    }
}

/// Reads the settings of the start that wrote `record`, or of a new one. `--config` wins.
fn draft(mut typed: CliSettings, record: Option<&Record>) -> Draft {
    let own = typed.config.is_some() || record.is_none();
    typed.config = typed.config.or(record.map(|record| record.path.clone()));
    let environment = |name: &str| std::env::var_os(name).filter(|_| own);
    resolve::read(&typed, &environment, rustix::process::geteuid().is_root())
}

/// A supervisor whose user this process has become.
struct AsSupervisor {
    supervisor: Supervisor,
    dropped: Dropped,
    /// True if the verb was started as root.
    by_root: bool,
    /// The record of the settings that root wrote; `None`: there is none that root trusts.
    record: Option<Record>,
}

impl AsSupervisor {
    /// Becomes the supervisor's user, and only then opens files of that user.
    fn new(supervisor: Supervisor) -> Result<Self, VerbError> {
        let by_root = rustix::process::geteuid().is_root();
        let dropped = supervisor.drop_to_supervisor()?;
        let record = saved::find_root_record(&state::supervisor_id(supervisor.pid));
        Ok(Self {
            supervisor,
            dropped,
            by_root,
            record,
        })
    }

    /// Returns the supervisor's state and the directory that holds it.
    fn state(&self, typed: &CliSettings) -> Result<(State, PathBuf), StateError> {
        let settings = draft(typed.clone(), self.record.as_ref());
        let directory = &settings.settings().state_dir;
        state::read(directory, self.supervisor.pid, self.supervisor.uid)
    }

    /// Returns the record of a start without root. Root trusts none that others can write.
    fn record_in(&self, directory: &Path) -> Option<Record> {
        let Supervisor { pid, uid, .. } = self.supervisor;
        let found = saved::find_user_record(directory, uid, &state::supervisor_id(pid));
        let found = found.filter(|_| self.record.is_none())?;
        match trust::root_only_path(&found.path) {
            Err(problem) if self.by_root => {
                print_error(&format!(
                    "the settings of this start are in {}, which root does not read: {problem}; \
                     for those settings use the verb as uid {uid} (`docker exec --user {uid}`)",
                    found.path.display()
                ));
                None
            }
            _ => Some(found),
        }
    }
}

/// The supervisor that was found, and its state.
#[derive(Debug)]
pub struct RunningSupervisor {
    /// The supervisor.
    pub supervisor: Supervisor,
    /// The state that the supervisor wrote.
    pub state: State,
}

impl RunningSupervisor {
    /// Finds the supervisor and reads its state.
    fn new(typed: &CliSettings) -> Result<Self, VerbError> {
        let supervisor = Supervisor::find().ok_or(VerbError::NoSupervisor)?;
        let reached = AsSupervisor::new(supervisor)?;
        let (state, _) = reached.state(typed)?;
        let supervisor = reached.supervisor;
        Ok(Self { supervisor, state })
    }
}
