//! The server is restarted in place, when somebody asks for it and when it fails: the
//! container, its URL and everybody's login stay as they are.

use crate::support::docker::{Container, docker_ok};

const READY: &str = "] ready in ";
const RUNTIME: &str = "/home/jupyter/.local/share/jupyter/runtime";

fn server(command: &[&str]) -> Container {
    let container = Container::start(&[], command);
    container.wait_for(READY);
    container
}

/// What PID 1 is on the machine.
fn pid1(container: &Container) -> String {
    docker_ok(["inspect", "--format", "{{.State.Pid}}", &container.name])
}

fn main_pid(container: &Container) -> i64 {
    container.status()["main_pid"].as_i64().unwrap()
}

fn ready_again(container: &Container, times: usize) {
    container.wait_for_nth(READY, times + 1);
    let status = container.status();
    assert_eq!(status["phase"], "ready");
    assert_eq!(status["restarts"], times);
    container.exec_ok("root", &["ai-lab-entrypoint", "healthcheck"]);
}

#[test]
fn a_restart_ends_the_kernels_cleanly_and_keeps_the_login() {
    let container = server(&["--stop-timeout", "50"]);
    let cookies = tempfile::tempdir().unwrap();
    let cookies = cookies.path().join("cookies");
    let cookies = cookies.to_str().unwrap();
    assert_eq!(container.visit(&["come", "ailab", cookies]), "in");
    let (first, port) = (pid1(&container), container.port());

    let by_verb = || {
        let said = container.exec_ok("jupyter", &["ai-lab-entrypoint", "restart"]);
        assert!(said.contains("the server is being restarted"), "{said}");
    };
    let by_signal = || container.signal("HUP");
    let ways: [&dyn Fn(); 2] = [&by_signal, &by_verb];
    for (times, ask) in ways.iter().enumerate() {
        let before = main_pid(&container);
        let code = "import atexit, pathlib\n\
                    atexit.register(pathlib.Path('/home/jupyter/bye').touch)\n\
                    print('up', flush=True)";
        assert_eq!(container.visit(&["run", "ailab", code]), "up");
        let files = container.exec_ok("jupyter", &["ls", RUNTIME]);
        assert!(files.contains("kernel-"), "{files}");
        ask();
        ready_again(&container, times + 1);
        assert_ne!(main_pid(&container), before);
        assert_eq!(container.status()["last_exit"], 0);
        let files = container.exec_ok("jupyter", &["ls", RUNTIME]);
        assert!(!files.contains("kernel-"), "{files}");
        container.exec_ok("jupyter", &["rm", "/home/jupyter/bye"]);
        let left = docker_ok(["top", &container.name, "-eo", "pid,args"]);
        assert!(!left.contains("ipykernel"), "{left}");

        assert_eq!(container.visit(&["again", cookies]), "in");
    }
    assert_eq!((pid1(&container), container.port()), (first, port));
    assert_eq!(container.stop(), 0);
}

/// Jupyter's configuration counts as it is at the restart; where it says nothing, the image's does.
#[test]
fn a_restart_listens_where_a_start_would() {
    let container = server(&["--stop-timeout", "50"]);
    let file = "/home/jupyter/.jupyter/jupyter_server_config.py";
    let changes = [
        (
            format!("echo 'c.ServerApp.port = 50505' >{file}"),
            ":50505/",
        ),
        (format!("rm {file}"), ":49494/"),
    ];
    for (times, (change, port)) in changes.iter().enumerate() {
        container.exec_ok("jupyter", &["sh", "-c", change]);
        container.exec_ok("jupyter", &["ai-lab-entrypoint", "restart"]);
        ready_again(&container, times + 1);
        let probe = container.status()["probe"].to_string();
        assert!(probe.contains(port), "{probe}");
    }
}

#[test]
fn a_server_that_dies_comes_back_and_one_that_ends_does_only_always() {
    let end = |container: &Container, signal: &str| {
        let kill = format!("kill -{signal} {}", main_pid(container));
        container.exec_ok("jupyter", &["sh", "-c", &kill]);
    };
    for (policy, signal, code) in [("always", "TERM", 0), ("on-failure", "KILL", 137)] {
        let container = server(&["--restart", policy, "--stop-timeout", "50"]);
        assert_eq!(container.visit(&["run", "ailab", "print('up')"]), "up");
        let before = main_pid(&container);
        end(&container, signal);
        container.wait_for("the server is started again in 1 s");
        ready_again(&container, 1);
        assert_ne!(main_pid(&container), before);
        assert_eq!(container.status()["last_exit"], code);
        assert_eq!(container.visit(&["login", "ailab"]), "in");
        container.until("no kernel is left", || {
            let left = docker_ok(["top", &container.name, "-eo", "pid,args"]);
            (!left.contains("ipykernel")).then_some(())
        });
        // With a kernel, as before.
        if policy == "on-failure" {
            assert_eq!(container.visit(&["run", "ailab", "print('up')"]), "up");
            end(&container, "TERM");
            assert_eq!(container.end(), 0);
        }
    }
}

#[test]
fn a_crash_loop_is_seen_in_the_log_and_in_the_status_and_ends_at_a_stop() {
    // An unknown flag: the real server ends with 2.
    let words = [
        "--restart",
        "on-failure",
        "--rescue",
        "never",
        "jupyter-lab",
        "--bogus",
    ];
    let container = Container::start(&[], &words);
    let log = container.wait_for("the server is started again in 4 s");
    for wait in [1, 2, 4] {
        let line = format!("the server is started again in {wait} s");
        assert_eq!(log.matches(&line).count(), 1, "{log}");
    }
    let failed = "Jupyter server terminated with error code 2 before it was ready";
    assert_eq!(log.matches(failed).count(), 3, "{log}");
    let status = container.status();
    assert_eq!(status["phase"], "restarting");
    assert_eq!(status["restarts"], 2);
    assert_eq!(status["last_exit"], 2);
    let said = container.exec_ok("jupyter", &["ai-lab-entrypoint", "status"]);
    assert!(said.contains("2, the last exit code was 2"), "{said}");
    let (healthy, said) = container.exec("jupyter", &["ai-lab-entrypoint", "healthcheck"]);
    assert!(!healthy && said.contains("being started again"), "{said}");
    container.signal("TERM");
    assert_eq!(container.end(), 2);
    let log = container.logs();
    assert_eq!(log.matches("started again in").count(), 3, "{log}");
}
