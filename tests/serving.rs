//! A server is started, watched, told about, restarted and stopped in order.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Instant;

use support::{Image, UID, get};

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

#[test]
fn a_server_that_never_answers_is_reported_with_its_last_words() {
    let image = Image::new();
    let mut running = image
        .server()
        .env("FAKE", "unbound")
        .args(["--ready-timeout", "1"])
        .start();
    running.wait_for("the server does not answer after 1 s; it keeps running");
    // It stops as well as one that answers.
    running.signal(15);
    assert_eq!(running.end(), 0);
    let (_, stderr) = running.everything();
    assert!(!stderr.contains(WELCOME), "{stderr}");
}

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
fn int_and_quit_reach_the_server_as_term() {
    for number in [2, 3] {
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
fn the_logfile_has_the_same_lines() {
    let image = Image::new();
    let log = image.path("home/server.log");
    let mut running = image
        .server()
        .args(["--jupyter-logfile", &log.display().to_string()])
        .start();
    running.wait_for("a line for stdout");
    running.wait_for(WELCOME);
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
    socket.set_read_timeout(Some(support::LIMIT)).unwrap();
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
fn a_program_that_is_missing_for_a_moment_is_tried_again() {
    let image = Image::new();
    let program = image.path("venv/bin/jupyter-lab");
    let mut running = image.server().args(["--restart", "always"]).start();
    running.wait_for("] ready in ");
    let away = image.path("venv/bin/away");
    std::fs::rename(&program, &away).unwrap();
    let server = running.main_pid();
    support::process::send(server, libc::SIGKILL);
    running.wait_for("the server is started again in 1 s");
    running.wait_for("the server is started again in 2 s");
    std::fs::rename(&away, &program).unwrap();
    running.wait_for_next("] ready in ");
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
    running.wait_for("Password:              ailab");
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

/// Somebody who comes into the namespace as `docker exec` does; ready when it says so.
fn stranger(running: &support::Running, uid: u32, script: &str) -> std::process::Child {
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
