//! Where Jupyter looks for its configuration, and who wins there (`jupyter_core.paths`,
//! `jupyter_server.serverapp`).

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::config::{Hashes, contents};

/// The name of the file that `jupyter server password` writes.
const FILE: &str = "jupyter_server_config.json";

/// Names of files without extension, winners first.
const NAMES: [&str; 3] = [
    "jupyter_server_config",
    "jupyter_lab_config",
    "jupyter_config",
];

const SYSTEM: [&str; 2] = ["/usr/local/etc/jupyter", "/etc/jupyter"];

/// How the names of traits end that hold a password's hash.
const TRAITS: [&str; 2] = [".hashed_password", "App.password"];

/// The variable with the directories that come before all others.
pub const CONFIG_PATH: &str = "JUPYTER_CONFIG_PATH";

/// What decides where Jupyter looks.
pub struct Surroundings<'a> {
    /// Looks up a variable of the server's environment.
    pub environment: &'a dyn Fn(&str) -> Option<OsString>,
    /// The server's HOME.
    pub home: &'a Path,
    /// Its venv.
    pub venv: Option<&'a Path>,
    /// Whether the server's user owns the venv: then its configuration beats HOME's.
    pub owns_venv: bool,
    /// Whether the command line names a password or the only file to read, which beats
    /// every file that is looked at here.
    pub on_the_line: bool,
}

/// The directories of Jupyter's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The user's own.
    user: PathBuf,
    /// All of them, winners first.
    all: Vec<PathBuf>,
    /// `JUPYTER_CONFIG_PATH` as it is.
    config_path: OsString,
    ignored: bool,
    on_the_line: bool,
}

impl Place {
    /// Where a server in these surroundings looks.
    pub fn resolve(surroundings: &Surroundings<'_>) -> Self {
        let variable = |name: &str| (surroundings.environment)(name).filter(|v| !v.is_empty());
        let on = |name: &str| variable(name).map(|value| is_on(&value));
        let home = surroundings.home;
        let user = variable("JUPYTER_CONFIG_DIR").map(PathBuf::from);
        let user = user.unwrap_or_else(|| {
            if on("JUPYTER_PLATFORM_DIRS") == Some(true) {
                let config = variable("XDG_CONFIG_HOME").map(PathBuf::from);
                config
                    .unwrap_or_else(|| home.join(".config"))
                    .join("jupyter")
            } else {
                home.join(".jupyter")
            }
        });
        let config_path = variable(CONFIG_PATH).unwrap_or_default();
        let mut all: Vec<PathBuf> = std::env::split_paths(&config_path)
            .filter(|path| *path != Path::new(""))
            .collect();
        match surroundings.venv.map(|venv| venv.join("etc/jupyter")) {
            Some(venv) if on("JUPYTER_PREFER_ENV_PATH").unwrap_or(surroundings.owns_venv) => {
                all.extend([venv, user.clone()]);
            }
            Some(venv) => all.extend([user.clone(), venv]),
            // Only a Python outside of a venv looks into the user's site directory.
            None => {
                let base = variable("PYTHONUSERBASE").map(PathBuf::from);
                let base = base.unwrap_or_else(|| home.join(".local"));
                all.extend([user.clone(), base.join("etc/jupyter")]);
            }
        }
        all.extend(SYSTEM.map(PathBuf::from));
        Self {
            user,
            all,
            config_path,
            ignored: variable("JUPYTER_NO_CONFIG").is_some(),
            on_the_line: surroundings.on_the_line,
        }
    }

    /// The directory with the user's password.
    pub fn directory(&self) -> &Path {
        &self.user
    }

    /// `JUPYTER_CONFIG_PATH` as it was.
    pub fn path(&self) -> &OsStr {
        &self.config_path
    }

    /// The file with the user's password.
    pub fn file(&self) -> PathBuf {
        self.user.join(FILE)
    }

    /// Whether Jupyter was told to read none of them.
    pub fn ignored(&self) -> bool {
        self.ignored
    }

    /// Whether the server's arguments decide.
    pub fn is_on_the_line(&self) -> bool {
        self.on_the_line
    }

    /// The hash in force; `None` also where something else than JSON decides.
    pub fn in_force(&self) -> Option<String> {
        if self.on_the_line {
            return None;
        }
        // Nobody before it, and nobody after it has a say: whatever Python says there.
        if self.first_of_all().is_none() && !in_python(&self.user) {
            let own = in_json(&self.user, NAMES[0]);
            if own.wins_over_all() {
                return own.in_force();
            }
        }
        if self.all.iter().any(|directory| in_python(directory)) {
            return None;
        }
        self.hashes().in_force()
    }

    /// Whether a person has decided about the password already.
    pub fn is_configured(&self) -> bool {
        self.on_the_line
            || self.all.iter().any(|directory| in_python(directory))
            || self.hashes().in_force().is_some()
    }

    fn hashes(&self) -> Hashes {
        NAMES
            .iter()
            .flat_map(|name| {
                self.all
                    .iter()
                    .map(move |directory| in_json(directory, name))
            })
            .fold(Hashes::default(), Hashes::or)
    }

    /// The variable that puts the user's directory before all others, if another one
    /// before it would decide about the password.
    pub fn first_of_all(&self) -> Option<(&'static str, OsString)> {
        let before = self
            .all
            .iter()
            .take_while(|directory| **directory != self.user);
        let mut before = before.filter(|directory| {
            in_python(directory) || in_json(directory, NAMES[0]).wins_over_all()
        });
        before.next()?;
        let mut value = self.user.clone().into_os_string();
        if !self.config_path.is_empty() {
            value.push(":");
            value.push(&self.config_path);
        }
        Some((CONFIG_PATH, value))
    }
}

/// Whether an argument of the server names a password.
pub fn names_a_password(argument: &OsStr) -> bool {
    let argument = argument.as_encoded_bytes();
    let name = argument.split(|byte| *byte == b'=').next();
    let name = name.unwrap_or_default();
    name.starts_with(b"--") && TRAITS.iter().any(|known| name.ends_with(known.as_bytes()))
}

/// Whether an argument of the server names a configuration file. Jupyter then reads it in
/// place of all others of that name.
pub fn names_a_file(argument: &OsStr) -> bool {
    let argument = argument.as_encoded_bytes();
    let name = argument.split(|byte| *byte == b'=').next();
    let name = name.unwrap_or_default();
    name == b"--config" || name.starts_with(b"--") && name.ends_with(b".config_file")
}

/// What counts as on for `jupyter_core`.
fn is_on(value: &OsStr) -> bool {
    let value = value.to_string_lossy().to_lowercase();
    !["no", "n", "false", "off", "0", "0.0"].contains(&value.as_str())
}

/// What a JSON file gives. Jupyter ignores one that does not parse.
fn in_json(directory: &Path, name: &str) -> Hashes {
    let bytes = contents(&directory.join(name).with_extension("json")).unwrap_or_default();
    let content: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    Hashes::of(&content)
}

/// Whether a Python file says something about a password. Which, only Python knows.
fn in_python(directory: &Path) -> bool {
    NAMES.iter().any(|name| {
        let text = contents(&directory.join(name).with_extension("py")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        text.lines()
            .map(str::trim_start)
            .any(|line| !line.starts_with('#') && TRAITS.iter().any(|known| names(line, known)))
    })
}

/// Whether a line names a trait, and not another one that begins like it.
fn names(line: &str, known: &str) -> bool {
    let more = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(known)
        .any(|(at, _)| !line[at + known.len()..].starts_with(more))
}
