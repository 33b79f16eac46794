//! The settings of this start, written down for the verbs.
//!
//! A verb knows neither the command line nor the environment of the start. What the
//! start resolved, without the password, stands in `settings/entrypoint.toml` under
//! the state directory: the form of the settings file, so that the same code reads it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, fstat, mkdirat, openat, renameat, unlinkat};
use rustix::io::Errno;

use super::origin::Written;
use super::table::{Entry, Key, Kind, TABLE};
use super::{Origin, Settings};

const DIRECTORY: &str = "settings";
const FILE: &str = "entrypoint.toml";
const NEW: &str = ".entrypoint.toml.new";

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

/// The settings of this start, for the verbs that come later.
pub fn running(settings: &Settings) -> String {
    toml(
        "# What the running start was told. Written anew by each start.",
        settings,
    )
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
            let origin = one_line(&origin);
            text.push_str(&format!("{name} = {value}{ORIGIN}{origin}\n"));
        }
    }
    if settings.password.default.is_some() {
        let origin = one_line(&settings.origin(Key::Password));
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
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\U{:08X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// An origin may name a file, whose name may hold anything.
fn one_line(origin: &Origin) -> String {
    let text = origin.to_string();
    text.chars().filter(|c| !c.is_control()).collect()
}

/// Writes the record under the state directory: whole, or not at all.
///
/// Its directory belongs to whoever writes, and nobody else can write there; started
/// as root that is root, so that the user cannot tell a later verb something else.
///
/// # Errors
/// The directory cannot be made, or somebody else made it.
pub fn write(state_dir: &Path, text: &str) -> io::Result<()> {
    let above = rustix::fs::open(state_dir, LIST, Mode::empty())?;
    let directory = match own_directory(&above)? {
        Some(directory) => directory,
        // An earlier start, as another user, made it. Nothing but our own names goes.
        None => {
            remove(&above);
            own_directory(&above)?.ok_or_else(|| {
                let path = state_dir.join(DIRECTORY);
                io::Error::other(format!("{} was made by somebody else", path.display()))
            })?
        }
    };
    // What a killed start left behind.
    let _ = unlinkat(&directory, NEW, AtFlags::empty());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mut file = File::from(openat(&directory, NEW, flags, Mode::from(0o644))?);
    file.write_all(text.as_bytes())?;
    Ok(renameat(&directory, NEW, &directory, FILE)?)
}

const LIST: OFlags = OFlags::DIRECTORY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// The directory, made if it is not there; `None`: others could write in it.
fn own_directory(above: &OwnedFd) -> io::Result<Option<OwnedFd>> {
    match mkdirat(above, DIRECTORY, Mode::from(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let directory = match openat(above, DIRECTORY, LIST, Mode::empty()) {
        Ok(directory) => directory,
        Err(Errno::NOTDIR | Errno::LOOP) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let data = fstat(&directory)?;
    let ours = data.st_uid == rustix::process::geteuid().as_raw() && data.st_mode & 0o022 == 0;
    Ok(ours.then_some(directory))
}

/// Removes a record that others could write, as far as it holds nothing else.
fn remove(above: &OwnedFd) {
    if let Ok(directory) = openat(above, DIRECTORY, LIST, Mode::empty()) {
        for name in [FILE, NEW] {
            let _ = unlinkat(&directory, name, AtFlags::empty());
        }
    }
    let _ = unlinkat(above, DIRECTORY, AtFlags::REMOVEDIR);
}

/// The record under `state_dir`, if it is root's or `uid`'s.
pub fn find(state_dir: &Path, uid: u32) -> Option<PathBuf> {
    let directory = state_dir.join(DIRECTORY);
    let path = directory.join(FILE);
    let trusted = |owner: u32| owner == 0 || owner == uid;
    let above = fs::symlink_metadata(&directory).ok()?;
    let data = fs::symlink_metadata(&path).ok()?;
    let right = above.is_dir() && trusted(above.uid()) && data.is_file() && trusted(data.uid());
    right.then_some(path)
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
        let text = running(&settings);
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.contains("server.port = 8888  # --port\n"), "{text}");
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), &text).unwrap();
        write(directory.path(), &text).unwrap();
        let uid = rustix::process::geteuid().as_raw();
        let again = load(&[], find(directory.path(), uid));
        assert_eq!(again.notebooks.directory, settings.notebooks.directory);
        assert_eq!(again.server.port, Some(8888));
        assert_eq!(again.server.stop_timeout, settings.server.stop_timeout);
        assert_eq!(again.server.args, settings.server.args);
        assert_eq!(again.user.unwrap().name, "1234");
        assert!(again.strict && again.password.default.is_none());
    }

    #[test]
    fn what_somebody_else_put_there_is_neither_written_nor_read() {
        let directory = tempfile::tempdir().unwrap();
        let inside = directory.path().join(DIRECTORY);
        std::os::unix::fs::symlink("/tmp", &inside).unwrap();
        assert!(write(directory.path(), "").is_err());
        assert!(find(directory.path(), 0).is_none());
        fs::remove_file(&inside).unwrap();
        fs::create_dir(&inside).unwrap();
        fs::write(inside.join(FILE), "").unwrap();
        std::os::unix::fs::chown(&inside, Some(4242), None).unwrap();
        assert!(find(directory.path(), 4243).is_none());
        assert!(find(directory.path(), 4242).is_some());
        // A record is replaced by one of our own; whatever else is there stays.
        fs::write(inside.join("other"), "").unwrap();
        assert!(write(directory.path(), "").is_err());
        fs::remove_file(inside.join("other")).unwrap();
        write(directory.path(), "").unwrap();
        assert_eq!(fs::metadata(inside).unwrap().uid(), 0);
    }
}
