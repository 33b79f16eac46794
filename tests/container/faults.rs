//! A container at its limits, and under an engine that ends: what a machine that tries to
//! break it needs an engine for. It goes with `faults.rs`: the same seed and count.

mod kept;
mod memory;

use std::env;
use std::process::Command;

use crate::support::docker::{IMAGE, run};
use crate::support::repeated;

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
    // A command needs no thread of ours, but the kernel may still count one that has ended.
    let (code, stdout, stderr) = run(&["--pids-limit", "3"], &["echo", "here"]);
    assert_eq!((code, stdout.as_str()), (0, "here\n"), "{stderr}");
}

#[test]
fn an_engine_may_end_at_any_moment() {
    let said = |name: &str, usual: &str| env::var(name).unwrap_or(usual.to_owned());
    let most = said("AI_LAB_FAULTS", repeated("2", "12"));
    let seed = said("AI_LAB_SEED", "1");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/daemon-restart");
    let mut command = Command::new(script);
    command.args([&most, "--seed", &seed, "--image", IMAGE]);
    if let Ok(round) = env::var("AI_LAB_ROUND") {
        command.args(["--round", &round]);
    }
    let status = command.status().unwrap();
    assert!(status.success(), "{status}");
}
