//! What Jupyter's configuration files say about where the server listens and works. The command
//! line beats them, so the image's own values must not be on it where a file has others.

use super::argv::canonical;

/// A trait that a file names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The trait, by its full name: `ServerApp.ip`.
    pub name: String,
    /// The line in the file, if it is known; 1 is the first.
    pub line: Option<usize>,
    /// The value, if it is a text and known without running anything.
    pub value: Option<String>,
}

/// The classes that have these traits; old names included.
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
