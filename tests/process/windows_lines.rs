//! Files that were written on Windows: a line ends in a carriage return there. They work, or the
//! line that says why they do not names it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::{Image, Start};

const WHY: &str = "its lines end as in Windows";

/// First lines of scripts, and what they end with.
const LINES: [(&str, i32); 3] = [
    ("#!/bin/sh", 127),
    ("#!/usr/bin/env sh", 127),
    ("#!/bin/sh -e", 2),
];

fn write_script(path: &Path, line: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("{line}\r\necho said\r\n")).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_hook_says_that_its_lines_end_so() {
    for phase in ["root", "user"] {
        for (line, _) in LINES {
            let image = Image::new();
            // Only root can write what root runs.
            let hooks = tempfile::tempdir_in("/srv").unwrap();
            fs::set_permissions(hooks.path(), Permissions::from_mode(0o755)).unwrap();
            write_script(&hooks.path().join(phase).join("10-x"), line);
            let start = Start::pid1().args(image.options()).args(["--hooks"]);
            let ended = start
                .arg(hooks.path().to_str().unwrap())
                .args(["--", "true"])
                .run();
            assert_ne!(ended.code, 0, "{phase}, {line}");
            assert!(ended.stderr.contains(WHY), "{line}: {}", ended.stderr);
        }
    }
}

#[test]
fn a_command_and_a_server_say_that_their_lines_end_so() {
    for (line, code) in LINES {
        let image = Image::new();
        let script = image.path("script.sh");
        write_script(&script, line);
        let start = image.command([script.to_str().unwrap()]);
        let ended = start.env("PATH", "/usr/bin:/bin").run();
        assert_eq!(ended.code, code, "{line}: {}", ended.stderr);
        assert_eq!(ended.stderr.matches(WHY).count(), 1, "{}", ended.stderr);
    }
    let image = Image::new();
    write_script(&image.path("venv/bin/jupyter-lab"), "#!/usr/bin/python3");
    let ended = image.server().run();
    assert_eq!(ended.code, 127, "{}", ended.stderr);
    assert!(ended.stderr.contains(WHY), "{}", ended.stderr);
}

#[test]
fn a_command_whose_lines_end_so_and_that_works_is_left_alone() {
    let image = Image::new();
    let script = image.path("start.sh");
    write_script(&script, "#!/usr/bin/printf said %s");
    let command = || image.command([script.to_str().unwrap()]);
    let ended = command().run();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stdout.starts_with("said "), "{}", ended.stdout);
    assert!(!ended.stderr.contains(WHY), "{}", ended.stderr);

    // Both take the carriage return for a blank, or for a part of a code.
    for (line, code) in [("env -S sh -c 'exit 2'", 2), ("false x", 1)] {
        write_script(&script, &format!("#!/bin/{line}"));
        let ended = command().run();
        assert_eq!(ended.code, code, "{}", ended.stderr);
        assert!(!ended.stderr.contains(WHY), "{}", ended.stderr);
    }
}

#[test]
fn a_script_of_ones_own_named_start_is_not_that_of_another_image() {
    let image = Image::new();
    let script = image.path("start.sh");
    write_script(&script, "#!/bin/sh");
    let absent = image.path("absent/start.sh");
    for (path, code) in [(&script, 127), (&absent, 127)] {
        let ended = image.command([path.to_str().unwrap()]).run();
        assert_eq!(ended.code, code, "{}", ended.stderr);
        assert!(!ended.stderr.contains("Docker Stacks"), "{}", ended.stderr);
    }
}

#[test]
fn settings_and_a_hooks_variables_are_read() {
    let image = Image::new();
    // Root reads no settings that others could have written.
    let own = tempfile::tempdir_in("/srv").unwrap();
    fs::set_permissions(own.path(), Permissions::from_mode(0o755)).unwrap();
    let settings = own.path().join("settings.toml");
    let hooks = image.path("hooks").display().to_string();
    let text = format!("[hooks]\r\ndirectory = {hooks:?}\r\n");
    fs::write(&settings, text).unwrap();
    let hook = image.path("hooks/user/10-x");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    let variables = "#!/bin/sh\nprintf 'A=1\\r\\n\\r\\nB=2\\r\\n' >\"$AI_LAB_ENV\"\n";
    fs::write(&hook, variables).unwrap();
    fs::set_permissions(&hook, Permissions::from_mode(0o755)).unwrap();
    let start = Start::pid1().args(["--config", settings.to_str().unwrap()]);
    let start = start.args(image.options());
    let ended = start.args(["--", "sh", "-c", "echo \"$A$B\""]).run();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(ended.stdout, "12\n");
}
