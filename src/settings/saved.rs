//! The record of the settings of this start, which the verbs read.
//!
//! A verb knows neither the command line nor the environment of the start. The start therefore
//! writes its settings, without the password, to a file in the format of the settings file, so
//! that the same code reads it. Root's record is [`ROOT_RECORD`], which no other user can replace. A
//! start without root keeps its record in its state directory. A record names the supervisor that
//! wrote it, so that verbs ignore a record of the image or of an earlier start.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::settings::entry::{Entry, Key, ValueKind};
use crate::settings::table::{TABLE, find as find_entry};
use crate::settings::value::{Raw, RawValue};
use crate::settings::{Origin, Settings, file, nb_user};
use crate::sys::effects::Effects;
use crate::sys::flock;
use crate::sys::regular_file;
use crate::sys::text;
use crate::sys::trust;
use crate::sys::whole_file;

/// The record that root writes and that root's verbs trust: only root can write the directories
/// above it, and no setting changes its path.
pub const ROOT_RECORD: &str = "/run/ai-lab-settings.toml";

/// The directory of [`ROOT_RECORD`].
const RUN_DIR: &str = "/run";

/// The file name of the record of a start without root, in its state directory.
const USER_RECORD_NAME: &str = "settings.toml";

/// The placeholder of a secret in a record.
const MASK: &str = "…";

/// The separator between a value and its origin.
pub const ORIGIN_SEPARATOR: &str = "  # ";

/// Returns an argument of the server with its value masked if its name is that of a secret.
pub fn mask_secret(argument: &str) -> String {
    let name = argument.split('=').next().unwrap_or_default();
    let last = name.rsplit('.').next().unwrap_or_default().to_lowercase();
    let words = ["password", "passwd", "pwd", "token", "secret", "credential"];
    let ends = ["_key", "_keys"];
    let secret = words.iter().any(|word| last.contains(word))
        || ends.iter().any(|word| last.ends_with(word));
    if name.len() < argument.len() && secret {
        return format!("{name}={MASK}");
    }
    argument.to_owned()
}

/// Returns the server's arguments with secrets masked, in the same word as the name or in the
/// next one.
pub fn mask_secrets<S: AsRef<str>>(arguments: impl IntoIterator<Item = S>) -> Vec<String> {
    let mut secret = false;
    let mut shown = Vec::new();
    for argument in arguments {
        let argument = argument.as_ref();
        let value = secret && !argument.starts_with('-');
        // Masked as if the value were in the same word.
        let named = format!("{argument}=");
        let alone = argument.starts_with('-') && !argument.contains('=');
        secret = alone && mask_secret(&named) != named;
        shown.push(match value {
            true => MASK.to_owned(),
            false => mask_secret(argument),
        });
    }
    shown
}

/// Returns the record of this start's settings for later verbs. `supervisor` identifies the
/// process that writes it.
pub fn record_text(settings: &Settings, supervisor: &str) -> String {
    let heading = "# The settings of the running start. Each start writes this file again.";
    toml(
        &format!("{heading}\n{}", supervisor_line(supervisor)),
        settings,
    )
}

/// Returns the line of a record that identifies its supervisor.
fn supervisor_line(supervisor: &str) -> String {
    format!("# By {supervisor}.")
}

/// Returns the settings that a start would have now, for people to read.
pub fn preview_text(settings: &Settings) -> String {
    toml(
        "# No start runs here. These are the settings that a start would use.",
        settings,
    )
}

/// Returns all settings except the password as a settings file, each with its origin.
fn toml(heading: &str, settings: &Settings) -> String {
    let mut text = format!("{heading}\n");
    for entry in TABLE.iter().filter(|entry| entry.key != Key::Password) {
        if let (Some(name), Some((value, origin))) = (entry.toml, value(entry, settings)) {
            let origin = text::shown(&origin.to_string());
            text.push_str(&format!("{name} = {value}{ORIGIN_SEPARATOR}{origin}\n"));
        }
    }
    if settings.password.default.is_some() {
        let origin = text::shown(&settings.origin(Key::Password).to_string());
        text.push_str(&format!(
            "# password.default is not shown{ORIGIN_SEPARATOR}{origin}\n"
        ));
    }
    text
}

fn value(entry: &Entry, settings: &Settings) -> Option<(String, Origin)> {
    let raw = settings.given.get(&entry.key);
    let written = match raw {
        Some(raw) => raw.value.clone(),
        None => RawValue::Text(entry.default?.to_owned()),
    };
    let value = match written {
        RawValue::Switch(on) => on.to_string(),
        RawValue::List(items) => {
            let items = mask_secrets(&items)
                .iter()
                .map(|item| quoted(item))
                .collect::<Vec<_>>();
            format!("[{}]", items.join(", "))
        }
        RawValue::Text(text) => match entry.kind {
            // A person may write `.5` or `08`, which TOML does not accept.
            ValueKind::Seconds => format!("{:?}", text.parse::<f64>().ok()?),
            ValueKind::Port => text.parse::<u16>().ok()?.to_string(),
            _ => quoted(&text),
        },
    };
    Some((value, settings.origin(entry.key)))
}

/// Returns a string as a basic string of TOML.
fn quoted(value: &str) -> String {
    let mut quoted = String::from('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if text::is_escaped(c) => quoted.push_str(&format!("\\U{:08X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Writes root's record atomically, and takes it until the end of this process.
///
/// # Errors
/// Its directory cannot be written, or another user can write there, too, or a running start has
/// taken the record that is there.
pub fn write_as_root(text: &str, effects: Effects<'_>) -> io::Result<()> {
    let mut directory = DirBuilder::new();
    effects.make(|| directory.recursive(true).mode(0o755).create(RUN_DIR))?;
    trust::root_only_path(RUN_DIR.as_ref()).map_err(io::Error::other)?;
    effects.make_in(RUN_DIR.as_ref(), || {
        let open = || regular_file::open_regular(ROOT_RECORD.as_ref(), OFlags::NOFOLLOW);
        if open().is_ok_and(|record| flock::is_taken(&record)) {
            return Err(io::Error::other("they are those of another running start"));
        }
        write(ROOT_RECORD.as_ref(), text)?;
        flock::take(open()?);
        Ok(())
    })
}

/// Writes, atomically, the record of a start without root.
///
/// # Errors
/// The state directory cannot be written.
pub fn write_user_record(state_dir: &Path, text: &str) -> io::Result<()> {
    write(&user_record_path(state_dir), text)
}

/// Returns the path of the record of a start without root with this state directory.
pub fn user_record_path(state_dir: &Path) -> PathBuf {
    state_dir.join(USER_RECORD_NAME)
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    if text.len() as u64 > file::LIMIT * 1024 {
        let problem = format!("they are longer than {} KiB", file::LIMIT);
        return Err(io::Error::other(problem));
    }
    whole_file::replace(path, text.as_bytes(), 0o644, false)
}

/// A record that was found.
#[derive(Debug, Clone)]
pub struct Record {
    /// The path of the file.
    pub path: PathBuf,
    /// The content for people, without the line that identifies the supervisor.
    pub text: String,
}

/// Returns root's record of this supervisor; `None` also if another user could have written it.
pub fn find_root_record(supervisor: &str) -> Option<Record> {
    trust::root_only_path(ROOT_RECORD.as_ref()).ok()?;
    find(ROOT_RECORD.as_ref(), 0, supervisor)
}

/// Returns this supervisor's record in the state directory, if `uid` owns the file.
pub fn find_user_record(state_dir: &Path, uid: u32, supervisor: &str) -> Option<Record> {
    find(&user_record_path(state_dir), uid, supervisor)
}

/// Returns the values of a record, each with the origin that the record names for it. Left out are
/// defaults, and the password file: that start has set the password, and only root may be able to
/// read the file.
pub fn values(record: &Record) -> BTreeMap<Key, Raw> {
    let mut values = file::parse(&record.text, &record.path).values;
    values.retain(|key, raw| {
        let Origin::File { line, .. } = raw.origin else {
            return false;
        };
        let line = record.text.lines().nth(line - 1).unwrap_or_default();
        let (_, origin) = line.rsplit_once(ORIGIN_SEPARATOR).unwrap_or_default();
        raw.origin = origin_of(find_entry(*key), origin);
        raw.origin != Origin::Default && *key != Key::PasswordFile
    });
    values
}

/// Returns the origin with this name in a record: see [`Origin`]'s words.
fn origin_of(entry: &Entry, name: &str) -> Origin {
    let variables = nb_user::VARIABLES.into_iter().chain([nb_user::HOME]);
    let variables = entry.env.into_iter().chain(variables);
    let mut origins = [Origin::Default, Origin::Flag(entry.flag)]
        .into_iter()
        .chain(variables.map(Origin::Environment));
    origins
        .find(|origin| origin.to_string() == name)
        .unwrap_or_else(|| {
            let (path, line) = name.rsplit_once(':').unwrap_or((name, ""));
            Origin::File {
                path: path.into(),
                line: line.parse().unwrap_or_default(),
            }
        })
}

/// Returns the arguments of the server whose values a record does not have, because they are secret.
pub fn masked(arguments: &[String]) -> impl Iterator<Item = &str> {
    let is_masked = |argument: &&String| argument.ends_with(MASK);
    arguments.iter().filter(is_masked).map(String::as_str)
}

fn find(path: &Path, uid: u32, supervisor: &str) -> Option<Record> {
    let file = regular_file::open_regular(path, OFlags::NOFOLLOW).ok()?;
    if file.metadata().ok()?.uid() != uid {
        return None;
    }
    let text = regular_file::read_limited(file, file::LIMIT).ok()?;
    let text = String::from_utf8(text).ok()?;
    let line = format!("{}\n", supervisor_line(supervisor));
    let (heading, rest) = text.split_once('\n')?;
    let rest = rest.strip_prefix(&line)?;
    Some(Record {
        path: path.to_owned(),
        text: format!("{heading}\n{rest}"),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use super::*;
    use crate::settings::resolve;
    use crate::settings::resolve::CliSettings;

    fn load(flags: &[(Key, &str)], file: Option<PathBuf>) -> Settings {
        let flags = flags.iter().map(|(key, text)| {
            let written = match *key {
                Key::Strict => RawValue::Switch(true),
                Key::JupyterArg => RawValue::List(vec![(*text).into(), "b".into()]),
                _ => RawValue::Text((*text).into()),
            };
            (*key, written)
        });
        let typed = CliSettings {
            flags: flags.collect(),
            config: file,
            ..CliSettings::default()
        };
        resolve::read(&typed, &|_| None, false).finish().unwrap()
    }

    #[test]
    fn a_secret_may_be_the_next_word() {
        let words = [
            "--A.token",
            "t",
            "--A.token=u",
            "v",
            "--A.secret",
            "--B.c",
            "d",
            "-A.token",
            "t",
            "lab",
        ];
        let shown = [
            "--A.token",
            "…",
            "--A.token=…",
            "v",
            "--A.secret",
            "--B.c",
            "d",
            "-A.token",
            "…",
            "lab",
        ];
        assert_eq!(mask_secrets(words), shown);
    }

    #[test]
    fn what_an_argument_keeps_secret_is_not_written() {
        for (argument, shown) in [
            ("--IdentityProvider.token=t", "--IdentityProvider.token=…"),
            ("--ServerApp.password=argon2:x=y", "--ServerApp.password=…"),
            (
                "--PasswordIdentityProvider.hashed_password=h",
                "--PasswordIdentityProvider.hashed_password=…",
            ),
            (
                "--AiExtension.default_api_keys={'A': 'k'}",
                "--AiExtension.default_api_keys=…",
            ),
            ("--ServerApp.keyfile=/k", "--ServerApp.keyfile=/k"),
            ("--ServerApp.port=1", "--ServerApp.port=1"),
            ("--token", "--token"),
        ] {
            assert_eq!(mask_secret(argument), shown);
        }
    }

    #[test]
    fn what_is_recorded_reads_back_as_it_was_and_holds_no_password() {
        let settings = load(
            &[
                (Key::Notebooks, "/a \"b\"\\\n\u{7f}é"),
                (Key::Port, "08888"),
                (Key::StopTimeout, ".5"),
                (Key::Password, "hunter2"),
                (Key::JupyterArg, "--x='#'"),
                (Key::User, "1234"),
                (Key::Strict, ""),
            ],
            None,
        );
        let text = record_text(&settings, "process 1");
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.contains("server.port = 8888  # --port\n"), "{text}");
        let directory = tempfile::tempdir().unwrap();
        write_user_record(directory.path(), &text).unwrap();
        write_user_record(directory.path(), &text).unwrap();
        let uid = rustix::process::geteuid().as_raw();
        let found = find_user_record(directory.path(), uid, "process 1").unwrap();
        assert!(!found.text.contains("process 1"), "{}", found.text);
        let record = found.clone();
        let again = load(&[], Some(found.path));
        assert_eq!(again.notebooks.directory, settings.notebooks.directory);
        assert_eq!(again.server.port, Some(8888));
        assert_eq!(again.server.stop_timeout, settings.server.stop_timeout);
        assert_eq!(again.server.args, settings.server.args);
        assert_eq!(again.user.unwrap().name, "1234");
        assert!(again.strict && again.password.default.is_none());
        // For a start below, as that start was given them.
        let mut given = settings.given.clone();
        given.remove(&Key::Password);
        let seconds = RawValue::Text("0.5".into());
        given
            .entry(Key::StopTimeout)
            .and_modify(|raw| raw.value = seconds);
        let port = RawValue::Text("8888".into());
        given.entry(Key::Port).and_modify(|raw| raw.value = port);
        assert_eq!(values(&record), given);
    }

    #[test]
    fn a_start_below_has_the_origins_that_the_record_names() {
        let record = |line: &str| Record {
            path: "/record".into(),
            text: format!("# The settings.\n{line}\n"),
        };
        let port = |origin: &str| {
            let line = format!("server.port = 1{ORIGIN_SEPARATOR}{origin}");
            let values = values(&record(&line));
            values.get(&Key::Port).map(|raw| raw.origin.clone())
        };
        let file = Origin::File {
            path: "/a:b.toml".into(),
            line: 7,
        };
        for origin in [
            Origin::Flag("port"),
            Origin::Environment("JUPYTER_PORT"),
            Origin::Environment("NB_USER"),
            file,
        ] {
            assert_eq!(port(&origin.to_string()), Some(origin));
        }
        assert_eq!(port(&Origin::Default.to_string()), None);
        let file = record("password.file = \"/run/secrets/p\"  # --password-file");
        assert!(values(&file).is_empty(), "it may be root's alone");
    }

    #[test]
    fn only_a_file_of_the_users_that_names_the_supervisor_is_a_record() {
        let directory = tempfile::tempdir().unwrap();
        let (state, path) = (directory.path(), user_record_path(directory.path()));
        let uid = rustix::process::geteuid().as_raw();
        let text = record_text(&load(&[], None), "process 7, started at 5");
        let found = |uid, supervisor| find_user_record(state, uid, supervisor).is_some();
        write_user_record(state, &text).unwrap();
        assert!(found(uid, "process 7, started at 5"));
        assert!(!found(uid, "process 7, started at 55"));
        assert!(!found(uid, "process 7"));
        assert!(!found(uid + 1, "process 7, started at 5"));
        // Links, directories and FIFOs are not records, and reading them does not block.
        let elsewhere = state.join("elsewhere");
        fs::rename(&path, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        assert!(!found(uid, "process 7, started at 5"));
        fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(!found(uid, "process 7, started at 5"));
        write_user_record(state, &text).unwrap();
        assert!(found(uid, "process 7, started at 5"));
    }

    #[test]
    fn what_no_verb_could_read_is_not_written() {
        let directory = tempfile::tempdir().unwrap();
        assert!(write_user_record(directory.path(), &"#".repeat(70_000)).is_err());
        assert!(!user_record_path(directory.path()).exists());
    }
}
