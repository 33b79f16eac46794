//! Reads a certificate and its key from the files that the settings name.

use std::io;
use std::path::Path;

use crate::settings::{Key, Settings, SettingsError};
use crate::sys::regular_file;
use crate::tls::certificate::{Certificate, Unusable};

/// The longest file, in KiB: many times a chain of certificates.
pub const LIMIT: u64 = 256;

/// Reads and checks the files of a certificate and its key, which the server's user can read. The
/// key may be in the same file.
///
/// # Errors
/// The file that cannot be used, and why.
pub fn read_pair<'a>(
    certificate: &'a Path,
    key: &'a Path,
) -> Result<Certificate, (&'a Path, FileProblem)> {
    pair(regular_file::read_through_links, certificate, key)
}

fn pair<'a>(
    read: fn(&Path, u64) -> io::Result<Vec<u8>>,
    certificate: &'a Path,
    key: &'a Path,
) -> Result<Certificate, (&'a Path, FileProblem)> {
    let read = |path| read(path, LIMIT).map_err(|error| (path, FileProblem::Unreadable(error)));
    let (certificates, keys) = (read(certificate)?, read(key)?);
    Certificate::parse(&certificates, &keys).map_err(|unusable| {
        let of_certificate = unusable.is_of_certificate();
        let path = if of_certificate { certificate } else { key };
        (path, FileProblem::Unusable(unusable))
    })
}

/// The reason why a file of a certificate or a key cannot be used.
#[derive(Debug)]
pub enum FileProblem {
    /// It cannot be read.
    Unreadable(io::Error),
    /// Its content cannot be used.
    Unusable(Unusable),
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
    let pair = pair(regular_file::read, certificate, key.unwrap_or(certificate));
    pair.map_err(|(path, problem)| {
        let setting = match path == certificate {
            true => Key::TlsCert,
            false => Key::TlsKey,
        };
        let (problem, remedy) = match problem {
            FileProblem::Unreadable(error) => (
                format!("it cannot be read: {error}"),
                "mount it as a regular file; only root has to be able to read it",
            ),
            FileProblem::Unusable(unusable) => (unusable.to_string(), unusable.remedy(key)),
        };
        let problem = format!("{}: {problem}", path.display());
        settings.error(setting, problem, remedy).into()
    })
}

impl Unusable {
    /// Returns the remedy; `key`: the file of the key, if it has one of its own.
    pub fn remedy(self, key: Option<&Path>) -> &'static str {
        match self {
            Self::NoCertificate | Self::Damaged | Self::UnknownCertificate => {
                "name a file with the server's certificate first, then the intermediate certificates"
            }
            Self::NoKey if key.is_none() => "name the file of its key with --tls-key FILE",
            Self::NoKey | Self::OtherKey => "name the key that the certificate was made for",
            Self::EncryptedKey => "decrypt it with `openssl pkey -in KEY -out FILE`",
            Self::DamagedKey | Self::UnknownKey => "make another pair, such as with P-256",
        }
    }
}
