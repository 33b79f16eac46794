//! Reads Jupyter's configuration files, each of a limited length.

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::path::Path;

use crate::jupyter_config::python;
use crate::jupyter_config::sources::{Rank, Setting, Source, SourceContent, Value};
use crate::sys::regular_file;

/// The most entries read from a configuration directory. Jupyter's own directories have twenty.
pub(super) const MAX_ENTRIES: usize = 4096;

/// The longest Python file that is scanned, in bytes. Its tokens take a hundred times the memory.
const MAX_PYTHON_BYTES: usize = 256 << 10;

/// The variable with the file of a token, which Jupyter reads if `JUPYTER_TOKEN` is not set.
pub(super) const TOKEN_FILE: &str = "JUPYTER_TOKEN_FILE";

pub(super) fn source(name: &str, rank: Rank, said: SourceContent) -> Source {
    Source {
        name: name.to_owned(),
        rank,
        content: said,
    }
}

/// Returns a source with one setting, whose value is unknown.
pub(super) fn unknown_value_source(name: &str, setting: &str, rank: Rank) -> Source {
    let setting = Setting {
        line: None,
        path: vec![setting.to_owned()],
        value: Value::Unknown,
    };
    let said = SourceContent {
        settings: vec![setting],
        ..SourceContent::default()
    };
    source(name, rank, said)
}

/// Returns the source for a token in a file. Jupyter takes an empty file for an empty token, which
/// turns the token off.
pub(super) fn token_file_source(file: &Path) -> Source {
    let mut found = unknown_value_source(TOKEN_FILE, TOKEN_FILE, Rank::Variable);
    if contents(file).is_ok_and(|token| token.is_empty()) {
        found.content.settings[0].value = Value::Text(String::new()); // invariant: it has one
    }
    found
}

/// Reads the JSON file and the Python file of this path, which has no extension.
pub(super) fn pair(path: &Path, json: Rank, python: Rank, found: &mut Vec<Source>) {
    for (extension, rank) in [("json", json), ("py", python)] {
        let mut path = path.as_os_str().to_owned();
        path.push(".");
        path.push(extension);
        found.extend(file(Path::new(&path), rank));
    }
}

/// Reads one configuration file; `None`: it does not exist.
pub(super) fn file(path: &Path, rank: Rank) -> Option<Source> {
    let is_python = path.extension() == Some(OsStr::new("py"));
    let said = match contents(path) {
        Ok(bytes) if is_python && bytes.len() > MAX_PYTHON_BYTES => {
            SourceContent::describe_unread("over 256 KiB")
        }
        Ok(bytes) if is_python => python::read(&bytes),
        Ok(bytes) => SourceContent::json(&bytes),
        Err(_)
            if path
                .symlink_metadata()
                .is_err_and(|error| is_absent(&error)) =>
        {
            return None;
        }
        // Docker creates a directory if a file to mount is missing on the host.
        Err(error) if error.kind() != ErrorKind::PermissionDenied && !path.is_file() => {
            SourceContent::describe_unclear("is not a regular file")
        }
        Err(error) if error.kind() == ErrorKind::FileTooLarge => {
            SourceContent::describe_unread(error.to_string())
        }
        Err(error) => SourceContent::describe_unclear(error.to_string()),
    };
    Some(source(&path.display().to_string(), rank, said))
}

/// The longest configuration file, in KiB: fifty times the longest that Jupyter generates.
const LIMIT: u64 = 4 * 1024;

/// Reads a configuration file of Jupyter.
pub fn contents(path: &Path) -> io::Result<Vec<u8>> {
    regular_file::read_through_links(path, LIMIT)
}

pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Reads the JSON files of a `*_config.d`, at most `left` entries of all such directories.
pub(super) fn read_config_d(
    directory: &Path,
    bytes: &mut u64,
    left: &mut usize,
    found: &mut Vec<Source>,
) {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    for entry in entries.flatten() {
        if *left == 0 {
            return found.push(too_many_entries(directory));
        }
        *left -= 1;
        let path = entry.path();
        if path.extension() == Some(OsStr::new("json")) {
            add_bounded(&path, bytes, found);
        }
    }
}

/// Returns a source that this server does not read, and that is unclear for this reason.
pub(super) fn unclear_source(path: &Path, what: impl Into<String>) -> Source {
    let said = SourceContent::describe_unclear(what);
    source(&path.display().to_string(), Rank::Ignored, said)
}

pub(super) fn too_many_entries(directory: &Path) -> Source {
    unclear_source(directory, format!("over {MAX_ENTRIES} entries"))
}

/// Reads and adds a file. All these files of one configuration directory share one [`LIMIT`].
pub(super) fn add_bounded(path: &Path, bytes: &mut u64, found: &mut Vec<Source>) {
    *bytes += std::fs::metadata(path).map_or(0, |data| data.len());
    match *bytes > LIMIT * 1024 {
        true => found.push(unclear_source(path, "over 4 MiB")),
        false => found.extend(file(path, Rank::Ignored)),
    }
}
