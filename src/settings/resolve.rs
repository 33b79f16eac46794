//! Turns the written values of all sources into [`Settings`], or reports every error at once.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{self, Path, PathBuf};
use std::time::Duration;

use crate::settings::check::{check, is_of_windows};
use crate::settings::choices::{Choice, TlsPolicy};
use crate::settings::entry::{Entry, Key, ValueKind};
use crate::settings::own_variables;
use crate::settings::saved;
use crate::settings::saved::Record;
use crate::settings::table;
use crate::settings::table::TABLE;
use crate::settings::value::{Origin, Raw, RawValue, SettingError, SettingsError};
use crate::settings::{
    Docker, Hooks, Log, NewAccount, Notebooks, Password, Server, Settings, Tls, User, file,
    nb_user, old_paths,
};
use crate::sys::trust;

/// The directories that the image names in its settings file and in its environment.
const NAMED_TWICE: [Key; 3] = [Key::NotebookDefaults, Key::Notebooks, Key::Venv];

/// The parts of the command line that concern settings.
#[derive(Debug, Clone, Default)]
pub struct CliSettings {
    /// The values of the flags that were given.
    pub flags: BTreeMap<Key, RawValue>,
    /// The path of `--config`; `None`: not given.
    pub config: Option<PathBuf>,
    /// The values that are no text.
    pub errors: Vec<SettingError>,
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
        SettingsError::of_all(self.errors)?;
        Ok(self.settings)
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
    read_below(typed, None, environment, as_root)
}

/// The same for a start below another one: `above`, the record of that one, replaces the settings
/// file, unless one is named. `None`: there is none.
pub fn read_below(
    typed: &CliSettings,
    above: Option<&Record>,
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
        .or_else(|| from_env(own_variables::FILE_ENV));
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
            let remedy = "make it and every directory above it writable by root alone; mount the file \
                          of a ConfigMap with subPath";
            let wrong = SettingError::new("config", path.display(), problem, remedy);
            (BTreeMap::new(), vec![wrong])
        }
    };
    if let Some(above) = above.filter(|_| named.is_none()) {
        // The default password, which everybody knows, is in no record.
        raw.retain(|key, _| *key == Key::Password);
        raw.extend(saved::values(above));
        errors.extend(masked_arguments(typed, &raw));
    }
    for entry in TABLE {
        if let Some(name) = entry.env
            && let Some(value) = environment(name).filter(|value| !value.is_empty())
        {
            match from_environment(entry, name, value) {
                // The image names these in the file and in the environment. Such a value keeps
                // the file as its origin: the person who starts it did not choose it.
                Ok(Some(value))
                    if NAMED_TWICE.contains(&entry.key)
                        && raw
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
    errors.extend_from_slice(&typed.errors);
    let new = nb_user::read(environment, as_root, &mut raw, &mut errors);
    let mut reader = Converter { raw: &raw, errors };
    Draft {
        settings: reader.settings(new),
        errors: reader.errors,
    }
}

/// Returns an error for each argument of a record whose secret value is not in it: without it a
/// server may let more people in than it was meant to.
fn masked_arguments(typed: &CliSettings, raw: &BTreeMap<Key, Raw>) -> Vec<SettingError> {
    let entry = table::find(Key::JupyterArg);
    let Some(Raw {
        value: RawValue::List(arguments),
        origin,
    }) = raw.get(&entry.key)
    else {
        return Vec::new();
    };
    let masked = saved::masked(arguments).filter(|_| !typed.flags.contains_key(&entry.key));
    let wrong = masked.map(|argument| {
        let problem = format!("{argument}: a start below another one does not know the secret");
        let remedy = "name this argument where that start is, with --jupyter-arg";
        SettingError::new(entry.name(), origin, problem, remedy)
    });
    wrong.collect()
}

/// Returns the value of a flag with its relative paths made absolute: on the command line they
/// are relative to the working directory. A path of Windows stays, and `check` refuses it.
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
/// cannot be made absolute, or is one of Windows, stays as it is, and `check` refuses it.
fn absolute_path(text: String) -> String {
    if text.starts_with('/') || is_of_windows(&text) {
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
    let not_text = |_| SettingError::not_utf8(entry.name(), &origin);
    let text = value.into_string().map_err(not_text)?;
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

    /// Returns the value of a choice. The word is one of its words: `text` replaces every other one
    /// by the default.
    fn choice<T: Choice>(&mut self, key: Key) -> T {
        let word = self.text(key);
        word.and_then(|word| T::from_word(&word))
            .unwrap_or(T::USUAL)
    }

    /// Returns the wanted certificate. A named one beats one that is made. `off` beats a named one,
    /// unless that name comes from an origin of higher rank.
    fn tls(&mut self) -> Tls {
        let choice = self.choice::<TlsPolicy>(Key::Tls) == TlsPolicy::Auto;
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
                owner: self.choice(Key::VolumeOwner),
                update: self.choice(Key::UpdateNotebooks),
                deleted: self.choice(Key::DeletedNotebooks),
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
                restart: self.choice(Key::Restart),
                rescue: self.choice(Key::Rescue),
                rescue_venv: self.path(Key::RescueVenv),
                orphans: self.choice(Key::Orphans),
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
                format: self.choice(Key::LogFormat),
                level: self.choice(Key::LogLevel),
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

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
