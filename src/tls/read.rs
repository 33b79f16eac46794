//! Reads a certificate and its key from the files that the settings name.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::settings::table::find;
use crate::settings::{Key, SettingError, Settings, SettingsError};
use crate::sys::secret_file;
use crate::tls::certificate::{Certificate, Unusable};

/// The longest file, in KiB: many times a chain of certificates.
pub const LIMIT: u64 = 256;

/// Reads a file of certificates or keys that the server's user can read.
///
/// # Errors
/// It cannot be read, is no regular file or is too long.
pub fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a FIFO without a writer must not block the start.
    let mut options = OpenOptions::new();
    let file = options
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    match file.metadata()?.is_file() {
        true => secret_file::read_limited(file, LIMIT),
        false => Err(io::Error::other("it is not a regular file")),
    }
}

/// Reads and checks a certificate. Call it before root is dropped, after which the key may no
/// longer be readable. `key`: `None` if the certificate's file has it.
///
/// # Errors
/// A file cannot be read or used, or the key is that of another certificate.
pub fn read(
    settings: &Settings,
    certificate: &Path,
    key: Option<&Path>,
) -> Result<Certificate, SettingsError> {
    let wrong = |setting, path: &Path, problem: String, remedy: &str| {
        let problem = format!("{}: {problem}", path.display());
        let (name, origin) = (find(setting).name(), settings.origin(setting));
        SettingsError(vec![SettingError::new(name, origin, problem, remedy)])
    };
    let content = |setting, path: &Path| {
        secret_file::read(path, LIMIT).map_err(|error| {
            let remedy = "mount it as a regular file; only root has to be able to read it";
            wrong(setting, path, format!("it cannot be read: {error}"), remedy)
        })
    };
    let of_key = key.map_or((Key::TlsCert, certificate), |key| (Key::TlsKey, key));
    let (certificates, keys) = (
        content(Key::TlsCert, certificate)?,
        content(of_key.0, of_key.1)?,
    );
    Certificate::parse(&certificates, &keys).map_err(|unusable| {
        let (setting, path) = match unusable.is_of_certificate() {
            true => (Key::TlsCert, certificate),
            false => of_key,
        };
        wrong(setting, path, unusable.to_string(), remedy(unusable, key))
    })
}

fn remedy(unusable: Unusable, key: Option<&Path>) -> &'static str {
    match unusable {
        Unusable::NoCertificate | Unusable::Damaged => {
            "name a file with the server's certificate first, then those between it and its CA"
        }
        Unusable::NoKey if key.is_none() => "name the file of its key with --tls-key FILE",
        Unusable::NoKey | Unusable::OtherKey => "name the key that the certificate was made for",
        Unusable::EncryptedKey => "decrypt it with `openssl pkey -in KEY -out FILE`",
        Unusable::UnknownKey => "make another pair, such as with P-256",
    }
}
