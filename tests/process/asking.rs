//! `healthcheck`, `status` and `restart` ask the running supervisor.

use std::process::Command;

use crate::support::certificate::Pair;
use crate::support::tmpfs;
use crate::support::tracer;
use crate::support::{Image, PROGRAM, Running, Start, UID};

/// Runs a verb in the namespaces of a running supervisor, as `docker exec` does.
fn ask(running: &Running, image: &Image, words: &[&str]) -> (i32, String) {
    let output = Command::new("nsenter")
        .args([
            "--pid",
            "--mount",
            "--target",
            &running.pid().to_string(),
            "--",
            PROGRAM,
        ])
        .args(words)
        .arg("--state-dir")
        .arg(image.path("state"))
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).unwrap();
    (output.status.code().unwrap(), text)
}

#[test]
fn a_state_directory_of_the_settings_file_is_known_to_verbs() {
    let image = Image::new();
    // Where nobody but root can write.
    let roots = tempfile::tempdir_in("/srv").unwrap();
    let file = roots.path().join("entrypoint.toml");
    let state = image.path("state of mine").display().to_string();
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(roots.path(), everybody).unwrap();
    std::fs::write(&file, format!("state.directory = {state:?}\n")).unwrap();
    let file = file.display().to_string();
    let mut options = image.options();
    let at = options
        .iter()
        .position(|word| word == "--state-dir")
        .unwrap();
    options.drain(at..at + 2);
    let start = Start::wrapped("env").args([&format!("AI_LAB_CONFIG={file}"), PROGRAM]);
    let script = ["--", "sh", "-c", "echo it runs; exec sleep 1000"];
    let mut running = start.args(options).args(script).start();
    running.wait_for("it runs");
    let output = Command::new("nsenter")
        .args(["--pid", "--mount", "--target", &running.pid().to_string()])
        .args(["--", PROGRAM, "healthcheck"])
        .env("AI_LAB_CONFIG", &file)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn a_server_is_healthy_when_it_answers() {
    let image = Image::new();
    let mut running = image.server().env("FAKE", "unbound").start();
    running.wait_for("is running at:");
    let (code, text) = ask(&running, &image, &["healthcheck"]);
    assert_eq!(
        (code, text.as_str()),
        (1, "unhealthy: the server is starting\n")
    );
    drop(running);

    let mut running = image.server().start();
    running.wait_for("] ready in ");
    let (code, text) = ask(&running, &image, &["healthcheck"]);
    let healthy = format!("healthy: http://127.0.0.1:{}/api answers\n", image.port);
    assert_eq!((code, text), (0, healthy));
    let server = running
        .processes()
        .into_iter()
        .find(|(_, line)| line.contains("bin/jupyter-lab"));
    let (server, _) = server.unwrap();
    assert!(
        Command::new("kill")
            .args(["-STOP", &server.to_string()])
            .status()
            .unwrap()
            .success()
    );
    let (code, text) = ask(&running, &image, &["healthcheck"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("did not answer within"), "{text}");
}

/// A certificate nobody knows, with its key.
fn certificate(image: &Image) -> String {
    let path = image.path("venv/cert.pem").display().to_string();
    std::fs::write(&path, Pair::new().both()).unwrap();
    std::os::unix::fs::chown(&path, Some(UID), None).unwrap();
    path
}

#[test]
fn a_server_behind_tls_is_asked_like_any_other() {
    for fake in ["", "silent", "mtls"] {
        let image = Image::new();
        let argument = format!("--ServerApp.certfile={}", certificate(&image));
        let start = image.server().args(["--jupyter-arg", &argument]);
        let mut running = start.env("FAKE", fake).start();
        running.wait_for(&format!("https://localhost:{}", image.port));
        running.wait_for("] ready in ");
        let (code, text) = ask(&running, &image, &["healthcheck"]);
        assert_eq!(code, 0, "{fake}: {text}");
        assert!(text.contains("https://127.0.0.1"), "{text}");
        // One that hangs accepts connections as before.
        let pid = status(&running, &image)["main_pid"].to_string();
        let stop = |signal: &str| {
            let words =
                ["--pid", "--mount", "--target", &running.pid().to_string()].map(str::to_owned);
            let kill = ["--", "kill", signal, &pid].map(str::to_owned);
            let done = Command::new("nsenter").args(words).args(kill).status();
            assert!(done.unwrap().success());
        };
        stop("-STOP");
        let (code, text) = ask(&running, &image, &["healthcheck"]);
        assert_eq!(code, 1, "{fake}: {text}");
        stop("-CONT");
    }
}

fn status(running: &Running, image: &Image) -> serde_json::Value {
    let (code, text) = ask(running, image, &["status", "--json"]);
    assert_eq!(code, 0, "{text}");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_command_is_healthy_while_it_runs() {
    let image = Image::new();
    let (input, _talk) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut running = image
        .command(["sh", "-c", "echo it runs; read x"])
        .stdin(std::os::fd::OwnedFd::from(input))
        .start();
    running.wait_for("it runs");
    let (code, text) = ask(&running, &image, &["healthcheck"]);
    assert_eq!(code, 0, "{text}");
}

/// A start with a /dev/shm of its own, by way of another program.
fn with_its_own_memory(outer: &str) -> Start {
    let script = format!("mount -t tmpfs -o mode=1777 tmpfs /dev/shm && exec {outer} \"$@\"");
    Start::wrapped("sh").args(["-c", &script, "sh", PROGRAM])
}

#[test]
fn what_another_user_left_does_not_hide_what_a_start_tells() {
    let image = Image::new();
    let state = image.path("state");
    std::fs::create_dir(&state).unwrap();
    std::fs::write(state.join("state.json"), "{}").unwrap();
    std::os::unix::fs::chown(state.join("state.json"), Some(UID), None).unwrap();
    let home = image.path("home");
    std::os::unix::fs::chown(&home, Some(4343), None).unwrap();
    let start = with_its_own_memory("setpriv --reuid 4343 --regid 4343 --clear-groups")
        .args(["--state-dir", state.to_str().unwrap()])
        .args(["--home", home.to_str().unwrap()])
        .args(["--", "sh", "-c", "echo it runs; exec sleep 1000"]);
    let mut running = start.start();
    running.wait_for("it runs");
    let (code, text) = ask(&running, &image, &["healthcheck"]);
    assert_eq!(code, 0, "{text}");
}

#[test]
fn where_the_disk_is_full_the_state_is_elsewhere() {
    let image = Image::new();
    let options = "size=4k,mode=777";
    let _full = tmpfs::Tmpfs::mount(&image.path("state"), options);
    std::fs::write(image.path("state/room"), [0; 4096]).unwrap();
    let start = with_its_own_memory("").args(image.options());
    let mut running = start
        .args(["--", "sh", "-c", "echo it runs; exec sleep 1000"])
        .start();
    running.wait_for("it runs");
    let (code, text) = ask(&running, &image, &["healthcheck"]);
    assert_eq!(code, 0, "{text}");
}

#[test]
fn the_status_is_told_to_people_and_programs() {
    let image = Image::new();
    let mut running = image.server().start();
    running.wait_for("] ready in ");
    let (code, text) = ask(&running, &image, &["status"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("phase         ready, for "), "{text}");
    let (code, text) = ask(&running, &image, &["status", "--json"]);
    let state: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (code, &state["phase"], &state["mode"], &state["pid"]),
        (0, &"ready".into(), &"lab".into(), &1.into())
    );
    assert!(!text.contains("argon2"), "{text}");
}

#[test]
fn a_restart_is_asked_for_from_inside() {
    let image = Image::new();
    let mut running = image.server().start();
    running.wait_for("] ready in ");
    let (code, text) = ask(&running, &image, &["restart"]);
    assert_eq!(code, 0, "{text}");
    running.wait_for("fake: got TERM");
    running.wait_for_next("] ready in ");
    let (_, text) = ask(&running, &image, &["status"]);
    assert!(text.contains("restarts      1,"), "{text}");
}

#[test]
fn without_a_supervisor_there_is_nobody_to_ask() {
    for verb in ["healthcheck", "status", "restart"] {
        let ended = Start::pid1().arg(verb).run();
        assert_eq!(ended.code, 1, "{verb}");
        assert!(
            ended.stderr.contains("no ai-lab-entrypoint runs here"),
            "{}",
            ended.stderr
        );
    }
}

/// A health check runs every few seconds, beside any number of processes.
#[test]
fn a_supervisor_that_is_pid_1_is_found_without_a_look_at_every_process() {
    let image = Image::new();
    let mut running = image
        .command(["sh", "-c", "echo up; exec sleep 1000"])
        .start();
    running.wait_for_line("up");
    let target = running.pid().to_string();
    let state = image.path("state").display().to_string();
    // In its mount namespace, whose /proc is that of its processes.
    let start = Start::plain().args(["healthcheck", "--state-dir", &state]);
    let start = start.under(&["nsenter", "--mount", "--target", &target, "--"]);
    let (mut first, mut all) = (0, 0);
    let end = tracer::stop_before_each(start, |call| {
        first += u32::from(call.opens("/proc/1/comm"));
        all += u32::from(call.opens("/proc"));
        tracer::Then::GoOn
    });
    assert_eq!((end, first, all), (tracer::End::Exited(0), 1, 0));
}

#[test]
fn however_much_a_start_could_not_do_its_state_can_be_read() {
    let many: Vec<String> = (0..400)
        .map(|n| format!("/none/{n}/{}", "x".repeat(150)))
        .collect();
    let one = vec![format!("/none/{}", "y".repeat(120_000))];
    for (paths, left) in [(many, true), (one, false)] {
        let image = Image::new();
        let options = paths.iter().flat_map(|path| ["--grant-access", path]);
        let mut running = image.server().args(options).start();
        running.wait_for("] ready in ");
        let (code, text) = ask(&running, &image, &["healthcheck"]);
        assert_eq!(code, 0, "{text}");
        let (code, text) = ask(&running, &image, &["status"]);
        assert_eq!(code, 0, "{text}");
        let warnings = text.lines().filter(|line| line.starts_with("warning"));
        let mut told = warnings.clone().count();
        let more = warnings.filter_map(|line| line.split("and ").nth(1)?.split(' ').next());
        let more: Vec<usize> = more.filter_map(|count| count.parse().ok()).collect();
        assert_eq!(more.len(), usize::from(left), "{text}");
        told -= more.len();
        assert_eq!(told + more.iter().sum::<usize>(), paths.len(), "{text}");
        assert!(told > 0, "{text}");
        let file = std::fs::metadata(image.path("state/state.json")).unwrap();
        assert!(file.len() <= 64 * 1024, "{}", file.len());
        let (code, text) = ask(&running, &image, &["restart"]);
        assert_eq!(code, 0, "{text}");
        running.wait_for_next("] ready in ");
    }
}

/// What the user may put in the place of the state file, or make of its directory.
const OBSTACLES: [&str; 7] = [
    "mkdir -p state.json/a/b && touch state.json/a/b/c",
    "mkdir state.json .state.json.1 && touch .state.json.1/c",
    "mkfifo state.json .state.json.1",
    "python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"state.json\")'",
    "ln -s /etc/passwd state.json && ln -s /etc .state.json.1",
    "touch state.json && chmod 0 state.json && mkdir d && chmod 0 d",
    "mkdir state.json && chmod 0 .",
];

/// A shell's words before the program that make it the user's.
fn as_user() -> String {
    format!("setpriv --reuid={UID} --regid={UID} --clear-groups")
}

#[test]
fn whatever_the_user_put_in_its_place_the_next_start_keeps_its_state() {
    for obstacle in OBSTACLES {
        // Root without CAP_DAC_OVERRIDE has to be let in first.
        let meek = "setpriv --inh-caps=-dac_override,-dac_read_search \
                    --bounding-set=-dac_override,-dac_read_search";
        for identity in ["", meek, &as_user()] {
            let image = Image::new();
            std::fs::create_dir(image.path("state")).unwrap();
            std::fs::create_dir(image.path("notebooks")).unwrap();
            for name in ["state", "notebooks"] {
                std::os::unix::fs::chown(image.path(name), Some(UID), Some(UID)).unwrap();
            }
            let script = format!(
                "mount -t tmpfs -o mode=1777 tmpfs /dev/shm && \
                 (cd {state} && {user} sh -c '{obstacle}') && exec {identity} \"$@\"",
                state = image.path("state").display(),
                user = as_user(),
                obstacle = obstacle.replace('\'', "'\\''"),
            );
            let start = Start::wrapped("sh").args(["-c", &script, "sh", PROGRAM]);
            let start = start.args(image.options());
            let strict = ["--warning-as-error"];
            let strict = strict.iter().filter(|_| !identity.contains("reuid"));
            let command = ["--", "sh", "-c", "echo it runs; exec sleep 1000"];
            let mut running = start.args(strict).args(command).start();
            running.wait_for("it runs");
            let (code, text) = ask(&running, &image, &["healthcheck"]);
            assert_eq!(code, 0, "{obstacle}, {identity}: {text}");
            let there = std::fs::metadata(image.path("state/state.json"));
            let fits = there.is_ok_and(|data| data.is_file());
            assert!(
                fits || obstacle.ends_with("chmod 0 ."),
                "{obstacle}, {identity}: elsewhere"
            );
        }
    }
}

#[test]
fn nor_does_it_matter_what_is_in_the_place_of_the_directory() {
    let obstacles = [
        "touch \"$1\"",
        "ln -s /etc \"$1\"",
        "mkfifo \"$1\"",
        "mkdir \"$1\" && chmod 0 \"$1\"",
        "mkdir -p \"$1\"/state.json/a",
    ];
    for obstacle in obstacles {
        for identity in ["", &as_user()] {
            let image = Image::new();
            std::fs::create_dir(image.path("notebooks")).unwrap();
            std::os::unix::fs::chown(image.path("notebooks"), Some(UID), Some(UID)).unwrap();
            // The same in the place of the directory that is named and of the one in memory.
            let script = format!(
                "mount -t tmpfs -o mode=1777 tmpfs /dev/shm && \
                 own=$(printf 'ai-lab-{UID}-%x-%x' $(stat -c '%d %i' /)) && \
                 for place in {home}/state /dev/shm/$own; do \
                 {user} sh -c '{obstacle}' sh $place || exit 1; done && exec {identity} \"$@\"",
                home = image.path("home").display(),
                user = as_user(),
            );
            let start = Start::wrapped("sh").args(["-c", &script, "sh", PROGRAM]);
            let state = image.path("home/state").display().to_string();
            let start = start.args(image.options()).args(["--state-dir", &state]);
            let strict = ["--warning-as-error"];
            let strict = strict.iter().filter(|_| !identity.contains("reuid"));
            let command = ["--", "sh", "-c", "echo it runs; exec sleep 1000"];
            let mut running = start.args(strict).args(command).start();
            running.wait_for("it runs");
            let health = Command::new("nsenter")
                .args(["--pid", "--mount", "--target", &running.pid().to_string()])
                .args(["--", PROGRAM, "healthcheck", "--state-dir", &state])
                .output()
                .unwrap();
            assert_eq!(
                health.status.code(),
                Some(0),
                "{obstacle}, {identity}: {health:?}"
            );
        }
    }
}

#[test]
fn a_state_that_was_taken_away_is_warned_of_once() {
    let image = Image::new();
    let mut running = image.server().start();
    running.wait_for("] ready in ");
    std::fs::remove_dir_all(image.path("state")).unwrap();
    running.signal(libc::SIGHUP);
    running.wait_for("the state cannot be written: No such file or directory");
    running.wait_for("] ready in ");
    running.signal(libc::SIGTERM);
    assert_eq!(running.end(), 0);
    let (_, stderr) = running.everything();
    assert_eq!(
        stderr.matches("the state cannot be written").count(),
        1,
        "{stderr}"
    );
}
