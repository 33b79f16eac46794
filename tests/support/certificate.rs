//! Certificates that nobody knows, and what a server shows of its own.

use pem::Pem;
use rcgen::{CertificateParams, KeyPair};
use time::{Duration, OffsetDateTime};

use super::process::fed;

/// A certificate for `localhost` and its key, in PEM.
pub struct Pair {
    pub key: String,
    pub certificate: String,
}

impl Pair {
    pub fn new() -> Self {
        Self::valid_for(30)
    }

    pub fn valid_for(days: i64) -> Self {
        Self::valid(-1000, days)
    }

    /// Valid between two days, counted from today.
    pub fn valid(from: i64, to: i64) -> Self {
        let mut wanted = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let now = OffsetDateTime::now_utc();
        wanted.not_before = now + Duration::days(from);
        wanted.not_after = now + Duration::days(to);
        let key = KeyPair::generate().unwrap();
        let certificate = wanted.self_signed(&key).unwrap();
        let text = |kind: &str, der: &[u8]| pem::encode(&Pem::new(kind, der)).replace('\r', "");
        Self {
            key: text("PRIVATE KEY", key.serialized_der()),
            certificate: text("CERTIFICATE", certificate.der()),
        }
    }

    /// The text of one file with both.
    pub fn both(&self) -> String {
        format!("{}{}", self.key, self.certificate)
    }
}

/// The fingerprint of the first certificate in a text, as OpenSSL writes it.
pub fn fingerprint(text: &str) -> String {
    let words = ["x509", "-noout", "-fingerprint", "-sha256"];
    let said = String::from_utf8(fed("openssl", &words, text).stdout).unwrap();
    let (_, fingerprint) = said.trim().split_once('=').unwrap();
    fingerprint.into()
}

/// The fingerprint of the certificate that the server at this port of this machine shows.
pub fn shown_at(port: u16) -> String {
    let address = format!("127.0.0.1:{port}");
    let said = fed("openssl", &["s_client", "-connect", &address], "");
    fingerprint(&String::from_utf8_lossy(&said.stdout))
}
