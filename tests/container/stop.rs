//! `docker stop` ends the real JupyterLab, its kernels and its terminals in order,
//! whatever they are doing, and never takes longer than it was given.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::docker::{Container, docker_ok};
use crate::support::few;
use crate::support::figures::{Look, Rounds, compare};

const READY: &str = "] ready in ";
const HOME: &str = "/home/jupyter";
const RUNTIME: &str = "/home/jupyter/.local/share/jupyter/runtime";
/// Longer than any test.
const NEVER: &str = "3600";

/// A server that answers. It has time enough, also on a busy machine: a deaf kernel
/// takes it more than five seconds. Whatever it leaves behind and is deaf to TERM holds
/// up the end for ever, so that nobody else's KILL is taken for its own tidiness.
fn server() -> Container {
    let container = Container::start(&[], &["--stop-timeout", "50", "--drain-timeout", NEVER]);
    container.wait_for(READY);
    container
}

/// Starts a kernel and waits until it does this.
fn kernel(container: &Container, code: &str) {
    let said = container.visit(&["run", "ailab", code]);
    assert_eq!(said, "up", "{code}");
}

fn kernel_files(container: &Container) -> usize {
    let listed = container.exec_ok("jupyter", &["ls", RUNTIME]);
    // Each kernel has five sockets, too.
    let file = |line: &&str| line.starts_with("kernel-") && line.ends_with(".json");
    listed.lines().filter(file).count()
}

/// Stops, before Docker would kill: code 0 says that the server ended by itself within
/// the time it was given, and no file that it was clean.
fn stops_cleanly(container: &Container) {
    docker_ok(["stop", "--time", "60", &container.name]);
    assert_eq!(container.exit_code(), 0, "{}", container.logs());
    let left = container.changed();
    assert!(!left.contains("kernel-"), "{left}");
}

#[test]
fn idle_kernels_end_cleanly_be_they_none_one_or_five() {
    for &count in few(1, &[5, 0, 1]) {
        let container = server();
        for number in 0..count {
            let code = format!(
                "import atexit, pathlib\n\
                 atexit.register(pathlib.Path('{HOME}/bye-{number}').touch)\n\
                 print('up', flush=True)"
            );
            kernel(&container, &code);
        }
        if count > 0 {
            assert_eq!(kernel_files(&container), count);
        }
        stops_cleanly(&container);
        let left = container.changed();
        let said_bye = left.matches("/bye-").count();
        assert_eq!(said_bye, count, "they ended by themselves: {left}");
    }
}

/// All at once: each by itself would hold it up.
#[test]
fn kernels_that_are_busy_or_asleep_or_deaf_hold_nobody_up() {
    let container = server();
    for code in [
        "print('up', flush=True)\nwhile True: pass",
        "import time\nprint('up', flush=True)\ntime.sleep(10_000)",
        "import signal, time\n\
         for number in (signal.SIGINT, signal.SIGTERM):\n    \
             signal.signal(number, signal.SIG_IGN)\n\
         print('up', flush=True)\n\
         while True: time.sleep(1000)",
    ] {
        kernel(&container, code);
    }
    assert_eq!(kernel_files(&container), 3);
    stops_cleanly(&container);
}

#[test]
fn a_server_that_is_too_slow_is_killed_and_its_kernels_too() {
    let container = Container::start(
        &[],
        &[
            "--stop-timeout",
            "1",
            "--drain-timeout",
            "1",
            "--jupyter-arg=--KernelManager.shutdown_wait_time=3600",
        ],
    );
    container.wait_for(READY);
    kernel_that_holds_the_gil(&container, DEAF);
    docker_ok(["stop", "--time", "60", &container.name]);
    assert_eq!(container.exit_code(), 137);
    let log = container.logs();
    assert!(
        log.contains("Jupyter server terminated with error code 137 (signal 9)"),
        "{log}"
    );
}

/// Starts a kernel that holds the GIL in C. It is told when to, because what it prints
/// is sent by a thread that needs the GIL.
fn kernel_that_holds_the_gil(container: &Container, before: &str) {
    let code = format!(
        "{before}\n\
         import ctypes, pathlib, time\n\
         print('up', flush=True)\n\
         while not pathlib.Path('{HOME}/go').exists(): time.sleep(0.05)\n\
         pathlib.Path('{HOME}/held').touch()\n\
         ctypes.PyDLL(None).sleep(10_000)"
    );
    kernel(container, &code);
    container.exec_ok("jupyter", &["touch", &format!("{HOME}/go")]);
    container.until("it holds the GIL", || {
        let held = format!("{HOME}/held");
        container
            .exec("jupyter", &["test", "-e", &held])
            .0
            .then_some(())
    });
}

#[test]
fn a_kernel_that_is_stuck_in_c_holds_nobody_up() {
    let container = server();
    kernel_that_holds_the_gil(&container, "");
    assert_eq!(kernel_files(&container), 1);
    stops_cleanly(&container);
}

/// Hears no signal, and the end of its server neither.
const DEAF: &str = "
import signal
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)";

#[test]
fn a_second_term_kills_at_once() {
    let container = Container::start(
        &[],
        &[
            "--stop-timeout",
            NEVER,
            "--drain-timeout",
            "1",
            "--jupyter-arg=--KernelManager.shutdown_wait_time=3600",
        ],
    );
    container.wait_for(READY);
    kernel_that_holds_the_gil(&container, DEAF);
    container.signal("TERM");
    container.until("it is stopping", || {
        (container.status()["phase"] == "stopping").then_some(())
    });
    container.signal("TERM");
    assert_eq!(container.end(), 137);
}

#[test]
fn a_term_before_the_server_can_hear_it_ends_it_at_once() {
    // The interpreter is there, and Jupyter's handlers are not.
    let early = tempfile::tempdir().unwrap();
    fs::set_permissions(early.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let code = "import sys, time\n\
                print('early:', sys.argv[0] or sys.orig_argv, file=sys.stderr, flush=True)\n\
                time.sleep(10_000)";
    fs::write(early.path().join("sitecustomize.py"), code).unwrap();
    let mount = format!("--volume={}:/early:ro", early.path().display());
    for signal in ["TERM", "INT", "QUIT"] {
        let container = Container::start(
            &[&mount, "--env", "PYTHONPATH=/early"],
            &["--stop-timeout", NEVER, "--drain-timeout", NEVER],
        );
        let log = container.wait_for("early: ");
        assert!(log.contains("jupyter-lab"), "{log}");
        container.signal(signal);
        assert_eq!(container.end(), 143, "{signal}");
    }
}

/// The ways out of reach of a terminal's end.
const AWAY: [&str; 2] = ["nohup", "setsid"];

/// Leaves a job behind in a terminal in each way, with its pid in `job-…` when it can hear, and
/// what it does at a TERM.
fn leave_jobs(container: &Container, at_term: &str) {
    for how in AWAY {
        let job = format!(
            "#!/bin/sh\ntrap 'echo {how} >>{HOME}/heard; {at_term}' TERM\n\
             echo $$ >{HOME}/job-{how}\nwhile :; do sleep 0.1; done\n"
        );
        let script = format!("cat >{HOME}/{how}.sh && chmod +x {HOME}/{how}.sh");
        container.exec_ok(
            "jupyter",
            &["sh", "-c", &format!("printf '%s' \"$0\" | {script}"), &job],
        );
        let line = format!(
            "{how} {HOME}/{how}.sh >/dev/null 2>&1 & \
             until [ -s {HOME}/job-{how} ]; do sleep 0.1; done; echo up"
        );
        assert_eq!(container.visit(&["terminal", "ailab", &line]), "up");
    }
}

/// Each of them got a TERM, and one.
fn assert_all_heard(container: &Container) {
    let heard = container.read(&format!("{HOME}/heard")).unwrap();
    let mut heard: Vec<&str> = heard.lines().collect();
    heard.sort_unstable();
    assert_eq!(heard, AWAY);
}

#[test]
fn a_job_that_outlives_its_terminal_gets_a_term() {
    let container = server();
    leave_jobs(&container, "exit");
    stops_cleanly(&container);
    assert_all_heard(&container);
}

#[test]
fn a_job_that_is_deaf_is_killed_after_the_drain_time() {
    let drain = Duration::from_secs(2);
    let container = Container::start(&[], &["--drain-timeout", "2"]);
    container.wait_for(READY);
    leave_jobs(&container, ":");
    let start = Instant::now();
    docker_ok(["stop", "--time", "60", &container.name]);
    assert!(start.elapsed() >= drain, "{:?}", start.elapsed());
    assert_eq!(container.exit_code(), 0);
    assert_all_heard(&container);
}

/// Forks until there is no room for another process, and goes on trying.
const BOMB: &str = "
import os
while True:
    try:
        os.fork()
    except OSError:
        print('full', flush=True)
";

#[test]
fn a_fork_bomb_without_room_for_more_ends_like_any_command() {
    let command = ["python3", "-c", BOMB];
    let container = Container::start(&["--pids-limit", "200"], &command);
    container.wait_for("full");
    // Not 137: it was not Docker that ended it.
    assert_eq!(container.stop(), 143);
}

/// The same, with room made again and again: who finds none ends, and leaves orphans.
const CHURN: &str = "
import os, signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
main = os.getpid()
print('begun', flush=True)
while True:
    try:
        os.fork()
    except OSError:
        if os.getpid() != main:
            os._exit(0)
";

/// How many processes the container has had so far: its last pid (proc_loadavg(5)).
fn forked(pid: i32) -> u64 {
    let target = pid.to_string();
    let words = [
        "--target",
        &target,
        "--pid",
        "--mount",
        "cat",
        "/proc/loadavg",
    ];
    let output = Command::new("nsenter").args(words).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    said.split_whitespace().last().unwrap().parse().unwrap()
}

#[test]
fn a_fork_bomb_under_a_pids_limit_costs_what_it_costs_tini() {
    let tini = ["tini-static", "tini"].map(|name| format!("/usr/bin/{name}"));
    let tini = tini.into_iter().find(|path| Path::new(path).exists());
    let mount = format!("--volume={}:/usr/bin/tini:ro", tini.unwrap());
    let bomb = ["--", "python3", "-c", CHURN];
    let peer = ["--user", "jupyter", "--entrypoint", "/usr/bin/tini", &mount];
    let [ours, peer] = [&[][..], &peer[..]].map(|options| {
        let options = [&["--pids-limit", "50", "--cpus", "1"], options].concat();
        let container = Container::start(&options, &bomb);
        container.wait_for("begun");
        let pid = docker_ok(["inspect", "--format", "{{.State.Pid}}", &container.name]);
        let pid = pid.trim().parse().unwrap();
        let mut last = forked(pid);
        let mut reaped = Vec::new();
        let looks = [0, 2_000, 2_000].map(|more| {
            let before = last;
            last = container.until("it goes off", || {
                let now = forked(pid);
                (now >= before + more).then_some(now)
            });
            reaped.push(last - before);
            Look::at(pid)
        });
        assert_eq!(container.stop(), 143);
        Rounds {
            looks,
            reaped: [reaped[1], reaped[2]],
        }
    });
    compare("a fork bomb under a pids limit of 50", &ours, "tini", &peer);
}
