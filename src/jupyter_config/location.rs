//! The directories and files that Jupyter reads its configuration from, in its own order of
//! precedence (`jupyter_core.paths`, `jupyter_core.application`, `jupyter_server.serverapp`).

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::jupyter_config::command_line::CommandLine;
use crate::jupyter_config::config_files::{
    MAX_ENTRIES, TOKEN_FILE, add_bounded, contents, is_absent, pair, read_config_d, source,
    token_file_source, too_many_entries, unclear_source, unknown_value_source,
};
use crate::jupyter_config::sources::{ConfigSources, Rank, Source, SourceContent};

/// The name of the file that `jupyter server password` writes.
pub const CONFIG_FILE_NAME: &str = "jupyter_server_config.json";

/// Names of the files that every server reads, without extension, highest precedence first. The
/// file of this server alone ([`ConfigInputs::own_config_name`]) comes after them.
const NAMES: [&str; 2] = ["jupyter_server_config", "jupyter_config"];

/// The name of the file that only JupyterLab reads, without extension.
pub const LAB_CONFIG_NAME: &str = "jupyter_lab_config";

/// Names of configuration files, without extension, that no server reads.
const NOT_SERVER_CONFIGS: [&str; 4] = [
    "jupyter_console_config",
    "jupyter_nbconvert_config",
    "jupyter_qtconsole_config",
    "jupyterhub_config",
];

const SYSTEM: [&str; 2] = ["/usr/local/etc/jupyter", "/etc/jupyter"];

/// The variable with the directories that take precedence over all others.
pub const CONFIG_PATH: &str = "JUPYTER_CONFIG_PATH";

/// Variables that give the server a token, or show that a hub asked for this server. The latter
/// counts because without the hub's other variables the server lacks the hub's login, too.
const TOKENS: [&str; 2] = [TOKEN, "JUPYTERHUB_API_TOKEN"];

/// The variable with the token of Jupyter's own.
pub(super) const TOKEN: &str = "JUPYTER_TOKEN";

/// The inputs that decide which configuration Jupyter reads.
pub struct ConfigInputs<'a> {
    /// Looks up a variable of the server's environment.
    pub environment: &'a dyn Fn(&str) -> Option<OsString>,
    /// The server's HOME.
    pub home: &'a Path,
    /// The server's working directory; `None`: unknown.
    pub working_dir: Option<&'a Path>,
    /// The server's venv; `None`: it has none.
    pub venv: Option<&'a Path>,
    /// The environment of the Python that runs the server (`sys.prefix`), which may be another
    /// one; `None`: unknown.
    pub prefix: Option<PathBuf>,
    /// True if the server's user owns the venv: its configuration then beats HOME's by default.
    pub owns_venv: bool,
    /// The server's parsed arguments.
    pub line: CommandLine,
    /// Name of the file that only this server reads, without extension.
    pub own_config_name: String,
    /// The directory to write the password in; `None`: the user's own configuration directory.
    pub password_dir: Option<PathBuf>,
}

/// The sources of Jupyter's configuration: directories, arguments and variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigLocation {
    /// The directory that the password is written in.
    user: PathBuf,
    /// All directories, highest precedence first.
    directories: Vec<PathBuf>,
    /// `JUPYTER_CONFIG_PATH` as the environment has it; empty: unset.
    config_path: OsString,
    /// The venv's directory, if no variable says whether it comes before the password's.
    beside: Option<PathBuf>,
    ignored: bool,
    line: CommandLine,
    own_name: String,
    tokens: Vec<&'static str>,
    token_file: Option<PathBuf>,
}

impl ConfigLocation {
    /// Finds the sources that a server with these inputs reads.
    pub fn resolve(surroundings: &ConfigInputs<'_>) -> Self {
        let variable = |name: &str| (surroundings.environment)(name).filter(|v| !v.is_empty());
        let on = |name: &str| variable(name).map(|value| is_on(&value));
        let home = surroundings.home;
        let working = surroundings.working_dir.unwrap_or(Path::new(""));
        let user = working.join(user_directory(&variable, home));
        let config_path = variable(CONFIG_PATH).unwrap_or_default();
        let mut all: Vec<PathBuf> = Vec::new();
        if !config_path.is_empty() {
            all.extend(std::env::split_paths(&config_path).map(|entry| working.join(entry)));
        }
        let mut users = vec![user.clone()];
        let other = surroundings.prefix.as_deref();
        let other = other.filter(|prefix| Some(*prefix) != surroundings.venv);
        let mut pythons = surroundings.venv.into_iter().chain(other).peekable();
        let user_site = pythons.peek().is_none() || pythons.any(has_user_site);
        if user_site && variable("PYTHONNOUSERSITE").is_none() {
            let base = variable("PYTHONUSERBASE").map(PathBuf::from);
            let base = base.unwrap_or_else(|| home.join(".local"));
            users.push(base.join("etc/jupyter"));
        }
        let venv = surroundings.venv.map(|venv| venv.join("etc/jupyter"));
        let prefer = on("JUPYTER_PREFER_ENV_PATH");
        // JUPYTER_CONFIG_PATH comes before both.
        let own = surroundings.password_dir.as_ref().unwrap_or(&user);
        let decided = prefer.is_some() || all.contains(own);
        let beside = venv.clone().filter(|_| !decided);
        match venv {
            Some(venv) if prefer.unwrap_or(surroundings.owns_venv) => {
                all.push(venv);
                all.extend(users);
            }
            venv => {
                all.extend(users);
                all.extend(venv);
            }
        }
        all.extend(other.map(|prefix| prefix.join("etc/jupyter")));
        if on("JUPYTER_PLATFORM_DIRS") == Some(true) {
            let named = variable("XDG_CONFIG_DIRS").unwrap_or_else(|| "/etc/xdg".into());
            all.extend(std::env::split_paths(&named).map(|entry| entry.join("jupyter")));
        } else {
            all.extend(SYSTEM.map(PathBuf::from));
        }
        Self {
            user: surroundings.password_dir.clone().unwrap_or(user),
            directories: all,
            config_path,
            beside,
            ignored: variable("JUPYTER_NO_CONFIG").is_some(),
            line: surroundings.line.clone(),
            own_name: surroundings.own_config_name.clone(),
            tokens: TOKENS
                .into_iter()
                .filter(|name| variable(name).is_some())
                .collect(),
            token_file: variable(TOKEN_FILE).map(|file| working.join(file)),
        }
    }

    /// Returns the directory that the password is written in.
    pub fn directory(&self) -> &Path {
        &self.user
    }

    /// Returns `JUPYTER_CONFIG_PATH` as the environment had it; empty: unset.
    pub fn config_path(&self) -> &OsStr {
        &self.config_path
    }

    /// Returns the file that the password is written in.
    pub fn file(&self) -> PathBuf {
        self.user.join(CONFIG_FILE_NAME)
    }

    /// Reports whether a command may start a server with arguments of its own.
    pub fn has_unknown_line(&self) -> bool {
        self.line.is_unknown
    }

    /// Reports whether `JUPYTER_NO_CONFIG` makes Jupyter read no configuration file.
    pub fn ignored(&self) -> bool {
        self.ignored
    }

    /// Reads every source that can configure authentication. Each read has a size limit, and
    /// only regular files are read, so that no read blocks.
    pub fn read(&self) -> ConfigSources {
        let mut found = vec![source(
            "the server's arguments",
            Rank::Line,
            self.line.said.clone(),
        )];
        if self.line.file.is_some() {
            found.push(unknown_value_source(
                "the server's arguments",
                "--config",
                Rank::Ignored,
            ));
        }
        if !self.ignored {
            for name in self.names() {
                match self.line.file.as_deref().filter(|_| name == NAMES[0]) {
                    Some(file) => self.read_named(file, &mut found),
                    None => self.read_all(name, &mut found),
                }
            }
        }
        found.extend(
            self.tokens
                .iter()
                .map(|name| unknown_value_source(name, name, Rank::Variable)),
        );
        found.extend(self.token_file.as_deref().map(token_file_source));
        if !self.ignored {
            let mut left = MAX_ENTRIES;
            self.directories
                .iter()
                .for_each(|directory| self.read_other_files(directory, &mut left, &mut found));
        }
        found.retain(|source| source.content != SourceContent::default());
        ConfigSources(found)
    }

    /// Returns the names of the files that this server reads, without extension, highest
    /// precedence first.
    fn names(&self) -> impl Iterator<Item = &str> {
        let own = Some(self.own_name.as_str()).filter(|own| !NAMES.contains(own));
        NAMES.into_iter().chain(own)
    }

    /// Reads the file that the command line names. Jupyter reads it with `.json` and with `.py`.
    fn read_named(&self, file: &Path, found: &mut Vec<Source>) {
        match file.is_absolute() {
            true => pair(&file.with_extension(""), Rank::Line, Rank::Line, found),
            // Jupyter expands `~` and variables in such a path.
            false => {
                let said = SourceContent::describe_unread("relative path");
                found.push(source(&file.display().to_string(), Rank::Line, said));
            }
        }
    }

    /// Reads the files of this name in all directories.
    fn read_all(&self, name: &str, found: &mut Vec<Source>) {
        // A file of another name is weaker in every directory.
        let beside = self.beside.as_ref().filter(|_| name == NAMES[0]);
        let mut before = name == NAMES[0];
        let mut seen: Vec<&Path> = Vec::new();
        for directory in &self.directories {
            if seen.contains(&directory.as_path()) {
                continue;
            }
            seen.push(directory);
            let own = before && *directory == self.user;
            before &= !own;
            let (json, python) = match (before, own) {
                (true, _) => (Rank::Before, Rank::Before),
                (_, true) => (Rank::Own, Rank::After),
                _ if beside == Some(directory) => (Rank::Beside, Rank::Beside),
                _ => (Rank::After, Rank::After),
            };
            pair(&directory.join(name), json, python, found);
        }
    }

    /// Reads the files that this server does not read, but another server or an extension does, or
    /// that people believe are read (`*_config.d`). A password there prevents the default, too.
    fn read_other_files(&self, directory: &Path, left: &mut usize, found: &mut Vec<Source>) {
        let entries = match std::fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if is_absent(&error) => return,
            Err(error) => return found.push(unclear_source(directory, error.to_string())),
        };
        let mut names: Vec<OsString> = Vec::new();
        for (count, entry) in entries.enumerate() {
            if count == MAX_ENTRIES {
                found.push(too_many_entries(directory));
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
                || NOT_SERVER_CONFIGS.contains(&stem)
            {
                continue;
            }
            match extension {
                "d" => read_config_d(&path, &mut bytes, left, found),
                "py" | "json" => add_bounded(&path, &mut bytes, found),
                _ => {}
            }
        }
    }

    /// Returns the variable and value that put the password's directory before all others.
    pub fn config_path_override(&self) -> (&'static str, OsString) {
        let mut value = self.user.clone().into_os_string();
        if !self.config_path.is_empty() {
            value.push(":");
            value.push(&self.config_path);
        }
        (CONFIG_PATH, value)
    }
}

/// Returns the directory of the user's own configuration.
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

/// Reports whether `jupyter_core` takes this value for "on".
fn is_on(value: &OsStr) -> bool {
    let value = value.to_string_lossy().to_lowercase();
    !["no", "n", "false", "off", "0", "0.0"].contains(&value.as_str())
}

/// Reports whether a venv's Python uses the user's site directory (module `site`).
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
