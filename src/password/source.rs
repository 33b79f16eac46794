//! Chooses the wanted password: reads its sources and refuses conflicts and unusable passwords.

use std::ffi::OsString;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use crate::password::hash;
use crate::password::secret::{Secret, Wanted};
use crate::settings::own_variables::{
    PASSWORD_ENV as PASSWORD, PASSWORD_FILE_ENV as PASSWORD_FILE,
    PASSWORD_HASH_ENV as PASSWORD_HASH,
};
use crate::settings::{Origin, SettingError, SettingsError};
use crate::sys::regular_file;

/// The longest password file, in KiB.
const MAX_PASSWORD_FILE: u64 = 4;

/// The sources that a password can come from.
pub struct Sources<'a> {
    /// The default password of the settings; `None`: there is none.
    pub default: Option<(&'a str, Origin)>,
    /// The password file of the settings; `None`: there is none.
    pub file: Option<(PathBuf, Origin)>,
    /// Looks up an environment variable. An empty value is passed on as such: it is an error.
    pub environment: &'a dyn Fn(&str) -> Option<OsString>,
}

/// Reads a source from the value of its variable.
type ReadFn = fn(OsString, &Origin) -> Result<SourceValue, SettingError>;

/// The value that a source gives.
enum SourceValue {
    Password(Secret),
    Hash(String),
}

/// Decides which password is wanted. This reads the password file, so call it before root is
/// dropped, after which the file may no longer be readable.
///
/// # Errors
/// Every error at once: two sources that force a password, an unreadable file, a text that
/// cannot be a password.
pub fn wanted(sources: &Sources<'_>) -> Result<Wanted, SettingsError> {
    let variable = |name: &'static str| {
        let value = (sources.environment)(name)?;
        Some((value, Origin::Environment(name)))
    };
    let mut given = Vec::new();
    let mut errors = Vec::new();
    if let Some((path, origin)) = &sources.file {
        given.push((from_file(path, origin), origin.clone()));
    }
    let readers: [(&'static str, ReadFn); 3] = [
        (PASSWORD, from_text),
        (PASSWORD_FILE, |value, origin| {
            from_file(Path::new(&value), origin)
        }),
        (PASSWORD_HASH, from_hash),
    ];
    for (name, read) in readers {
        match variable(name) {
            Some((value, origin)) if value.is_empty() => errors.push(empty(&origin)),
            Some((value, origin)) => given.push((read(value, &origin), origin)),
            None => {}
        }
    }
    let default = sources.default.as_ref();
    let default = default.map(|(text, origin)| secret((*text).to_owned(), origin));

    if given.len() > 1 {
        let names: Vec<String> = given.iter().map(|(_, origin)| origin.to_string()).collect();
        errors.push(SettingError::new(
            "password",
            names.join(" and "),
            "only one of them can be effective",
            "remove all but one",
        ));
    }
    let mut forced = None;
    for (result, _) in given {
        match result {
            Ok(value) => forced = Some(value),
            Err(error) => errors.push(error),
        }
    }
    let default = default.and_then(|result| result.map_err(|error| errors.push(error)).ok());
    SettingsError::of_all(errors)?;
    Ok(match (forced, default) {
        (Some(SourceValue::Password(secret)), _) => Wanted::Forced(secret),
        (Some(SourceValue::Hash(hash)), _) => Wanted::ForcedHash(hash),
        (None, Some(secret)) => Wanted::Default(secret),
        (None, None) => Wanted::Nothing,
    })
}

/// Returns the error for an empty variable. It is usually a mistake, and without this error
/// anyone who knows the default password could use the container.
fn empty(origin: &Origin) -> SettingError {
    error(
        origin,
        "the variable is there and empty, as Compose makes it of an unset `${…}`",
        "give it a value, or do not pass it: `${LAB_PASSWORD:?}` in Compose ends `up` while the \
         value is missing, `env --unset` removes it from a shell",
    )
}

fn error(origin: &Origin, problem: impl Into<String>, remedy: &str) -> SettingError {
    SettingError::new("password", origin, problem, remedy)
}

fn utf8(bytes: Vec<u8>, origin: &Origin) -> Result<String, SettingError> {
    let remedy = "use text in UTF-8, which is what a browser sends";
    String::from_utf8(bytes).map_err(|_| error(origin, "it is not UTF-8", remedy))
}

fn from_text(value: OsString, origin: &Origin) -> Result<SourceValue, SettingError> {
    let text = utf8(value.into_encoded_bytes(), origin)?;
    Ok(SourceValue::Password(secret(text, origin)?))
}

fn from_hash(value: OsString, origin: &Origin) -> Result<SourceValue, SettingError> {
    let hash = utf8(value.into_encoded_bytes(), origin)?;
    if hash::may_be_hash(&hash) {
        return Ok(SourceValue::Hash(hash));
    }
    Err(error(
        origin,
        "it is not a hash that Jupyter could verify a password against",
        "use what `password hash` of this program writes, argon2:$argon2id$…, in single quotes in a \
         shell and without quotation marks in an env-file; in a Compose file each $ of it is written \
         $$",
    ))
}

fn from_file(path: &Path, origin: &Origin) -> Result<SourceValue, SettingError> {
    let bytes = regular_file::read(path, MAX_PASSWORD_FILE).map_err(|source| {
        let remedy = match source.kind() {
            ErrorKind::PermissionDenied => {
                "let the container's user read it: leave out docker run --user, set its mode or a pod's \
                 fsGroup, or mount it with :z under SELinux"
            }
            _ => "name a regular file of at most 4 KiB with the password in it",
        };
        let problem = format!("{} cannot be read: {source}", path.display());
        error(origin, problem, remedy)
    })?;
    Ok(SourceValue::Password(from_bytes(bytes, origin)?))
}

/// Reads a password that is typed or piped in.
///
/// # Errors
/// The input cannot be read, or cannot be a password.
pub fn from_input(input: impl Read) -> Result<Secret, SettingError> {
    let origin = Origin::Input;
    let bytes = regular_file::read_limited(input, MAX_PASSWORD_FILE).map_err(|source| {
        let problem = format!("it cannot be read: {source}");
        error(&origin, problem, "give one line of at most 4 KiB")
    })?;
    from_bytes(bytes, &origin)
}

fn from_bytes(bytes: Vec<u8>, origin: &Origin) -> Result<Secret, SettingError> {
    let mut text = utf8(bytes, origin)?;
    strip_final_newline(&mut text);
    secret(text, origin)
}

/// Removes one final LF or CRLF, as editors and `echo` add it.
fn strip_final_newline(text: &mut String) {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
}

/// Refuses a password that nobody could log in with, or that would let everyone in.
fn secret(text: String, origin: &Origin) -> Result<Secret, SettingError> {
    // Python's str.strip() removes these: Unicode's white space and four more characters.
    let space = |c: char| c.is_whitespace() || ('\x1c'..='\x1f').contains(&c);
    // Tornado's get_argument() replaces these with a space.
    let replaced = |c: char| matches!(c, '\x01'..='\x08' | '\x0e'..='\x1f');
    let problem = if text.is_empty() {
        "it is empty, which would let everyone in"
    } else if text.contains(['\0', '\n', '\r']) {
        "it contains a line break or NUL, which nobody can type into the login form"
    } else if text.contains(replaced) {
        "it contains a control character, which Jupyter's login replaces: nobody could log in"
    } else if text.starts_with('\u{feff}') {
        "it begins with a byte order mark, which an editor added and nobody types"
    } else if text.starts_with(space) || text.ends_with(space) {
        "it begins or ends with white space, which Jupyter's login removes: nobody could log in"
    } else {
        return Ok(Secret::new(text));
    };
    Err(error(origin, problem, "choose another one"))
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
