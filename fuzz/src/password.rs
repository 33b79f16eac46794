//! Jupyter's hashes: any text is one that a password can be verified against, or none;
//! what it asks for is not given without bounds.

use ai_lab_entrypoint::password::Secret;
use ai_lab_entrypoint::password::hash::{verify, well_formed};
use sha2::Digest;

pub fn holds(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let good = Secret::new("good".into());
    if !well_formed(text) {
        assert!(!verify(text, &good));
    } else if let Some(phc) = text.strip_prefix("argon2:") {
        // Either it takes little, or it is refused at once; what is between takes its time.
        let cost = cost(phc);
        if cost <= 1024 {
            let _ = verify(text, &good);
        } else if cost > 10_240_000 {
            assert!(!verify(text, &good));
        }
    } else {
        let _ = verify(text, &good);
    }
    older(text, &good);
}

/// Memory × passes, those of the format's defaults where it names none.
fn cost(phc: &str) -> u64 {
    let number = |name: &str| {
        let mut fields = phc.split(['$', ',']);
        let text = fields.find_map(|field| field.strip_prefix(name));
        text.and_then(|text| text.parse::<u64>().ok())
    };
    number("m=")
        .unwrap_or(19_456)
        .saturating_mul(number("t=").unwrap_or(2))
}

/// With the text for a salt: the right password verifies, and no other one.
fn older(salt: &str, good: &Secret) {
    let other = Secret::new("other".into());
    let digests = [
        ("sha1", hex(&sha1::Sha1::digest(format!("good{salt}")))),
        ("sha256", hex(&sha2::Sha256::digest(format!("good{salt}")))),
    ];
    for (algorithm, digest) in digests {
        let hash = format!("{algorithm}:{salt}:{digest}");
        let right = salt.is_ascii() && !salt.contains(':');
        assert_eq!(well_formed(&hash), right, "{hash}");
        assert_eq!(verify(&hash, good), right, "{hash}");
        assert!(!verify(&hash, &other), "{hash}");
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
