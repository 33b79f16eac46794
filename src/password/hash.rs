//! Jupyter's password hashes: makes them in Jupyter's format and strength, verifies them in
//! every format that Jupyter has used (`jupyter_server.auth.security`).

use std::fmt::Write;

use argon2::password_hash::phc::{PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use sha2::Digest;

use crate::password::secret::Secret;

/// Memory in KiB, passes and lanes, as in `jupyter server password`.
const MEMORY: u32 = 10_240;
const PASSES: u32 = 10;
const LANES: u32 = 8;

/// Limits on verifying: ten times the work of Jupyter's own hashes, about half a second, and
/// 128 MiB. Other users may write the hash on a volume, and PID 1 handles no signal while it
/// verifies: without limits a hash could demand terabytes of memory and years of time.
const MAX_WORK: u64 = 10 * MEMORY as u64 * PASSES as u64;
const MAX_MEMORY_KIB: u32 = 128 * 1024;

/// Makes the hash as Jupyter does. Takes about 50 ms and 10 MB of memory.
///
/// # Errors
/// The system has no random bytes or not enough memory.
pub fn make(secret: &Secret) -> Result<String, HashError> {
    let salt: [u8; Salt::RECOMMENDED_LENGTH] = random()?;
    let params = Params::new(MEMORY, PASSES, LANES, Some(32))?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash = argon2.hash_password_with_salt(secret.bytes(), &salt)?;
    Ok(format!("argon2:{hash}"))
}

/// The reason why no hash could be made.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// getrandom(2) failed.
    #[error("the system gives no random bytes: {0}")]
    Random(#[from] Errno),
    /// The parameters do not fit.
    #[error("{0}")]
    Parameters(#[from] argon2::Error),
    /// There is not enough memory.
    #[error("{0}")]
    Argon2(#[from] argon2::password_hash::Error),
}

/// Returns random bytes, at most 256: so many always come at once (getrandom(2)).
pub(super) fn random<const N: usize>() -> Result<[u8; N], Errno> {
    let mut bytes = [0; N];
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(bytes)
}

/// A hash that Jupyter can verify a password against.
enum Parsed<'a> {
    Argon2(Box<PasswordHash>),
    Legacy {
        algorithm: Legacy,
        salt: &'a str,
        digest: &'a str,
    },
}

/// The digest algorithms of Jupyter's older format `algorithm:salt:digest`.
#[derive(Clone, Copy)]
enum Legacy {
    Sha1,
    Sha256,
}

fn parse(hash: &str) -> Option<Parsed<'_>> {
    if let Some(phc) = hash.strip_prefix("argon2:") {
        let parsed = PasswordHash::new(phc).ok()?;
        let known = Algorithm::new(parsed.algorithm).is_ok() && parsed.hash.is_some();
        return known.then_some(Parsed::Argon2(Box::new(parsed)));
    }
    let mut parts = hash.splitn(3, ':');
    let (algorithm, salt, digest) = (parts.next()?, parts.next()?, parts.next()?);
    let (algorithm, length) = match algorithm {
        "sha1" => (Legacy::Sha1, 40),
        "sha256" => (Legacy::Sha256, 64),
        _ => return None,
    };
    (salt.is_ascii() && is_hex(digest) && digest.len() == length).then_some(Parsed::Legacy {
        algorithm,
        salt,
        digest,
    })
}

/// Reports whether Jupyter can verify a password against this hash. With `argon2:garbage`, for
/// example, every login ends with an internal error.
pub fn well_formed(hash: &str) -> bool {
    parse(hash).is_some()
}

/// Reports whether Jupyter may verify a password against this text: it takes every algorithm that
/// its Python knows, such as `sha512:salt:digest`.
pub fn may_be_hash(text: &str) -> bool {
    let mut parts = text.splitn(3, ':');
    let other = match (parts.next(), parts.next(), parts.next()) {
        (Some("" | "argon2" | "sha1" | "sha256"), ..) => false,
        (Some(_), Some(_), Some(digest)) => !digest.is_empty() && is_hex(digest),
        _ => false,
    };
    other || well_formed(text)
}

fn is_hex(digest: &str) -> bool {
    let mut bytes = digest.bytes();
    bytes.all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Reports whether the hash is of this password. Takes about 50 ms with argon2. Returns false
/// for a hash that needs over ten times as much work, or over 128 MiB.
pub fn verify(hash: &str, secret: &Secret) -> bool {
    match parse(hash) {
        Some(Parsed::Argon2(parsed)) => {
            is_within_limits(&parsed)
                && Argon2::default()
                    .verify_password(secret.bytes(), &*parsed)
                    .is_ok()
        }
        Some(Parsed::Legacy {
            algorithm,
            salt,
            digest,
        }) => {
            let salted = [secret.bytes(), salt.as_bytes()].concat();
            let ours = match algorithm {
                Legacy::Sha1 => hex(&sha1::Sha1::digest(salted)),
                Legacy::Sha256 => hex(&sha2::Sha256::digest(salted)),
            };
            ours == digest
        }
        None => false,
    }
}

fn is_within_limits(hash: &PasswordHash) -> bool {
    Params::try_from(hash).is_ok_and(|params| {
        let work = u64::from(params.m_cost()) * u64::from(params.t_cost());
        params.m_cost() <= MAX_MEMORY_KIB && work <= MAX_WORK
    })
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn a_hash_has_jupyters_form_and_strength_and_a_salt_of_its_own() {
        let hash = make(&secret("gélée $1")).unwrap();
        let (front, rest) = hash.rsplit_once("p=8$").unwrap();
        assert_eq!(front, "argon2:$argon2id$v=19$m=10240,t=10,");
        let lengths: Vec<usize> = rest.split('$').map(str::len).collect();
        assert_eq!(lengths, [22, 43], "unpadded base64 of 16 and 32 bytes");
        assert!(verify(&hash, &secret("gélée $1")));
        assert!(!verify(&hash, &secret("gélée $2")));
        assert_ne!(hash, make(&secret("gélée $1")).unwrap());
    }

    /// The hashes were made by `jupyter_server.auth.passwd` with argon2-cffi and hashlib.
    #[test]
    fn hashes_of_jupyters_own_verify() {
        for hash in [
            "argon2:$argon2id$v=19$m=10240,t=10,p=8$AAECAwQFBgcICQoLDA0ODw\
             $VtZau75RIC9a8PEn1mj7Ho3Se3BspJls9vJWR1SuwHY",
            "sha1:67c9e60bb8b6:a7dba672a0ea89531ca67be74085f24bd0a0b082",
            "sha256::ec16018b90e3bf15c22ad56439cd798f8bbd0da4b986604ef269dbcf489efc9a",
        ] {
            assert!(well_formed(hash), "{hash}");
            assert!(verify(hash, &secret("Pass wörd 1")), "{hash}");
            assert!(!verify(hash, &secret("Pass wörd 2")), "{hash}");
        }
    }

    /// Verifying such a hash would run out of memory, or never end.
    #[test]
    fn a_hash_that_asks_for_too_much_is_not_tried() {
        let rest = "p=8$AAECAwQFBgcICQoLDA0ODw$VtZau75RIC9a8PEn1mj7Ho3Se3BspJls9vJWR1SuwHY";
        for cost in [
            "m=4294967295,t=1",
            "m=10240,t=4294967295",
            "m=131073,t=1",
            "m=102401,t=10",
        ] {
            let hash = format!("argon2:$argon2id$v=19${cost},{rest}");
            assert!(well_formed(&hash), "{hash}");
            assert!(!verify(&hash, &secret("Pass wörd 1")), "{hash}");
        }
    }

    /// Jupyter takes every algorithm that Python's `hashlib` knows.
    #[test]
    fn only_what_is_surely_no_hash_is_told_to_be_none() {
        let argon2 = "argon2:$argon2id$v=19$m=10240,t=10,p=8$AAECAwQFBgcICQoLDA0ODw\
                      $VtZau75RIC9a8PEn1mj7Ho3Se3BspJls9vJWR1SuwHY";
        for hash in [
            argon2,
            "sha1:67c9e60bb8b6:a7dba672a0ea89531ca67be74085f24bd0a0b082",
            "md5:salt:d41d8cd98f00b204e9800998ecf8427e",
            "sha512::cf83e1357eefb8bd",
        ] {
            assert!(may_be_hash(hash), "{hash}");
        }
        for text in [
            "secret",
            "my:secret",
            "my:own:secret",
            "argon2:garbage",
            "argon2:garbage:ab",
            "sha1:salt:0123",
            "md5:salt:",
            ":salt:ab",
        ] {
            assert!(!may_be_hash(text), "{text}");
        }
    }

    #[test]
    fn what_jupyter_could_not_verify_is_not_well_formed() {
        for hash in [
            "",
            "argon2:garbage",
            "argon2:$argon2id$v=19$m=10240,t=10,p=8$AAECAwQFBgcICQoLDA0ODw",
            "argon2:$scrypt$ln=16,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$AAECAwQFBgcICQoLDA0ODw",
            "$argon2id$v=19$m=10240,t=10,p=8$AAECAwQFBgcICQoLDA0ODw$AAECAwQFBgcICQoLDA0ODw",
            "sha1:salt",
            "sha1:salt:0123",
            "sha256:salt:9FFEDE0825894254B2E042EA597D771089E11AED9FFEDE0825894254B2E042EA",
            "md5:salt:d41d8cd98f00b204e9800998ecf8427e",
        ] {
            assert!(!well_formed(hash), "{hash}");
            assert!(!verify(hash, &secret("")), "{hash}");
        }
    }
}
