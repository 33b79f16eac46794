//! JupyterLab has https, with the certificate that its first start made and every later one
//! finds, or with one whose key only root can read.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::secrets::search;
use crate::support::certificate::{Pair, fingerprint, shown_at};
use crate::support::docker::{Container, Volume, docker_ok, run};

const READY: &str = "] ready in ";
const MADE: &str = "/home/jupyter/.jupyter/ai-lab-tls.pem";

/// Waits until it was ready so many times; its log.
fn ready(container: &Container, times: usize) -> String {
    container.wait_for_nth(READY, times)
}

/// The last fingerprint that the log tells, which the server has.
fn told(container: &Container, log: &str) -> String {
    let (_, told) = log.rsplit_once(" has the SHA-256 fingerprint ").unwrap();
    let told = told.lines().next().unwrap();
    assert_eq!(told, shown_at(container.port()));
    told.to_owned()
}

/// A person who trusts this certificate works in a kernel, which does not have its key.
fn works(container: &Container, certificate: &Path) {
    let code = "import os; print(sorted(map(int, os.listdir('/proc/self/fd')))[-1])";
    let said = container.visit_trusting(certificate, &["run", "ailab", code]);
    assert!(said.parse::<u32>().unwrap() < 100, "{said}");
    container.exec_ok("root", &["ai-lab-entrypoint", "healthcheck"]);
    let probe = container.status()["probe"].to_string();
    assert!(probe.contains("https://127.0.0.1:49494/api"), "{probe}");
}

#[test]
fn the_certificate_is_made_once_for_all_containers_with_this_home() {
    let home = Volume::new();
    let mount = format!("--volume={}:/home/jupyter", home.0);
    let container = Container::start(&[&mount, "--env=GEN_CERT=yes"], &[]);
    let log = ready(&container, 1);
    assert!(log.contains("https://localhost:49494\n"), "{log}");
    assert!(!log.contains("http://"), "{log}");
    let first = told(&container, &log);
    let directory = tempfile::tempdir().unwrap();
    let certificate = directory.path().join("certificate.pem");
    fs::write(&certificate, container.file(MADE)).unwrap();
    works(&container, &certificate);
    let mode = container.exec_ok("root", &["stat", "--format=%a %U", MADE]);
    assert_eq!(mode, "600 jupyter\n");
    let curl = ["curl", "--silent", "--show-error", "--cacert", MADE];
    for host in ["localhost", "127.0.0.1"] {
        let url = format!("https://{host}:49494/api");
        container.exec_ok("jupyter", &[&curl[..], &[&url]].concat());
    }

    container.exec_ok("jupyter", &["ai-lab-entrypoint", "restart"]);
    ready(&container, 2);
    works(&container, &certificate);
    docker_ok(["restart", &container.name]);
    assert_eq!(told(&container, &ready(&container, 3)), first);
    drop(container);
    // Its engine gives it another host name.
    let container = Container::start(&[&mount], &["--tls", "auto"]);
    assert_eq!(told(&container, &ready(&container, 1)), first);
    works(&container, &certificate);
}

#[test]
fn a_key_that_only_root_can_read_is_the_servers_and_in_no_file_that_its_user_can_read() {
    let pair = Pair::new();
    let directory = tempfile::tempdir().unwrap();
    let options = [
        ("cert.pem", &pair.certificate, 0o644),
        ("key.pem", &pair.key, 0o600),
    ];
    let options = options.map(|(name, text, mode)| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        format!("--volume={}:/run/secrets/{name}:ro", path.display())
    });
    let command = [
        "--tls-cert=/run/secrets/cert.pem",
        "--tls-key=/run/secrets/key.pem",
    ];
    let options = options.each_ref().map(String::as_str);
    let (code, _, stderr) = run(&[&options[..], &["--user=1234"]].concat(), &command);
    assert_eq!(code, 78, "{stderr}");
    assert!(
        stderr.contains("it cannot be read: Permission denied"),
        "{stderr}"
    );

    let container = Container::start(&options, &command);
    let log = ready(&container, 1);
    assert_eq!(told(&container, &log), fingerprint(&pair.certificate));
    works(&container, &directory.path().join("cert.pem"));
    let (could, said) = container.exec("jupyter", &["cat", "/run/secrets/key.pem"]);
    assert!(!could, "{said}");
    // One line of the key is as good as all of it.
    let line = pair.key.lines().nth(1).unwrap();
    let said = search(&container, &[line], false);
    assert!(!said.contains("found in"), "{said}");
    assert!(!container.logs().contains(line));
    let (_, descriptors) = container.exec("jupyter", &["ls", "/proc/1/fd"]);
    assert!(descriptors.contains("Permission denied"), "{descriptors}");
    let other = container.exec_ok("root", &["ls", "/home/jupyter/.jupyter"]);
    assert!(!other.contains("tls"), "{other}");

    container.exec_ok("jupyter", &["ai-lab-entrypoint", "restart"]);
    ready(&container, 2);
    works(&container, &directory.path().join("cert.pem"));
}
