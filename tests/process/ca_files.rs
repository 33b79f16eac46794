//! A variable that names certificates which are not there is named at the start: Python ends a
//! program without the file's name. A rescue does without the variable.

use std::fs;

use crate::rescue::{READY, broken};
use crate::support::{Image, Start};

#[test]
fn certificates_that_are_missing_are_named_and_a_rescue_does_without_them() {
    let image = Image::new();
    let (file, directory) = (image.path("ca.pem"), image.path("ca"));
    fs::write(&file, "").unwrap();
    fs::create_dir(&directory).unwrap();
    let named = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let mut running = broken(&image)
        .env("SSL_CERT_FILE", &named(&directory))
        .env("REQUESTS_CA_BUNDLE", &named(&directory))
        .env("PIP_CERT", "/nonexistent/ca.pem")
        .env("CURL_CA_BUNDLE", &named(&file))
        .start();
    running.wait_for(READY);
    running.signal(libc::SIGTERM);
    assert_eq!(running.end(), 0);
    let (_, stderr) = running.everything();
    let warned = |name: &str| stderr.contains(&format!("{name} names certificates that cannot"));
    for (name, wrong) in [
        ("SSL_CERT_FILE", true),
        ("PIP_CERT", true),
        ("REQUESTS_CA_BUNDLE", false),
        ("CURL_CA_BUNDLE", false),
    ] {
        assert_eq!(warned(name), wrong, "{name}: {stderr}");
        let given = stderr
            .lines()
            .filter(|line| line.contains("fake: environment"));
        let given: Vec<bool> = given
            .map(|line| line.contains(&format!("'{name}'")))
            .collect();
        // The usual server gets what it was given.
        assert_eq!(given, [true, !wrong], "{name}: {stderr}");
    }
    assert!(
        stderr.contains("/nonexistent/ca.pem: No such file"),
        "{stderr}"
    );
    assert!(stderr.contains("remedy: mount the file there, or remove PIP_CERT"));
}

#[test]
fn a_server_may_start_without_them_and_a_command_may_make_them() {
    let image = Image::new();
    let set = |start: Start| {
        let start = start.env("SSL_CERT_FILE", "/nonexistent/ca.pem");
        let start = start.env("CURL_CA_BUNDLE", "").env("PIP_CERT", "/dev/null");
        start.env("HOME", image.path("home").to_str().unwrap())
    };
    let mut running = set(image.server()).arg("--warning-as-error").start();
    running.wait_for("SSL_CERT_FILE names certificates that cannot be read");
    running.wait_for("] ready in ");
    running.signal(libc::SIGTERM);
    assert_eq!(running.end(), 0);
    let (_, stderr) = running.everything();
    let lines = stderr
        .lines()
        .filter(|line| line.contains(" names certificates "));
    assert_eq!(lines.count(), 1, "{stderr}");
    // In a dry run, a hook or the defaults have not made them yet.
    let dry_run = set(image.server()).arg("--dry-run");
    for start in [set(image.command(["true"])), dry_run] {
        let ended = start.run();
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        assert!(!ended.stderr.contains("certificates"), "{}", ended.stderr);
    }
}
