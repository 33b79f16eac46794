//! The trust check of a root hook: root alone may be able to write the hook and every program
//! that its first line starts.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::supervisor::interpreter::{Interpreter, Shebang, interpreter, on_path};
use crate::sys::env::SYSTEM_PATH;
use crate::sys::trust;

/// Limit of interpreters that are checked; the kernel follows fewer scripts (execve(2)).
const MAX_INTERPRETERS: usize = 8;

/// Checks that root alone can write a hook, its interpreter, the interpreter's interpreter and
/// so on, the program that `env` starts, the directories in which the hook finds programs, and
/// all parent directories of these.
///
/// # Errors
/// The first thing that another user could write or that cannot be checked, as a sentence.
pub fn check_trust(hook: &Path) -> Result<(), String> {
    trust::root_only_path(hook)?;
    let mut left = executed_by(hook)?;
    let mut judged = 0;
    while let Some(path) = left.pop() {
        judged += 1;
        if judged > MAX_INTERPRETERS {
            return Err(
                "its interpreter is a script whose interpreter is a script, and so on".into(),
            );
        }
        trust::root_only_path(&path)
            .map_err(|problem| format!("its interpreter is {}: {problem}", path.display()))?;
        left.extend(executed_by(&path)?);
    }
    for directory in std::env::split_paths(SYSTEM_PATH) {
        trust::root_only_path(&directory)
            .map_err(|problem| format!("it finds programs in its PATH, and {problem}"))?;
    }
    Ok(())
}

/// Returns the programs that execute a file: its interpreter and, after `env`, the program that
/// `env` starts. Returns none if the kernel executes the file itself or the file does not exist.
fn executed_by(path: &Path) -> Result<Vec<PathBuf>, String> {
    let found = match interpreter(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("{} cannot be read: {error}", path.display())),
    };
    let Some(program) = found.path() else {
        return Ok(Vec::new());
    };
    // Root hooks run in `/`.
    let program = Path::new("/").join(program);
    let started = match &found {
        Interpreter::Script(shebang) if is_env(&program) => started_by_env(shebang)?,
        _ => None,
    };
    Ok([Some(program), started].into_iter().flatten().collect())
}

/// Reports whether a program is env(1), also if a link gives it another name.
fn is_env(program: &Path) -> bool {
    let named = |path: &Path| path.file_name() == Some(OsStr::new("env"));
    named(program) || fs::canonicalize(program).is_ok_and(|real| named(&real))
}

/// Returns the program that env(1) would start with the PATH of a hook; `None`: there is none.
fn started_by_env(shebang: &Shebang) -> Result<Option<PathBuf>, String> {
    let argument = shebang.argument.as_deref().unwrap_or_default().as_bytes();
    let rest = argument.strip_prefix(b"-S");
    let rest = rest.or_else(|| argument.strip_prefix(b"--split-string="));
    // Without `-S` the rest of the line is one word, with its blanks.
    let words: Vec<&[u8]> = match rest {
        Some(rest) => rest.split(u8::is_ascii_whitespace).collect(),
        None => vec![argument],
    };
    let mut words = words.into_iter().filter(|word| !word.is_empty());
    // Skips words `NAME=VALUE`. Another PATH is refused, since its directories would be unchecked,
    // and so are quotes and the like, from which `env` would make other words.
    let plain = |word: &[u8]| !word.iter().any(|byte| b"\\'\"$#".contains(byte));
    let assigns = |word: &[u8]| plain(word) && word.contains(&b'=') && !word.starts_with(b"PATH=");
    let name = words.find(|word| !assigns(word)).unwrap_or_default();
    let option = name.starts_with(b"-") || name.contains(&b'=');
    if name.is_empty() || option || !plain(name) {
        let line = String::from_utf8_lossy(argument);
        return Err(format!(
            "its first line leaves the choice of the interpreter to env ({line:?}): name it by its path"
        ));
    }
    let name = OsStr::from_bytes(name);
    match name.as_bytes().contains(&b'/') {
        true => Ok(Some(Path::new("/").join(name))),
        false => Ok(on_path(name, OsStr::new(SYSTEM_PATH)).ok()),
    }
}
