//! Wherever the real JupyterLab listens, it is found there: the welcome names the URL
//! that works, and the health check asks the right place. Where it cannot listen,
//! nobody is welcomed.

use crate::support::certificate::Pair;
use crate::support::docker::{Container, docker_ok, mounted, run};
use crate::support::few;

const WELCOME: &str = "The server for Jupyter has been started successfully.";
const READY: &str = "] ready in ";
/// The stock bridge network gives a container no IPv6, not even on loopback.
const IPV6: &str = "--sysctl=net.ipv6.conf.all.disable_ipv6=0";

/// The status of `GET URL` as somebody in the container gets it, with any certificate.
const GET: &str = "
import http.client, socket, ssl, sys, urllib.parse
url = urllib.parse.urlsplit(sys.argv[1])
if url.scheme == 'http+unix':
    link = http.client.HTTPConnection('localhost')
    link.sock = socket.socket(socket.AF_UNIX)
    link.sock.connect(urllib.parse.unquote(url.netloc))
elif url.scheme == 'https':
    anyone = ssl._create_unverified_context()
    link = http.client.HTTPSConnection(url.netloc, context=anyone)
else:
    link = http.client.HTTPConnection(url.netloc)
link.request('GET', url.path)
print(link.getresponse().status)
";

/// Starts it, and looks at what it tells: this URL in the welcome, and this target of
/// the health check, which is healthy.
fn told(options: &[&str], command: &[&str], url: &str, target: &str) -> Container {
    let container = Container::start(options, command);
    let log = container.wait_for(READY);
    let (_, welcome) = log.split_once(WELCOME).unwrap();
    let line = welcome
        .lines()
        .find(|line| line.contains("On this machine "));
    assert_eq!(line.unwrap().split_whitespace().last(), Some(url), "{log}");
    assert!(log.contains("JUPYTER_PASSWORD=<your password>"), "{log}");
    let said = container.exec_ok("root", &["ai-lab-entrypoint", "healthcheck"]);
    assert_eq!(said, format!("healthy: {target} answers\n"));
    assert_eq!(container.status()["probe"], target);
    container
}

/// The same, and the URL is the whole of the base: pages right below it answer.
fn found(options: &[&str], command: &[&str], url: &str, target: &str) -> Container {
    let container = told(options, command, url, target);
    for page in ["api", "login"] {
        let page = format!("{url}/{page}");
        let status = container.exec_ok("jupyter", &["python3", "-c", GET, &page]);
        assert_eq!(status, "200\n", "{page}");
    }
    container
}

#[test]
fn on_ipv6_alone() {
    let (url, target) = ("http://localhost:49494", "http://[::1]:49494/api");
    let container = found(&[IPV6], &["--ip", "::1"], url, target);
    let ipv4 = "import socket; socket.create_connection(('127.0.0.1', 49494))";
    let (connected, said) = container.exec("jupyter", &["python3", "-c", ipv4]);
    assert!(!connected && said.contains("refused"), "{said}");
}

#[test]
fn on_another_address_and_another_port() {
    let both = ["--ip", "127.0.0.1", "--port", "8123"];
    for (option, words, port) in few(
        1,
        &[
            ("--env=JUPYTER_PORT=9", &both[..], 8123),
            ("--env=NO_PORT=", &both[..2], 49494),
            ("--env=JUPYTER_PORT=8123", &["--ip", "0.0.0.0"], 8123),
            ("--env=JUPYTER_PORT=9", &both[2..], 8123),
        ],
    ) {
        let url = format!("http://localhost:{port}");
        let target = format!("http://127.0.0.1:{port}/api");
        found(&[option], words, &url, &target);
    }
}

#[test]
fn on_the_address_of_its_own_name_alone() {
    let container = Container::start(&["--hostname=lab"], &["--ip", "lab"]);
    container.wait_for(READY);
    let address = container.exec_ok("jupyter", &["hostname", "--ip-address"]);
    let said = container.exec_ok("root", &["ai-lab-entrypoint", "healthcheck"]);
    let target = format!("http://{}:49494/api", address.trim());
    assert_eq!(said, format!("healthy: {target} answers\n"));
    // That is where Docker publishes it from.
    assert_eq!(crate::support::get(container.port(), "/api"), Some(200));
}

#[test]
fn on_a_unix_socket() {
    let (url, target) = (
        "http+unix://%2Fhome%2Fjupyter%2F50%25.sock",
        "http+unix://%2Fhome%2Fjupyter%2F50%25.sock/api",
    );
    let socket = "--ServerApp.sock=/home/jupyter/50%.sock";
    // As the settings' argument and as the server's own.
    for words in few(1, &[["--jupyter-arg", socket], ["jupyter-lab", socket]]) {
        let container = found(&["--env=JUPYTER_PORT=8123"], words, url, target);
        let log = container.logs();
        assert!(!log.contains("http://<host>"), "there is no port: {log}");
    }
}

#[test]
fn behind_tls() {
    let (_file, mount) = mounted(&Pair::new().both(), "/certificate.pem");
    let words = ["--jupyter-arg=--ServerApp.certfile=/certificate.pem"];
    let (url, target) = ("https://localhost:49494", "https://127.0.0.1:49494/api");
    let container = found(&[&mount], &words, url, target);
    let log = container.logs();
    assert!(log.contains("https://<host>:49494\n"), "{log}");
}

#[test]
fn below_a_base_url() {
    let url = "http://localhost:49494/deep/er";
    let target = "http://127.0.0.1:49494/deep/er/api";
    let (_file, config) = mounted(
        "c.ServerApp.base_url = '/deep/er/'\n\
         c.LabApp.default_url = '/lab/tree/start.ipynb'\n",
        "/etc/jupyter/jupyter_server_config.py",
    );
    // Where only the server itself knows it, and as an argument, as in `health`.
    let argument = ["jupyter-lab", "--ServerApp.base_url=/deep/er/"];
    for (option, words) in few(1, &[(&*config, &[][..]), ("--env=NO_PORT=", &argument)]) {
        found(&[option], words, url, target);
    }
}

#[test]
fn with_all_of_it_at_once_from_jupyters_own_file() {
    let (_file, mount) = mounted(&Pair::new().both(), "/certificate.pem");
    let (_config, config) = mounted(
        "c.ServerApp.base_url = '/deep/'\n\
         c.ServerApp.certfile = '/certificate.pem'\n",
        "/etc/jupyter/jupyter_server_config.py",
    );
    let words = ["--ip", "::1", "--port", "8123"];
    let (url, target) = ("https://localhost:8123/deep", "https://[::1]:8123/deep/api");
    found(&[IPV6, &mount, &config], &words, url, target);
}

#[test]
fn a_port_that_is_taken_is_named_and_nobody_is_welcomed() {
    let squatter = ["-m", "http.server", "49494"];
    let other = Container::start(&["--entrypoint=python3"], &squatter);
    other.until("it listens", || {
        crate::support::get(other.port(), "/").filter(|status| *status == 200)
    });
    is_refused_beside(&other, "");
}

pub fn another_jupyterlab_on_the_port_is_not_taken_for_ours(other: &Container) {
    is_refused_beside(
        other,
        "http://127.0.0.1:49494/api answers before the server",
    );
    let said = other.exec_ok("root", &["ai-lab-entrypoint", "healthcheck"]);
    assert!(said.starts_with("healthy"), "{said}");
}

/// A start in the network of `other`, which has the port.
fn is_refused_beside(other: &Container, warning: &str) {
    let network = format!("--network=container:{}", other.name);
    let (code, stdout, stderr) = run(&[&network], &[]);
    assert_eq!(code, 1, "{stderr}");
    assert_eq!(stdout, "");
    for part in [
        warning,
        "port 49494 is not available",
        "Jupyter server terminated with error code 1 before it was ready",
    ] {
        assert!(stderr.contains(part), "{part:?} is missing in {stderr}");
    }
    for part in [WELCOME, READY, "is running at"] {
        assert!(!stderr.contains(part), "{stderr}");
    }
}

#[test]
fn a_server_that_cannot_listen_at_all_ends_with_its_own_words() {
    // No IPv6 here, and an address of nobody's.
    for address in ["::1", "192.0.2.1"] {
        let (code, _, stderr) = run(&["--network=bridge"], &["--ip", address]);
        assert_eq!(code, 1, "{stderr}");
        let why = "Cannot assign requested address";
        assert!(
            stderr.contains(why) && !stderr.contains(WELCOME),
            "{stderr}"
        );
    }
}

#[test]
fn the_real_server_is_found_though_its_log_says_nothing() {
    // Level CRITICAL: not even the ready line is printed, so that probing alone finds it.
    let container = Container::start(&[], &["jupyter-lab", "--log-level=50"]);
    let log = container.wait_for(READY);
    assert!(
        log.contains(WELCOME) && !log.contains("is running at"),
        "{log}"
    );
    let said = docker_ok(["exec", &container.name, "ai-lab-entrypoint", "healthcheck"]);
    assert_eq!(said, "healthy: http://127.0.0.1:49494/api answers\n");
}
