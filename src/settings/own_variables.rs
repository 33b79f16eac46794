//! The environment variables that are ours: those of no setting in the table, and what others see of
//! all of them.

use crate::settings::table::TABLE;

/// The variable that names another settings file.
pub const FILE_ENV: &str = "AI_LAB_CONFIG";
/// The variable with the forced password.
pub const PASSWORD_ENV: &str = "JUPYTER_PASSWORD";
/// The variable that names a file with the forced password (Docker and Kubernetes secrets).
pub const PASSWORD_FILE_ENV: &str = "JUPYTER_PASSWORD_FILE";
/// The variable with the forced password's hash in Jupyter's format.
pub const PASSWORD_HASH_ENV: &str = "JUPYTER_PASSWORD_HASH";
/// The variable with the path of the file to which a hook writes variables for the server.
pub const HOOK_FILE_ENV: &str = "AI_LAB_ENV";

/// The variables that root hooks do not get from the container: root's own, the file for
/// variables, and the passwords, which no hook sees.
pub const NOT_FOR_HOOKS: [&str; 8] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    HOOK_FILE_ENV,
    PASSWORD_ENV,
    PASSWORD_HASH_ENV,
];

/// Returns the names of our own environment variables, which the server never sees.
pub fn own_environment() -> impl Iterator<Item = &'static str> {
    TABLE.iter().filter_map(|entry| entry.env).chain([
        FILE_ENV,
        PASSWORD_ENV,
        PASSWORD_FILE_ENV,
        PASSWORD_HASH_ENV,
    ])
}
