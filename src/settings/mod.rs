//! Settings: flags, environment and TOML file become one validated, immutable value.
//!
//! Flags beat the environment, which beats the file, which beats the built-in
//! defaults. An empty environment variable counts as unset. Everything is checked
//! before anything is touched, and every error names the setting, where its value
//! came from, what is wrong and what would be right.

pub mod file;
pub mod moved;
pub mod origin;
pub mod record;
pub mod resolve;
pub mod table;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

pub use origin::{Origin, Raw, SettingError, SettingsError};
pub use table::Key;

/// Whether a server that ended by itself is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// Never: its end is the container's end.
    Never,
    /// Only after an exit code other than 0.
    OnFailure,
    /// Always.
    Always,
}

/// The policy for processes that outlive their kernel or terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Orphans {
    /// They keep running.
    Keep,
    /// They get TERM, then KILL.
    End,
}

/// What happens to the volume's ownership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VolumeOwner {
    /// A bind mount of another ordinary user is adopted; everything else becomes the user's.
    Auto,
    /// Everything becomes the user's.
    Chown,
    /// The server runs as the volume's owner.
    Adopt,
    /// Nothing is touched.
    Keep,
}

/// Which untouched defaults a newer image replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateNotebooks {
    /// Those the user did not change.
    Unmodified,
    /// The same, and a changed one gets the new one beside it.
    Beside,
    /// None.
    Never,
}

/// What happens to defaults that the user deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeletedNotebooks {
    /// They come back.
    Restore,
    /// They stay away.
    Respect,
}

/// The format of our own log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The notebooks volume and the defaults for it.
#[derive(Debug, Clone)]
pub struct Notebooks {
    /// Where the image keeps the defaults; `None`: there are none.
    pub defaults: Option<PathBuf>,
    /// The volume; `None`: there is none.
    pub directory: Option<PathBuf>,
    /// What happens to its ownership.
    pub owner: VolumeOwner,
    /// What a newer image replaces.
    pub update: UpdateNotebooks,
    /// What happens to deleted defaults.
    pub deleted: DeletedNotebooks,
    /// The mode of the files brought in.
    pub mode: u32,
}

/// The server and its life.
#[derive(Debug, Clone)]
pub struct Server {
    /// The Python environment.
    pub venv: Option<PathBuf>,
    /// The server's program: an absolute path or a bare name.
    pub program: Option<String>,
    /// The address to listen on; `None`: all.
    pub ip: Option<String>,
    /// The port; `None`: Jupyter's own choice.
    pub port: Option<u16>,
    /// More arguments.
    pub args: Vec<String>,
    /// From TERM to KILL of the server.
    pub stop_timeout: Duration,
    /// From TERM to KILL of everyone else.
    pub drain_timeout: Duration,
    /// After this an unready server is reported.
    pub ready_timeout: Duration,
    /// Whether it is started again.
    pub restart: Restart,
    /// The policy for processes that outlive their kernel or terminal.
    pub orphans: Orphans,
    /// The file mode creation mask; `None`: ours.
    pub umask: Option<u32>,
}

/// Who the server runs as.
#[derive(Debug, Clone)]
pub struct User {
    /// Name or number.
    pub name: String,
    /// Name or number; `None`: the user's own.
    pub group: Option<String>,
    /// HOME; `None`: the account's.
    pub home: Option<PathBuf>,
}

/// The Docker socket and other paths to give access to.
#[derive(Debug, Clone)]
pub struct Docker {
    /// The socket.
    pub socket: PathBuf,
    /// The group to use for it.
    pub group: String,
    /// More paths.
    pub grant_access: Vec<PathBuf>,
}

/// Our own log and the server's logfile.
#[derive(Debug, Clone)]
pub struct Log {
    /// Also write the server's log here.
    pub server_file: Option<PathBuf>,
    /// Format of our own log.
    pub format: LogFormat,
    /// How much we say.
    pub level: tracing::Level,
}

/// The password settings that are not secret-bearing environment variables.
#[derive(Debug, Clone)]
pub struct Password {
    /// The default password; public by nature.
    pub default: Option<String>,
    /// The file with the forced password.
    pub file: Option<PathBuf>,
}

/// Programs of the image's author that take part in a start.
#[derive(Debug, Clone)]
pub struct Hooks {
    /// The directory with `root/` and `user/`.
    pub directory: PathBuf,
    /// How long one of them may take.
    pub timeout: Duration,
    /// The variables that root hooks get beside the usual ones.
    pub environment: Vec<String>,
}

/// Everything a start depends on, validated.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The notebooks volume.
    pub notebooks: Notebooks,
    /// The server.
    pub server: Server,
    /// Who it runs as; `None`: root, the old layout.
    pub user: Option<User>,
    /// Leave no_new_privs off and keep the bounding set.
    pub new_privileges: bool,
    /// The groups to keep although they are root's in the image.
    pub keep_groups: Vec<String>,
    /// Docker socket and friends.
    pub docker: Docker,
    /// Password settings.
    pub password: Password,
    /// Logs.
    pub log: Log,
    /// Hooks.
    pub hooks: Hooks,
    /// Where `state.json` is kept.
    pub state_dir: PathBuf,
    /// Any degradation is fatal.
    pub strict: bool,
    /// Only say what a start would change.
    pub dry_run: bool,
    /// Each value that was given, as it was written, and where it came from.
    pub written: BTreeMap<Key, Raw>,
}

impl Settings {
    /// Where the value of `key` came from.
    pub fn origin(&self, key: Key) -> Origin {
        let written = self.written.get(&key);
        written.map_or(Origin::Default, |raw| raw.origin.clone())
    }
}
