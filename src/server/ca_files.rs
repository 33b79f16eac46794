//! The variables that name certificates of authorities. If such a file is missing, Python ends a
//! program without its name.

use std::fs;
use std::path::Path;

use rustix::fs::OFlags;

use crate::degradation::Degradation;
use crate::sys::env::Environment;
use crate::sys::regular_file;

/// The variables.
pub const NAMES: [&str; 4] = [
    "CURL_CA_BUNDLE",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    SSL_CERT_FILE,
];

/// The one that cannot name a directory.
const SSL_CERT_FILE: &str = "SSL_CERT_FILE";

/// Removes the variables whose files cannot be read.
pub fn remove_unreadable(environment: &mut Environment, directory: &Path) {
    for (name, _) in unreadable(environment, directory) {
        environment.remove(name);
    }
}

/// Returns the variables whose files cannot be read, each with what is wrong. `directory`: the
/// working directory of the programs that read them. May wait for a disk.
pub fn unreadable(environment: &Environment, directory: &Path) -> Vec<(&'static str, Degradation)> {
    let check = |name: &&'static str| {
        let named = environment.get(name)?;
        let path = directory.join(named);
        let error = match fs::metadata(&path) {
            _ if named.is_empty() => return None,
            Ok(found) if found.is_file() || found.is_dir() && *name == SSL_CERT_FILE => {
                regular_file::open_regular(&path, OFlags::empty()).err()?
            }
            // A directory of certificates, or /dev/null, which names no authority.
            Ok(_) => return None,
            Err(error) => error,
        };
        let cause = format!(
            "{name} names certificates that cannot be read, {}: {error}; programs that connect over \
             https end or fail, perhaps the server, too",
            path.display()
        );
        let remedy = format!("mount the file there, or remove {name}");
        Some((*name, Degradation::new(cause, remedy)))
    };
    NAMES.iter().filter_map(check).collect()
}
