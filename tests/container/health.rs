//! Docker sees how the real JupyterLab is: healthy when it answers, unhealthy when it
//! hangs, is gone from its port or is being started again.

use crate::support::certificate::Pair;
use crate::support::docker::{Container, docker, docker_ok, mounted, text};
use crate::support::few;

const READY: &str = "] ready in ";
/// Docker asks every second, and one answer is enough.
const EAGER: [&str; 2] = ["--health-interval=1s", "--health-retries=1"];

fn server(options: &[&str], command: &[&str]) -> Container {
    let container = Container::start(options, command);
    container.wait_for(READY);
    container
}

/// What `healthcheck` says, as Docker runs it: as the container's user, with its
/// environment.
fn health(container: &Container) -> (bool, String) {
    let output = docker(["exec", &container.name, "ai-lab-entrypoint", "healthcheck"]);
    let code = output.status.code();
    assert!(matches!(code, Some(0 | 1)), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    let said = text(&output);
    assert_eq!(said.lines().count(), 1, "{said}");
    (code == Some(0), said)
}

fn is_healthy(container: &Container, target: &str) {
    let expected = format!("healthy: {target} answers\n");
    assert_eq!(health(container), (true, expected));
}

fn is_unhealthy(container: &Container, why: &str) {
    let (healthy, said) = health(container);
    assert!(
        !healthy && said.starts_with("unhealthy: ") && said.contains(why),
        "{said}"
    );
}

/// Waits until Docker's own look says this.
fn docker_says(container: &Container, status: &str) {
    container.until(&format!("Docker says {status}"), || {
        (container.described()["State"]["Health"]["Status"] == status).then_some(())
    });
}

/// `docker exec` as the container's user, as Docker runs a health check.
fn exec(container: &Container, command: &[&str]) -> String {
    docker_ok(["exec", &container.name].iter().chain(command))
}

/// The server's process id, as soon as there is one.
fn main_pid(container: &Container) -> i64 {
    container.until("the server was started", || {
        let said = exec(container, &["ai-lab-entrypoint", "status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&said).unwrap();
        status["main_pid"].as_i64()
    })
}

/// Sends the server a signal, which PID 1 does not get.
fn signal_server(container: &Container, name: &str) {
    let kill = format!("kill -{name} {}", main_pid(container));
    exec(container, &["sh", "-c", &kill]);
}

/// Nobody is there: whoever asked it would say so.
const PROXIES: [&str; 6] = [
    "--env=http_proxy=http://127.0.0.1:9",
    "--env=HTTP_PROXY=http://127.0.0.1:9",
    "--env=https_proxy=http://127.0.0.1:9",
    "--env=ALL_PROXY=http://127.0.0.1:9",
    "--env=no_proxy=",
    "--env=NO_PROXY=",
];

fn proxies_of_the_environment_are_not_asked(container: &Container) {
    is_healthy(container, "http://127.0.0.1:49494/api");
    docker_says(container, "healthy");
}

#[test]
fn docker_sees_a_server_hang_and_come_back() {
    let container = server(&[&PROXIES[..], &EAGER].concat(), &[]);
    proxies_of_the_environment_are_not_asked(&container);
    signal_server(&container, "STOP");
    is_unhealthy(
        &container,
        "http://127.0.0.1:49494/api did not answer within 3 s",
    );
    docker_says(&container, "unhealthy");
    // What it said is there to be read.
    let format = "{{range .State.Health.Log}}{{.ExitCode}} {{.Output}}{{end}}";
    let said = docker_ok(["inspect", "--format", format, &container.name]);
    assert!(
        said.contains("1 unhealthy: http://127.0.0.1:49494/api did not"),
        "{said}"
    );
    signal_server(&container, "CONT");
    docker_says(&container, "healthy");
    is_healthy(&container, "http://127.0.0.1:49494/api");
}

pub fn the_images_own_health_check_needs_no_option(container: &Container) {
    docker_says(container, "healthy");
    let said = container.exec_ok("root", &["ai-lab-entrypoint", "healthcheck"]);
    assert_eq!(said, "healthy: http://127.0.0.1:49494/api answers\n");
    let said = container.exec_ok("jupyter", &["ai-lab-entrypoint", "status"]);
    assert!(said.contains("ready, for "), "{said}");
    let format = "{{json .Config.Healthcheck.Test}}";
    let said = docker_ok(["inspect", "--format", format, &container.name]);
    assert_eq!(
        said.trim(),
        "[\"CMD\",\"/usr/local/bin/ai-lab-entrypoint\",\"healthcheck\"]"
    );
}

/// Jupyter's own configuration file is code in the server: at a signal that Jupyter has
/// no use for it does not hear TERM any more.
const GROWS_DEAF: &str = "
import signal, sys
def deaf(*_):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print('deaf from now on', file=sys.stderr, flush=True)
signal.signal(signal.SIGRTMIN + 5, deaf)
";

#[test]
fn a_server_that_starts_again_is_unhealthy_meanwhile() {
    // One that does not hear the TERM of a restart goes on as long as we want.
    let (_file, mount) = mounted(GROWS_DEAF, "/etc/jupyter/jupyter_server_config.py");
    let command = ["--stop-timeout", "3600"];
    let container = server(&[&[mount.as_str()], &EAGER[..]].concat(), &command);
    docker_says(&container, "healthy");
    let before = main_pid(&container);
    container.signal("RTMIN+5");
    container.wait_for("deaf from now on");
    container.exec_ok("jupyter", &["ai-lab-entrypoint", "restart"]);
    container.until("it is being started again", || {
        let (healthy, said) = health(&container);
        (!healthy && said.contains("the server is being started again")).then_some(())
    });
    docker_says(&container, "unhealthy");
    signal_server(&container, "KILL");
    container.wait_for_nth(READY, 2);
    assert_ne!(main_pid(&container), before);
    is_healthy(&container, "http://127.0.0.1:49494/api");
    docker_says(&container, "healthy");
}

/// The same, and it stops listening, and goes on otherwise.
const LOSES_ITS_PORT: &str = "
import signal
from jupyter_server.serverapp import ServerApp
def lose(*_):
    server = ServerApp.instance()
    server.io_loop.add_callback_from_signal(server.http_server.stop)
signal.signal(signal.SIGRTMIN + 5, lose)
";

#[test]
fn a_server_that_lost_its_port_is_unhealthy_though_it_runs() {
    let place = "/etc/jupyter/jupyter_server_config.py";
    let (_file, mount) = mounted(LOSES_ITS_PORT, place);
    let container = server(&[&[mount.as_str()], &EAGER[..]].concat(), &[]);
    docker_says(&container, "healthy");
    let pid = main_pid(&container);
    container.signal("RTMIN+5");
    container.until("nobody listens", || (!health(&container).0).then_some(()));
    is_unhealthy(&container, "http://127.0.0.1:49494/api cannot be reached");
    docker_says(&container, "unhealthy");
    assert_eq!(main_pid(&container), pid, "it runs");
}

#[test]
fn whatever_the_place_docker_finds_it_at_the_next_interval() {
    let (base, port) = ("--ServerApp.base_url=/deep/er/", "JUPYTER_PORT=8123");
    let alone = [
        "--user=1234:0",
        "--read-only",
        "--tmpfs=/tmp",
        "--env",
        port,
    ];
    for &(options, command, target) in few(
        1,
        &[
            (
                &alone[..],
                &["jupyter-lab", base][..],
                "http://127.0.0.1:8123/deep/er/api",
            ),
            (
                &alone[3..],
                &["jupyter-lab", base],
                "http://127.0.0.1:8123/deep/er/api",
            ),
            (&alone[1..3], &[], "http://127.0.0.1:49494/api"),
            (
                &alone[..1],
                &["jupyter-lab", base],
                "http://127.0.0.1:49494/deep/er/api",
            ),
        ],
    ) {
        let container = server(&[options, &EAGER].concat(), command);
        is_healthy(&container, target);
        docker_says(&container, "healthy");
        signal_server(&container, "STOP");
        docker_says(&container, "unhealthy");
    }
}

#[test]
fn behind_tls_a_server_that_hangs_is_unhealthy_too() {
    let container = Container::create(
        &EAGER,
        &["--jupyter-arg", "--ServerApp.certfile=/certificate.pem"],
    );
    container.put("/certificate.pem", Pair::new().both().as_bytes(), 0o644);
    container.begin();
    container.wait_for(READY);
    is_healthy(&container, "https://127.0.0.1:49494/api");
    docker_says(&container, "healthy");
    signal_server(&container, "STOP");
    is_unhealthy(&container, "https://127.0.0.1:49494/api did not answer");
    docker_says(&container, "unhealthy");
}

#[test]
fn while_it_starts_it_is_unhealthy_for_the_verb_and_starting_for_docker() {
    let container = Container::start(&["--health-interval=1s"], &[]);
    container.wait_for("Disabled coredumps");
    // Held up before it can listen.
    signal_server(&container, "STOP");
    is_unhealthy(&container, "the server is starting");
    // Docker asked, and counts nothing within the start period.
    container.until("Docker asked", || {
        let format = "{{range .State.Health.Log}}{{.Output}}{{end}}";
        let said = docker_ok(["inspect", "--format", format, &container.name]);
        said.contains("the server is starting").then_some(())
    });
    docker_says(&container, "starting");
    signal_server(&container, "CONT");
    docker_says(&container, "healthy");
}
