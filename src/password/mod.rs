//! Jupyter's password: chooses the wanted one and makes it effective.
//!
//! [`source::wanted`] chooses before root is dropped, because only root may be able to read a
//! secret's file. [`apply`] runs as the user and sets the password in the file that `jupyter
//! server password` writes. The hash is made here, without starting Python.

pub mod config_file;
pub mod hash;
pub mod source;

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::degradation::Degradation;
use crate::identity::Dropped;

use crate::jupyter_config::ConfigLocation;
use crate::jupyter_config::precedence::{DefaultDecision, Effective};
use config_file::Document;
pub use source::{Sources, wanted};

/// A log message that log watchers rely on.
pub const CHANGED: &str = "Successfully changed the password of Jupyter server.";

/// A password. No output shows it, not even `{:?}`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Makes a password from this text.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    fn text(&self) -> &str {
        &self.0
    }

    fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The wanted password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// No password: Jupyter's own configuration decides.
    Nothing,
    /// This password, if no other login is configured.
    Default(Secret),
    /// No password, and this default is removed if an earlier start set it: a command that starts
    /// its own server would otherwise accept it beside the login that its arguments configure.
    RemoveDefault(Secret),
    /// This password, whatever is configured.
    Forced(Secret),
    /// The password with this hash, whatever is configured.
    ForcedHash(String),
}

impl Wanted {
    /// Reports whether the password must be effective, whatever is configured.
    pub fn is_forced(&self) -> bool {
        matches!(self, Self::Forced(_) | Self::ForcedHash(_))
    }
}

/// The outcome of applying a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing had to be written for the wanted password.
    Unchanged,
    /// The password was set.
    Changed,
    /// The default password was not set, for this reason.
    NotSet(Degradation),
}

/// The result of [`apply`], and what the server needs to make the password effective.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The outcome.
    pub outcome: Outcome,
    /// A variable that the server needs so that no other file wins; `None`: it needs none.
    pub variable: Option<(&'static str, OsString)>,
    /// The reason why the default was not set, or was set despite an empty token, for the log.
    pub note: Option<String>,
}

/// The reason why a password could not be set.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// The file is not JSON. Jupyter would ignore it and make a random token.
    #[error(
        "{} is not valid JSON (line {line}, column {column}: {problem}); \
         it was left as it is: repair it or move it away", path.display()
    )]
    Broken {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The column, counted from 1.
        column: usize,
        /// The problem there.
        problem: String,
    },
    /// A section of the file is not an object, as Jupyter needs it.
    #[error("{}: {section} must be an object {{…}}; repair the file or move it away", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The section, or "the content".
        section: &'static str,
    },
    /// The file is a symbolic link, which a new file would replace.
    #[error(
        "{} is a symbolic link, and replacing it would hide what it points to; \
         put a regular file in its place", .0.display()
    )]
    Link(PathBuf),
    /// The file cannot be read or written.
    #[error("the password cannot be set: {} cannot be {verb}: {source}; \
             let the user own it, or name another directory with JUPYTER_CONFIG_DIR", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// `read` or `written`.
        verb: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// Jupyter would not read the file.
    #[error(
        "the password cannot be set: JUPYTER_NO_CONFIG tells Jupyter to read no \
             configuration; remove that variable"
    )]
    NoConfig,
    /// The default password of an earlier start cannot be removed.
    #[error(
        "the default password of an earlier start, which everybody knows, cannot be removed, \
         although another login is configured: {0}"
    )]
    DefaultNotRemoved(Box<PasswordError>),
    /// A default password is in a file that we do not change, beside settings that a person chose.
    #[error(
        "a default password, which everybody knows, is effective although another login is \
         configured ({0}): remove IdentityProvider.hashed_password from that file"
    )]
    DefaultElsewhere(String),
    /// The default cannot be set, and the token that would replace it is turned off.
    #[error(
        "the server would need no login: {by} turns the token off, and the default password cannot be \
         set ({cause}); remove that setting, or turn authentication off with an empty password, too"
    )]
    Open {
        /// The setting of the token.
        by: String,
        /// Why the default cannot be set.
        cause: Box<PasswordError>,
    },
    /// No hash could be made.
    #[error("the password cannot be hashed")]
    Hash(#[from] hash::HashError),
}

/// Makes the wanted password effective.
///
/// The file is written only if the present hash is not of this password: a new hash of the
/// same password would log every user out.
///
/// # Errors
/// The user's file does not parse, a forced password cannot be set, or a default not be removed.
pub fn apply(
    _: &Dropped,
    place: &ConfigLocation,
    wanted: &Wanted,
) -> Result<Applied, PasswordError> {
    apply_with(place, wanted, ApplyMode::Write)
}

/// Returns the result that [`apply`] would have, without writing. `writable` reports whether a
/// file can be created in a directory.
///
/// # Errors
/// As [`apply`].
pub fn preview_apply(
    _: &Dropped,
    place: &ConfigLocation,
    wanted: &Wanted,
    writable: &dyn Fn(&Path) -> io::Result<()>,
) -> Result<Applied, PasswordError> {
    apply_with(place, wanted, ApplyMode::Preview(writable))
}

/// Selects whether to write the file, or only to check that it can be written.
#[derive(Clone, Copy)]
enum ApplyMode<'a> {
    Write,
    Preview(&'a dyn Fn(&Path) -> io::Result<()>),
}

fn apply_with(
    place: &ConfigLocation,
    wanted: &Wanted,
    mode: ApplyMode<'_>,
) -> Result<Applied, PasswordError> {
    match wanted {
        Wanted::Nothing => Ok(unchanged()),
        Wanted::Default(secret) => set_default(place, secret, mode),
        Wanted::RemoveDefault(secret) => {
            let mut own = Document::read(&place.file())?;
            remove_old_default(place, &mut own, secret, mode).map(|_| unchanged())
        }
        Wanted::Forced(secret) => {
            let verify = |hash: &str| hash::verify(hash, secret);
            force(place, &verify, || Ok(hash::make(secret)?), mode)
        }
        Wanted::ForcedHash(wanted) => {
            let verify = |hash: &str| hash == wanted;
            force(place, &verify, || Ok(wanted.clone()), mode)
        }
    }
}

fn unchanged() -> Applied {
    Applied {
        outcome: Outcome::Unchanged,
        variable: None,
        note: None,
    }
}

fn set_default(
    place: &ConfigLocation,
    secret: &Secret,
    mode: ApplyMode<'_>,
) -> Result<Applied, PasswordError> {
    let mut own = Document::read(&place.file())?;
    let found = place.read();
    let (note, degradation) = match found.default_decision() {
        DefaultDecision::Unset | DefaultDecision::EmptyToken(_)
            if !place.ignored()
                && own
                    .base()
                    .is_some_and(|hash| !is_other_public(hash, secret)) =>
        {
            return Ok(unchanged());
        }
        DefaultDecision::Unset => return write_default_or_degrade(place, &mut own, secret, mode),
        DefaultDecision::EmptyToken(by) => {
            let note = format!("an empty token ({by}) does not turn the password off");
            return match write_default(place, &mut own, secret, mode) {
                Ok(()) => Ok(Applied {
                    outcome: Outcome::Changed,
                    variable: None,
                    note: Some(note),
                }),
                // Jupyter makes no token of its own then.
                Err(cause) => Err(PasswordError::Open {
                    by,
                    cause: Box::new(cause),
                }),
            };
        }
        // A setting of the user's own file, such as `password set` writes, needs no note.
        DefaultDecision::Configured(by) if by.contains(&*place.file().to_string_lossy()) => {
            (None, None)
        }
        DefaultDecision::Configured(by) => {
            let note = format!("the default password is not set: the configuration has {by}");
            (Some(note), None)
        }
        DefaultDecision::Off(by) => (None, Some(no_auth_degradation(&by))),
        DefaultDecision::Undecided(by) => (None, Some(unclear_degradation(&by))),
    };
    let gone = remove_old_default(place, &mut own, secret, mode);
    let degradation =
        match gone.map_err(|error| PasswordError::DefaultNotRemoved(Box::new(error)))? {
            // The hash that remains is one that a person set.
            false if own.base().is_some() && !place.ignored() => None,
            _ => degradation,
        };
    if let Some(by) = found.public_default_elsewhere(&place.file(), |hash| is_public(hash, secret))
    {
        return Err(PasswordError::DefaultElsewhere(by));
    }
    Ok(Applied {
        outcome: degradation.map_or(Outcome::Unchanged, Outcome::NotSet),
        variable: None,
        note,
    })
}

/// The image's default password, which everybody knows. An earlier start may have set it even
/// if this start has another default.
const IMAGE_DEFAULT: &str = "ailab";

/// Reports whether a hash is of a default password: this start's, or the image's.
fn is_public(hash: &str, default: &Secret) -> bool {
    hash::verify(hash, default) || is_other_public(hash, default)
}

fn is_other_public(hash: &str, default: &Secret) -> bool {
    default.text() != IMAGE_DEFAULT && hash::verify(hash, &Secret::new(IMAGE_DEFAULT.into()))
}

/// Writes the default password. A file that cannot be written is only a degradation: Jupyter
/// then makes a token, unless the configuration has an empty one.
fn write_default_or_degrade(
    place: &ConfigLocation,
    own: &mut Document,
    secret: &Secret,
    mode: ApplyMode<'_>,
) -> Result<Applied, PasswordError> {
    let outcome = match write_default(place, own, secret, mode) {
        Ok(()) => Outcome::Changed,
        Err(
            error @ (PasswordError::File { .. } | PasswordError::Link(_) | PasswordError::NoConfig),
        ) => Outcome::NotSet(Degradation::note(format!(
            "the default password is not effective: {error}; Jupyter makes a \
                 token and logs it"
        ))),
        Err(error) => return Err(error),
    };
    Ok(Applied {
        outcome,
        variable: None,
        note: None,
    })
}

/// Removes a default password that an earlier start set, because it would still be accepted
/// beside the login that is configured now. Returns whether there was one.
fn remove_old_default(
    place: &ConfigLocation,
    own: &mut Document,
    secret: &Secret,
    mode: ApplyMode<'_>,
) -> Result<bool, PasswordError> {
    if place.ignored() || !own.base().is_some_and(|hash| is_public(hash, secret)) {
        return Ok(false);
    }
    own.check_replaceable()?;
    own.remove_base();
    match mode {
        ApplyMode::Preview(writable) => own.preview_write(writable)?,
        ApplyMode::Write => own.write()?,
    }
    Ok(true)
}

/// The remedy if the configuration prevents a default password.
const CHOOSE_REMEDY: &str =
    "choose a password with `docker run --env JUPYTER_PASSWORD=<your password> …`";

fn unclear_degradation(by: &str) -> Degradation {
    Degradation::new(
        format!(
            "the default password is not set: {by} cannot be evaluated here, and may configure a \
             password; if it does not, Jupyter makes a random token and logs it"
        ),
        CHOOSE_REMEDY,
    )
}

fn no_auth_degradation(by: &str) -> Degradation {
    Degradation::new(
        format!(
            "authentication is turned off by {by}: everybody who reaches the port can use the \
             server"
        ),
        CHOOSE_REMEDY,
    )
}

fn write_default(
    place: &ConfigLocation,
    own: &mut Document,
    secret: &Secret,
    mode: ApplyMode<'_>,
) -> Result<(), PasswordError> {
    if place.ignored() {
        return Err(PasswordError::NoConfig);
    }
    // Checked first, because hashing takes 50 ms.
    own.check_replaceable()?;
    match mode {
        ApplyMode::Preview(writable) => own.preview_write(writable),
        ApplyMode::Write => {
            own.set_default(hash::make(secret)?)?;
            own.write()
        }
    }
}

fn force(
    place: &ConfigLocation,
    verify: &dyn Fn(&str) -> bool,
    make: impl FnOnce() -> Result<String, PasswordError>,
    mode: ApplyMode<'_>,
) -> Result<Applied, PasswordError> {
    if place.ignored() {
        return Err(PasswordError::NoConfig);
    }
    let mut own = Document::read(&place.file())?;
    let found = place.read();
    if matches!(found.effective(), Effective::Hash(hash) if verify(&hash)) {
        return Ok(unchanged());
    }
    let variable = found.is_overridden().then(|| place.config_path_override());
    let nested = found.is_nested();
    let done = own.forced(nested).is_some_and(verify);
    let outcome = if done {
        Outcome::Unchanged
    } else {
        own.check_replaceable()?;
        match mode {
            ApplyMode::Preview(writable) => own.preview_write(writable)?,
            ApplyMode::Write => {
                own.force(make()?, nested)?;
                own.write()?;
            }
        }
        Outcome::Changed
    };
    Ok(Applied {
        outcome,
        variable,
        note: None,
    })
}

/// Reports whether the files make this password effective; false if only the server can decide.
/// Takes about 50 ms.
pub fn is_effective(place: &ConfigLocation, secret: &Secret) -> bool {
    check_password(place, secret) == Ok(true)
}

/// Decides whether the password is the effective one.
///
/// # Errors
/// The part of the configuration that only the server can interpret.
pub fn check_password(place: &ConfigLocation, secret: &Secret) -> Result<bool, String> {
    match place.read().effective() {
        Effective::Hash(hash) => Ok(hash::verify(&hash, secret)),
        Effective::Nothing => Ok(false),
        Effective::Unknown(why) => Err(why),
    }
}

/// Returns a hash of the password that the user chose, wherever it can still be read; `None`: no
/// password is known, only a default one, which everybody knows, or something else replaces the
/// password's login. `applied`: this start made `wanted` effective. Takes up to 100 ms.
///
/// # Errors
/// No hash could be made.
pub fn configured_hash(
    place: &ConfigLocation,
    wanted: &Wanted,
    applied: bool,
    default: Option<&Secret>,
) -> Result<Option<String>, hash::HashError> {
    match wanted {
        // What the files have may be an older password.
        Wanted::Forced(secret) if !applied => return hash::make(secret).map(Some),
        Wanted::ForcedHash(hash) if !applied => return Ok(Some(hash.clone())),
        _ => {}
    }
    let found = place.read();
    if found.other_login().is_some() {
        return Ok(None);
    }
    let image_default = Secret::new(IMAGE_DEFAULT.into());
    let default = default.unwrap_or(&image_default);
    let usable = |hash: &String| hash::well_formed(hash) && !is_public(hash, default);
    let hash = match found.effective() {
        Effective::Hash(hash) => Some(hash),
        Effective::Nothing => None,
        // Jupyter may have failed because it cannot read this file, either.
        Effective::Unknown(_) => {
            let own = Document::read(&place.file()).ok();
            own.and_then(|own| own.base().map(str::to_owned))
        }
    };
    Ok(hash.filter(usable))
}

/// Returns a random token, of the length that Jupyter gives its own.
///
/// # Errors
/// The system has no random bytes.
pub fn random_token() -> io::Result<String> {
    let mut bytes = [0; 24];
    hash::fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
#[path = "password_tests.rs"]
mod tests;
