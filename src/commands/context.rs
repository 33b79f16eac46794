//! The settings, the rights and the running supervisor that a verb works with.

use std::path::{Path, PathBuf};

use crate::boot::check;
use crate::commands::client;
use crate::commands::client::Supervisor;
use crate::commands::error::VerbError;
use crate::commands::print::print_error;
use crate::identity::Dropped;
use crate::settings::resolve::{CliSettings, Draft};
use crate::settings::saved::Record;
use crate::settings::{Settings, resolve, saved};
use crate::state;
use crate::state::{State, StateError};
use crate::sys::trust;

const NO_SUPERVISOR: &str = "no ai-lab-entrypoint runs here: this verb asks a running one, so use \
     it in its container, such as `docker exec CONTAINER ai-lab-entrypoint status`";

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
            settings: finish(draft(typed, record.as_ref()))?,
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
        let settings = finish(draft)?;
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

/// Returns the record of a supervisor that is a parent process of this start; `None`: it has none
/// that this process trusts.
pub fn record_of(above: &Supervisor, typed: &CliSettings) -> Option<Record> {
    let id = state::supervisor_id(above.pid);
    saved::find_root_record(&id).or_else(|| {
        let wanted = draft(typed.clone(), None).settings().state_dir.clone();
        let (_, directory) = state::read(&wanted, above.pid, above.uid).ok()?;
        let found = saved::find_user_record(&directory, above.uid, &id)?;
        let is_trusted = !rustix::process::geteuid().is_root();
        (is_trusted || trust::root_only_path(&found.path).is_ok()).then_some(found)
    })
}

fn finish(draft: Draft) -> Result<Settings, VerbError> {
    draft.finish().map_err(VerbError::Settings)
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
    pub fn new(typed: &CliSettings) -> Result<Self, VerbError> {
        let supervisor =
            Supervisor::find().ok_or_else(|| VerbError::Other(NO_SUPERVISOR.into()))?;
        let reached = AsSupervisor::new(supervisor)?;
        let (state, _) = reached.state(typed)?;
        let supervisor = reached.supervisor;
        Ok(Self { supervisor, state })
    }
}
