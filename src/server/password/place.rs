//! Where Jupyter looks for its configuration, and who wins there (`jupyter_core.paths`,
//! `jupyter_core.application`, `jupyter_server.serverapp`).

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::config::{LIMIT, contents};
use super::line::Line;
use super::policy::{Everything, Rank, Said, Setting, Source, Value};
use super::python;

/// The name of the file that `jupyter server password` writes.
pub const FILE: &str = "jupyter_server_config.json";

/// Names of the files that every server reads, without extension, winners first. After them
/// comes the one that is this server's alone.
const NAMES: [&str; 2] = ["jupyter_server_config", "jupyter_config"];

/// The file that is JupyterLab's alone.
pub const LABS_OWN: &str = "jupyter_lab_config";

/// Names that belong to no server.
const FOREIGN: [&str; 4] = [
    "jupyter_console_config",
    "jupyter_nbconvert_config",
    "jupyter_qtconsole_config",
    "jupyterhub_config",
];

/// A directory of configuration has at most so many entries: Jupyter's own have twenty.
const MOST_ENTRIES: usize = 4096;

/// Python is judged up to this many bytes: its tokens take a hundred times as much.
const LONGEST_PYTHON: usize = 256 << 10;

const SYSTEM: [&str; 2] = ["/usr/local/etc/jupyter", "/etc/jupyter"];

/// The variable with the directories that come before all others.
pub const CONFIG_PATH: &str = "JUPYTER_CONFIG_PATH";

/// Variables that give the server a token, or that say that a hub has wanted this server: where
/// the hub's others are missing, its login is, too.
const TOKENS: [&str; 3] = [
    "JUPYTER_TOKEN",
    "JUPYTER_TOKEN_FILE",
    "JUPYTERHUB_API_TOKEN",
];

/// What decides where Jupyter looks.
pub struct Surroundings<'a> {
    /// Looks up a variable of the server's environment.
    pub environment: &'a dyn Fn(&str) -> Option<OsString>,
    /// The server's HOME.
    pub home: &'a Path,
    /// Its working directory.
    pub working: Option<&'a Path>,
    /// Its venv.
    pub venv: Option<&'a Path>,
    /// Whether the server's user owns the venv: then its configuration beats HOME's.
    pub owns_venv: bool,
    /// Its arguments.
    pub line: Line,
    /// The name, without extension, of the file that is this server's alone.
    pub own_name: String,
    /// Where the password is written, where that is not the user's own directory.
    pub elsewhere: Option<PathBuf>,
}

/// The directories of Jupyter's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The one where the password is written.
    user: PathBuf,
    /// All of them, winners first.
    all: Vec<PathBuf>,
    /// `JUPYTER_CONFIG_PATH` as it is.
    config_path: OsString,
    ignored: bool,
    line: Line,
    own_name: String,
    tokens: Vec<&'static str>,
}

impl Place {
    /// Where a server in these surroundings looks.
    pub fn resolve(surroundings: &Surroundings<'_>) -> Self {
        let variable = |name: &str| (surroundings.environment)(name).filter(|v| !v.is_empty());
        let on = |name: &str| variable(name).map(|value| is_on(&value));
        let home = surroundings.home;
        let user = user_directory(&variable, home);
        let config_path = variable(CONFIG_PATH).unwrap_or_default();
        let mut all: Vec<PathBuf> = Vec::new();
        if !config_path.is_empty() {
            let working = surroundings.working.unwrap_or(Path::new(""));
            all.extend(std::env::split_paths(&config_path).map(|entry| working.join(entry)));
        }
        let mut users = vec![user.clone()];
        if surroundings.venv.is_none_or(has_user_site) && variable("PYTHONNOUSERSITE").is_none() {
            let base = variable("PYTHONUSERBASE").map(PathBuf::from);
            let base = base.unwrap_or_else(|| home.join(".local"));
            users.push(base.join("etc/jupyter"));
        }
        match surroundings.venv.map(|venv| venv.join("etc/jupyter")) {
            Some(venv) if on("JUPYTER_PREFER_ENV_PATH").unwrap_or(surroundings.owns_venv) => {
                all.push(venv);
                all.extend(users);
            }
            venv => {
                all.extend(users);
                all.extend(venv);
            }
        }
        if on("JUPYTER_PLATFORM_DIRS") == Some(true) {
            let named = variable("XDG_CONFIG_DIRS").unwrap_or_else(|| "/etc/xdg".into());
            all.extend(std::env::split_paths(&named).map(|entry| entry.join("jupyter")));
        } else {
            all.extend(SYSTEM.map(PathBuf::from));
        }
        Self {
            user: surroundings.elsewhere.clone().unwrap_or(user),
            all,
            config_path,
            ignored: variable("JUPYTER_NO_CONFIG").is_some(),
            line: surroundings.line.clone(),
            own_name: surroundings.own_name.clone(),
            tokens: TOKENS
                .into_iter()
                .filter(|name| variable(name).is_some())
                .collect(),
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

    /// Reads everything that has a say about authentication. Each read is bounded, and
    /// nothing that is no regular file is waited for.
    pub fn read(&self) -> Everything {
        let mut found = vec![source(
            "the server's arguments",
            Rank::Line,
            self.line.said.clone(),
        )];
        if self.line.file.is_some() {
            found.push(told("the server's arguments", "--config", Rank::Unread));
        }
        if !self.ignored {
            for name in self.names() {
                match self.line.file.as_deref().filter(|_| name == NAMES[0]) {
                    Some(file) => self.read_named(file, &mut found),
                    None => self.read_all(name, &mut found),
                }
            }
        }
        found.extend(self.tokens.iter().map(|name| told(name, name, Rank::After)));
        if !self.ignored {
            let mut left = MOST_ENTRIES;
            self.all
                .iter()
                .for_each(|directory| self.unread(directory, &mut left, &mut found));
        }
        found.retain(|source| source.said != Said::default());
        Everything(found)
    }

    /// The names of the files that this server reads, without extension, winners first.
    fn names(&self) -> impl Iterator<Item = &str> {
        let own = Some(self.own_name.as_str()).filter(|own| !NAMES.contains(own));
        NAMES.into_iter().chain(own)
    }

    /// The file of the server's line: Jupyter reads its JSON and its Python form.
    fn read_named(&self, file: &Path, found: &mut Vec<Source>) {
        match file.is_absolute() {
            true => pair(&file.with_extension(""), Rank::Line, Rank::Line, found),
            // Jupyter expands `~` and variables in it.
            false => {
                let said = Said::unclear("relative path");
                found.push(source(&file.display().to_string(), Rank::Line, said));
            }
        }
    }

    /// The files of this name in all directories.
    fn read_all(&self, name: &str, found: &mut Vec<Source>) {
        let mut before = name == NAMES[0];
        let mut seen: Vec<&Path> = Vec::new();
        for directory in &self.all {
            if seen.contains(&directory.as_path()) {
                continue;
            }
            seen.push(directory);
            let own = before && *directory == self.user;
            before &= !own;
            let (json, python) = match (before, own) {
                (true, _) => (Rank::Before, Rank::Before),
                (_, true) => (Rank::Own, Rank::After),
                _ => (Rank::After, Rank::After),
            };
            pair(&directory.join(name), json, python, found);
        }
    }

    /// Files that other servers than this one read, or an extension with a file of its own, or that people take for ones that are read (`*_config.d`): a password
    /// there counts as well.
    fn unread(&self, directory: &Path, left: &mut usize, found: &mut Vec<Source>) {
        let entries = match std::fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if is_absent(&error) => return,
            Err(error) => {
                let said = Said::unclear(error.to_string());
                found.push(source(&directory.display().to_string(), Rank::Unread, said));
                return;
            }
        };
        let mut names: Vec<OsString> = Vec::new();
        for (count, entry) in entries.enumerate() {
            if count == MOST_ENTRIES {
                let said = Said::unclear(format!("over {MOST_ENTRIES} entries"));
                found.push(source(&directory.display().to_string(), Rank::Unread, said));
                break;
            }
            names.extend(entry.ok().map(|entry| entry.file_name()));
        }
        names.sort();
        let mut bytes = 0;
        for name in names {
            let path = directory.join(&name);
            let Some((stem, extension)) = name.to_str().and_then(|name| name.rsplit_once('.'))
            else {
                continue;
            };
            let server = stem.starts_with("jupyter") && stem.ends_with("_config");
            if !server
                || self.names().any(|name| name == stem) && extension != "d"
                || FOREIGN.contains(&stem)
            {
                continue;
            }
            match extension {
                "d" => unread_directory(&path, &mut bytes, left, found),
                "py" | "json" => add(&path, &mut bytes, found),
                _ => {}
            }
        }
    }

    /// The variable that puts the user's directory before all others.
    pub fn first_of_all(&self) -> (&'static str, OsString) {
        let mut value = self.user.clone().into_os_string();
        if !self.config_path.is_empty() {
            value.push(":");
            value.push(&self.config_path);
        }
        (CONFIG_PATH, value)
    }
}

/// The directory of the user's own configuration.
pub fn user_directory(variable: &dyn Fn(&str) -> Option<OsString>, home: &Path) -> PathBuf {
    let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
    if let Some(named) = variable("JUPYTER_CONFIG_DIR") {
        return named.into();
    }
    match variable("JUPYTER_PLATFORM_DIRS").is_some_and(|value| is_on(&value)) {
        true => {
            let config = variable("XDG_CONFIG_HOME").map(PathBuf::from);
            let config = config.unwrap_or_else(|| home.join(".config"));
            config.join("jupyter")
        }
        false => home.join(".jupyter"),
    }
}

/// What counts as on for `jupyter_core`.
fn is_on(value: &OsStr) -> bool {
    let value = value.to_string_lossy().to_lowercase();
    !["no", "n", "false", "off", "0", "0.0"].contains(&value.as_str())
}

/// Reports whether a venv's Python looks into the user's site directory (`site`).
fn has_user_site(venv: &Path) -> bool {
    let Ok(text) = contents(&venv.join("pyvenv.cfg")) else {
        return true; // no venv of Python's own
    };
    let text = String::from_utf8_lossy(&text).to_lowercase();
    let mut lines = text.lines().filter_map(|line| line.split_once('='));
    lines.any(|(name, value)| {
        name.trim() == "include-system-site-packages" && value.trim() == "true"
    })
}

fn source(name: &str, rank: Rank, said: Said) -> Source {
    Source {
        name: name.to_owned(),
        rank,
        said,
    }
}

/// A source that names this and nothing else.
fn told(name: &str, setting: &str, rank: Rank) -> Source {
    let setting = Setting {
        line: None,
        path: vec![setting.to_owned()],
        value: Value::Unknown,
    };
    let said = Said {
        settings: vec![setting],
        ..Said::default()
    };
    source(name, rank, said)
}

/// The JSON file and the Python file of this path, which has no extension.
fn pair(path: &Path, json: Rank, python: Rank, found: &mut Vec<Source>) {
    for (extension, rank) in [("json", json), ("py", python)] {
        let mut path = path.as_os_str().to_owned();
        path.push(".");
        path.push(extension);
        found.extend(file(Path::new(&path), rank));
    }
}

/// What a file says; `None`: there is none.
fn file(path: &Path, rank: Rank) -> Option<Source> {
    let is_python = path.extension() == Some(OsStr::new("py"));
    let said = match contents(path) {
        Ok(bytes) if is_python && bytes.len() > LONGEST_PYTHON => Said::unclear("over 256 KiB"),
        Ok(bytes) if is_python => python::read(&bytes),
        Ok(bytes) => Said::json(&bytes),
        Err(_)
            if path
                .symlink_metadata()
                .is_err_and(|error| is_absent(&error)) =>
        {
            return None;
        }
        // Docker makes a directory of a file to mount that is missing on the host.
        Err(_) if !path.is_file() => Said::unclear("is no regular file"),
        Err(error) => Said::unclear(error.to_string()),
    };
    Some(source(&path.display().to_string(), rank, said))
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// The JSON files of a `*_config.d`, as far as there are entries `left` for all of them.
fn unread_directory(directory: &Path, bytes: &mut u64, left: &mut usize, found: &mut Vec<Source>) {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    for entry in entries.flatten() {
        if *left == 0 {
            let said = Said::unclear(format!("over {MOST_ENTRIES} entries"));
            return found.push(source(&directory.display().to_string(), Rank::Unread, said));
        }
        *left -= 1;
        let path = entry.path();
        if path.extension() == Some(OsStr::new("json")) {
            add(&path, bytes, found);
        }
    }
}

/// Adds what a file says; of all together no more is read than of one.
fn add(path: &Path, bytes: &mut u64, found: &mut Vec<Source>) {
    *bytes += std::fs::metadata(path).map_or(0, |data| data.len());
    match *bytes > LIMIT {
        true => {
            let said = Said::unclear("over 4 MiB");
            found.push(source(&path.display().to_string(), Rank::Unread, said));
        }
        false => found.extend(file(path, Rank::Unread)),
    }
}
