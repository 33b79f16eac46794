//! A server is started with what it needs, watched, and told about when it answers.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use crate::support::{Image, Start, UID, get};

const WELCOME: &str = "The server for Jupyter has been started successfully.";

#[test]
fn the_welcome_comes_when_the_server_answers_and_tells_how_to_get_in() {
    let image = Image::new();
    let mut running = image.server().start();
    running.wait_for(WELCOME);
    assert_eq!(get(image.port, "/api"), Some(200));
    running.wait_for(&format!("http://localhost:{}", image.port));
    running.wait_for(&format!("http://<host>:{}", image.port));
    running.wait_for("ailab");
    running.wait_for("docker run --env JUPYTER_PASSWORD=<your password>");
    let line = running.wait_for("] ready in ");
    for part in ["claim", "access", "notebooks", "password", "server"] {
        assert!(line.contains(&format!("{part} ")), "{line}");
    }
    running.signal(15);
    assert_eq!(running.end(), 0);
}

#[test]
fn the_default_password_is_named_only_while_it_is_in_force() {
    let image = Image::new();
    let mut running = image
        .server()
        .env("JUPYTER_PASSWORD", "another one")
        .start();
    running.wait_for("Successfully changed the password of Jupyter server.");
    running.wait_for("] ready in ");
    running.signal(15);
    assert_eq!(running.end(), 0);
    let (stdout, stderr) = running.everything();
    for secret in ["ailab\n", "another one"] {
        assert!(
            !stdout.contains(secret) && !stderr.contains(secret),
            "{stderr}"
        );
    }
    // The next start finds a password that somebody chose.
    let mut running = image.server().start();
    running.wait_for("] ready in ");
    running.signal(15);
    running.end();
    let (_, stderr) = running.everything();
    assert!(
        !stderr.contains("JUPYTER_PASSWORD=<your password>"),
        "{stderr}"
    );
}

/// `CMD ["jupyter-lab", "--notebook-dir='/work'"]` of a Dockerfile: Jupyter removes the quotes.
#[test]
fn a_directory_in_quotation_marks_is_a_directory() {
    let image = Image::new();
    let directory = format!("--notebook-dir='{}'", image.path("home").display());
    let mut running = image.server().args(["jupyter-lab", &directory]).start();
    running.wait_for("] ready in ");
    running.signal(15);
    assert_eq!(running.end(), 0);
}

#[test]
fn what_runs_has_the_umask_that_is_asked_for() {
    let image = Image::new();
    let mut running = image.server().env("NB_UMASK", "002").start();
    running.wait_for("] ready in ");
    assert_eq!(running.status(running.main_pid(), "Umask"), "0002");
    let options = image.options();
    let start = || Start::pid1().args(&options);
    for (umask, said) in [(&[][..], "0022\n"), (&["--umask", "27"], "0027\n")] {
        let ended = start().args(umask).args(["--", "sh", "-c", "umask"]).run();
        assert_eq!(ended.stdout, said, "{umask:?}: {}", ended.stderr);
    }
    for wrong in ["700", "1000", "8", "u=rwx"] {
        let ended = start().args(["--umask", wrong]).run();
        assert_eq!(ended.code, 78, "{wrong}: {}", ended.stderr);
        assert!(
            ended.stderr.contains("is not a umask; give three"),
            "{}",
            ended.stderr
        );
    }
}

/// Engines give 1024 open files and allow far more; a command keeps what it was given.
#[test]
fn a_server_may_have_more_files_open_and_a_command_what_it_was_given() {
    let image = Image::new();
    let limited =
        |limit: &str, start: Start| start.under(&["prlimit", &format!("--nofile={limit}"), "--"]);
    for (limit, expected) in [
        ("1024:4096", "4096"),
        ("4096:4096", "4096"),
        ("256:512", "512"),
    ] {
        let mut running = limited(limit, image.server()).start();
        running.wait_for("] ready in ");
        let main = running.main_pid();
        let limits = std::fs::read_to_string(format!("/proc/{main}/limits")).unwrap();
        let line = limits
            .lines()
            .find(|line| line.starts_with("Max open files"));
        let soft = line.unwrap().split_whitespace().nth(3).unwrap();
        assert_eq!(soft, expected, "{limit}");
        running.signal(15);
        running.end();
    }
    let command = image.command(["sh", "-c", "ulimit -Sn"]);
    let ended = limited("1024:4096", command).run();
    assert_eq!(ended.stdout, "1024\n", "{}", ended.stderr);
}

#[test]
fn the_key_phrases_are_said() {
    let image = Image::new();
    let mut running = image.server().start();
    running.wait_for(WELCOME);
    let path = |name| image.path(name).display().to_string();
    for phrase in [
        format!("Did chown -R {UID}:{UID} {}", path("notebooks")),
        format!("Switched uid/gid to {UID}/{UID}"),
        format!(
            "Copied notebooks from {} to {}",
            path("defaults"),
            path("notebooks")
        ),
        "Disabled coredumps".into(),
        format!("Changed environment variable PATH to {}/bin:", path("venv")),
        "Successfully changed the password of Jupyter server.".into(),
    ] {
        running.wait_for(&phrase);
    }
}

#[test]
fn the_server_runs_as_the_user_in_the_notebooks_with_an_empty_stdin() {
    let image = Image::new();
    let mut running = image.server().start();
    let notebooks = image.path("notebooks").display().to_string();
    let line = running.wait_for("fake: pid");
    assert!(
        line.ends_with(&format!("in {notebooks} as {UID}")),
        "{line}"
    );
    running.wait_for("fake: stdin /dev/null");
    let line = running.wait_for("fake: arguments");
    for argument in [
        format!("--ServerApp.port={}", image.port),
        "--ServerApp.port_retries=0".into(),
        format!("--ServerApp.root_dir={notebooks}"),
    ] {
        assert!(line.contains(&argument), "{line}");
    }
    assert!(!line.contains("allow_root"), "{line}");
}

#[test]
fn a_server_without_a_ready_line_is_found_by_probing() {
    let image = Image::new();
    let mut running = image.server().env("FAKE", "silent").start();
    running.wait_for(WELCOME);
}

#[test]
fn a_base_url_is_found_in_the_servers_own_words() {
    let image = Image::new();
    let mut running = image
        .server()
        .args(["--jupyter-arg=--ServerApp.base_url=/deep/er/"])
        .start();
    running.wait_for(WELCOME);
    running.wait_for(&format!("http://localhost:{}/deep/er", image.port));
}

/// As a chart makes one of two parts, the first of which ends with a slash. Jupyter keeps both.
#[test]
fn a_base_url_with_two_slashes_is_probed_as_it_is() {
    let image = Image::new();
    let base = "--jupyter-arg=--ServerApp.base_url=/team//lab1/";
    let mut running = image.server().args([base, "--ready-timeout", "5"]).start();
    let ready = running.wait_for_any("the end of the wait", |line| {
        line.contains("] ready in ") || line.contains("does not answer")
    });
    assert!(ready.contains("] ready in "), "{ready}");
    running.wait_for(&format!("http://localhost:{}/team//lab1", image.port));
}

#[test]
fn a_server_that_never_answers_is_reported_with_its_last_words() {
    let image = Image::new();
    let mut running = image
        .server()
        .env("FAKE", "unbound")
        .args(["--ready-timeout", "1"])
        .start();
    running.wait_for("the server does not answer after 1 s; it keeps running");
    running.wait_for("remedy: wait, or give it more time with --ready-timeout; if it hangs");
    // It stops as well as one that answers.
    running.signal(15);
    assert_eq!(running.end(), 0);
    let (_, stderr) = running.everything();
    assert!(!stderr.contains(WELCOME), "{stderr}");
}

#[test]
fn the_logfile_has_the_same_lines() {
    let image = Image::new();
    let log = image.path("home/server.log");
    // An older version made it so. Jupyter's token may be in it.
    std::fs::write(&log, "").unwrap();
    std::os::unix::fs::chown(&log, Some(UID), Some(UID)).unwrap();
    std::fs::set_permissions(&log, Permissions::from_mode(0o644)).unwrap();
    let mut running = image
        .server()
        .args(["--jupyter-logfile", &log.display().to_string()])
        .start();
    running.wait_for("a line for stdout");
    running.wait_for(WELCOME);
    let mode = std::fs::metadata(&log).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    running.signal(15);
    assert_eq!(running.end(), 0);
    let (stdout, stderr) = running.everything();
    let written = std::fs::read_to_string(log).unwrap();
    assert_eq!(stdout, "fake: a line for stdout\n");
    for line in written.lines() {
        assert!(stdout.contains(line) || stderr.contains(line), "{line}");
    }
    for line in stderr.lines().filter(|line| line.starts_with("fake: ")) {
        assert!(written.contains(line), "{line}");
    }
}

#[test]
fn hub_mode_lets_the_hub_say_where_to_listen() {
    let image = Image::new();
    let url = format!("http://127.0.0.1:{}/user/alice/", image.port);
    let mut running = image
        .server()
        .env("JUPYTERHUB_SERVICE_URL", &url)
        .env("JUPYTERHUB_API_TOKEN", "t0ken")
        .env("JUPYTERHUB_COOKIE_OPTIONS", "")
        .env("JUPYTER_PASSWORD", " of no use to a hub ")
        .start();
    let line = running.wait_for("fake: arguments");
    assert!(!line.contains("port") && !line.contains("ip="), "{line}");
    let line = running.wait_for("fake: environment");
    assert!(line.contains("JUPYTERHUB_COOKIE_OPTIONS"), "{line}");
    running.wait_for("JUPYTERHUB_CLIENT_ID is not set: nobody will be able to log in");
    assert!(!image.path("home/.jupyter").exists(), "no password at all");
}

/// A socket to be notified at, and what comes there next.
fn notified(image: &Image) -> (String, impl Fn() -> String) {
    let path = image.path("notify.sock");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    std::os::unix::fs::chown(&path, Some(UID), None).unwrap();
    socket
        .set_read_timeout(Some(crate::support::LIMIT))
        .unwrap();
    let next = move || {
        let mut heard = [0; 64];
        let length = socket.recv(&mut heard).unwrap();
        String::from_utf8_lossy(heard[..length].trim_ascii_end()).into_owned()
    };
    (path.display().to_string(), next)
}

#[test]
fn whoever_asked_to_be_notified_is() {
    let image = Image::new();
    let (path, told) = notified(&image);
    let mut running = image.server().env("NOTIFY_SOCKET", &path).start();
    assert_eq!(told(), "READY=1");
    let line = running.wait_for("fake: environment");
    assert!(
        !line.contains("NOTIFY_SOCKET"),
        "the server is not asked: {line}"
    );
}

/// A server that says nothing and answers before it is first asked, on a busy machine.
#[test]
fn who_was_taken_for_another_program_is_ready_in_the_end() {
    let image = Image::new();
    let listener = std::net::TcpListener::bind(("127.0.0.1", image.port)).unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            use std::io::{Read, Write};
            let mut client = client.unwrap();
            let _ = client.read(&mut [0; 4096]);
            let _ = client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let mut running = image.server().env("FAKE", "silent unbound").start();
    running.wait_for("another program has the port");
    running.wait_for("] ready in ");
}

#[test]
fn a_boot_is_over_when_a_server_is_ready_be_it_the_second() {
    let image = Image::new();
    let (path, told) = notified(&image);
    let mut running = image
        .server()
        .env("FAKE", "reluctant")
        .env("NOTIFY_SOCKET", &path)
        .args(["--restart", "on-failure"])
        .start();
    running.wait_for("terminated with error code 3 before it was ready");
    running.wait_for(WELCOME);
    running.wait_for("The default password is \"ailab\".");
    let line = running.wait_for("] ready in ");
    assert!(line.contains("claim "), "{line}");
    assert_eq!(told(), "READY=1");
    // After that a restart is no boot.
    running.signal(1);
    let line = running.wait_for_next("] ready in ");
    assert!(!line.contains("claim "), "{line}");
    running.signal(15);
    assert_eq!(running.end(), 0);
    let (_, stderr) = running.everything();
    assert_eq!(stderr.matches(WELCOME).count(), 1, "{stderr}");
}

#[test]
fn what_jupyter_takes_for_on_where_it_is_empty_is_not_passed_on() {
    let image = Image::new();
    let script = "printenv JUPYTER_PLATFORM_DIRS JUPYTER_PREFER_ENV_PATH | cat; echo end";
    let start = image.command(["sh", "-c", script]);
    let start = start.env("JUPYTER_PLATFORM_DIRS", "");
    let ended = start.env("JUPYTER_PREFER_ENV_PATH", "0").run();
    assert_eq!(ended.stdout, "0\nend\n", "{}", ended.stderr);
}

#[test]
fn a_command_speaks_for_itself_to_whoever_asked_to_be_notified() {
    let image = Image::new();
    let start = image.command(["printenv", "NOTIFY_SOCKET"]);
    let ended = start.env("NOTIFY_SOCKET", "/the/socket").run();
    assert_eq!(ended.stdout, "/the/socket\n", "{}", ended.stderr);
}

#[test]
fn a_forced_password_is_in_force_though_the_venv_has_one() {
    let image = Image::new();
    let stale = r#"{"PasswordIdentityProvider": {"hashed_password": "sha1:x:y"}}"#;
    let etc = image.path("venv/etc/jupyter");
    std::fs::create_dir_all(&etc).unwrap();
    std::fs::write(etc.join("jupyter_server_config.json"), stale).unwrap();
    // What the user owns beats HOME.
    std::os::unix::fs::chown(image.path("venv"), Some(UID), None).unwrap();
    let mut running = image.server().env("JUPYTER_PASSWORD", "mine").start();
    let line = running.wait_for("fake: environment");
    assert!(line.contains("'JUPYTER_CONFIG_PATH'"), "{line}");
}
