//! What verbs say while something is wrong, on the way, or typed at a terminal.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

use super::asked::asked;
use super::serving::server;
use super::volume::every_fate;
use crate::merging::{FIRST, MINE, SECOND, first, notebook};
use crate::support::process::{send, until};
use crate::support::{Image, Start, UID};

const USR1: i32 = libc::SIGUSR1;

/// Words of a start that has a state.
fn with_state(image: &Image) -> impl Fn() + '_ {
    || {
        until("there is a state", || {
            image.path("state/state.json").exists()
        })
    }
}

#[test]
fn a_server_in_each_trouble() {
    let image = Image::new();
    let start = server(&image).env("FAKE", "moody");
    asked("verbs-moods", start, &image, "] ready in ", |asked| {
        for mood in 1..=3 {
            asked.running.signal(USR1);
            asked.running.wait_for(&format!("fake: in mood {mood}"));
            asked.ask(&["healthcheck"], "");
        }
    });
    let image = Image::new();
    let start = server(&image)
        .env("FAKE", "deaf")
        .args(["--stop-timeout", "600"]);
    asked("verbs-stopping", start, &image, "] ready in ", |asked| {
        asked.running.signal(libc::SIGTERM);
        asked.running.wait_for("fake: deaf to TERM");
        asked.ask(&["healthcheck"], "");
        asked.ask(&["restart"], "");
        asked.ask(&["status"], "");
    });
    let image = Image::new();
    let start = server(&image)
        .env("FAKE", "dies")
        .args(["--restart", "always"]);
    let again = "is started again in 2 s";
    let state = image.path("state/state.json");
    asked("verbs-restarting", start, &image, again, |asked| {
        until("that is written", || {
            fs::read_to_string(&state).is_ok_and(|text| text.contains("\"restarting\""))
        });
        asked.ask(&["healthcheck"], "");
    });
    let image = Image::new();
    let start = server(&image).args(["--restart", "always"]);
    asked("verbs-restarted", start, &image, "] ready in ", |asked| {
        send(asked.running.main_pid(), libc::SIGKILL);
        asked.running.wait_for_next("] ready in ");
        asked.ask(&["status"], "");
    });
}

#[test]
fn nothing_to_ask_yet_or_at_all() {
    let image = Image::new();
    let start = Start::pid1().args(image.options());
    asked(
        "verbs-idle",
        start,
        &image,
        "waiting for a signal",
        |asked| {
            with_state(asked.image)();
            asked.ask(&["healthcheck"], "");
            asked.ask(&["restart"], "");
        },
    );
    let image = Image::new();
    let hook = image.path("hooks/user/10-x");
    fs::create_dir_all(image.path("hooks/user")).unwrap();
    fs::write(&hook, "#!/bin/sh\necho up\nexec sleep 600\n").unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    let hooks = image.path("hooks").display().to_string();
    let start = Start::pid1().args(image.options());
    let start = start.args(["--hooks", &hooks, "--hook-timeout", "600"]);
    asked("verbs-preparing", start, &image, "10-x: up", |asked| {
        asked.ask(&["healthcheck"], "");
    });
}

#[test]
fn a_state_that_somebody_spoilt_and_rights_that_are_not_there() {
    let image = Image::new();
    let start = server(&image);
    asked("verbs-state", start, &image, "] ready in ", |asked| {
        let few = ["prlimit", "--nofile=5", "--"];
        asked.ask_by(&few, &["healthcheck"], "");
        let no_setuid = ["setpriv", "--bounding-set=-setuid", "--"];
        asked.ask_by(&no_setuid, &["healthcheck"], "");
        let stranger = ["setpriv", "--reuid=1234", "--clear-groups", "--"];
        asked.ask_by(&stranger, &["restart"], "");
        let file = asked.image.path("state/state.json");
        let state = fs::read_to_string(&file).unwrap();
        fs::write(&file, state.replace("\"probe\":", "\"x\":")).unwrap();
        asked.ask(&["healthcheck"], "");
        fs::write(&file, "{").unwrap();
        asked.ask(&["status"], "");
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        asked.ask(&["status"], "");
    });
}

#[test]
fn a_password_that_is_typed() {
    let image = Image::new();
    let long = "x".repeat(5000);
    asked(
        "verbs-typed",
        server(&image),
        &image,
        "] ready in ",
        |asked| {
            let set = ["password", "set"];
            let (new, again) = ("New password: ", "Repeat the password: ");
            asked.type_in(&set, &[(new, "one\n"), (again, "two\n")]);
            asked.type_in(&set, &[(new, "one\n"), (again, "one\n"), ("[y/N] ", "n\n")]);
            asked.type_in(&set, &[(new, "two\n"), (again, "two\n"), ("[y/N] ", "y\n")]);
            asked.type_in(&["password", "check"], &[("Password: ", "two\n")]);
            asked.ask_beside(&["password", "check"]);
            asked.ask(&["password", "check"], &long);
        },
    );
    let image = Image::new();
    let venv = image.path("venv/etc/jupyter");
    fs::create_dir_all(&venv).unwrap();
    let hash = "sha1::da39a3ee5e6b4b0d3255bfef95601890afd80709";
    let text = format!("{{\"PasswordIdentityProvider\": {{\"hashed_password\": \"{hash}\"}}}}");
    fs::write(venv.join("jupyter_server_config.json"), text).unwrap();
    chown(image.path("venv"), Some(UID), Some(UID)).unwrap();
    let start = server(&image);
    asked("verbs-outranked", start, &image, "] ready in ", |asked| {
        asked.ask(&["password", "set"], "another");
    });
}

#[test]
fn notebooks_of_every_fate() {
    let image = Image::new();
    fs::create_dir(image.path("defaults/closed")).unwrap();
    fs::write(image.path("defaults/closed/file"), "1").unwrap();
    every_fate(&image);
    fs::write(image.path("defaults/new"), "1").unwrap();
    let closed = image.path("notebooks/closed");
    fs::write(closed.join("file"), "mine").unwrap();
    let start = Start::pid1()
        .args(image.options())
        .args(["--update-notebooks", "never", "--volume-owner", "keep"])
        .args(["--deleted-notebooks", "respect", "--"])
        .args(["sh", "-c", "echo it runs; exec sleep 600"])
        .env("AI_LAB_VERSION", "1.0.0");
    asked("verbs-notebooks", start, &image, "it runs", |asked| {
        with_state(asked.image)();
        chown(&closed, Some(0), Some(0)).unwrap();
        fs::remove_file(asked.image.path("notebooks/new")).unwrap();
        fs::write(asked.image.path("defaults/newest"), "1").unwrap();
        let closed_default = asked.image.path("defaults/unreadable");
        fs::write(&closed_default, "1").unwrap();
        fs::set_permissions(&closed_default, fs::Permissions::from_mode(0o600)).unwrap();
        let status = ["notebooks", "status"];
        asked.type_in(&status, &[]);
        let policies = [
            "--update-notebooks",
            "beside",
            "--deleted-notebooks",
            "restore",
        ];
        asked.type_in(&[&status[..], &policies].concat(), &[]);
        let files = [
            "changed",
            "new",
            "start.ipynb",
            "no-such",
            "closed/file",
            "unreadable",
        ];
        asked.ask(&[&["notebooks", "restore"], &files[..]].concat(), "");
        asked.type_in(&["notebooks", "diff", "no-such"], &[]);
        asked.ask(&["notebooks", "diff", "unreadable"], "");
    });
}

#[test]
fn notebooks_that_are_merged_and_that_are_not() {
    let image = Image::new();
    let [work, newer] = ["notebooks", "defaults"].map(|dir| image.path(dir).join("work.ipynb"));
    let start = first(&image);
    asked("verbs-merge", start, &image, "] ready in ", |asked| {
        let [old, mine, new] = [&FIRST[..], &MINE, &SECOND].map(notebook);
        let conflict = new.replace("show(x)", "show(y)");
        let titled = "\"metadata\":{\"title\":\"New\"},\"nbformat\"";
        let conflict = conflict.replace("\"metadata\":{},\"nbformat\"", titled);
        fs::write(&work, &mine).unwrap();
        fs::write(&newer, &new).unwrap();
        asked.ask(&["notebooks", "status"], "");
        let mut merge = |mine: &str, new: &str| {
            fs::write(&work, mine).unwrap();
            fs::write(&newer, new).unwrap();
            asked.ask(&["notebooks", "merge", "work.ipynb"], "");
        };
        merge(&mine, &old);
        merge(&old, &new);
        merge("{\n \"cells\": [,\n", &new);
        merge(&mine.replace("\"nbformat\":4", "\"nbformat\":3"), &new);
        merge(&" ".repeat((64 << 20) + 1), &new);
        merge(&mine.replace("\"load()\"", "1"), &new);
        merge(&mine, "no notebook");
        let both = old.replace("end()", "begin()\\nend()");
        merge(&old.replace("end()", "end()\\nmine()"), &both);
        // Only the form of the file is newer.
        merge(
            &both.replace("end()", "mine()"),
            &both.replacen(':', ": ", 1),
        );
        merge(&old, &old);
        merge(&new, &new.replace("more()", "less()"));
        merge(&mine, &conflict);
        fs::write(&newer, &new).unwrap();
        asked.ask(&["notebooks", "merge", "work.ipynb"], "");
        fs::write(&work, notebook(&["load(fast=True)", "show(y)", "end()"])).unwrap();
        fs::write(&newer, conflict.replace("more()", "less()")).unwrap();
        asked.ask(&["notebooks", "merge", "work.ipynb"], "");
        fs::write(&newer, &new).unwrap();
        asked.ask(&["notebooks", "merge", "no-such.ipynb"], "");
        asked.ask(&["notebooks", "merge", "notes.txt"], "");
        let older = ["env", "AI_LAB_VERSION=0.9.0"];
        fs::write(&work, &mine).unwrap();
        asked.ask_by(&older, &["notebooks", "merge", "work.ipynb"], "");
        fs::remove_file(&work).unwrap();
        asked.ask(&["notebooks", "merge", "work.ipynb"], "");
        fs::create_dir(&work).unwrap();
        asked.ask(&["notebooks", "merge", "work.ipynb"], "");
        fs::remove_dir(&work).unwrap();
        fs::write(&work, &mine).unwrap();
        chown(&work, Some(0), Some(0)).unwrap();
        fs::set_permissions(&work, fs::Permissions::from_mode(0o600)).unwrap();
        asked.ask(&["notebooks", "merge", "work.ipynb"], "");
        fs::set_permissions(&work, fs::Permissions::from_mode(0o644)).unwrap();
        fs::remove_file(asked.image.path("notebooks/.ai-lab/cells.jsonl")).unwrap();
        asked.ask(&["notebooks", "merge", "work.ipynb"], "");
    });
}
