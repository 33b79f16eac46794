//! Turns the written values of all sources into [`Settings`], or reports every error at once.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{self, Path, PathBuf};
use std::time::Duration;

use crate::settings::table;
use crate::settings::table::{Entry, Key, TABLE, ValueKind};
use crate::settings::value::{Origin, Raw, RawValue, SettingError, SettingsError};
use crate::settings::{
    DeletedNotebooks, Docker, Hooks, Log, LogFormat, NewAccount, Notebooks, Orphans, Password,
    Rescue, Restart, Server, Settings, Tls, UpdateNotebooks, User, VolumeOwner, file, nb_user,
    old_paths,
};
use crate::sys::trust;

/// The parts of the command line that concern settings.
#[derive(Debug, Clone, Default)]
pub struct CliSettings {
    /// The values of the flags that were given.
    pub flags: BTreeMap<Key, RawValue>,
    /// The path of `--config`; `None`: not given.
    pub config: Option<PathBuf>,
}

/// The settings as far as they could be read, and the errors so far. Later checks add their
/// errors, so that all errors are reported at once.
#[derive(Debug)]
pub struct Draft {
    settings: Settings,
    errors: Vec<SettingError>,
}

impl Draft {
    /// Returns the settings so far. A wrong value is replaced by its default, except in a list.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns the value of a later check; `None`: the check failed, and its errors are added.
    pub fn checked<T>(&mut self, result: Result<T, SettingsError>) -> Option<T> {
        let wrong = result.map_err(|errors| self.errors.extend(errors.0));
        wrong.ok()
    }

    /// Returns the settings.
    ///
    /// # Errors
    /// All errors found in the settings.
    pub fn finish(self) -> Result<Settings, SettingsError> {
        match self.errors.is_empty() {
            true => Ok(self.settings),
            false => Err(SettingsError(self.errors)),
        }
    }
}

/// Reads the settings from all sources.
///
/// `environment` returns a variable's value. `as_root`: only root may be able to write the
/// settings file, because it decides what root does.
pub fn read(
    typed: &CliSettings,
    environment: &dyn Fn(&str) -> Option<OsString>,
    as_root: bool,
) -> Draft {
    let from_env = |name: &'static str| {
        environment(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let typed_path = typed.config.as_ref();
    let named = typed_path
        .map(|path| path::absolute(path).unwrap_or_else(|_| path.clone()))
        .or_else(|| from_env(table::FILE_ENV));
    let path = named.clone().unwrap_or_else(|| table::DEFAULT_FILE.into());
    let trusted = match as_root {
        true => trust::root_only_path(&path),
        false => Ok(()),
    };
    let (mut raw, mut errors) = match trusted {
        Ok(()) => {
            let content = file::read(&path, named.is_some());
            (content.values, content.errors)
        }
        // A file that another user may have written is not read: its text must not reach the log.
        Err(problem) => {
            let remedy = "make it and every directory above it writable by root alone";
            let wrong = SettingError::new("config", path.display(), problem, remedy);
            (BTreeMap::new(), vec![wrong])
        }
    };
    for entry in TABLE {
        if let Some(name) = entry.env
            && let Some(value) = environment(name).filter(|value| !value.is_empty())
        {
            match from_environment(entry, name, value) {
                // The image names its directories in the file and in the environment. Such a
                // value keeps the file as its origin: the person who starts it did not choose it.
                Ok(Some(value))
                    if raw
                        .get(&entry.key)
                        .is_some_and(|old| old.value == value.value) => {}
                Ok(Some(value)) => drop(raw.insert(entry.key, value)),
                Ok(None) => {}
                Err(error) => errors.push(error),
            }
        }
        if let Some(written) = typed.flags.get(&entry.key) {
            let origin = Origin::Flag(entry.flag);
            let written = with_absolute_paths(entry.kind, written.clone());
            raw.insert(
                entry.key,
                Raw {
                    value: written,
                    origin,
                },
            );
        }
    }
    let new = nb_user::read(environment, as_root, &mut raw, &mut errors);
    let mut reader = Converter { raw: &raw, errors };
    Draft {
        settings: reader.settings(new),
        errors: reader.errors,
    }
}

/// Returns the value of a flag with its relative paths made absolute: on the command line they
/// are relative to the working directory.
fn with_absolute_paths(kind: ValueKind, written: RawValue) -> RawValue {
    let absolute = |text: String| match kind {
        ValueKind::Path | ValueKind::Paths => absolute_path(text),
        ValueKind::Program if text.contains('/') => absolute_path(text),
        _ => text,
    };
    match written {
        RawValue::Text(text) => RawValue::Text(absolute(text)),
        RawValue::List(items) => RawValue::List(items.into_iter().map(absolute).collect()),
        RawValue::Switch(on) => RawValue::Switch(on),
    }
}

/// Returns an absolute path; a relative one gets the working directory in front. A path that
/// cannot be made absolute stays as it is, and `check` refuses it.
fn absolute_path(text: String) -> String {
    if text.starts_with('/') {
        return text;
    }
    let path = path::absolute(&text).ok();
    let path = path.and_then(|path| path.into_os_string().into_string().ok());
    path.unwrap_or(text)
}

fn from_environment(
    entry: &Entry,
    name: &'static str,
    value: OsString,
) -> Result<Option<Raw>, SettingError> {
    let origin = Origin::Environment(name);
    let text = value.into_string().map_err(|_| {
        SettingError::new(entry.name(), &origin, "is not UTF-8", "give it as UTF-8")
    })?;
    // Kubernetes injects JUPYTER_PORT=tcp://10.0.0.1:80 for a Service named jupyter.
    if entry.kind == ValueKind::Port && text.starts_with("tcp://") {
        return Ok(None);
    }
    // The Jupyter Docker Stacks take every value for "yes".
    let written = RawValue::Text(match name == table::GEN_CERT {
        true => gen_cert(&text).into(),
        false => text,
    });
    Ok(Some(Raw {
        value: written,
        origin,
    }))
}

/// Returns what a value of `GEN_CERT` means for [`Key::Tls`].
fn gen_cert(value: &str) -> &'static str {
    match value.to_lowercase().as_str() {
        "no" | "off" | "false" | "0" => "off",
        _ => "auto",
    }
}

/// Converts written values to their types and collects the errors.
struct Converter<'a> {
    raw: &'a BTreeMap<Key, Raw>,
    errors: Vec<SettingError>,
}

impl Converter<'_> {
    fn text(&mut self, key: Key) -> Option<String> {
        let entry = table::find(key);
        let Some(raw) = self.raw.get(&key) else {
            return entry.default.map(str::to_owned);
        };
        let RawValue::Text(text) = &raw.value else {
            return None; // other kinds never come this way: a test walks the table
        };
        if let Err((problem, remedy)) = check(entry.kind, text) {
            self.errors.push(SettingError::new(
                entry.name(),
                &raw.origin,
                problem,
                remedy,
            ));
            return entry.default.map(str::to_owned);
        }
        let place = match entry.kind {
            ValueKind::Path | ValueKind::Program => old_paths::moved_path(text),
            _ => None,
        };
        Some(place.unwrap_or_else(|| text.clone()))
    }

    fn list(&mut self, key: Key) -> Vec<String> {
        let entry = table::find(key);
        let Some(Raw {
            value: RawValue::List(items),
            origin,
        }) = self.raw.get(&key)
        else {
            return Vec::new();
        };
        for item in items {
            if let Err((problem, remedy)) = check(entry.kind, item) {
                self.errors
                    .push(SettingError::new(entry.name(), origin, problem, remedy));
            }
        }
        items.clone()
    }

    fn switch(&self, key: Key) -> bool {
        matches!(
            self.raw.get(&key),
            Some(Raw {
                value: RawValue::Switch(true),
                ..
            })
        )
    }

    fn path(&mut self, key: Key) -> Option<PathBuf> {
        self.text(key).map(PathBuf::from)
    }

    fn seconds(&mut self, key: Key) -> Duration {
        // invariant: `check` accepted the text, or it is the table's default
        let seconds = self.text(key).and_then(|text| text.parse().ok());
        Duration::from_secs_f64(seconds.unwrap_or(0.0))
    }

    /// Returns the value of a choice. `words` lists all words of the table, the default first.
    fn choice<T: Copy>(&mut self, key: Key, words: &[(&str, T)]) -> T {
        let word = self.text(key);
        words
            .iter()
            .find(|(name, _)| Some(*name) == word.as_deref())
            .map_or(words[0].1, |(_, value)| *value)
    }

    /// Returns the wanted certificate. A named one beats one that is made. `off` beats a named one,
    /// unless that name comes from an origin of higher rank.
    fn tls(&mut self) -> Tls {
        let choice = self.choice(Key::Tls, &[("off", false), ("auto", true)]);
        let (certificate, key) = (self.path(Key::TlsCert), self.path(Key::TlsKey));
        let origin = |key| self.raw.get(&key).map(|raw| &raw.origin);
        let off = origin(Key::Tls).filter(|_| !choice).map(Origin::rank);
        if off.is_some_and(|off| origin(Key::TlsCert).is_none_or(|named| named.rank() <= off)) {
            return Tls::Off;
        }
        if let (None, Some(named)) = (&certificate, origin(Key::TlsKey)) {
            self.errors.push(SettingError::new(
                table::find(Key::TlsKey).name(),
                named,
                "no certificate is named for this key",
                "name its certificate, too, with --tls-cert FILE",
            ));
        }
        match certificate {
            Some(certificate) => Tls::Named { certificate, key },
            None if choice => Tls::Auto,
            None => Tls::Off,
        }
    }

    fn settings(&mut self, new: Option<NewAccount>) -> Settings {
        let name = self.text(Key::User);
        // Read even if no user is set, so that these values are checked.
        let (group, home) = (self.text(Key::Group), self.path(Key::Home));
        self.text(Key::JupyterCore);
        let user = name
            .filter(|name| name != "root" && name != "0")
            .map(|name| User {
                name,
                group,
                home,
                new,
            });
        // The old layout, used before the image had a user.
        let under_root = |name: &str| user.is_none().then(|| Path::new("/root").join(name));
        Settings {
            notebooks: Notebooks {
                defaults: self
                    .path(Key::NotebookDefaults)
                    .or_else(|| under_root("notebook-defaults").filter(|dir| dir.is_dir())),
                directory: self
                    .path(Key::Notebooks)
                    .or_else(|| under_root("notebooks")),
                owner: self.choice(
                    Key::VolumeOwner,
                    &[
                        ("auto", VolumeOwner::Auto),
                        ("chown", VolumeOwner::Chown),
                        ("adopt", VolumeOwner::Adopt),
                        ("keep", VolumeOwner::Keep),
                    ],
                ),
                update: self.choice(
                    Key::UpdateNotebooks,
                    &[
                        ("unmodified", UpdateNotebooks::Unmodified),
                        ("beside", UpdateNotebooks::Beside),
                        ("never", UpdateNotebooks::Never),
                    ],
                ),
                deleted: self.choice(
                    Key::DeletedNotebooks,
                    &[
                        ("restore", DeletedNotebooks::Restore),
                        ("respect", DeletedNotebooks::Respect),
                    ],
                ),
                // invariant: `check` accepted the text, or it is the table's default
                mode: self
                    .text(Key::NotebookMode)
                    .and_then(|text| u32::from_str_radix(&text, 8).ok())
                    .unwrap_or(0o644),
            },
            server: Server {
                venv: self
                    .path(Key::Venv)
                    .or_else(|| under_root("jupyterenv").filter(|dir| dir.is_dir())),
                program: self.text(Key::JupyterServer),
                ip: self.text(Key::Ip),
                port: self.text(Key::Port).and_then(|port| port.parse().ok()),
                tls: self.tls(),
                args: self.list(Key::JupyterArg),
                stop_timeout: self.seconds(Key::StopTimeout),
                drain_timeout: self.seconds(Key::DrainTimeout),
                ready_timeout: self.seconds(Key::ReadyTimeout),
                restart: self.choice(
                    Key::Restart,
                    &[
                        ("never", Restart::Never),
                        ("on-failure", Restart::OnFailure),
                        ("always", Restart::Always),
                    ],
                ),
                rescue: self.choice(
                    Key::Rescue,
                    &[("auto", Rescue::Auto), ("never", Rescue::Never)],
                ),
                rescue_venv: self.path(Key::RescueVenv),
                orphans: self.choice(
                    Key::Orphans,
                    &[("keep", Orphans::Keep), ("end", Orphans::End)],
                ),
                // invariant: `check` accepted the text
                umask: self
                    .text(Key::Umask)
                    .and_then(|text| u32::from_str_radix(&text, 8).ok()),
            },
            user,
            new_privileges: self.switch(Key::NewPrivileges),
            keep_groups: self.list(Key::KeepGroup),
            docker: Docker {
                socket: self.path(Key::DockerSocket).unwrap_or_default(),
                group: self.text(Key::DockerGroup).unwrap_or_default(),
                grant_access: self
                    .list(Key::GrantAccess)
                    .into_iter()
                    .map(PathBuf::from)
                    .collect(),
            },
            password: Password {
                default: self.text(Key::Password),
                file: self.path(Key::PasswordFile),
            },
            log: Log {
                server_file: self.path(Key::JupyterLogfile),
                format: self.choice(
                    Key::LogFormat,
                    &[
                        ("text", LogFormat::Text),
                        ("json", LogFormat::Json),
                        ("classic", LogFormat::Classic),
                    ],
                ),
                level: self.choice(
                    Key::LogLevel,
                    &[
                        ("info", tracing::Level::INFO),
                        ("error", tracing::Level::ERROR),
                        ("warn", tracing::Level::WARN),
                        ("debug", tracing::Level::DEBUG),
                        ("trace", tracing::Level::TRACE),
                    ],
                ),
            },
            hooks: Hooks {
                directory: self.path(Key::Hooks).unwrap_or_default(),
                timeout: self.seconds(Key::HookTimeout),
                environment: self.list(Key::HookEnv),
            },
            state_dir: self.path(Key::StateDir).unwrap_or_default(),
            strict: self.switch(Key::Strict),
            dry_run: self.switch(Key::DryRun),
            given: self.raw.clone(),
        }
    }
}

/// Checks `text` as a value of this kind. The error is the problem and the remedy.
fn check(kind: ValueKind, text: &str) -> Result<(), (String, String)> {
    let wrong = |problem: &str, remedy: String| Err((format!("{text:?} {problem}"), remedy));
    if text.is_empty() {
        return wrong("is empty", "give a value or leave it out".into());
    }
    if text.contains('\0') {
        return wrong("contains a NUL byte", "remove it".into());
    }
    match kind {
        ValueKind::Path | ValueKind::Paths if !text.starts_with('/') => wrong(
            "is not an absolute path",
            format!("write it from the root, such as /{text}"),
        ),
        ValueKind::Variables if !is_variable(text) => wrong(
            "is not the name of an environment variable",
            "give letters, digits and _, such as HTTPS_PROXY".into(),
        ),
        ValueKind::Variables if table::NOT_FOR_HOOKS.contains(&text) => wrong(
            "is not passed on to hooks",
            "remove it: root hooks get fixed values for PATH, HOME, USER, LOGNAME and SHELL, and \
             no password"
                .into(),
        ),
        ValueKind::Program if !text.starts_with('/') && text.contains('/') => wrong(
            "is a relative path",
            "give an absolute path, or a bare name that is looked up in the venv".into(),
        ),
        ValueKind::Port if !text.parse::<u16>().is_ok_and(|port| port > 0) => {
            wrong("is not a port", "give a number from 1 to 65535".into())
        }
        ValueKind::Mode
            if !u32::from_str_radix(text, 8)
                .is_ok_and(|mode| mode <= 0o666 && mode & 0o111 == 0 && mode & 0o600 == 0o600) =>
        {
            wrong(
                "is not a mode for notebooks",
                "give three octal digits that let the owner read and write and nobody execute, \
                 such as 644 or 664"
                    .into(),
            )
        }
        ValueKind::Umask
            if !u32::from_str_radix(text, 8)
                .is_ok_and(|mask| mask <= 0o777 && mask & 0o700 == 0) =>
        {
            wrong(
                "is not a umask",
                "give three octal digits that leave the owner every right, such as 002 or 077"
                    .into(),
            )
        }
        ValueKind::Seconds
            if !text
                .parse::<f64>()
                .is_ok_and(|s| (0.0..=86_400.0).contains(&s)) =>
        {
            wrong(
                "is not a time in seconds",
                "give a number from 0 to 86400, such as 7 or 1.5".into(),
            )
        }
        ValueKind::Choice(words) if !words.contains(&text) => {
            let closest = words.iter().max_by(|a, b| {
                strsim::jaro_winkler(a, text).total_cmp(&strsim::jaro_winkler(b, text))
            });
            let hint = closest
                .filter(|word| strsim::jaro_winkler(word, text) > 0.8)
                .map_or(String::new(), |word| format!(" (did you mean {word}?)"));
            wrong(
                "is not one of the choices",
                format!("give one of {}{hint}", words.join(", ")),
            )
        }
        _ => Ok(()),
    }
}

fn is_variable(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !text.starts_with(|first: char| first.is_ascii_digit()) && text.bytes().all(word)
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
