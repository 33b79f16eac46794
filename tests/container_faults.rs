//! A container at its limits: who runs out of memory or processes is ended, PID 1 is
//! not, and what happened is told.
#![allow(clippy::unwrap_used)]

mod support;

use support::docker::{Container, Volume, mounted, run};

const MEMORY: [&str; 2] = ["--memory=256m", "--memory-swap=256m"];
const HOG: &str = "x = [bytearray(2**24) for _ in range(64)]\n";
const READY: &str = "] ready in ";

#[test]
fn a_server_that_takes_all_memory_is_ended_and_told_and_the_next_start_serves() {
    let volume = Volume::new();
    let (_file, option) = mounted(HOG, "/etc/jupyter/jupyter_server_config.py");
    let notebooks = volume.option();
    let options = [&MEMORY[..], &[&option, &notebooks]].concat();
    let container = Container::start(&options, &[]);
    assert_eq!(container.end(), 137);
    let log = container.logs();
    // PID 1 was there to say so.
    let told = "Jupyter server terminated with error code 137 (signal 9)";
    assert!(log.contains(told), "{log}");
    drop(container);

    let next = Container::start(&[&notebooks], &[]);
    let log = next.wait_for(READY);
    let warns = |line: &str| line.starts_with("[W ") && line.contains(" ai-lab] ");
    assert!(!log.lines().any(warns), "{log}");
    assert_eq!(next.stop(), 0);
}

#[test]
fn a_server_that_takes_all_memory_comes_back_where_that_is_wanted() {
    // The first start takes all, the second finds the mark of the first.
    let once = format!(
        "import os\nif not os.path.exists('/tmp/once'):\n open('/tmp/once', 'w').close()\n {HOG}"
    );
    let (_file, option) = mounted(&once, "/etc/jupyter/jupyter_server_config.py");
    let options = [&MEMORY[..], &[&option]].concat();
    let container = Container::start(&options, &["--restart", "on-failure"]);
    let log = container.wait_for(READY);
    let told = "Jupyter server terminated with error code 137 (signal 9)";
    assert!(log.contains(told), "{log}");
    let state = container.status();
    assert_eq!(
        (&state["restarts"], &state["phase"]),
        (&1.into(), &"ready".into())
    );
    assert_eq!(container.stop(), 0);
}

#[test]
fn a_process_beside_the_server_that_takes_all_memory_ends_alone() {
    let container = Container::start(&MEMORY, &[]);
    container.wait_for(READY);
    let (ok, said) = container.exec("jupyter", &["python3", "-c", HOG]);
    assert!(!ok, "{said}");
    container.exec_ok("jupyter", &["ai-lab-entrypoint", "healthcheck"]);
    assert_eq!(container.stop(), 0);
}

#[test]
fn without_room_for_processes_the_start_ends_and_says_so() {
    // PID 1 alone; then its threads too; then a server, which finds no room for its own.
    for limit in ["1", "2", "3"] {
        let (code, _, stderr) = run(&["--pids-limit", limit], &[]);
        assert!([1, 126].contains(&code), "{limit}: {code} {stderr}");
        let told = |line: &str| line.starts_with("[E ") && line.contains("Resource temporarily");
        assert!(stderr.lines().any(told), "{limit}: {stderr}");
        assert!(!stderr.contains("panicked"), "{limit}: {stderr}");
    }
    // A command needs no thread of ours.
    let (code, stdout, stderr) = run(&["--pids-limit", "2"], &["echo", "here"]);
    assert_eq!((code, stdout.as_str()), (0, "here\n"), "{stderr}");
}
