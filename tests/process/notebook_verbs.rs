//! `notebooks` and `config` through `docker exec`: they know what the start was told.

use std::fs;
use std::process::Command;

use crate::support::{Image, PROGRAM, Running, Start, UID};

/// Runs a verb in the namespaces of a running supervisor, as `docker exec` does: as
/// root, with nothing of the start's command line.
pub fn ask(running: &Running, image: &Image, words: &[&str]) -> (i32, String, String) {
    ask_as("1.1.0", running, image, words)
}

/// The same in an image of this version.
pub fn ask_as(
    version: &str,
    running: &Running,
    image: &Image,
    words: &[&str],
) -> (i32, String, String) {
    let output = Command::new("nsenter")
        .args(["--pid", "--mount", "--target", &running.pid().to_string()])
        .args(["--", PROGRAM])
        .args(words)
        .env("AI_LAB_STATE_DIR", image.path("state"))
        .env("AI_LAB_VERSION", version)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap();
    (code, text(output.stdout), text(output.stderr))
}

fn started(image: &Image) -> Running {
    let mut running = image.server().env("AI_LAB_VERSION", "1.0.0").start();
    running.wait_for("] ready in ");
    running
}

#[test]
fn people_see_how_their_notebooks_stand_and_bring_one_back() {
    let image = Image::new();
    let cell = r#"{"nbformat": 4, "cells": [{"cell_type": "code", "source": ["x = 1"]}]}"#;
    fs::write(image.path("defaults/work.ipynb"), cell).unwrap();
    let running = started(&image);
    let mine = cell.replace('1', "2");
    fs::write(image.path("notebooks/work.ipynb"), &mine).unwrap();

    let (code, stdout, _) = ask(&running, &image, &["notebooks", "status"]);
    let volume = image.path("notebooks").display().to_string();
    let expected = format!(
        "{volume}: defaults of 1.1.0, last brought in by 1.0.0\n  \
         start.ipynb  current\n  \
         work.ipynb   changed by you\n"
    );
    assert_eq!((code, stdout), (0, expected));
    let (_, stdout, _) = ask(&running, &image, &["notebooks", "status", "--json"]);
    let told: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(told["files"][1]["state"], "changed");

    let (code, stdout, _) = ask(&running, &image, &["notebooks", "diff"]);
    assert_eq!(code, 0);
    assert!(stdout.contains("\n-x = 1\n+x = 2\n"), "{stdout}");

    let (code, stdout, _) = ask(&running, &image, &["notebooks", "restore", "work.ipynb"]);
    let said = "work.ipynb: restored; yours is work.yours.ipynb\n";
    assert_eq!((code, stdout.as_str()), (0, said));
    let read = |name: &str| fs::read_to_string(image.path("notebooks").join(name)).unwrap();
    assert_eq!(
        (read("work.ipynb"), read("work.yours.ipynb")),
        (cell.into(), mine)
    );
    // Not root's, though root asked.
    use std::os::unix::fs::MetadataExt;
    let owner = fs::metadata(image.path("notebooks/work.ipynb"))
        .unwrap()
        .uid();
    assert_eq!(owner, UID);

    let (code, _, stderr) = ask(&running, &image, &["notebooks", "restore", "nothing"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("nothing: is not a default"), "{stderr}");
    let (code, _, stderr) = ask(&running, &image, &["notebooks", "diff", "/etc/passwd"]);
    assert_eq!(code, 1);
    assert!(
        stderr.contains("is not in the notebooks directory"),
        "{stderr}"
    );
}

#[test]
fn a_restored_default_that_nobody_changed_is_not_called_yours() {
    let image = Image::new();
    let running = started(&image);
    fs::write(image.path("defaults/start.ipynb"), r#"{"new": 1}"#).unwrap();
    let (code, stdout, _) = ask(&running, &image, &["notebooks", "restore", "start.ipynb"]);
    assert_eq!((code, &*stdout), (0, "start.ipynb: restored\n"));
    assert!(!image.path("notebooks/start.yours.ipynb").exists());
    let text = fs::read_to_string(image.path("notebooks/start.ipynb"));
    assert_eq!(text.unwrap(), r#"{"new": 1}"#);
}

/// Version 0.1.0 writes no such lines.
#[test]
fn a_copy_comes_back_though_the_record_does_not_name_it() {
    let image = Image::new();
    let notebook = |source: &str, outputs: &str| {
        format!(
            r#"{{"nbformat": 4, "cells": [{{"cell_type": "code", "source": "{source}", "outputs": [{outputs}]}}]}}"#
        )
    };
    let start = |version: &str| {
        fs::write(image.path("defaults/a.ipynb"), notebook(version, "")).unwrap();
        let mut running = image.server().env("AI_LAB_VERSION", version).start();
        running.wait_for("] ready in ");
        running
    };
    drop(start("1.0.0"));
    let ran = notebook("1.0.0", "1");
    fs::write(image.path("notebooks/a.ipynb"), &ran).unwrap();
    let running = start("1.1.0");
    let record = image.path("notebooks/.ai-lab/manifest.sha256");
    let text = fs::read_to_string(&record).unwrap();
    let (known, _) = text.split_once("# end\n").unwrap();
    fs::write(&record, format!("{known}# end\n")).unwrap();
    let (code, stdout, stderr) = ask(&running, &image, &["notebooks", "restore", "--kept"]);
    assert_eq!(code, 0, "{stdout}{stderr}");
    let text = fs::read_to_string(image.path("notebooks/a.ipynb"));
    assert_eq!(text.unwrap(), ran);
}

#[test]
fn a_file_is_that_of_the_working_directory_also_through_a_link() {
    let image = Image::new();
    for (place, text) in [("defaults", "new"), ("notebooks", "mine")] {
        fs::create_dir_all(image.path(place).join("sub")).unwrap();
        for name in ["b.txt", "sub/b.txt"] {
            fs::write(image.path(place).join(name), text).unwrap();
        }
    }
    std::os::unix::fs::symlink(image.path("notebooks"), image.path("link")).unwrap();
    let [link, defaults, absolute] = ["link", "defaults", "notebooks/sub/b.txt"]
        .map(|name| image.path(name).display().to_string());
    let script = format!(
        "cd {}/sub && exec \"$@\"",
        image.path("notebooks").display()
    );
    let restore = |file: &str| {
        let start = Start::wrapped("sh").args(["-c", &script, "sh", PROGRAM]);
        let start = start.args(["notebooks", "restore", file, "--notebooks", &link]);
        start.args(["--notebook-defaults", &defaults]).run()
    };
    let restored = restore("b.txt");
    let said = "sub/b.txt: restored; yours is sub/b.yours.txt\n";
    assert_eq!(restored.stdout, said, "{}", restored.stderr);
    let again = restore(&absolute);
    let said = "sub/b.txt: is the default already\n";
    assert_eq!(again.stdout, said, "{}", again.stderr);
    let top = fs::read_to_string(image.path("notebooks/b.txt"));
    assert_eq!(top.unwrap(), "mine");
}

#[test]
fn the_settings_of_the_running_start_are_shown_without_the_password() {
    let image = Image::new();
    let running = started(&image);
    let alone = Start::pid1().args(["config", "show"]).run();
    assert!(
        alone.stdout.starts_with("# No start runs here"),
        "{}",
        alone.stdout
    );
    let (code, stdout, _) = ask(&running, &image, &["config", "show"]);
    assert!(
        stdout.starts_with("# The settings of the running start"),
        "{stdout}"
    );
    assert_eq!(code, 0);
    let line = format!("server.port = {}\n", image.port);
    assert!(stdout.contains(&line), "{stdout}");
    assert!(
        !stdout.contains("ailab\n") && !stdout.contains("--"),
        "{stdout}"
    );
    let (_, stdout, _) = ask(&running, &image, &["config", "show", "--origin"]);
    let line = format!("server.port = {}  # --port\n", image.port);
    assert!(stdout.contains(&line), "{stdout}");
    assert!(
        stdout.contains("server.stop_timeout = 7.0  # built-in default"),
        "{stdout}"
    );
    assert!(
        stdout.contains("# password.default is not shown  # --password"),
        "{stdout}"
    );
    // Who wrote it is root, and the user cannot.
    use std::os::unix::fs::MetadataExt;
    let record = format!("/proc/{}/root/run/ai-lab-settings.toml", running.pid());
    let data = fs::metadata(record).unwrap();
    assert_eq!((data.uid(), data.mode() & 0o777), (0, 0o644));
}

#[test]
fn the_file_that_is_checked_is_the_one_that_a_start_would_read() {
    let image = Image::new();
    let file = image.path("entrypoint.toml").display().to_string();
    fs::write(&file, "[password]\ndefault = ' x '\n").unwrap();
    let check = Start::plain().args(["config", "check"]);
    let checked = check.env("AI_LAB_CONFIG", &file).run();
    assert_eq!(checked.code, 78, "{}", checked.stdout);
    assert!(checked.stderr.contains("white space"), "{}", checked.stderr);
}

#[test]
fn a_settings_file_is_checked_as_a_whole() {
    let image = Image::new();
    let file = image.path("entrypoint.toml");
    let name = file.display().to_string();
    fs::write(&file, "strict = true\n[server]\nport = 8888\n").unwrap();
    let checked = || Start::plain().args(["config", "check", &name]).run();
    let right = checked();
    assert_eq!(
        (right.code, right.stdout),
        (0, format!("{name}: nothing is wrong\n"))
    );
    fs::write(
        &file,
        "strict = 1\n[server]\nport = 99999\nstop_timout = 7\n",
    )
    .unwrap();
    let wrong = checked();
    assert_eq!(wrong.code, 78);
    for part in [
        "did you mean `server.stop_timeout`?",
        ":1): is of the wrong type",
    ] {
        assert!(wrong.stderr.contains(part), "{}", wrong.stderr);
    }
}

#[test]
fn without_a_supervisor_the_verbs_do_as_a_start_would() {
    let image = Image::new();
    fs::create_dir(image.path("notebooks")).unwrap();
    let flags = ["--notebooks", "--notebook-defaults"];
    let paths = ["notebooks", "defaults"].map(|name| image.path(name).display().to_string());
    let words = flags.iter().copied().zip(paths.iter().map(String::as_str));
    let words: Vec<&str> = words.flat_map(|(flag, path)| [flag, path]).collect();
    let asked = Start::pid1()
        .args(["notebooks", "status"])
        .args(&words)
        .run();
    assert_eq!(asked.code, 0, "{}", asked.stderr);
    assert!(
        asked
            .stdout
            .contains("start.ipynb  missing, comes at the next start")
    );
    let asked = Start::pid1().args(["notebooks", "status"]).run();
    assert_eq!(asked.code, 1);
    assert!(
        asked.stderr.contains("--notebook-defaults"),
        "{}",
        asked.stderr
    );
}
