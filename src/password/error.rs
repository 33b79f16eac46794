//! Why a password could not be set.

use std::io;
use std::path::PathBuf;

use crate::password::hash;

/// The reason why a password could not be set.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // each is documented by its message
pub enum PasswordError {
    /// The file is not JSON. Jupyter would ignore it and make a random token.
    #[error(
        "{} is not valid JSON (line {line}, column {column}: {problem}); \
         it was left as it is: repair it or move it away", path.display()
    )]
    Broken {
        path: PathBuf,
        line: usize,
        column: usize,
        problem: String,
    },
    #[error("{}: {section} must be an object {{…}}; repair the file or move it away", path.display())]
    Shape {
        path: PathBuf,
        /// The section, or "the content".
        section: &'static str,
    },
    #[error(
        "{} is a symbolic link, and replacing it would hide what it points to; \
         put a regular file in its place", .0.display()
    )]
    Link(PathBuf),
    #[error("the password cannot be set: {} cannot be {verb}: {source}; \
             let the user own it, or name another directory with JUPYTER_CONFIG_DIR", path.display())]
    File {
        path: PathBuf,
        /// `read` or `written`.
        verb: &'static str,
        source: io::Error,
    },
    #[error(
        "the password cannot be set: JUPYTER_NO_CONFIG tells Jupyter to read no \
             configuration; remove that variable"
    )]
    NoConfig,
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
    #[error(
        "the server would need no login: {by} turns the token off, and the default password cannot be \
         set ({cause}); remove that setting, or turn authentication off with an empty password, too"
    )]
    Open { by: String, cause: String },
    #[error("the password cannot be hashed")]
    Hash(#[from] hash::HashError),
}
