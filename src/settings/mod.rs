//! Settings: turns flags, environment and TOML file into one validated, immutable value.
//!
//! Flags beat the environment, which beats the file, which beats the built-in defaults. An empty
//! environment variable counts as unset. All settings are checked before the start changes
//! anything. Each error names the setting, the origin of its value, the problem and the remedy.

pub mod check;
pub mod choices;
pub mod entry;
pub mod file;
pub mod nb_user;
pub mod old_paths;
pub mod own_variables;
pub mod resolve;
pub mod saved;
pub mod table;
pub mod value;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use choices::{
    DeletedNotebooks, LogFormat, Orphans, Rescue, Restart, UpdateNotebooks, VolumeOwner,
};
pub use entry::Key;
pub use nb_user::NewAccount;
pub use value::{Origin, Raw, RawValue, SettingError, SettingsError};

/// The certificate for https, unless Jupyter's own configuration or arguments name one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tls {
    /// No certificate: plain HTTP.
    Off,
    /// A certificate that is made for this container.
    Auto,
    /// A certificate in these files.
    Named {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of its key; `None`: the key is in the certificate's file.
        key: Option<PathBuf>,
    },
}

/// The notebooks volume and the defaults for it.
#[derive(Debug, Clone)]
pub struct Notebooks {
    /// The directory of the image's default notebooks; `None`: there are none.
    pub defaults: Option<PathBuf>,
    /// The directory of the volume; `None`: there is none.
    pub directory: Option<PathBuf>,
    /// The policy for the owner of the volume's files.
    pub owner: VolumeOwner,
    /// The policy for defaults that a newer image has changed.
    pub update: UpdateNotebooks,
    /// The policy for defaults that the user deleted.
    pub deleted: DeletedNotebooks,
    /// The mode bits of the files that are installed.
    pub mode: u32,
}

/// The server: its program, its arguments, its time limits and its restarts.
#[derive(Debug, Clone)]
pub struct Server {
    /// The Python environment; `None`: there is none.
    pub venv: Option<PathBuf>,
    /// The server's program, an absolute path or a bare name; `None`: not set.
    pub program: Option<String>,
    /// The address to listen on; `None`: all addresses.
    pub ip: Option<String>,
    /// The port to listen on; `None`: Jupyter chooses.
    pub port: Option<u16>,
    /// The certificate for https.
    pub tls: Tls,
    /// Additional arguments for the server.
    pub args: Vec<String>,
    /// The time between TERM and KILL for the server.
    pub stop_timeout: Duration,
    /// The time between TERM and KILL for all other processes.
    pub drain_timeout: Duration,
    /// The time after which a server that is not ready is reported.
    pub ready_timeout: Duration,
    /// The policy for a server that ends by itself.
    pub restart: Restart,
    /// The policy for a server that ends before it is ready.
    pub rescue: Rescue,
    /// The Python environment of a rescued server; `None`: that of `venv`.
    pub rescue_venv: Option<PathBuf>,
    /// The policy for processes that outlive their kernel or terminal.
    pub orphans: Orphans,
    /// The umask of the server or COMMAND; `None`: the umask of this process.
    pub umask: Option<u32>,
}

/// The user that the server runs as.
#[derive(Debug, Clone)]
pub struct User {
    /// The user's name or number.
    pub name: String,
    /// The group's name or number; `None`: the user's own group.
    pub group: Option<String>,
    /// HOME; `None`: the account's home directory.
    pub home: Option<PathBuf>,
    /// The account that root makes for this user; `None`: the container has it.
    pub new: Option<NewAccount>,
}

/// The Docker socket and other paths that the user gets access to.
#[derive(Debug, Clone)]
pub struct Docker {
    /// The path of the Docker socket.
    pub socket: PathBuf,
    /// The group to use for the socket.
    pub group: String,
    /// Other paths that the user gets access to.
    pub grant_access: Vec<PathBuf>,
}

/// The settings of our own log and of the server's logfile.
#[derive(Debug, Clone)]
pub struct Log {
    /// A file that the server's log is also written to; `None`: no file.
    pub server_file: Option<PathBuf>,
    /// The format of our own log.
    pub format: LogFormat,
    /// The level of our own log.
    pub level: tracing::Level,
}

/// The password settings, without the environment variables that hold secrets.
#[derive(Debug, Clone)]
pub struct Password {
    /// The default password, which is public by nature; `None`: there is none.
    pub default: Option<String>,
    /// The file with the forced password; `None`: not set.
    pub file: Option<PathBuf>,
}

/// The hooks: programs of the image's author that run during a start.
#[derive(Debug, Clone)]
pub struct Hooks {
    /// The directory with `root/` and `user/`.
    pub directory: PathBuf,
    /// The time limit for one hook.
    pub timeout: Duration,
    /// The names of variables that root hooks get in addition to the usual ones.
    pub environment: Vec<String>,
}

/// All validated settings of a start.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // some are documented by their type
pub struct Settings {
    pub notebooks: Notebooks,
    pub server: Server,
    /// The user that the server runs as; `None`: root, with the old layout.
    pub user: Option<User>,
    /// True if no_new_privs stays off and the capability bounding set is kept.
    pub new_privileges: bool,
    /// The groups to keep although the image's /etc/group gives them to root.
    pub keep_groups: Vec<String>,
    pub docker: Docker,
    pub password: Password,
    pub log: Log,
    pub hooks: Hooks,
    /// The directory of `state.json`.
    pub state_dir: PathBuf,
    /// True if any degradation ends the start.
    pub strict: bool,
    /// True if the start only prints what it would change.
    pub dry_run: bool,
    /// Each value that was given, unchecked, with its origin.
    pub given: BTreeMap<Key, Raw>,
}

impl Settings {
    /// Returns Jupyter's root directory and working directory: a person's home, or the notebooks
    /// directory. `None`: there is neither.
    pub fn root_dir(&self) -> Option<&Path> {
        // A notebooks directory that a flag or variable names is the root directory.
        let follows = matches!(
            self.origin(Key::Notebooks),
            Origin::Environment(nb_user::USER)
        );
        let person = follows && self.new_account().is_some_and(|new| new.has_home);
        let home = self.user.as_ref().and_then(|user| user.home.as_deref());
        home.filter(|_| person)
            .or(self.notebooks.directory.as_deref())
    }

    /// Returns the account that root makes for the server; `None`: the container has it.
    pub fn new_account(&self) -> Option<&NewAccount> {
        self.user.as_ref()?.new.as_ref()
    }

    /// Replaces the notebooks directory.
    pub fn set_notebooks(&mut self, directory: String, origin: Origin) {
        self.notebooks.directory = Some(PathBuf::from(&directory));
        let value = RawValue::Text(directory);
        self.given.insert(Key::Notebooks, Raw { value, origin });
    }

    /// Returns the origin of the value of `key`.
    pub fn origin(&self, key: Key) -> Origin {
        let written = self.given.get(&key);
        written.map_or(Origin::Default, |raw| raw.origin.clone())
    }

    /// Returns an error in the value of `key`.
    pub fn error(&self, key: Key, problem: impl Into<String>, remedy: &str) -> SettingError {
        SettingError::new(table::find(key).name(), self.origin(key), problem, remedy)
    }
}
