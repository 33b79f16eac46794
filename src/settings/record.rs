//! The settings of this start, written down for the verbs.
//!
//! A verb knows neither the command line nor the environment of the start. What the
//! start resolved, without the password, stands in a file in the form of the settings
//! file, so that the same code reads it. Root's record is [`ROOTS`], which nobody else
//! can replace; a start without root keeps one of its own in its state directory. A
//! record names the supervisor that it is of: one that a container was made with, or
//! that an earlier start left behind, is none.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::origin::Written;
use super::table::{Entry, Key, Kind, TABLE};
use super::{Origin, Settings, file};
use crate::sys::text;
use crate::sys::trust;

/// The record that root writes and that root's verbs believe: below directories that are
/// root's alone, at a place that no setting changes.
pub const ROOTS: &str = "/run/ai-lab-settings.toml";

/// The directory of [`ROOTS`].
const RUN: &str = "/run";

/// The record of a start without root, in its state directory.
const OWN: &str = "settings.toml";

/// What stands between a value and its origin.
pub const ORIGIN: &str = "  # ";

/// An argument of the server without the secret that it may name.
pub fn masked(argument: &str) -> String {
    let name = argument.split('=').next().unwrap_or_default();
    let last = name.rsplit('.').next().unwrap_or_default().to_lowercase();
    let secret = ["password", "passwd", "pwd", "token", "secret"];
    if name.len() < argument.len() && secret.iter().any(|word| last.contains(word)) {
        return format!("{name}=…");
    }
    argument.to_owned()
}

/// Arguments of the server without the secrets that they may name, in the next word or in
/// the same.
pub fn all_masked<S: AsRef<str>>(arguments: impl IntoIterator<Item = S>) -> Vec<String> {
    let mut secret = false;
    let mut shown = Vec::new();
    for argument in arguments {
        let argument = argument.as_ref();
        let value = secret && !argument.starts_with('-');
        // As if it had its value.
        let named = format!("{argument}=");
        let alone = argument.starts_with("--") && !argument.contains('=');
        secret = alone && masked(&named) != named;
        shown.push(match value {
            true => "…".to_owned(),
            false => masked(argument),
        });
    }
    shown
}

/// The settings of this start, for the verbs that come later; `supervisor` says which
/// process it is.
pub fn running(settings: &Settings, supervisor: &str) -> String {
    let heading = "# What the running start was told. Written anew by each start.";
    toml(&format!("{heading}\n{}", of(supervisor)), settings)
}

/// The line of a record that says whose it is.
fn of(supervisor: &str) -> String {
    format!("# By {supervisor}.")
}

/// The settings of a start that would be made now.
pub fn foreseen(settings: &Settings) -> String {
    toml(
        "# Nothing runs here that tells its settings. A start would be told this.",
        settings,
    )
}

/// All settings but the password, as a settings file; each with its origin.
fn toml(heading: &str, settings: &Settings) -> String {
    let mut text = format!("{heading}\n");
    for entry in TABLE.iter().filter(|entry| entry.key != Key::Password) {
        if let (Some(name), Some((value, origin))) = (entry.toml, value(entry, settings)) {
            let origin = text::shown(&origin.to_string());
            text.push_str(&format!("{name} = {value}{ORIGIN}{origin}\n"));
        }
    }
    if settings.password.default.is_some() {
        let origin = text::shown(&settings.origin(Key::Password).to_string());
        text.push_str(&format!(
            "# password.default is not shown{ORIGIN}{origin}\n"
        ));
    }
    text
}

fn value(entry: &Entry, settings: &Settings) -> Option<(String, Origin)> {
    let raw = settings.written.get(&entry.key);
    let written = match raw {
        Some(raw) => raw.written.clone(),
        None => Written::Text(entry.default?.to_owned()),
    };
    let value = match written {
        Written::Switch(on) => on.to_string(),
        Written::List(items) => {
            let items = all_masked(&items)
                .iter()
                .map(|item| quoted(item))
                .collect::<Vec<_>>();
            format!("[{}]", items.join(", "))
        }
        Written::Text(text) => match entry.kind {
            // What a person may write as `.5` or `+7` TOML does not know.
            Kind::Seconds => format!("{:?}", text.parse::<f64>().ok()?),
            Kind::Port => text.parse::<u16>().ok()?.to_string(),
            _ => quoted(&text),
        },
    };
    Some((value, settings.origin(entry.key)))
}

/// A string as TOML's basic string.
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

/// Writes root's record: whole, or not at all.
///
/// # Errors
/// Its directory cannot be written, or others can write there as well.
pub fn write_as_root(text: &str) -> io::Result<()> {
    let mut directory = DirBuilder::new();
    directory.recursive(true).mode(0o755).create(RUN)?;
    trust::root_alone(RUN.as_ref()).map_err(io::Error::other)?;
    write(ROOTS.as_ref(), text)
}

/// Whether [`write_as_root`] could do it; `writable` tells whether a directory can be
/// written.
///
/// # Errors
/// As [`write_as_root`].
pub fn foresee_as_root(writable: &dyn Fn(&Path) -> io::Result<()>) -> io::Result<()> {
    trust::root_alone(RUN.as_ref()).map_err(io::Error::other)?;
    writable(RUN.as_ref())
}

/// Writes the record of a start without root: whole, or not at all.
///
/// # Errors
/// The state directory cannot be written.
pub fn write_own(state_dir: &Path, text: &str) -> io::Result<()> {
    write(&own(state_dir), text)
}

/// The record of a start without root that keeps its state there.
pub fn own(state_dir: &Path) -> PathBuf {
    state_dir.join(OWN)
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    if text.len() > file::LIMIT as usize {
        return Err(io::Error::other(format!(
            "they are longer than {} bytes",
            file::LIMIT
        )));
    }
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    // What a killed start left behind.
    let _ = fs::remove_file(&new);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    let mut file = options.open(&new)?;
    file.set_permissions(Permissions::from_mode(0o644))?;
    file.write_all(text.as_bytes())?;
    fs::rename(new, path)
}

/// A record that was found.
#[derive(Debug, Clone)]
pub struct Record {
    /// Where it is.
    pub path: PathBuf,
    /// What is in it, for people.
    pub text: String,
}

/// Returns root's record of this supervisor, if only root could have written it.
pub fn find_roots(supervisor: &str) -> Option<Record> {
    trust::root_alone(ROOTS.as_ref()).ok()?;
    find(ROOTS.as_ref(), 0, supervisor)
}

/// Returns the record that a start without root, as `uid`, keeps there.
pub fn find_own(state_dir: &Path, uid: u32, supervisor: &str) -> Option<Record> {
    find(&own(state_dir), uid, supervisor)
}

fn find(path: &Path, uid: u32, supervisor: &str) -> Option<Record> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let file = options.open(path).ok()?;
    let data = file.metadata().ok()?;
    if !data.is_file() || data.uid() != uid || data.len() > file::LIMIT {
        return None;
    }
    let mut text = String::new();
    file.take(file::LIMIT).read_to_string(&mut text).ok()?;
    let line = format!("{}\n", of(supervisor));
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

    use super::*;
    use crate::settings::resolve::{self, Typed};

    fn load(flags: &[(Key, &str)], file: Option<PathBuf>) -> Settings {
        let flags = flags.iter().map(|(key, text)| {
            let written = match *key {
                Key::Strict => Written::Switch(true),
                Key::JupyterArg => Written::List(vec![(*text).into(), "b".into()]),
                _ => Written::Text((*text).into()),
            };
            (*key, written)
        });
        let typed = Typed {
            flags: flags.collect(),
            config: file,
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
            "lab",
        ];
        assert_eq!(all_masked(words), shown);
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
            ("--ServerApp.port=1", "--ServerApp.port=1"),
            ("--token", "--token"),
        ] {
            assert_eq!(masked(argument), shown);
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
        let text = running(&settings, "process 1");
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.contains("server.port = 8888  # --port\n"), "{text}");
        let directory = tempfile::tempdir().unwrap();
        write_own(directory.path(), &text).unwrap();
        write_own(directory.path(), &text).unwrap();
        let uid = rustix::process::geteuid().as_raw();
        let found = find_own(directory.path(), uid, "process 1").unwrap();
        assert!(!found.text.contains("process 1"), "{}", found.text);
        let again = load(&[], Some(found.path));
        assert_eq!(again.notebooks.directory, settings.notebooks.directory);
        assert_eq!(again.server.port, Some(8888));
        assert_eq!(again.server.stop_timeout, settings.server.stop_timeout);
        assert_eq!(again.server.args, settings.server.args);
        assert_eq!(again.user.unwrap().name, "1234");
        assert!(again.strict && again.password.default.is_none());
    }

    #[test]
    fn only_a_file_of_the_users_that_names_the_supervisor_is_a_record() {
        let directory = tempfile::tempdir().unwrap();
        let (state, path) = (directory.path(), own(directory.path()));
        let uid = rustix::process::geteuid().as_raw();
        let text = running(&load(&[], None), "process 7, started at 5");
        let found = |uid, supervisor| find_own(state, uid, supervisor).is_some();
        write_own(state, &text).unwrap();
        assert!(found(uid, "process 7, started at 5"));
        assert!(!found(uid, "process 7, started at 55"));
        assert!(!found(uid, "process 7"));
        assert!(!found(uid + 1, "process 7, started at 5"));
        // Links, directories and FIFOs are none, and nothing waits for them.
        let elsewhere = state.join("elsewhere");
        fs::rename(&path, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        assert!(!found(uid, "process 7, started at 5"));
        fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(!found(uid, "process 7, started at 5"));
        write_own(state, &text).unwrap();
        assert!(found(uid, "process 7, started at 5"));
    }

    #[test]
    fn what_no_verb_could_read_is_not_written() {
        let directory = tempfile::tempdir().unwrap();
        assert!(write_own(directory.path(), &"#".repeat(70_000)).is_err());
        assert!(!own(directory.path()).exists());
    }
}
