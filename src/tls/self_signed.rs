//! The certificate that is made for this container. Its file is beside the password, so that people
//! who trusted it once need not do so again after the next start.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::unistd::gethostname;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use tokio_rustls::rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};

use crate::identity::Dropped;
use crate::sys::effects::Effects;
use crate::sys::regular_file;
use crate::sys::whole_file::{self, PRIVATE};
use crate::tls::Certificate;
use crate::tls::read::LIMIT;

/// The name of the file in Jupyter's configuration directory, with the certificate and its key.
const FILE_NAME: &str = "ai-lab-tls.pem";

/// The first line of a file that we made. Any other file belongs to a person and is not overwritten.
const OURS: &str = "Made by ai-lab-entrypoint --tls auto, which replaces it before it expires.\n";

const DAY: u64 = 24 * 60 * 60;

/// How long a certificate is valid. Apple's systems refuse more than 825 days.
const VALID: Duration = Duration::from_secs(730 * DAY);

/// How far before its creation a certificate is valid: a browser's clock may be slow.
const VALID_BEFORE: Duration = Duration::from_secs(DAY);

/// A certificate that is valid for less time is replaced, because a container may run for long.
const RENEWED: Duration = Duration::from_secs(90 * DAY);

/// The result of reading the certificate's file.
#[derive(Debug)]
pub enum Found {
    /// A certificate that the server can use: one that we made, or that a person put there.
    Usable(Certificate),
    /// There is no file.
    Nothing,
    /// A certificate that we made and that has this flaw.
    Outdated(&'static str),
    /// A file that cannot be used, for this reason.
    Unusable(String),
    /// A file that cannot be read now, for this reason.
    Unreadable(String),
}

/// A certificate that was made.
#[derive(Debug)]
pub struct Made {
    /// The certificate.
    pub certificate: Certificate,
    /// The result of writing it to the file.
    pub written: io::Result<()>,
    /// The new path of the old file, if that could not be used.
    pub aside: Option<PathBuf>,
}

/// The file of the certificate, and the names that this container has.
#[derive(Debug)]
pub struct CertificateFile {
    path: PathBuf,
    names: Vec<String>,
}

impl CertificateFile {
    /// Returns the file in a directory, for this container.
    pub fn of(directory: &Path) -> Self {
        let host = gethostname().ok().and_then(|host| host.into_string().ok());
        Self::for_host(directory, &host.unwrap_or_default())
    }

    fn for_host(directory: &Path, host: &str) -> Self {
        let known = ServerName::try_from(host).is_ok() && host != "localhost";
        let names = known.then_some(host).into_iter();
        Self {
            path: directory.join(FILE_NAME),
            names: names
                .chain(["localhost", "127.0.0.1", "::1"])
                .map(str::to_owned)
                .collect(),
        }
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file.
    pub fn find(&self, _: &Dropped, now: SystemTime) -> Found {
        let text = match regular_file::read(&self.path, LIMIT) {
            Ok(text) => text,
            Err(_) if is_absent(&self.path) => return Found::Nothing,
            Err(error) => {
                let regular = fs::symlink_metadata(&self.path).is_ok_and(|data| data.is_file());
                let problem = format!("it cannot be read: {error}");
                return match regular && error.raw_os_error().is_some() {
                    true => Found::Unreadable(problem),
                    false => Found::Unusable(problem),
                };
            }
        };
        match Certificate::parse(&text, &text) {
            Ok(certificate) => match self.flaw(&certificate, now) {
                Some(flaw) if text.starts_with(OURS.as_bytes()) => Found::Outdated(flaw),
                _ => Found::Usable(certificate),
            },
            Err(unusable) => Found::Unusable(unusable.to_string()),
        }
    }

    /// Returns why a certificate should be replaced; `None`: it can stay.
    fn flaw(&self, certificate: &Certificate, now: SystemTime) -> Option<&'static str> {
        let invalid = |at| certificate.why_invalid(at).is_some();
        if invalid(now) || invalid(now + RENEWED) {
            return Some("it was valid for less than 90 days");
        }
        // Engines and Kubernetes make up names without a dot, a new one for each container.
        let mut needed = self.names.iter().filter(|name| name.contains('.'));
        match needed.all(|name| certificate.covers(name, now)) {
            true => None,
            false => Some("it did not have the host name of this container"),
        }
    }

    /// Makes a certificate and writes it to the file. `found`: what is there.
    ///
    /// # Errors
    /// No certificate can be made.
    pub fn make(
        &self,
        _: &Dropped,
        found: &Found,
        now: SystemTime,
        effects: Effects<'_>,
    ) -> Result<Made, rcgen::Error> {
        let certificate = self.new_certificate(now)?;
        let mut aside = None;
        let mut write = || {
            match found {
                Found::Unusable(_) if effects.is_preview() => {}
                Found::Unusable(_) => aside = Some(self.set_aside(now)?),
                // It may be a person's, and readable again later.
                Found::Unreadable(why) => return Err(io::Error::other(why.clone())),
                Found::Nothing | Found::Outdated(_) | Found::Usable(_) => {}
            }
            let text = format!("{OURS}{}", certificate.pem());
            let directory = self.path.parent().unwrap_or(Path::new("/"));
            effects.make_in(directory, || {
                whole_file::replace(&self.path, text.as_bytes(), PRIVATE, true)
            })
        };
        let written = write();
        Ok(Made {
            certificate,
            written,
            aside,
        })
    }

    /// Moves the file to a name that no file has. Returns its path.
    fn set_aside(&self, now: SystemTime) -> io::Result<PathBuf> {
        let since = now.duration_since(SystemTime::UNIX_EPOCH);
        let mut name = self.path.clone().into_os_string();
        name.push(format!(
            ".unusable-{}",
            since.unwrap_or_default().as_millis()
        ));
        fs::rename(&self.path, &name)?;
        Ok(name.into())
    }

    fn new_certificate(&self, now: SystemTime) -> Result<Certificate, rcgen::Error> {
        let mut wanted = CertificateParams::new(self.names.clone())?;
        let host = &self.names[0]; // invariant: localhost at least
        wanted
            .distinguished_name
            .push(DnType::CommonName, format!("AI Lab {host}"));
        wanted.not_before = (now - VALID_BEFORE).into();
        wanted.not_after = (now + VALID).into();
        wanted.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        wanted.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let certificate = wanted.self_signed(&key)?;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        Certificate::new(vec![certificate.der().clone()], key.into())
            .map_err(|_| rcgen::Error::CouldNotParseCertificate)
    }
}

fn is_absent(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

#[cfg(test)]
#[path = "self_signed_tests.rs"]
mod tests;
