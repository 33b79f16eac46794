//! Every verb's output and errors, and its help.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;

use super::asked::asked;
use super::golden::{compare, on_terminal, ours};
use super::serving::server;
use super::volume::notebook;
use crate::support::process::until;
use crate::support::terminal::Terminal;
use crate::support::{Image, PROGRAM, Start, UID};

#[test]
fn of_a_running_server() {
    let image = Image::new();
    for name in ["work.ipynb", "same"] {
        fs::write(image.path("defaults").join(name), "1\n").unwrap();
    }
    fs::write(image.path("defaults/binary"), b"\xff\n").unwrap();
    let start = server(&image).env("AI_LAB_VERSION", "1.0.0");
    asked("verbs-server", start, &image, "] ready in ", |asked| {
        for name in ["work.ipynb", "binary"] {
            fs::write(image.path("notebooks").join(name), "mine\n").unwrap();
        }
        asked.ask(&["healthcheck"], "");
        asked.ask(&["status"], "");
        asked.ask(&["status", "--json"], "");
        asked.ask(&["notebooks", "status"], "");
        asked.ask(&["notebooks", "status", "--json"], "");
        asked.ask(&["notebooks", "diff"], "");
        asked.ask(&["notebooks", "diff", "nothing"], "");
        asked.ask(&["notebooks", "diff", "/etc/passwd"], "");
        asked.ask(
            &[
                "notebooks",
                "restore",
                "work.ipynb",
                "same",
                "nothing",
                "../x",
            ],
            "",
        );
        asked.ask(&["password", "check"], "ailab");
        asked.ask(&["password", "check"], "other");
        asked.ask(&["password", "set"], " x");
        asked.ask(&["password", "set"], "another");
        asked.ask(&["password", "set"], "another");
        asked.ask(&["config", "show"], "");
        asked.ask(&["config", "show", "--origin"], "");
        asked.ask(&["stauts"], "");
        asked.ask(&["bash"], "");
    });
}

#[test]
fn of_a_rescue() {
    let image = Image::new();
    let start = image.rescued(server(&image)).env("JUPYTER_PASSWORD", "x");
    asked("verbs-rescue", start, &image, "] ready in ", |asked| {
        asked.ask(&["healthcheck"], "");
        asked.ask(&["status"], "");
        asked.ask(&["status", "--json"], "");
    });
}

#[test]
fn of_notebooks_that_were_only_run() {
    let image = Image::new();
    notebook(&image, "defaults/work.ipynb", "1", "");
    let start = server(&image).env("AI_LAB_VERSION", "1.0.0");
    asked(
        "verbs-run-notebooks",
        start,
        &image,
        "] ready in ",
        |asked| {
            asked.ask(&["notebooks", "restore", "--kept"], "");
            notebook(&image, "notebooks/work.ipynb", "1", "ran");
            asked.ask(&["notebooks", "status"], "");
            notebook(&image, "defaults/work.ipynb", "2", "");
            asked.ask(&["notebooks", "status"], "");
            let kept = image.path("notebooks/.ai-lab/kept/1.0.0");
            for name in ["work.ipynb", "gone.ipynb"] {
                notebook_below(&kept, name);
            }
            asked.ask(&["notebooks", "restore", "--kept", "start.ipynb"], "");
            let record = image.path("notebooks/.ai-lab/manifest.sha256");
            let mut text = fs::read_to_string(&record).unwrap();
            text.push_str(&format!("# kept {}  1.0.0/work.ipynb\n", "0".repeat(64)));
            fs::write(&record, text).unwrap();
            asked.ask(&["notebooks", "restore", "--kept"], "");
            notebook_below(&kept, "start.ipynb/deeper.ipynb");
            asked.ask(&["notebooks", "restore", "--kept", "start.ipynb"], "");
        },
    );
}

/// Writes what a start kept.
fn notebook_below(directory: &Path, name: &str) {
    let path = directory.join(name);
    let mut above = path.parent().unwrap();
    fs::create_dir_all(above).unwrap();
    fs::write(&path, "ran").unwrap();
    chown(&path, Some(UID), Some(UID)).unwrap();
    while !above.ends_with(".ai-lab") {
        chown(above, Some(UID), Some(UID)).unwrap();
        above = above.parent().unwrap();
    }
}

#[test]
fn of_a_server_whose_password_is_on_the_line() {
    let image = Image::new();
    let named = "--PasswordIdentityProvider.hashed_password=argon2:x";
    let start = image.server().args(["--", "jupyter-lab", named]);
    asked(
        "verbs-password-on-the-line",
        start,
        &image,
        "] ready in ",
        |asked| {
            asked.ask(&["password", "check"], "ailab");
            asked.ask(&["password", "set"], "another");
        },
    );
}

#[test]
fn of_a_server_whose_password_only_python_knows() {
    let image = Image::new();
    let directory = image.path("venv/etc/jupyter");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("jupyter_config.py"), "exec('')\n").unwrap();
    asked(
        "verbs-password-of-python",
        image.server(),
        &image,
        "] ready in ",
        |asked| asked.ask(&["password", "check"], "ailab"),
    );
}

#[test]
fn of_a_command_and_of_a_hub() {
    let image = Image::new();
    let (input, _talk) = std::os::unix::net::UnixStream::pair().unwrap();
    let start = image.command(["sh", "-c", "echo it runs; read x"]);
    let start = start.stdin(std::os::fd::OwnedFd::from(input));
    asked("verbs-command", start, &image, "it runs", |asked| {
        let state = asked.image.path("state/state.json");
        until("it is told what runs", || state.exists());
        asked.ask(&["healthcheck"], "");
        asked.ask(&["restart"], "");
    });
    let image = Image::new();
    let url = format!("http://127.0.0.1:{}/user/alice/", image.port);
    let start = server(&image).env("JUPYTERHUB_SERVICE_URL", &url);
    asked("verbs-hub", start, &image, "] ready in ", |asked| {
        asked.ask(&["password", "set"], "x");
        asked.ask(&["restart"], "");
    });
    let image = Image::new();
    let start = server(&image).env("FAKE", "unbound");
    asked("verbs-starting", start, &image, "is running at:", |asked| {
        asked.ask(&["healthcheck"], "");
    });
    let image = Image::new();
    let start = server(&image).env("JUPYTER_PASSWORD", "forced");
    asked(
        "verbs-forced-password",
        start,
        &image,
        "] ready in ",
        |asked| {
            asked.ask(&["password", "set"], "another");
        },
    );
}

#[test]
fn of_a_start_without_root_that_root_asks() {
    let image = Image::new();
    for name in ["state", "notebooks"] {
        fs::create_dir(image.path(name)).unwrap();
        chown(image.path(name), Some(UID), Some(UID)).unwrap();
    }
    let script = format!("exec setpriv --reuid={UID} --regid={UID} --clear-groups \"$@\"");
    let start = Start::wrapped("sh").args(["-c", &script, "sh", PROGRAM]);
    let start = start.args(image.options());
    let start = start.args(["--", "sh", "-c", "echo it runs; exec sleep 1000"]);
    asked("verbs-not-believed", start, &image, "it runs", |asked| {
        asked.ask(&["config", "show"], "");
    });
}

#[test]
fn without_a_start() {
    let image = Image::new();
    fs::write(image.path("wrong.toml"), "port = 1\n").unwrap();
    fs::write(image.path("right.toml"), "strict = true\n").unwrap();
    // What was changed in this very second is not sealed.
    let file = fs::File::options()
        .write(true)
        .open(image.path("defaults/start.ipynb"));
    file.unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    let path = |name| image.path(name).display().to_string();
    let (wrong, right, absent) = (path("wrong.toml"), path("right.toml"), path("absent"));
    let defaults = path("defaults");
    let asked: &[&[&str]] = &[
        &["healthcheck"][..],
        &["status"],
        &["restart"],
        &["config", "show"],
        &["config", "show", "--config", "/nonexistent"],
        &["config", "check", &wrong],
        &["config", "check", &right],
        &["config", "check", &absent],
        &["notebooks", "status"],
        &[
            "notebooks",
            "status",
            "--notebooks",
            &absent,
            "--notebook-defaults",
            &absent,
        ],
        &[
            "notebooks",
            "status",
            "--notebooks",
            &absent,
            "--notebook-defaults",
            &defaults,
        ],
        &["notebooks", "seal", &absent],
        &["notebooks", "seal", &defaults],
        &["notebooks", "seal", "/tmp"],
        &["password", "hash"],
        &["completions", "tcsh"],
        &["healthcheck", "now"],
    ];
    let said = |start: Start| {
        let ended = start.run();
        let said = ours(&(ended.stdout + &ended.stderr), &image);
        format!(", exit code {}\n{said}", ended.code)
    };
    let mut text = String::new();
    for words in asked {
        let start = || Start::pid1().args(*words);
        let plain = said(start());
        // A verb speaks to whoever typed it: it has no part in the log.
        let json = said(start().env("AI_LAB_LOG_FORMAT", "json"));
        assert_eq!(json.replace("= \"json\"", "= \"text\""), plain, "{words:?}");
        text += &format!("=== {}{plain}", words.join(" "));
        if *words == ["completions", "tcsh"] || *words == ["healthcheck"] {
            let terminal = Terminal::new();
            let held = terminal.end();
            let mut running = start().start_on(&terminal);
            let code = running.end();
            let (_, shown) = on_terminal(running, terminal);
            drop(held);
            let shown = ours(&shown, &image);
            text += &format!("=== Colour, {}, exit code {code}\n{shown}", words.join(" "));
        }
    }
    compare(
        "verbs-alone",
        &text.replace(image.dir.path().to_str().unwrap(), "IMAGE"),
    );
}

#[test]
fn differences_that_are_not_shown() {
    let image = Image::new();
    fs::create_dir(image.path("notebooks")).unwrap();
    for (directory, mark) in [("defaults", "a"), ("notebooks", "b")] {
        let lines = (0..=10_000).map(|number| format!("{mark}{number}\n"));
        let path = image.path(directory);
        fs::write(path.join("long.csv"), lines.collect::<String>()).unwrap();
    }
    let huge = fs::File::create(image.path("defaults/huge")).unwrap();
    huge.set_len((64 << 20) + 1).unwrap();
    fs::write(image.path("notebooks/huge"), "mine").unwrap();
    let [defaults, notebooks] =
        ["defaults", "notebooks"].map(|name| image.path(name).display().to_string());
    let places = ["--notebook-defaults", &defaults, "--notebooks", &notebooks];
    let mut text = String::new();
    for name in ["long.csv", "huge"] {
        let asked = Start::pid1().args(["notebooks", "diff", name]);
        let ended = asked.args(places).run();
        let said = ours(&(ended.stdout + &ended.stderr), &image);
        text += &format!("=== {name}, exit code {}\n{said}", ended.code);
    }
    compare("verbs-diff", &text);
}

#[test]
fn the_help_of_each() {
    let mut text = String::new();
    for words in [
        &["healthcheck"][..],
        &["status"],
        &["restart"],
        &["notebooks"],
        &["notebooks", "status"],
        &["notebooks", "diff"],
        &["notebooks", "restore"],
        &["notebooks", "seal"],
        &["password"],
        &["password", "set"],
        &["password", "hash"],
        &["password", "check"],
        &["config"],
        &["config", "show"],
        &["config", "check"],
        &["completions"],
        &["man"],
    ] {
        let ended = Start::plain().args(words).arg("--help").run();
        assert_eq!(ended.code, 0, "{words:?}: {}", ended.stderr);
        text += &format!("=== {}\n{}", words.join(" "), ended.stdout);
    }
    compare("verbs-help", &text);
}
