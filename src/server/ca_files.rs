//! The variables that name certificates of authorities. If such a file is missing, Python ends a
//! program without its name.

use std::path::Path;

use rustix::fs::OFlags;

use crate::degradation::Degradation;
use crate::sys::env::Environment;
use crate::sys::regular_file;

/// A variable.
struct CaVariable {
    name: &'static str,
    /// True if it may also name a directory.
    directory: bool,
}

const VARIABLES: [CaVariable; 5] = [
    ca_variable("CURL_CA_BUNDLE", true),
    ca_variable("NODE_EXTRA_CA_CERTS", false),
    ca_variable("PIP_CERT", true),
    ca_variable("REQUESTS_CA_BUNDLE", true),
    ca_variable("SSL_CERT_FILE", false),
];

const fn ca_variable(name: &'static str, directory: bool) -> CaVariable {
    CaVariable { name, directory }
}

/// Removes the variables whose files cannot be read.
pub fn remove_unreadable(environment: &mut Environment, directory: &Path) {
    for (name, _) in unreadable(environment, directory) {
        environment.remove(name);
    }
}

/// Returns the variables whose files cannot be read, each with what is wrong. `directory`: the
/// working directory of the programs that read them. May wait for a disk.
pub fn unreadable(environment: &Environment, directory: &Path) -> Vec<(&'static str, Degradation)> {
    let check = |variable: &CaVariable| {
        let named = environment.get(variable.name)?;
        let path = directory.join(named);
        if named.is_empty() || variable.directory && path.is_dir() {
            return None;
        }
        let error = regular_file::open_regular(&path, OFlags::empty()).err()?;
        let (name, path) = (variable.name, path.display());
        let cause = format!(
            "{name} names certificates that cannot be read, {path}: {error}; programs that connect \
             over https end or fail, perhaps the server, too"
        );
        let remedy = format!("mount the file there, or remove {name}");
        Some((name, Degradation::new(cause, remedy)))
    };
    VARIABLES.iter().filter_map(check).collect()
}
