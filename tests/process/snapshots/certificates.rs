//! Where a certificate comes from, and why one cannot be used.

use std::fs;

use super::golden::{lived, start};
use super::serving::{configured, ended, ready, server, server_in};
use crate::support::certificate::Pair;
use crate::support::{Image, Start};

/// Writes a file of the image; its path.
fn file(image: &Image, name: &str, text: &str) -> String {
    let path = image.path(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// A server with a certificate that is kept in this text.
fn kept(image: &Image, text: &str) -> Start {
    file(image, "home/.jupyter/ai-lab-tls.pem", text);
    server(image).args(["--tls", "auto"])
}

/// A server with these texts of its certificate and its key.
fn named(image: &Image, certificate: &str, key: &str) -> Start {
    let certificate = file(image, "cert.pem", certificate);
    let key = file(image, "key.pem", key);
    let start = server(image).args(["--tls-cert", &certificate]);
    start.args(["--tls-key", &key])
}

#[test]
fn one_that_is_made() {
    lived(
        "certificate-made",
        |i| server(i).env("GEN_CERT", "yes"),
        ready,
    );
    lived(
        "certificate-dry-run",
        |i| server(i).args(["--tls", "auto", "--dry-run"]),
        ended,
    );
    let ours = "Made by ai-lab-entrypoint --tls auto, which replaces it before it expires.\n";
    let soon = |image: &Image| kept(image, &format!("{ours}{}", Pair::new().both()));
    lived("certificate-replaced", soon, ready);
    let elsewhere = |image: &Image| {
        file(
            image,
            "home/.jupyter/ai-lab-tls.pem",
            &format!("{ours}{}", Pair::valid_for(700).both()),
        );
        let named = "exec unshare --uts sh -c 'hostname lab.example && exec \"$@\"' sh";
        server_in(image, named).args(["--tls", "auto", "--password", "ailab"])
    };
    lived("certificate-of-another-host", elsewhere, ready);
    // A mount of its own cannot be moved away.
    let mounted = |image: &Image| {
        let path = file(image, "home/.jupyter/ai-lab-tls.pem", "of mine\n");
        let by = format!("exec unshare -m sh -c 'mount --bind {path} {path} && exec \"$@\"' sh");
        server_in(image, &by).args(["--tls", "auto", "--password", "ailab"])
    };
    lived("certificate-not-kept", mounted, ready);
    lived("certificate-unusable", |i| kept(i, "of mine\n"), ready);
    lived(
        "certificate-unusable-dry-run",
        |i| kept(i, "of mine\n").arg("--dry-run"),
        ended,
    );
}

#[test]
fn one_that_is_named() {
    let pair = Pair::new();
    lived(
        "certificate-named",
        |i| named(i, &pair.certificate, &pair.key),
        ready,
    );
    let old = Pair::valid_for(-1);
    lived(
        "certificate-expired",
        |i| named(i, &old.certificate, &old.key),
        ready,
    );
    let new = Pair::valid(1, 2);
    lived(
        "certificate-not-valid-yet",
        |i| named(i, &new.certificate, &new.key),
        ready,
    );
    lived(
        "certificate-named-dry-run",
        |i| named(i, &old.certificate, &old.key).arg("--dry-run"),
        ended,
    );
}

/// What `openssl x509 -req` makes without any extension.
const VERSION_1: &str = "-----BEGIN CERTIFICATE-----\n\
    MIIBFTCBuwIUR0f3JF80O9g+g9DqpeRWVzDgtPQwCgYIKoZIzj0EAwIwDDEKMAgG\n\
    A1UEAwwBYTAgFw0yNjExMjkyMjU1MzBaGA8yMTI2MTEwNTIyNTUzMFowDDEKMAgG\n\
    A1UEAwwBYTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABNGMroK2pNK1eHEDxnku\n\
    qVBGAlLd3ZqspcE+xohjhBbDnBDFphB1vohBE5eEG6cz+uwgKOZOkpzo++jWYyBx\n\
    iZQwCgYIKoZIzj0EAwIDSQAwRgIhAIjBbI1FTxEHaLnJHkNuS/OqaFqeipOXMOwz\n\
    bpaR8ANkAiEA+MWP+GPdVr/3Fpuu07bVQ3M7N/mN6olfX9d5jkiQl0c=\n\
    -----END CERTIFICATE-----\n";

/// Whole, and of no kind that there is.
const UNKNOWN_KEY: &str = "-----BEGIN PRIVATE KEY-----\nMAMCAQA=\n-----END PRIVATE KEY-----\n";

#[test]
fn files_that_cannot_be_used() {
    let (pair, other) = (Pair::new(), Pair::new());
    let (certificate, key) = (pair.certificate.as_str(), pair.key.as_str());
    let cut = |text: &str| text[..100].to_owned();
    for (name, certificate, key) in [
        ("certificate-none", "", key),
        ("certificate-damaged", &cut(certificate), key),
        ("certificate-key-none", certificate, ""),
        ("certificate-key-damaged", certificate, &cut(key)),
        (
            "certificate-key-encrypted",
            certificate,
            &key.replace("PRIVATE", "ENCRYPTED PRIVATE"),
        ),
        ("certificate-key-of-another", certificate, &other.key),
        ("certificate-of-version-1", VERSION_1, key),
        ("certificate-key-unknown", certificate, UNKNOWN_KEY),
    ] {
        start(name, |image| named(image, certificate, key));
    }
    start("certificate-without-its-key", |image| {
        let certificate = file(image, "cert.pem", certificate);
        server(image).args(["--tls-cert", &certificate])
    });
    start("certificate-absent", |image| {
        let absent = image.path("absent.pem").display().to_string();
        server(image).args(["--tls-cert", &absent])
    });
    start("certificate-of-jupyters-own-damaged", |image| {
        let path = file(image, "cert.pem", "of mine\n");
        configured(image, &format!("c.ServerApp.certfile = '{path}'\n"));
        server(image)
    });
    start("certificate-key-alone", |image| {
        server(image).args(["--tls-key", "/key.pem"])
    });
}

#[test]
fn what_wins_over_it_and_over_what_it_wins() {
    let pair = Pair::new();
    lived(
        "certificate-beside-an-argument",
        |image| {
            let argument = format!(
                "--ServerApp.certfile={}",
                file(image, "mine.pem", &pair.both())
            );
            server(image).args(["--tls", "auto", "--jupyter-arg", &argument])
        },
        ready,
    );
    lived(
        "certificate-beside-jupyters-own-setting",
        |image| {
            configured(image, "c.ServerApp.certfile = '/nonexistent.pem'\n");
            server(image).args(["--tls", "auto"])
        },
        ready,
    );
    lived(
        "certificate-turned-off",
        |image| server(image).args(["--tls", "auto", "--jupyter-arg", "--ServerApp.certfile="]),
        ready,
    );
    lived(
        "certificate-beside-a-key",
        |image| {
            let argument = format!("--keyfile={}", file(image, "key.pem", &pair.key));
            server(image).args(["--tls", "auto", "--jupyter-arg", &argument])
        },
        ready,
    );
    start("certificate-of-no-server", |image| {
        image.command(["true"]).env("GEN_CERT", "yes")
    });
    lived(
        "certificate-under-a-hub",
        |image| {
            let url = format!("http://127.0.0.1:{}/user/alice/", image.port);
            let start = server(image).env("JUPYTERHUB_SERVICE_URL", &url);
            let start = start
                .env("JUPYTERHUB_API_TOKEN", "x")
                .args(["--tls", "auto"]);
            start.env("JUPYTERHUB_CLIENT_ID", "x")
        },
        ready,
    );
}
