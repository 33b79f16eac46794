//! Who asks PID 1 to stop is heard, whenever that is; and so is what the server says.

use std::sync::{Arc, Mutex};

use nix::sys::signal::{Signal, kill};

use super::errors::is_event;
use super::phases::{Phase, Phases};
use super::scene::{Ended, Scene, Stage};
use crate::support::UID;
use crate::support::process::until;
use crate::support::tracees::{Fate, trace};
use crate::support::tracer::Call;

fn reads_signals(call: &Call) -> bool {
    call.number == libc::SYS_read && is_event(call) && call.args[2] == 128
}

fn assert_stopped(at: &str, ended: &Ended) {
    let Ended { code, said } = ended;
    let before = *code == 143 && said.contains("stopped by signal 15 before anything");
    let early = *code == 143 && said.contains("terminated with error code 143 (signal 15)");
    let in_order = *code == 0 && said.contains("fault: server got TERM");
    assert!(before || early || in_order, "{at}: {code} {said}");
}

#[test]
fn a_term_just_before_any_look_at_the_signals_stops_it() {
    let scene = Scene::new();
    for nth in 0.. {
        scene.reset();
        let mut phases = Phases::new(UID);
        let (mut count, mut serving) = (0, 0);
        let sent = Arc::new(Mutex::new(false));
        let shared = sent.clone();
        // How often it looks while a hook runs depends on the hook.
        let start = scene.start("read -r go", &[]).args(["--hooks", "/none"]);
        let (mut running, tracer) = trace(start, move |call| {
            let phase = phases.of(call);
            // While it serves, one look is like the other.
            if reads_signals(call) && serving < 3 {
                serving += usize::from(phase == Phase::Serving);
                if count == nth {
                    kill(call.pid, Signal::SIGTERM).unwrap();
                    *shared.lock().unwrap() = true;
                }
                count += 1;
            }
            Fate::Made
        });
        let stage = scene.until_it_serves(&mut running);
        let asked = *sent.lock().unwrap();
        if stage == Stage::Serves && !asked {
            running.signal(15);
        }
        assert_stopped(&format!("look {nth}"), &scene.end(&mut running));
        tracer.join().unwrap();
        if !asked {
            assert!(nth > 5, "only {nth} looks");
            return;
        }
    }
}

#[test]
fn a_look_at_the_signals_that_is_interrupted_forgets_none() {
    let scene = Scene::new();
    scene.reset();
    let phases = Arc::new(Mutex::new(Phases::new(UID)));
    let shared = phases.clone();
    let mut interrupted = false;
    let (mut running, tracer) = trace(scene.start("read -r go", &[]), move |call| {
        let phase = shared.lock().unwrap().of(call);
        if phase == Phase::Stop && reads_signals(call) && !interrupted {
            interrupted = true;
            return Fate::Fails(libc::EINTR);
        }
        Fate::Made
    });
    assert_eq!(scene.until_it_serves(&mut running), Stage::Serves);
    phases.lock().unwrap().stop();
    running.signal(15);
    assert_stopped("interrupted", &scene.end(&mut running));
    tracer.join().unwrap();
}

/// Whether it reads what somebody else writes for the log.
fn reads_log(call: &Call) -> bool {
    let place = format!("/proc/{}/fd/{}", call.pid, call.args[0]);
    let of_pipe =
        || std::fs::read_link(place).is_ok_and(|to| to.to_string_lossy().starts_with("pipe:"));
    call.number == libc::SYS_read && call.args[2] >= 64 * 1024 && of_pipe()
}

#[test]
fn a_look_at_the_servers_log_that_is_interrupted_loses_none_of_it() {
    let scene = Scene::new();
    scene.reset();
    let looks = Arc::new(Mutex::new(0));
    let shared = looks.clone();
    let (mut running, tracer) = trace(scene.start("read -r go", &[]), move |call| {
        if !reads_log(call) {
            return Fate::Made;
        }
        let mut looks = shared.lock().unwrap();
        *looks += 1;
        // Each of them once.
        match *looks % 2 {
            1 => Fate::Fails(libc::EINTR),
            _ => Fate::Made,
        }
    });
    assert_eq!(scene.until_it_serves(&mut running), Stage::Serves);
    running.signal(15);
    let ended = scene.end(&mut running);
    tracer.join().unwrap();
    let looks = *looks.lock().unwrap();
    assert!(looks > 5, "only {looks} looks");
    assert_stopped("interrupted", &ended);
    let servers = ["hook of user", "server", "kernel", "server got TERM"];
    for words in servers.map(|who| format!("fault: {who}")) {
        assert!(ended.said.contains(&words), "no {words}: {}", ended.said);
    }
    for line in ["is running at:", "Use Control-C to stop this server"] {
        assert_eq!(
            ended.said.matches(line).count(),
            1,
            "{line}: {}",
            ended.said
        );
    }
    let warned = ["[W ", "[E "].iter().any(|word| ended.said.contains(word));
    assert!(!warned, "{}", ended.said);
}

/// What a start says, one after the other.
const MOMENTS: [&str; 6] = [
    "hook of root",
    "Did chown",
    "Switched uid/gid",
    "Copied notebooks",
    "hook of user",
    "fault: server",
];

#[test]
fn pid_1_held_up_and_let_go_goes_on_and_hears_what_came_meanwhile() {
    let scene = Scene::new();
    for moment in MOMENTS {
        for term_meanwhile in [false, true] {
            scene.reset();
            let mut running = scene.start(":", &[]).start();
            running.wait_for(moment);
            let pid = running.pid();
            running.signal(libc::SIGSTOP);
            until("it is held up", || running.is_stopped(pid));
            if term_meanwhile {
                running.signal(15);
            }
            running.signal(libc::SIGCONT);
            if !term_meanwhile {
                assert_eq!(scene.until_it_serves(&mut running), Stage::Serves);
                running.signal(15);
            }
            let ended = scene.end(&mut running);
            assert_stopped(&format!("{moment}, {term_meanwhile}"), &ended);
            scene.assert_nothing_lost(moment);
        }
    }
}
