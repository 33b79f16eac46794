//! The exit code is the command's own; 128+n for signal n; 126, 127, 2, 78 and 1 for
//! what went wrong before it ran. The first two are in `compliance.rs`.

use std::path::Path;

use crate::support::{Image, PROGRAM, Start};

#[test]
fn a_command_that_cannot_be_run_is_126_or_127_as_under_tini() {
    let image = Image::new();
    std::fs::write(image.path("plain"), "x").unwrap();
    let plain = image.path("plain").display().to_string();
    for command in ["/nonexistent/program", "no-such-program", &plain, "/"] {
        let ours = image.command([command]).run();
        let tini = Start::wrapped("tini").args(["--", command]).run();
        assert_eq!(ours.code, tini.code, "{command}: {}", ours.stderr);
        assert!(ours.stderr.contains(command), "{}", ours.stderr);
    }
}

/// Such as with `docker run --pids-limit 1`.
#[test]
fn a_command_that_no_process_is_left_for_is_126_and_the_limit_is_named() {
    let image = Image::new();
    let ended = image.command(["true"]).under(&["prlimit", "--nproc=1"]);
    let ended = ended.run();
    assert_eq!(ended.code, 126, "{}", ended.stderr);
    let last = ended.stderr.lines().last().unwrap();
    assert!(
        last.contains("true could not be started: Resource "),
        "{last}"
    );
    let limits = "; is --pids-limit too low, or --ulimit nproc, which counts ";
    assert!(last.contains(limits), "{last}");
}

#[test]
fn a_wrong_command_line_is_2_and_a_wrong_value_is_78() {
    for (args, code, words) in [
        (&["--prot", "1"][..], 2, "--port"),
        (&["--port"], 2, "--port"),
        (
            &["--port", "0"],
            78,
            "server.port (from --port): \"0\" is not a port",
        ),
        (
            &["--port", "x", "--home", ""],
            78,
            "user.home (from --home): \"\" is empty",
        ),
        (&["--port", "-1"], 78, "\"-1\" is not a port"),
        (&["--stop-timeout", "-1"], 78, "\"-1\" is not a time"),
        (&["--drain-timeout", "-0.5"], 78, "\"-0.5\" is not a time"),
        (&["--user", "-1"], 78, "there is no user \"-1\" here"),
        (&["-1"], 2, "unexpected argument '-1'"),
        (
            &["--config", "/nonexistent/x.toml"],
            78,
            "/nonexistent/x.toml",
        ),
        (
            &["--config", ""],
            78,
            "config (from --config): \"\" is empty",
        ),
        (&["--help"], 0, ""),
        (&["--version"], 0, ""),
    ] {
        let ended = Start::plain().args(args).run();
        assert_eq!(ended.code, code, "{args:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(words), "{args:?}: {}", ended.stderr);
    }
    for flag in ["--notebooks", "--jupyter-arg"] {
        let script = "flag=$1; shift; exec \"$@\" \"$flag\" \"$(printf '\\377')\"";
        let start = Start::wrapped("sh").args(["-c", script, "sh", flag, PROGRAM]);
        let ended = start.run();
        assert_eq!(ended.code, 78, "{}", ended.stderr);
        let words = format!("(from {flag}): is not UTF-8");
        assert!(ended.stderr.contains(&words), "{}", ended.stderr);
    }
}

#[test]
fn a_password_that_cannot_be_one_is_78_before_anything_is_touched() {
    let image = Image::new();
    for (variables, words) in [
        (&[("JUPYTER_PASSWORD", " x")][..], "white space"),
        (
            &[
                ("JUPYTER_PASSWORD", "x"),
                ("JUPYTER_PASSWORD_FILE", "/nonexistent"),
            ],
            "JUPYTER_PASSWORD and environment variable JUPYTER_PASSWORD_FILE",
        ),
    ] {
        let mut start = image.server();
        for (name, value) in variables {
            start = start.env(name, value);
        }
        let ended = start.run();
        assert_eq!(ended.code, 78, "{}", ended.stderr);
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
        assert!(!image.path("notebooks/start.ipynb").exists());
    }
}

/// What is wrong in a settings file, on the command line, in the environment, with the
/// accounts, the hooks and the password.
fn wrong_everywhere(image: &Image, file: &Path) -> Start {
    let hooks = image.path("hooks/root");
    std::fs::create_dir_all(&hooks).unwrap();
    std::fs::write(hooks.join("10-x"), "#!/bin/sh\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(hooks.join("10-x"), mode).unwrap();
    Start::pid1()
        .args(["--config", file.to_str().unwrap()])
        .args(["--user", "nobody-of-that-name", "--group", "no-such-group"])
        .args(["--hooks", image.path("hooks").to_str().unwrap()])
        .args([
            "--home",
            "",
            "--notebooks",
            image.path("notebooks").to_str().unwrap(),
        ])
        .env("AI_LAB_STOP_TIMEOUT", "soon")
        .env("JUPYTER_PASSWORD", " x")
}

/// Of whom each line is.
const WRONG: [&str; 8] = [
    "server.port (from /root/",
    "server.prot (from /root/",
    "user.home (from --home)",
    "server.stop_timeout (from environment variable AI_LAB_STOP_TIMEOUT)",
    "user.name (from --user): there is no user \"nobody-of-that-name\" here; name one of",
    "user.group (from --group): there is no group \"no-such-group\" here; name one of",
    "hooks.directory (from --hooks)",
    "password (from environment variable JUPYTER_PASSWORD)",
];

#[test]
fn whatever_is_wrong_is_told_at_once_and_as_json_where_that_is_asked_for() {
    let image = Image::new();
    // Others can write where the tests are, and so nothing there is root's word.
    let file = tempfile::NamedTempFile::new_in("/root").unwrap();
    let text = "[server]\nprot = 1\nport = 'x'\n[log]\nformat = 'json'\n";
    std::fs::write(file.path(), text).unwrap();
    let ended = wrong_everywhere(&image, file.path()).run();
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (78, ""),
        "{}",
        ended.stderr
    );
    let lines = ended.stderr.lines().map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            (&line["level"], &line["logger"]),
            (&"error".into(), &"ai-lab".into())
        );
        line["message"].as_str().unwrap().to_owned()
    });
    let lines: Vec<String> = lines.collect();
    assert_eq!(lines.len(), WRONG.len(), "{lines:#?}");
    for (line, expected) in lines.iter().zip(WRONG) {
        assert!(
            line.starts_with(&format!("settings: {expected}")),
            "{lines:#?}"
        );
    }
    assert!(!image.path("notebooks").exists());
}

#[test]
fn the_format_of_the_log_is_that_of_the_first_who_names_it() {
    for (args, variable, json) in [
        (&["--port", "0"][..], "", false),
        (&["--port", "0", "--log-format", "json"], "", true),
        (&["--port", "0"], "json", true),
        (&["--port", "0", "--log-format", "text"], "json", false),
        (&["--port", "0", "--log-format", "xml"], "json", false),
    ] {
        let ended = Start::plain()
            .args(args)
            .env("AI_LAB_LOG_FORMAT", variable)
            .run();
        assert_eq!(ended.code, 78, "{}", ended.stderr);
        let begin = if json { "{\"time\":" } else { "[E " };
        assert!(
            ended.stderr.starts_with(begin),
            "{args:?}: {}",
            ended.stderr
        );
    }
}

#[test]
fn another_name_for_root_is_no_user() {
    // With the rest of the file, so that everyone else is who they are.
    let file = tempfile::NamedTempFile::new().unwrap();
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap();
    std::fs::write(
        file.path(),
        format!("{accounts}toor:x:0:0::/root:/bin/sh\n"),
    )
    .unwrap();
    let script = "mount --bind \"$1\" /etc/passwd; shift; exec \"$@\"";
    let path = file.path().to_str().unwrap();
    let start = |user| Start::plain().args(["--user", user, "--", "true"]);
    let ended = start("toor").under(&["unshare", "-m", "sh", "-c", script, "sh", path]);
    let ended = ended.run();
    assert_eq!(ended.code, 78, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("\"toor\" is another name for root"),
        "{}",
        ended.stderr
    );
    // Started without root, nobody is looked up.
    let ended = start("nobody-of-that-name");
    let ended = ended.under(&["setpriv", "--reuid=4242", "--regid=4242", "--clear-groups"]);
    let ended = ended.env("AI_LAB_STATE_DIR", "/nonexistent").run();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
}

#[test]
fn a_preparation_that_fails_is_1_and_says_why() {
    let ended = Start::pid1()
        .args(["--user", "4242", "--notebooks", "/", "--", "true"])
        .run();
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("is the root of the file system"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_verb_that_is_mistyped_or_misplaced_is_named() {
    let image = Image::new();
    for (words, said) in [
        (
            ["--", "helthcheck"],
            "; did you mean the verb `healthcheck`?",
        ),
        (
            ["--", "healthcheck"],
            "; `healthcheck` is a verb only as the very first word",
        ),
    ] {
        let ended = Start::pid1().args(image.options()).args(words).run();
        assert_eq!(ended.code, 127, "{}", ended.stderr);
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
    let ended = image.command(["no-such-program"]).run();
    assert!(!ended.stderr.contains("verb"), "{}", ended.stderr);
}

#[test]
fn times_that_docker_does_not_give_are_told_and_no_more() {
    let image = Image::new();
    let long = [
        "--stop-timeout",
        "9",
        "--warning-as-error",
        "--drain-timeout",
    ];
    let said = "server.stop_timeout 9 s (from --stop-timeout) and server.drain_timeout";
    let mut running = image.server().args(long).arg("5").start();
    let line = running.wait_for(said);
    assert!(
        line.contains("5 s (from --drain-timeout) are 14 s together"),
        "{line}"
    );
    assert!(line.contains("docker run --stop-timeout 15"), "{line}");
    running.wait_for("] ready in ");
    drop(running);
    let mut running = image.server().args(long).arg("0.9").start();
    running.wait_for("] ready in ");
    assert!(!running.has_said(said));
}

#[test]
fn under_warning_as_error_any_degradation_is_the_end() {
    let image = Image::new();
    let log = image.path("home/no/such/dir/log").display().to_string();
    let start = || image.server().args(["--jupyter-logfile", &log]);
    let ended = start().arg("--warning-as-error").run();
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(ended.stderr.contains(&log), "{}", ended.stderr);
    let mut running = start().start();
    running.wait_for("The server for Jupyter has been started successfully.");
}

/// The user may enter a directory whose names it cannot read.
#[test]
fn a_wrong_interpreter_is_named_whatever_the_user_can_read_of_the_notebooks() {
    use std::os::unix::fs::PermissionsExt;
    let image = Image::new();
    let notebooks = image.path("notebooks");
    std::fs::create_dir(&notebooks).unwrap();
    std::fs::set_permissions(&notebooks, PermissionsExt::from_mode(0o711)).unwrap();
    std::fs::write(
        image.path("venv/bin/jupyter-lab"),
        "#!/nonexistent/python\n",
    )
    .unwrap();
    let ended = image.server().args(["--volume-owner", "keep"]).run();
    assert_eq!(ended.code, 127, "{}", ended.stderr);
    let said = "the interpreter that it names, /nonexistent/python, does not";
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
}
