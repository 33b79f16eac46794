//! The names of Jupyter's traits: their aliases, and those that decide where the server listens
//! and works. The command line beats a configuration file, so the image's own value of such a
//! trait must not be on the line if a file sets it.

/// Aliases of `jupyter_server.serverapp` and old names of traits.
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
pub struct Named {
    /// The trait, by its full name: `ServerApp.ip`.
    pub name: String,
    /// The line in the file, if it is known; 1 is the first.
    pub line: Option<usize>,
    /// The value, if it is a text and known without running anything.
    pub value: Option<String>,
}

/// The classes of the server, with their old names.
pub const CLASSES: [&str; 3] = ["ServerApp", "NotebookApp", "SingleUserNotebookApp"];

const TRAITS: [&str; 12] = [
    "ServerApp.allow_root",
    "ServerApp.base_url",
    "ServerApp.certfile",
    "ServerApp.client_ca",
    "ServerApp.default_url",
    "ServerApp.ip",
    "ServerApp.keyfile",
    "ServerApp.open_browser",
    "ServerApp.port",
    "ServerApp.port_retries",
    "ServerApp.root_dir",
    "ServerApp.sock",
];

/// Returns the full name of a trait about where the server listens and works.
pub fn known(class: &str, name: &str) -> Option<String> {
    let full = canonical(&format!("{class}.{name}"));
    TRAITS.contains(&full.as_str()).then_some(full)
}

/// Returns the full name of a trait as it is today.
pub fn canonical(name: &str) -> String {
    // Classes that ServerApp took the place of; their traits are still accepted.
    let name = match name.split_once('.') {
        Some(("NotebookApp" | "SingleUserNotebookApp", rest)) => format!("ServerApp.{rest}"),
        _ => name.to_owned(),
    };
    let full = ALIASES.iter().find(|(alias, _)| *alias == name);
    full.map_or(name, |(_, full)| (*full).into())
}

/// Reports whether an option is an alias.
pub fn is_alias(option: &str) -> bool {
    ALIASES.iter().any(|(alias, _)| *alias == option)
}
