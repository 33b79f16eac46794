//! A certificate with its private key: parsed, checked, and written as PEM.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pem::{EncodeConfig, LineEnding, Pem};
use sha2::{Digest, Sha256};
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::ServerCertVerifier;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{CertificateError, Error, RootCertStore};

/// The reason why a server cannot use a certificate or key. It never quotes the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // each is documented by its message
pub enum Unusable {
    #[error("it has no certificate in PEM (-----BEGIN CERTIFICATE-----)")]
    NoCertificate,
    #[error("a certificate in it is damaged")]
    Damaged,
    #[error("a certificate in it is not of X.509 version 3")]
    UnknownCertificate,
    #[error("it has no private key in PEM (-----BEGIN PRIVATE KEY-----)")]
    NoKey,
    #[error("its private key is encrypted, and no one is there to type its passphrase")]
    EncryptedKey,
    #[error("its private key is damaged")]
    DamagedKey,
    #[error(
        "its private key is damaged, or is not one of RSA (2048 to 8192 bits), P-256, P-384, Ed25519"
    )]
    UnknownKey,
    #[error("its private key does not belong to the certificate")]
    OtherKey,
}

impl Unusable {
    /// Reports whether a certificate is the cause, not the key.
    pub fn is_of_certificate(self) -> bool {
        matches!(
            self,
            Self::NoCertificate | Self::Damaged | Self::UnknownCertificate
        )
    }

    /// Reports whether a server that knows more kinds, as Jupyter does, may be able to use it.
    pub fn may_be_usable(self) -> bool {
        matches!(self, Self::UnknownCertificate | Self::UnknownKey)
    }
}

/// A certificate with its intermediate certificates and its private key.
#[derive(Debug)]
pub struct Certificate {
    /// The server's own certificate comes first.
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Certificate {
    /// Reads a certificate and its key from PEM. Both texts may be the same.
    ///
    /// # Errors
    /// One of them cannot be used, or they do not belong together.
    pub fn parse(certificates: &[u8], key: &[u8]) -> Result<Self, Unusable> {
        let chain = parse_chain(certificates)?;
        Self::new(chain, parse_key(key)?)
    }

    /// Makes the pair from its parts.
    ///
    /// # Errors
    /// The key cannot be used, or is not that of the first certificate.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, Unusable> {
        let pair = CertifiedKey::from_der(chain, key.clone_key(), &ring::default_provider());
        match pair {
            Ok(pair) => Ok(Self {
                chain: pair.cert,
                key,
            }),
            Err(Error::InconsistentKeys(_)) => Err(Unusable::OtherKey),
            Err(_) => Err(Unusable::UnknownKey),
        }
    }

    /// Returns the key and the certificates in PEM.
    pub fn pem(&self) -> String {
        let kind = match self.key {
            PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
            PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
            _ => "PRIVATE KEY",
        };
        let mut parts = vec![Pem::new(kind, self.key.secret_der())];
        parts.extend(
            self.chain
                .iter()
                .map(|der| Pem::new("CERTIFICATE", der.to_vec())),
        );
        pem::encode_many_config(&parts, EncodeConfig::new().set_line_ending(LineEnding::LF))
    }

    /// Returns the SHA-256 fingerprint as browsers show it.
    pub fn fingerprint(&self) -> String {
        let digest = Sha256::digest(&self.chain[0]); // invariant: rustls accepted the chain
        let bytes: Vec<String> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
        bytes.join(":")
    }

    /// Returns why browsers refuse the certificate at this time; `None`: it is valid.
    pub fn why_invalid(&self, at: SystemTime) -> Option<&'static str> {
        let anyone = ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into());
        match self.verify(&anyone, at) {
            Err(Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. },
            )) => Some("has expired"),
            Err(Error::InvalidCertificate(
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
            )) => Some("is not valid yet"),
            _ => None,
        }
    }

    /// Reports whether someone who trusts the certificate itself can use it for a host name or an
    /// address. A name that no certificate can have counts as covered.
    pub fn covers(&self, name: &str, at: SystemTime) -> bool {
        ServerName::try_from(name).map_or(true, |name| self.verify(&name, at).is_ok())
    }

    fn verify(&self, name: &ServerName<'_>, at: SystemTime) -> Result<(), Error> {
        let own = &self.chain[0]; // invariant: rustls accepted the chain
        let mut roots = RootCertStore::empty();
        roots.add(own.clone())?;
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        let verifier = verifier
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        let at = at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let at = UnixTime::since_unix_epoch(at);
        verifier.verify_server_cert(own, &[], name, &[], at)?;
        Ok(())
    }
}

fn parse_chain(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let chain = chain.map_err(|_| Unusable::Damaged)?;
    if chain.is_empty() {
        return Err(Unusable::NoCertificate);
    }
    for der in &chain {
        ParsedCertificate::try_from(der).map_err(|error| match error {
            Error::InvalidCertificate(CertificateError::BadEncoding) => Unusable::Damaged,
            _ => Unusable::UnknownCertificate,
        })?;
    }
    Ok(chain)
}

fn parse_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, Unusable> {
    use tokio_rustls::rustls::pki_types::pem::Error;
    // The second is the mark of OpenSSL's older formats.
    let encrypted = ["BEGIN ENCRYPTED PRIVATE KEY", "Proc-Type: 4,ENCRYPTED"];
    let has = |words: &str| {
        text.windows(words.len())
            .any(|part| part == words.as_bytes())
    };
    if encrypted.into_iter().any(has) {
        return Err(Unusable::EncryptedKey);
    }
    let key = PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
        Error::NoItemsFound => Unusable::NoKey,
        _ => Unusable::DamagedKey,
    })?;
    match is_whole(key.secret_der()) {
        true => Ok(key),
        false => Err(Unusable::DamagedKey),
    }
}

/// Reports whether DER is one sequence that is as long as it says.
fn is_whole(der: &[u8]) -> bool {
    let (length, content) = match der {
        [0x30, 0x81, length, content @ ..] => (usize::from(*length), content),
        [0x30, 0x82, high, low, content @ ..] => {
            (usize::from(*high) << 8 | usize::from(*low), content)
        }
        [0x30, length @ ..=0x7f, content @ ..] => (usize::from(*length), content),
        _ => return false,
    };
    content.len() == length
}

#[cfg(test)]
#[path = "certificate_tests.rs"]
mod tests;
