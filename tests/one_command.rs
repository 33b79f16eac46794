//! `scripts/run` is all a newcomer needs: in Docker, and without an engine.
#![allow(clippy::unwrap_used)]

mod support;

use support::docker::{IMAGE, docker_ok, name, visit};
use support::{Start, free_port};

const READY: &str = "] ready in ";

/// Runs the script to the welcome, logs in, and ends it with Ctrl-C; what it said.
fn newcomer(script: Start, port: u16) -> String {
    let mut run = script.args(["--port", &port.to_string()]).start();
    run.wait_for(READY);
    assert_eq!(visit(port, &["login", "wrong"]), "out");
    assert_eq!(visit(port, &["login", "ailab"]), "in");
    run.ctrl_c();
    assert_eq!(run.end(), 0);
    let (stdout, stderr) = run.everything();
    let said = stdout + &stderr;
    for part in [
        &format!("http://localhost:{port}\n"),
        "Password:              ailab\n",
        "notebooks: 4 installed, ",
    ] {
        assert!(said.contains(part), "{part:?} is missing in {said}");
    }
    said
}

#[test]
fn in_docker_it_builds_starts_and_ends() {
    let volume = support::docker::Volume::new();
    let script = Start::script("scripts/run")
        .env("AI_LAB_VOLUME", &volume.0)
        .env("AI_LAB_TAG", IMAGE);
    newcomer(script, free_port());
    // The notebooks outlive the container, which is gone.
    let mount = volume.option();
    let list = [
        "run",
        "--rm",
        &mount,
        IMAGE,
        "ls",
        "/home/jupyter/notebooks",
    ];
    assert!(docker_ok(list).contains("start.ipynb"));
    let all = docker_ok(["ps", "--all", "--format", "{{.Mounts}}"]);
    assert!(!all.contains(&volume.0), "{all}");
}

#[test]
fn without_an_engine_it_says_so_and_runs_in_namespaces() {
    let directory = format!("target/{}", name());
    let script = Start::script("scripts/run")
        .env("DOCKER_HOST", "unix:///nonexistent")
        .env("AI_LAB_RUN_DIRECTORY", &directory);
    let said = newcomer(script, free_port());
    assert!(said.contains("no Docker engine answers"), "{said}");
    let base = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    assert!(base.join("notebooks/start.ipynb").is_file());
    std::fs::remove_dir_all(base).unwrap();
}
