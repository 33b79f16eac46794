//! A person in a browser: in with the password, a notebook run to its end and saved, and
//! all of it still there after a restart of the container.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::support::docker::{Container, docker_ok};
use crate::support::free_port;
use crate::support::hub::venv;

/// Selenium, which Debian does not have, in an environment of its own.
pub fn python() -> PathBuf {
    venv(&["selenium==4.40.0"]).join("bin/python")
}

#[test]
fn a_notebook_is_run_and_saved_and_a_restart_disturbs_nobody() {
    let python = python();
    // It stays the container's when it starts again: cookies go by it.
    let port = free_port();
    let publish = format!("--publish=127.0.0.1:{port}:49494");
    let container = Container::start(&[&publish], &[]);
    container.wait_for("] ready in ");
    let picture = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("start.png");
    let mut browser = Command::new(python)
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/support/browser.py"
        ))
        .args([&format!("http://127.0.0.1:{port}"), "ailab"])
        .arg(&picture)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(browser.stdout.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), "saved");

    let saved = container
        .read("/home/jupyter/notebooks/start.ipynb")
        .unwrap();
    let saved: serde_json::Value = serde_json::from_str(&saved).unwrap();
    let cells = saved["cells"].as_array().unwrap();
    let code = || cells.iter().filter(|cell| cell["cell_type"] == "code");
    assert!(code().count() > 1);
    assert!(code().all(|cell| cell["execution_count"].is_u64()));
    assert!(code().any(|cell| cell["outputs"].to_string().contains("jupyterlab")));

    docker_ok(["restart", &container.name]);
    container.wait_for_nth("] ready in ", 2);
    let mut stdin = browser.stdin.take().unwrap();
    stdin.write_all(b"\n").unwrap();
    assert_eq!(said.next().unwrap().unwrap(), "still logged in");
    assert!(browser.wait().unwrap().success());
    assert!(picture.exists());
}
