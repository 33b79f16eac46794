//! What the table of settings says of each setting.

/// The kinds of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    /// Any text that is not empty.
    Text,
    /// An absolute path.
    Path,
    /// A program: an absolute path, or a bare name that is looked up in the venv.
    Program,
    /// A TCP port, 1 to 65535.
    Port,
    /// A time in seconds, decimals allowed, 0 to 86400.
    Seconds,
    /// On or off.
    Switch,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// The mode of a plain file, in octal: its owner can read and write it.
    Mode,
    /// A file mode creation mask, in octal: the owner keeps every right.
    Umask,
    /// Several texts; the flag may be repeated.
    Texts,
    /// Several absolute paths; the flag may be repeated.
    Paths,
    /// Several groups, by name or number; the flag may be repeated.
    Groups,
    /// Several names of environment variables; the flag may be repeated.
    Variables,
}

impl ValueKind {
    /// Reports whether a value is a list.
    pub fn is_list(self) -> bool {
        matches!(
            self,
            Self::Texts | Self::Paths | Self::Groups | Self::Variables
        )
    }
}

/// The names of the settings in the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)] // each is documented by its help text in the table
pub enum Key {
    NotebookDefaults,
    Notebooks,
    VolumeOwner,
    UpdateNotebooks,
    DeletedNotebooks,
    NotebookMode,
    Venv,
    JupyterServer,
    JupyterCore,
    Ip,
    Port,
    Tls,
    TlsCert,
    TlsKey,
    JupyterArg,
    StopTimeout,
    DrainTimeout,
    ReadyTimeout,
    Restart,
    Rescue,
    RescueVenv,
    Orphans,
    Umask,
    User,
    Group,
    Home,
    NewPrivileges,
    KeepGroup,
    DockerSocket,
    DockerGroup,
    GrantAccess,
    Password,
    PasswordFile,
    JupyterLogfile,
    LogFormat,
    LogLevel,
    Hooks,
    HookTimeout,
    HookEnv,
    StateDir,
    Strict,
    DryRun,
}

/// One setting.
#[derive(Debug)]
pub struct Entry {
    /// The name in the code.
    pub key: Key,
    /// The flag, without the dashes.
    pub flag: &'static str,
    /// The environment variable; `None`: there is none.
    pub env: Option<&'static str>,
    /// The TOML key, `table.key`; `None`: there is none.
    pub toml: Option<&'static str>,
    /// The kind of the value.
    pub kind: ValueKind,
    /// The placeholder in `--help`.
    pub value_name: &'static str,
    /// The built-in default; `None`: there is none.
    pub default: Option<&'static str>,
    /// The heading in `--help` that begins here; `None`: the one of the entry before.
    pub section: Option<&'static str>,
    /// The text in `--help`.
    pub help: &'static str,
}

/// Makes an entry; `.section("…")`, `.env("…")`, `.toml("…")` and `.default("…")` add to it.
pub(super) const fn entry(
    key: Key,
    flag: &'static str,
    kind: ValueKind,
    value_name: &'static str,
    help: &'static str,
) -> Entry {
    Entry {
        key,
        flag,
        env: None,
        toml: None,
        kind,
        value_name,
        default: None,
        section: None,
        help,
    }
}

impl Entry {
    pub(super) const fn section(mut self, heading: &'static str) -> Self {
        self.section = Some(heading);
        self
    }

    pub(super) const fn env(mut self, name: &'static str) -> Self {
        self.env = Some(name);
        self
    }

    pub(super) const fn toml(mut self, key: &'static str) -> Self {
        self.toml = Some(key);
        self
    }

    pub(super) const fn default(mut self, value: &'static str) -> Self {
        self.default = Some(value);
        self
    }

    /// Returns the name for messages: the TOML key, or the flag if there is no key.
    pub fn name(&self) -> &'static str {
        self.toml.unwrap_or(self.flag)
    }
}
