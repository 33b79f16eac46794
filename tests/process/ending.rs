//! A server is stopped, and started again, in order; and so is everyone beside it.

use std::time::Instant;

use crate::support::process::until;
use crate::support::{Image, UID, get};

const WELCOME: &str = "The server for Jupyter has been started successfully.";

#[test]
fn a_server_that_dies_early_tells_its_code_after_its_last_words() {
    let image = Image::new();
    let ended = image.server().env("FAKE", "dies").run();
    assert_eq!(ended.code, 3);
    let words = ended.stderr.find("fake: my last words").unwrap();
    let told = ended
        .stderr
        .find("Jupyter server terminated with error code 3")
        .unwrap();
    assert!(words < told, "{}", ended.stderr);
}

#[test]
fn a_server_that_says_nothing_has_no_last_words() {
    let image = Image::new();
    let silent = |script: &str| {
        std::fs::write(image.path("venv/bin/jupyter-lab"), script).unwrap();
        image.server().args(["--ready-timeout", "0"])
    };
    let mut running = silent("#!/bin/sh\nexec sleep 1000\n").start();
    running.wait_for("it keeps running. Its last words: none so far");
    running.signal(15);
    running.end();
    let ended = silent("#!/bin/sh\nexit 3\n").run();
    let last = "error code 3 before it was ready; it has logged nothing";
    assert!(ended.stderr.contains(last), "{}", ended.stderr);
}

#[test]
fn a_stop_is_one_term_and_everyone_left_is_ended() {
    let image = Image::new();
    let mut running = image
        .server()
        .env("FAKE", "cleaner orphan")
        .args(["--drain-timeout", "1.5"])
        .start();
    running.wait_for("orphan lives");
    running.wait_for("cleaner lives");
    running.wait_for(WELCOME);
    let start = Instant::now();
    running.signal(15);
    assert_eq!(running.end(), 0);
    // The orphan is deaf: the drain time passed, and then it was killed.
    assert!(start.elapsed().as_secs_f32() >= 1.5);
    let (_, stderr) = running.everything();
    assert_eq!(stderr.matches("fake: got TERM").count(), 1);
    assert!(stderr.contains("fake: cleaned up"), "{stderr}");
}

#[test]
fn a_deaf_server_is_killed_after_the_grace_period() {
    let image = Image::new();
    let mut running = image
        .server()
        .env("FAKE", "deaf")
        // Nobody else's KILL is taken for the one that is due.
        .args(["--stop-timeout", "0.5", "--drain-timeout", "3600"])
        .start();
    running.wait_for(WELCOME);
    running.signal(15);
    running.wait_for("deaf to TERM");
    assert_eq!(running.end(), 137);
    running.wait_for("Jupyter server terminated with error code 137 (signal 9)");
}

/// Jupyter misses a TERM that comes while it writes a log line.
#[test]
fn a_server_that_misses_term_gets_it_again_before_it_is_killed() {
    let image = Image::new();
    let mut running = image
        .server()
        .env("FAKE", "distracted")
        .args(["--stop-timeout", "3600", "--drain-timeout", "3600"])
        .start();
    running.wait_for(WELCOME);
    running.signal(15);
    running.wait_for("fake: missed TERM");
    running.wait_for("fake: got TERM");
    assert_eq!(running.end(), 0);
}

#[test]
fn a_second_term_kills_at_once() {
    let image = Image::new();
    let mut running = image
        .server()
        .env("FAKE", "deaf")
        .args(["--stop-timeout", "3600", "--drain-timeout", "3600"])
        .start();
    running.wait_for(WELCOME);
    running.signal(15);
    running.wait_for("deaf to TERM");
    running.signal(2);
    assert_eq!(running.end(), 137);
}

#[test]
fn a_server_that_is_stopped_before_it_is_ready_is_not_announced() {
    let start = |image: &Image, signal: i32| {
        let server = image.server().env("FAKE", "tardy");
        let mut running = server.args(["--stop-timeout", "2.5"]).start();
        running.wait_for("fake: waits for TERM");
        running.signal(signal);
        running.wait_for("fake: got TERM too early");
        running
    };
    let image = Image::new();
    let mut running = start(&image, 15);
    // It answers, and is killed.
    until("it answers", || get(image.port, "/api") == Some(200));
    assert_eq!(running.end(), 137);
    let (_, stderr) = running.everything();
    assert!(
        !stderr.contains(WELCOME) && !stderr.contains("] ready in "),
        "{stderr}"
    );

    let image = Image::new();
    let mut running = start(&image, 1);
    running.wait_for_next("fake: pid");
    assert!(!running.has_said(WELCOME) && !running.has_said("] ready in "));
    // The welcome is for the one that stays.
    running.wait_for(WELCOME);
    running.wait_for("] ready in ");
    running.signal(15);
    assert_eq!(running.end(), 0);
}

#[test]
fn int_quit_and_pwr_reach_the_server_as_term() {
    for number in [libc::SIGINT, libc::SIGQUIT, libc::SIGPWR] {
        let image = Image::new();
        let mut running = image.server().start();
        running.wait_for(WELCOME);
        running.signal(number);
        running.wait_for("fake: got TERM");
        assert_eq!(running.end(), 0);
    }
}

#[test]
fn usr1_and_real_time_signals_pass_and_others_are_ignored() {
    let image = Image::new();
    let mut running = image.server().start();
    running.wait_for(WELCOME);
    for number in [12, 13, 14, 18, 20, 21, 22, 28] {
        running.signal(number);
    }
    running.signal(10);
    running.wait_for("fake: got signal 10");
    running.signal(39);
    running.wait_for("fake: got signal 39");
    assert_eq!(get(image.port, "/api"), Some(200));
}

#[test]
fn hup_restarts_the_server_in_place() {
    let image = Image::new();
    let mut running = image.server().start();
    let first = running.wait_for("fake: pid");
    running.wait_for("] ready in ");
    running.signal(1);
    running.wait_for("restarting the server in place");
    running.wait_for("fake: got TERM");
    let second = running.wait_for_next("fake: pid");
    assert_ne!(first, second);
    running.wait_for_next("] ready in ");
    running.signal(15);
    assert_eq!(running.end(), 0);
}

#[test]
fn a_server_that_fails_is_started_again_if_asked() {
    let image = Image::new();
    let mut running = image
        .server()
        .env("FAKE", "crash")
        .args(["--restart", "on-failure"])
        .start();
    running.wait_for("] ready in ");
    assert_eq!(get(image.port, "/crash"), None);
    running.wait_for("Jupyter server terminated with error code 4");
    running.wait_for("the server is started again in 1 s");
    running.wait_for_next("] ready in ");
    running.signal(15);
    assert_eq!(running.end(), 0);
}

/// Whatever runs beside a server writes into the same log.
#[test]
fn an_error_that_a_notebook_printed_is_not_told_as_the_reason_of_an_end() {
    let image = Image::new();
    let mut running = image.server().env("FAKE", "crash").start();
    running.wait_for("] ready in ");
    assert_eq!(get(image.port, "/crash"), None);
    assert_eq!(running.end(), 4);
    let (_, stderr) = running.everything();
    assert!(stderr.contains("No space left on device"), "{stderr}");
    assert!(!stderr.contains("The reason:"), "{stderr}");
}

#[test]
fn orphans_are_reaped() {
    let image = Image::new();
    let mut running = image.server().env("FAKE", "zombies").start();
    running.wait_for("fake: zombies were made");
    running.wait_for(WELCOME);
    let left = running.processes();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn what_a_kernel_leaves_behind_is_ended_where_that_is_asked_for_and_nothing_else() {
    let begin = |image: &Image, policy: &str| {
        let server = image.server().env("FAKE", "kernel orphan");
        let mut running = server.args(["--orphans", policy]).start();
        running.wait_for("fake: orphan lives");
        running.wait_for("left behind, deaf");
        running.wait_for("left behind, kind");
        running.wait_for("] ready in ");
        running
    };
    let (kept, ended) = (Image::new(), Image::new());
    // It began before, so that it would be ended before.
    let kept = begin(&kept, "keep");
    let mut running = begin(&ended, "end");
    // The supervisor, the server, the three orphans.
    assert_eq!(running.processes().len(), 5);
    running.wait_for("processes that a kernel or a terminal left behind are ended: 2");
    running.wait_for("fake: the one left behind got TERM");
    // The deaf one gets KILL; an orphan that leads a session of its own lives.
    until("the deaf one is gone", || running.processes().len() == 3);
    assert_eq!(kept.processes().len(), 5);
}

#[test]
fn a_program_that_is_not_there_is_127() {
    let image = Image::new();
    std::fs::remove_file(image.path("venv/bin/jupyter-lab")).unwrap();
    let ended = image.server().run();
    assert_eq!(ended.code, 127, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("jupyter-lab was not found"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_stop_during_the_preparation_ends_it_at_once() {
    for signal in [2, 3, 15] {
        let image = Image::new();
        let ended = image.server_with_pending(signal).run();
        assert_eq!(ended.code, 128 + signal, "{}", ended.stderr);
        let said = format!("stopped by signal {signal} before anything was started");
        assert!(ended.stderr.contains(&said), "{}", ended.stderr);
        assert!(!ended.stdout.contains("fake: "), "{}", ended.stdout);
    }
}

#[test]
fn a_restart_asked_for_before_there_was_a_server_is_not_done_afterwards() {
    let image = Image::new();
    let mut running = image.server_with_pending(1).start();
    running.wait_for("] ready in ");
    running.signal(15);
    assert_eq!(running.end(), 0);
    let (_, stderr) = running.everything();
    assert!(!stderr.contains("restarting"), "{stderr}");
}

#[test]
fn a_program_that_is_missing_for_a_moment_is_tried_again() {
    let image = Image::new();
    let program = image.path("venv/bin/jupyter-lab");
    let mut running = image.server().args(["--restart", "always"]).start();
    running.wait_for("] ready in ");
    let away = image.path("venv/bin/away");
    std::fs::rename(&program, &away).unwrap();
    let server = running.main_pid();
    crate::support::process::send(server, libc::SIGKILL);
    running.wait_for("the server is started again in 1 s");
    running.wait_for("the server is started again in 2 s");
    std::fs::rename(&away, &program).unwrap();
    running.wait_for_next("] ready in ");
}

/// Somebody who comes into the namespace as `docker exec` does; ready when it says so.
fn stranger(running: &crate::support::Running, uid: u32, script: &str) -> std::process::Child {
    let uid = uid.to_string();
    let mut child = std::process::Command::new("nsenter")
        .args(["--pid", "--target", &running.pid().to_string(), "--"])
        .args([
            "setpriv",
            "--reuid",
            &uid,
            "--clear-groups",
            "sh",
            "-c",
            script,
        ])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = [0; 3];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut said).unwrap();
    assert_eq!(&said, b"up\n");
    child
}

#[test]
fn what_docker_exec_started_has_the_drain_time_too() {
    let image = Image::new();
    let mut running = image.server().args(["--drain-timeout", "100"]).start();
    running.wait_for("] ready in ");
    let saved = image.path("home/saved");
    let script = format!(
        "trap 'sleep 0.5; echo saved >{}; exit' TERM; echo up; while :; do sleep 0.05; done",
        saved.display()
    );
    let mut child = stranger(&running, UID, &script);
    running.signal(15);
    assert_eq!(running.end(), 0);
    assert!(saved.exists());
    child.wait().unwrap();
}

#[test]
fn nobody_waits_for_a_process_that_may_not_be_told_to_end() {
    let image = Image::new();
    let mut running = image.server().args(["--drain-timeout", "1000"]).start();
    running.wait_for("] ready in ");
    let mut child = stranger(&running, 0, "echo up; exec sleep 1000");
    running.signal(15);
    assert_eq!(running.end(), 0);
    child.wait().unwrap();
}
