//! The names of Jupyter's traits: their aliases, and the traits that decide where the server
//! listens and works. The command line beats a configuration file, so the image's own value of
//! such a trait must not be on the command line if a file sets the trait.

/// The aliases in `jupyter_server.serverapp` and old names of traits, each with the full name.
const ALIASES: [(&str, &str); 17] = [
    ("ip", "ServerApp.ip"),
    ("port", "ServerApp.port"),
    ("port-retries", "ServerApp.port_retries"),
    ("sock", "ServerApp.sock"),
    ("sock-mode", "ServerApp.sock_mode"),
    ("transport", "KernelManager.transport"),
    ("keyfile", "ServerApp.keyfile"),
    ("certfile", "ServerApp.certfile"),
    ("client-ca", "ServerApp.client_ca"),
    ("notebook-dir", "ServerApp.root_dir"),
    ("ServerApp.notebook_dir", "ServerApp.root_dir"),
    ("preferred-dir", "ServerApp.preferred_dir"),
    ("browser", "ServerApp.browser"),
    ("gateway-url", "GatewayClient.url"),
    ("log-level", "Application.log_level"),
    ("config", "JupyterApp.config_file"),
    ("app-dir", "LabApp.app_dir"),
];

/// A trait that a configuration file sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfiguredTrait {
    /// The full name of the trait: `ServerApp.ip`.
    pub name: String,
    /// The line number in the file, from 1; `None` if it is not known.
    pub line: Option<usize>,
    /// The text of the value, if it is a string, a number, `True` or `False`, and known without
    /// running the file; `None` otherwise.
    pub value: Option<String>,
    /// True if the file may set it or not, such as in an `if`.
    pub conditional: bool,
}

/// The names of the server's class: the current one first, then the old ones; and JupyterLab's.
pub const CLASSES: [&str; 4] = [
    "ServerApp",
    "NotebookApp",
    "SingleUserNotebookApp",
    "LabApp",
];

/// The traits that decide where the server listens and who may connect.
const OF_ACCESS: [&str; 11] = [
    "ServerApp.allow_remote_access",
    "ServerApp.base_url",
    "ServerApp.certfile",
    "ServerApp.client_ca",
    "ServerApp.ip",
    "ServerApp.keyfile",
    "ServerApp.port",
    "ServerApp.port_retries",
    "ServerApp.sock",
    "ServerApp.sock_mode",
    "ServerApp.ssl_options",
];

/// The traits that decide only what the server does.
const OF_WORK: [&str; 6] = [
    "LabApp.default_url",
    "ServerApp.allow_origin",
    "ServerApp.allow_root",
    "ServerApp.default_url",
    "ServerApp.open_browser",
    "ServerApp.root_dir",
];

/// Reports whether one of these traits, by its full name, decides where the server listens and who
/// may connect.
pub fn is_of_access(name: &str) -> bool {
    OF_ACCESS.contains(&name)
}

/// Returns the full name of a trait that decides where the server listens and works, else `None`.
pub fn serving_trait(class: &str, name: &str) -> Option<String> {
    let full = canonical(&format!("{class}.{name}"));
    let mut known = OF_ACCESS.iter().chain(&OF_WORK);
    known.any(|name| *name == full).then_some(full)
}

/// Returns the current full name of a trait.
pub fn canonical(name: &str) -> String {
    // ServerApp replaced these classes; Jupyter still accepts their traits.
    let name = match name.split_once('.') {
        Some(("NotebookApp" | "SingleUserNotebookApp", rest)) => format!("ServerApp.{rest}"),
        _ => name.to_owned(),
    };
    let full = ALIASES.iter().find(|(alias, _)| *alias == name);
    full.map_or(name, |(_, full)| (*full).into())
}

/// Reports whether an option is an alias of a trait.
pub fn is_alias(option: &str) -> bool {
    ALIASES.iter().any(|(alias, _)| *alias == option)
}
