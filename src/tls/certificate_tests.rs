#![allow(clippy::unwrap_used)]

use rcgen::{CertificateParams, KeyPair, SignatureAlgorithm};

use super::*;

/// A pair for `localhost`, as the two texts of its files.
fn pair(algorithm: &'static SignatureAlgorithm) -> (String, String) {
    let key = KeyPair::generate_for(algorithm).unwrap();
    let names = ["localhost".to_owned()];
    let certificate = CertificateParams::new(names).unwrap();
    let certificate = certificate.self_signed(&key).unwrap();
    let text = |kind: &str, der: &[u8]| pem::encode(&Pem::new(kind, der));
    (
        text("CERTIFICATE", certificate.der()),
        text("PRIVATE KEY", &key.serialize_der()),
    )
}

fn parse(certificates: &str, key: &str) -> Result<Certificate, Unusable> {
    Certificate::parse(certificates.as_bytes(), key.as_bytes())
}

#[test]
fn the_kinds_of_keys_that_browsers_know_are_read() {
    for algorithm in [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ED25519,
    ] {
        let (certificate, key) = pair(algorithm);
        let read = parse(&certificate, &key).unwrap();
        assert!(read.covers("localhost", SystemTime::now()));
        assert!(!read.covers("elsewhere", SystemTime::now()));
    }
}

#[test]
fn one_file_may_have_both_in_any_order_and_the_text_that_is_written_is_the_same_pair() {
    let (certificate, key) = pair(&rcgen::PKCS_ECDSA_P256_SHA256);
    let (between, _) = pair(&rcgen::PKCS_ECDSA_P256_SHA256);
    let both = [
        format!("{certificate}{between}{key}"),
        format!("of mine:\n{key}\n{certificate}{between}"),
    ];
    let [one, other] = both.map(|text| parse(&text, &text).unwrap());
    assert_eq!(one.pem(), other.pem());
    let again = parse(&one.pem(), &one.pem()).unwrap();
    assert_eq!(again.pem(), one.pem());
    assert_eq!(again.chain.len(), 2);
    assert_eq!(
        again.fingerprint(),
        parse(&certificate, &key).unwrap().fingerprint()
    );
    assert_eq!(again.fingerprint().len(), 32 * 3 - 1);
}

#[test]
fn what_no_server_could_use_is_named() {
    let (certificate, key) = pair(&rcgen::PKCS_ECDSA_P256_SHA256);
    let (_, other) = pair(&rcgen::PKCS_ECDSA_P256_SHA256);
    let broken = |text: &str| text.replacen("MI", "MJ", 1);
    let cut = |text: &str| text[..text.len() / 2].to_owned();
    let encrypted = key.replace("PRIVATE", "ENCRYPTED PRIVATE");
    let unknown = pem::encode(&Pem::new("PRIVATE KEY", [0x30, 3, 2, 1, 0]));
    let older = key.replace("KEY-----\r\n", "KEY-----\nProc-Type: 4,ENCRYPTED\n\n");
    for (certificate, key, expected) in [
        ("", key.as_str(), Unusable::NoCertificate),
        (&key, &key, Unusable::NoCertificate),
        (&broken(&certificate), &key, Unusable::Damaged),
        (&cut(&certificate), &key, Unusable::Damaged),
        (
            &format!("{certificate}{}", broken(&certificate)),
            &key,
            Unusable::Damaged,
        ),
        (&certificate, &certificate, Unusable::NoKey),
        (&certificate, "root:x:0:0", Unusable::NoKey),
        (&certificate, &encrypted, Unusable::EncryptedKey),
        (&certificate, &older, Unusable::EncryptedKey),
        (&certificate, &broken(&key), Unusable::DamagedKey),
        (&certificate, &cut(&key), Unusable::DamagedKey),
        (&certificate, &unknown, Unusable::UnknownKey),
        (&certificate, &other, Unusable::OtherKey),
    ] {
        let wrong = parse(certificate, key).err();
        assert_eq!(wrong, Some(expected), "{certificate}\n{key}");
    }
}

#[test]
fn a_time_outside_of_its_own_makes_a_certificate_invalid() {
    let key = KeyPair::generate().unwrap();
    let mut wanted = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let now = SystemTime::now();
    let hour = Duration::from_secs(3600);
    (wanted.not_before, wanted.not_after) = (now.into(), (now + 2 * hour).into());
    let certificate = wanted.self_signed(&key).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let certificate = Certificate::new(vec![certificate.der().clone()], key).unwrap();
    assert_eq!(certificate.why_invalid(now + hour), None);
    assert_eq!(certificate.why_invalid(now + 3 * hour), Some("has expired"));
    assert_eq!(
        certificate.why_invalid(now - hour),
        Some("is not valid yet")
    );
}

#[test]
fn no_output_shows_the_key() {
    let (certificate, key) = pair(&rcgen::PKCS_ED25519);
    let shown = format!("{:?}", parse(&certificate, &key).unwrap().key);
    assert!(shown.contains("secret key elided"), "{shown}");
}
