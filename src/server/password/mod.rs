//! Jupyter's password: which one is wanted, and seeing to it that it is in force.
//!
//! [`source::wanted`] decides before root is dropped, because a secret's file may be
//! root's alone; [`apply`] sets it as the user, in the file that `jupyter server
//! password` writes. A hash is made here rather than by starting Python.

pub mod config;
pub mod hash;
pub mod line;
pub mod place;
pub mod policy;
mod python;
pub mod source;

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::degradation::Degradation;
use crate::identity::Dropped;

use config::Document;
pub use line::Line;
pub use place::Place;
pub use policy::Effective;
use policy::Standing;
pub use source::{Sources, wanted};

/// The phrase that log watchers rely on.
pub const CHANGED: &str = "Successfully changed the password of Jupyter server.";

/// A password. It is never shown, not even by `{:?}`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A password of this text.
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

/// The password that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// None: Jupyter does as it is configured.
    Nothing,
    /// This one, where none is configured.
    Default(Secret),
    /// None, and this default of an earlier start goes: a command that starts a server of its
    /// own would open it beside whatever its words configure.
    NoDefault(Secret),
    /// This one, whatever is configured.
    Forced(Secret),
    /// The one with this hash, whatever is configured.
    ForcedHash(String),
}

impl Wanted {
    /// Whether it is in force whatever is configured.
    pub fn is_forced(&self) -> bool {
        matches!(self, Self::Forced(_) | Self::ForcedHash(_))
    }
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was to be done.
    Unchanged,
    /// The password was set.
    Changed,
    /// The default could not be set. Jupyter makes up a token.
    NotSet(Degradation),
}

/// What was done, and what the server must be told to make it effective.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// What was done.
    pub outcome: Outcome,
    /// A variable for the server's environment, where other files would win.
    pub variable: Option<(&'static str, OsString)>,
    /// Why a default was not set, or set over what is configured, for the log.
    pub note: Option<String>,
}

/// Why a password could not be set.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// The file is not JSON. Jupyter ignores such a file and makes up a token.
    #[error(
        "{} is not valid JSON (line {line}, column {column}: {problem}); \
         it was left as it is: mend it or move it away", path.display()
    )]
    Broken {
        /// The file.
        path: PathBuf,
        /// The line; 1 is the first.
        line: usize,
        /// The column; 1 is the first.
        column: usize,
        /// What is wrong there.
        problem: String,
    },
    /// A section of the file has another form than Jupyter's.
    #[error("{}: {section} must be an object {{…}}; mend the file or move it away", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The section, or "the content".
        section: &'static str,
    },
    /// The file is a link, which a new file would replace.
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
        /// Why.
        source: io::Error,
    },
    /// Jupyter would not read the file.
    #[error(
        "the password cannot be set: JUPYTER_NO_CONFIG tells Jupyter to read no \
             configuration; remove that variable"
    )]
    NoConfig,
    /// A default of an earlier start cannot be removed.
    #[error(
        "the default password of an earlier start, which everybody knows, cannot be removed \
         beside what is configured: {0}"
    )]
    Stays(Box<PasswordError>),
    /// A default is where it cannot be removed, beside something that somebody has chosen.
    #[error(
        "a default password, which everybody knows, is in force beside what is configured ({0}), \
         and cannot be removed there: remove IdentityProvider.hashed_password from that file"
    )]
    Public(String),
    /// The default cannot be set, and a token is turned off that would take its place.
    #[error(
        "everybody who reaches the port could use the server: {by} turns the token off, and {cause}; \
         remove that setting, or turn authentication off with an empty password beside it"
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

/// Sees to it that the wanted password is the one in force.
///
/// The file is written only if what is there does not do already: another hash of the
/// same password would log everyone out.
///
/// # Errors
/// A configuration that does not parse; a forced password that cannot be set.
pub fn apply(_: &Dropped, place: &Place, wanted: &Wanted) -> Result<Applied, PasswordError> {
    settle(place, wanted, Deed::Do)
}

/// What [`apply`] would do; nothing is written. `writable` tells whether a file could be
/// made in a directory.
///
/// # Errors
/// As [`apply`].
pub fn foresee(
    _: &Dropped,
    place: &Place,
    wanted: &Wanted,
    writable: &dyn Fn(&Path) -> io::Result<()>,
) -> Result<Applied, PasswordError> {
    settle(place, wanted, Deed::Foresee(writable))
}

/// Whether a file that is to be written is.
#[derive(Clone, Copy)]
enum Deed<'a> {
    Do,
    Foresee(&'a dyn Fn(&Path) -> io::Result<()>),
}

fn settle(place: &Place, wanted: &Wanted, deed: Deed<'_>) -> Result<Applied, PasswordError> {
    match wanted {
        Wanted::Nothing => Ok(unchanged()),
        Wanted::Default(secret) => set_default(place, secret, deed),
        Wanted::NoDefault(secret) => {
            let mut own = Document::read(&place.file())?;
            withdrawn(place, &mut own, secret, deed).map(|_| unchanged())
        }
        Wanted::Forced(secret) => {
            let verify = |hash: &str| hash::verify(hash, secret);
            force(place, &verify, || Ok(hash::make(secret)?), deed)
        }
        Wanted::ForcedHash(wanted) => {
            let verify = |hash: &str| hash == wanted;
            force(place, &verify, || Ok(wanted.clone()), deed)
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

fn set_default(place: &Place, secret: &Secret, deed: Deed<'_>) -> Result<Applied, PasswordError> {
    let mut own = Document::read(&place.file())?;
    let found = place.read();
    let (note, degradation) = match found.standing() {
        Standing::Unset | Standing::EmptyToken(_)
            if !place.ignored()
                && own
                    .base()
                    .is_some_and(|hash| !is_other_public(hash, secret)) =>
        {
            return Ok(unchanged());
        }
        Standing::Unset => return written(place, &mut own, secret, deed),
        Standing::EmptyToken(by) => {
            let note = format!("an empty token ({by}) does not turn the password off");
            return match write_default(place, &mut own, secret, deed) {
                Ok(()) => Ok(Applied {
                    outcome: Outcome::Changed,
                    variable: None,
                    note: Some(note),
                }),
                // Jupyter would make up no token either.
                Err(cause) => Err(PasswordError::Open {
                    by,
                    cause: Box::new(cause),
                }),
            };
        }
        // A person used `password set` or `jupyter server password`.
        Standing::Configured(by) if by.contains(&*place.file().to_string_lossy()) => (None, None),
        Standing::Configured(by) => {
            let note = format!("the default password is not set: the configuration has {by}");
            (Some(note), None)
        }
        Standing::Off(by) => (None, Some(turned_off(&by))),
        Standing::Undecided(by) => (None, Some(undecided(&by))),
    };
    let gone = withdrawn(place, &mut own, secret, deed);
    let degradation = match gone.map_err(|error| PasswordError::Stays(Box::new(error)))? {
        // Whatever else there is, a person has set one here.
        false if own.base().is_some() && !place.ignored() => None,
        _ => degradation,
    };
    if let Some(by) = found.beside_base_hash(&place.file(), |hash| is_public(hash, secret)) {
        return Err(PasswordError::Public(by));
    }
    Ok(Applied {
        outcome: degradation.map_or(Outcome::Unchanged, Outcome::NotSet),
        variable: None,
        note,
    })
}

/// The default of the image, which everybody knows. An earlier start may have set it where
/// this one has another.
const PUBLISHED: &str = "ailab";

/// Reports whether a hash is of a password that everybody knows.
fn is_public(hash: &str, default: &Secret) -> bool {
    hash::verify(hash, default) || is_other_public(hash, default)
}

fn is_other_public(hash: &str, default: &Secret) -> bool {
    default.text() != PUBLISHED && hash::verify(hash, &Secret::new(PUBLISHED.into()))
}

/// Writes the default; where that cannot be done, Jupyter has its own way.
fn written(
    place: &Place,
    own: &mut Document,
    secret: &Secret,
    deed: Deed<'_>,
) -> Result<Applied, PasswordError> {
    let outcome = match write_default(place, own, secret, deed) {
        Ok(()) => Outcome::Changed,
        Err(
            error @ (PasswordError::File { .. } | PasswordError::Link(_) | PasswordError::NoConfig),
        ) => Outcome::NotSet(Degradation::note(format!(
            "the default password is not in force: {error}; Jupyter makes up a token, \
                 which its log tells"
        ))),
        Err(error) => return Err(error),
    };
    Ok(Applied {
        outcome,
        variable: None,
        note: None,
    })
}

/// Removes a default that an earlier start has set, which would open the door beside what
/// is configured now; whether there was one.
fn withdrawn(
    place: &Place,
    own: &mut Document,
    secret: &Secret,
    deed: Deed<'_>,
) -> Result<bool, PasswordError> {
    if place.ignored() || !own.base().is_some_and(|hash| is_public(hash, secret)) {
        return Ok(false);
    }
    own.check_replaceable()?;
    own.remove_base();
    match deed {
        Deed::Foresee(writable) => own.foresee_write(writable)?,
        Deed::Do => own.write()?,
    }
    Ok(true)
}

/// The remedy wherever a configuration keeps the default away.
const CHOOSE: &str = "choose a password with `docker run --env JUPYTER_PASSWORD=<your password> …`";

fn undecided(by: &str) -> Degradation {
    Degradation::new(
        format!(
            "the default password is not set: {by} cannot be judged here, and may configure a \
             password; if it does not, Jupyter makes a random token, which its log \
             shows"
        ),
        CHOOSE,
    )
}

fn turned_off(by: &str) -> Degradation {
    Degradation::new(
        format!(
            "authentication is turned off by {by}: everybody who reaches the port can use the \
             server"
        ),
        CHOOSE,
    )
}

fn write_default(
    place: &Place,
    own: &mut Document,
    secret: &Secret,
    deed: Deed<'_>,
) -> Result<(), PasswordError> {
    if place.ignored() {
        return Err(PasswordError::NoConfig);
    }
    // Before the 50 ms of hashing.
    own.check_replaceable()?;
    match deed {
        Deed::Foresee(writable) => own.foresee_write(writable),
        Deed::Do => {
            own.set_default(hash::make(secret)?)?;
            own.write()
        }
    }
}

fn force(
    place: &Place,
    verify: &dyn Fn(&str) -> bool,
    make: impl FnOnce() -> Result<String, PasswordError>,
    deed: Deed<'_>,
) -> Result<Applied, PasswordError> {
    if place.ignored() {
        return Err(PasswordError::NoConfig);
    }
    let mut own = Document::read(&place.file())?;
    let found = place.read();
    if matches!(found.effective(), Effective::Hash(hash) if verify(&hash)) {
        return Ok(unchanged());
    }
    let variable = found.is_beaten().then(|| place.first_of_all());
    let nested = found.is_nested();
    let done = own.forced(nested).is_some_and(verify);
    let outcome = if done {
        Outcome::Unchanged
    } else {
        own.check_replaceable()?;
        match deed {
            Deed::Foresee(writable) => own.foresee_write(writable)?,
            Deed::Do => {
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

/// Whether the password is the one in force, as far as the files tell. Takes some
/// 50 ms.
pub fn is_in_force(place: &Place, secret: &Secret) -> bool {
    judge(place, secret) == Ok(true)
}

/// Whether the password is the one in force.
///
/// # Errors
/// What only the server can judge.
pub fn judge(place: &Place, secret: &Secret) -> Result<bool, String> {
    match place.read().effective() {
        Effective::Hash(hash) => Ok(hash::verify(&hash, secret)),
        Effective::Nothing => Ok(false),
        Effective::Unknown(why) => Err(why),
    }
}

#[cfg(test)]
#[path = "password_tests.rs"]
mod tests;
