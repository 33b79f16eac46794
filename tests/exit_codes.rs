//! The exit code is the command's own; 128+n for signal n; 126, 127, 2, 78 and 1 for
//! what went wrong before it ran. The first two are in `compliance.rs`.
#![allow(clippy::unwrap_used)]

mod support;

use support::{Image, Start};

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
            &["--port", "x", "--home", "y"],
            78,
            "is not an absolute path",
        ),
        (
            &["--config", "/nonexistent/x.toml"],
            78,
            "/nonexistent/x.toml",
        ),
        (&["--help"], 0, ""),
        (&["--version"], 0, ""),
    ] {
        let ended = Start::plain().args(args).run();
        assert_eq!(ended.code, code, "{args:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(words), "{args:?}: {}", ended.stderr);
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

#[test]
fn a_preparation_that_fails_is_1_and_says_why() {
    let ended = Start::pid1()
        .args(["--user", "nobody-of-that-name", "--", "true"])
        .run();
    assert_eq!(ended.code, 1);
    assert!(
        ended.stderr.contains("nobody-of-that-name"),
        "{}",
        ended.stderr
    );
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
