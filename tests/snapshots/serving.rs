//! The welcome in its variants, the life of a server and its ends.

use std::fs;

use super::golden::lived;
use super::support::{Image, PROGRAM, Running, Start};

const TERM: i32 = libc::SIGTERM;

/// Waits until it is ready, and stops it.
fn ready(running: &mut Running) -> i32 {
    running.wait_for("ready in ");
    running.signal(TERM);
    running.end()
}

fn ended(running: &mut Running) -> i32 {
    running.end()
}

/// In a network of its own, where nobody else can have the port.
pub fn server(image: &Image) -> Start {
    let script = format!("ip link set lo up\nexec {PROGRAM} \"$@\"");
    Start::wrapped("unshare")
        .args(["-n", "sh", "-e", "-c", &script, "sh"])
        .args(image.options())
        .args(["--jupyter-server", "jupyter-lab", "--password", "ailab"])
        .env("FAKE_MUTE", "1")
}

#[test]
fn the_welcome() {
    lived("welcome-default-password", server, ready);
    lived(
        "welcome-password-of-ones-own",
        |i| server(i).env("JUPYTER_PASSWORD", "x"),
        ready,
    );
    lived(
        "welcome-base-url",
        |i| server(i).args(["--jupyter-arg", "--ServerApp.base_url=/x/"]),
        ready,
    );
    lived(
        "welcome-hub",
        |image| {
            let url = format!("http://127.0.0.1:{}/user/alice/", image.port);
            let start = server(image).env("JUPYTERHUB_SERVICE_URL", &url);
            let start = start.env("JUPYTERHUB_API_TOKEN", "x");
            start.env("JUPYTERHUB_CLIENT_ID", "x")
        },
        ready,
    );
    lived(
        "hub-variables-missing",
        |image| {
            let url = format!("http://127.0.0.1:{}/user/alice/", image.port);
            server(image).env("JUPYTERHUB_SERVICE_URL", &url)
        },
        ready,
    );
    lived(
        "hub-one-variable-missing",
        |image| {
            let url = format!("http://127.0.0.1:{}/user/alice/", image.port);
            let start = server(image).env("JUPYTERHUB_SERVICE_URL", &url);
            start.env("JUPYTERHUB_API_TOKEN", "x")
        },
        ready,
    );
}

#[test]
fn what_is_told_beside_it() {
    lived(
        "times-beyond-dockers",
        |i| server(i).args(["--stop-timeout", "60"]),
        ready,
    );
    lived(
        "password-on-the-line",
        |image| {
            let argument = "--PasswordIdentityProvider.hashed_password=x";
            let start = server(image).args(["--jupyter-arg", argument]);
            start.env("JUPYTER_PASSWORD", "x")
        },
        ready,
    );
    lived(
        "logfile-cannot-be-written",
        |image| {
            let log = image.path("home/no/log").display().to_string();
            server(image).args(["--jupyter-logfile", &log])
        },
        ready,
    );
    lived(
        "strict-ends-it",
        |image| {
            let log = image.path("home/no/log").display().to_string();
            server(image).args(["--warning-as-error", "--jupyter-logfile", &log])
        },
        ended,
    );
    lived("server-dry-run", |i| server(i).arg("--dry-run"), ended);
}

#[test]
fn the_ends_of_a_server() {
    lived("server-dies", |i| server(i).env("FAKE", "dies"), ended);
    lived(
        "server-not-there",
        |image| {
            fs::remove_file(image.path("venv/bin/jupyter-lab")).unwrap();
            server(image).args(["--jupyter-server", "/nonexistent/jupyter-lab"])
        },
        ended,
    );
    lived(
        "server-not-ready",
        |i| {
            server(i)
                .env("FAKE", "unbound")
                .args(["--ready-timeout", "0"])
        },
        |running| {
            running.wait_for("does not answer after");
            running.wait_for("is running at:");
            running.signal(TERM);
            running.end()
        },
    );
    lived("server-restarted-by-hand", server, |running| {
        running.wait_for("ready in ");
        running.signal(libc::SIGHUP);
        running.wait_for_next("ready in ");
        running.signal(TERM);
        running.end()
    });
    lived(
        "server-restarted-after-an-end",
        |i| server(i).env("FAKE", "dies").args(["--restart", "always"]),
        |running| {
            running.wait_for("is started again in ");
            running.signal(TERM);
            running.end()
        },
    );
    lived(
        "idle",
        |image| Start::pid1().args(image.options()),
        |running| {
            running.wait_for("waiting for a signal");
            running.signal(TERM);
            running.end()
        },
    );
}
