//! The welcome in its variants, the life of a server and its ends.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

use super::golden::{lived, start};
use super::volume::every_fate;
use crate::support::{Image, PROGRAM, Running, Start, UID};

pub const TERM: i32 = libc::SIGTERM;

/// Waits until it is ready, and stops it.
pub fn ready(running: &mut Running) -> i32 {
    running.wait_for("ready in ");
    running.signal(TERM);
    running.end()
}

pub fn ended(running: &mut Running) -> i32 {
    running.end()
}

/// In a network of its own, where nobody else can have the port.
pub fn server(image: &Image) -> Start {
    bare(image).args(["--password", "ailab"])
}

/// Writes a configuration file of Jupyter's.
pub fn configured(image: &Image, text: &str) {
    fs::create_dir_all(image.path("home/.jupyter")).unwrap();
    let file = image.path("home/.jupyter/jupyter_server_config.py");
    fs::write(file, text).unwrap();
}

/// The same without the time that a password takes.
pub fn bare(image: &Image) -> Start {
    server_in(image, "exec")
}

/// The same by something else that becomes the program.
pub fn server_in(image: &Image, by: &str) -> Start {
    let script = format!("ip link set lo up\n{by} {PROGRAM} \"$@\"");
    Start::wrapped("unshare")
        .args(["-n", "sh", "-e", "-c", &script, "sh"])
        .args(image.options())
        .args(["--jupyter-server", "jupyter-lab"])
        .env("FAKE_MUTE", "1")
}

/// A server that does not obey, and is killed.
#[test]
fn a_server_is_killed_by_us() {
    let deaf = |image: &Image| server(image).env("FAKE", "deaf");
    lived(
        "server-killed-late",
        |image| deaf(image).args(["--stop-timeout", "0.1"]),
        ready,
    );
    let twice = |running: &mut Running| {
        running.wait_for("ready in ");
        running.signal(TERM);
        running.wait_for("fake: deaf to TERM");
        running.signal(TERM);
        running.end()
    };
    lived("server-killed-at-once", deaf, twice);
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
        "welcome-news",
        |image| {
            every_fate(image);
            bare(image).env("AI_LAB_VERSION", "2.0.0")
        },
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
        "hub-gives-up",
        |image| {
            let url = format!("http://127.0.0.1:{}/user/alice/", image.port);
            let start = server(image).env("JUPYTERHUB_SERVICE_URL", &url);
            let start = start
                .env("JUPYTERHUB_API_TOKEN", "x")
                .env("FAKE", "unbound");
            start.env("JUPYTERHUB_CLIENT_ID", "x")
        },
        |running| {
            running.wait_for("is running at:");
            running.signal(TERM);
            running.end()
        },
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
        "password-in-another-file",
        |image| {
            let start = server(image).args(["--jupyter-arg", "--config=/nonexistent/x.py"]);
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
    lived(
        "flag-beside-jupyters-own-setting",
        |image| {
            configured(image, "c.ServerApp.ip = '127.0.0.1'\n");
            server(image).args(["--ip", "127.0.0.2"])
        },
        ready,
    );
    start("values-that-yield", |image| {
        configured(image, "if x:\n    c.ServerApp.ip = '127.0.0.1'\n");
        let options = image.options();
        let pairs = options.chunks(2).filter(|pair| pair[0] != "--ip");
        let start = Start::pid1().args(pairs.flatten());
        start.args(["--jupyter-server", "jupyter-lab", "--dry-run"])
    });
    lived(
        "server-cannot-work",
        |image| {
            configured(image, "c.ServerApp.keyfile = '/nonexistent/key.pem'\n");
            std::os::unix::fs::symlink("../archive/cert.pem", image.path("cert.pem")).unwrap();
            let certificate = format!("--certfile={}", image.path("cert.pem").display());
            server(image).args(["--jupyter-arg", &certificate]).args([
                "--",
                "jupyter-lab",
                "--notebook-dir",
                "/nonexistent",
            ])
        },
        ended,
    );
    lived(
        "server-directory-of-others",
        |image| {
            fs::create_dir(image.path("other")).unwrap();
            let other = image.path("other").display().to_string();
            server(image).args(["jupyter-lab", "--notebook-dir", &other])
        },
        ready,
    );
    lived(
        "what-a-kernel-left-is-ended",
        |i| server(i).env("FAKE", "kernel").args(["--orphans", "end"]),
        |running| {
            running.wait_for("are ended: 2");
            ready(running)
        },
    );
    lived(
        "server-with-few-files",
        |i| server_in(i, "ulimit -n 100; exec").args(["--password", "ailab"]),
        ready,
    );
    lived("server-dry-run", |i| server(i).arg("--dry-run"), ended);
}

#[test]
fn what_can_be_taken_away_or_was_never_there() {
    lived(
        "logfile-is-a-device",
        |i| bare(i).args(["--jupyter-logfile", "/dev/null"]),
        ready,
    );
    lived(
        "notified-by-nobody",
        |i| bare(i).env("NOTIFY_SOCKET", "/nonexistent/socket"),
        |running| {
            running.wait_for("READY=1");
            running.signal(TERM);
            running.end()
        },
    );
    // Whoever made the port's listener ends when it listens.
    lived(
        "port-is-taken",
        |image| {
            fs::write(image.path("api"), "").unwrap();
            let code = format!(
                "import http.server as h, os; os.chdir('{}'); \
                 s = h.HTTPServer(('127.0.0.1', {}), h.SimpleHTTPRequestHandler); \
                 os.fork() and os._exit(0); os.dup2(os.open('/dev/null', 1), 2); \
                 s.serve_forever()",
                image.dir.path().display(),
                image.port
            );
            server_in(image, &format!("python3 -c \"{code}\"\nexec")).env("FAKE", "unbound silent")
        },
        |running| {
            running.wait_for("another program has the port");
            // It has its handlers by then.
            running.wait_for("fake: stdin");
            running.signal(TERM);
            running.end()
        },
    );
    lived(
        "settings-are-not-recorded",
        |image| {
            fs::create_dir_all(image.path("state/settings.toml")).unwrap();
            fs::create_dir(image.path("notebooks")).unwrap();
            for name in ["state", "notebooks"] {
                chown(image.path(name), Some(UID), Some(UID)).unwrap();
            }
            let ids = format!("setpriv --reuid={UID} --regid={UID} --clear-groups --");
            server_in(image, &format!("exec {ids}")).args(["--log-level", "debug"])
        },
        ready,
    );
    lived(
        "settings-open-to-others",
        |image| server_in(image, "chmod 777 /run\nexec"),
        ready,
    );
    let long = format!("--A.b={}", "x".repeat(70_000));
    lived(
        "settings-too-long",
        |image| bare(image).args(["--jupyter-arg", &long]),
        ready,
    );
}

#[test]
fn the_ends_of_a_server() {
    lived("server-dies", |i| server(i).env("FAKE", "dies"), ended);
    lived(
        "server-of-another-machine",
        |image| {
            // For a machine that nobody has any more (EM_M32).
            let elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x01\0";
            fs::write(image.path("venv/bin/jupyter-lab"), elf).unwrap();
            bare(image)
        },
        ended,
    );
    lived(
        "server-kept-out",
        |image| {
            fs::create_dir(image.path("notebooks")).unwrap();
            let closed = fs::Permissions::from_mode(0o700);
            fs::set_permissions(image.path("notebooks"), closed).unwrap();
            bare(image).args(["--volume-owner", "keep"])
        },
        ended,
    );
    lived(
        "server-without-threads",
        |image| server_in(image, "exec prlimit --nproc=1 --"),
        ended,
    );
    lived(
        "server-not-there",
        |image| {
            fs::remove_file(image.path("venv/bin/jupyter-lab")).unwrap();
            server(image).args(["--jupyter-server", "/nonexistent/jupyter-lab"])
        },
        ended,
    );
    lived(
        "server-ended-silently",
        |image| {
            fs::write(image.path("venv/bin/jupyter-lab"), "#!/bin/sh\n").unwrap();
            server(image)
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
