//! What root's verbs believe of the running start's settings, only root can have written.

use std::fs;
use std::os::unix::fs::chown;
use std::process::Command;

use crate::support::{Image, PROGRAM, Running, Start, UID};

/// Where root keeps the settings of its start.
const RECORD: &str = "/run/ai-lab-settings.toml";

/// Runs a program in the namespaces of a running supervisor, as `docker exec` does: exit
/// code, stdout, stderr.
fn inside(running: &Running, words: &[&str]) -> (i32, String, String) {
    let output = Command::new("nsenter")
        .args(["--pid", "--mount", "--target", &running.pid().to_string()])
        .arg("--")
        .args(words)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap();
    (code, text(output.stdout), text(output.stderr))
}

/// The same as the server's user, with a shell.
fn as_user(running: &Running, script: &str) -> (i32, String, String) {
    let ids = [
        format!("--reuid={UID}"),
        format!("--regid={UID}"),
        "--clear-groups".into(),
    ];
    let mut words = vec!["setpriv"];
    words.extend(ids.iter().map(String::as_str));
    words.extend(["sh", "-c", script]);
    inside(running, &words)
}

fn config(running: &Running, image: &Image) -> (String, String) {
    let state = image.path("state").display().to_string();
    let show = [PROGRAM, "config", "show", "--state-dir", &state];
    let (code, stdout, stderr) = inside(running, &show);
    assert_eq!(code, 0, "{stderr}");
    (stdout, stderr)
}

const WAITS: [&str; 3] = ["sh", "-c", "echo it runs; exec sleep 1000"];

/// The first two lines of a record of this start, and one that its user likes better.
const FORGED: &str = "server.stop_timeout = 3.0";

fn forge(running: &Running) -> String {
    let stat = as_user(running, "cat /proc/1/stat").1;
    let start = stat.rsplit(')').next().unwrap().split_whitespace().nth(19);
    let mark = format!("# By process 1, started at tick {}.", start.unwrap());
    format!(
        "# The settings of the running start. Each start writes this file again.\n{mark}\n{FORGED}\n"
    )
}

#[test]
fn the_user_cannot_replace_it() {
    let image = Image::new();
    let mut running = image.command(WAITS).start();
    running.wait_for("it runs");
    let (before, _) = config(&running, &image);
    assert!(before.contains("server.stop_timeout = 7.0"), "{before}");
    let forged = forge(&running);
    let read = fs::read_to_string(format!("/proc/{}/root{RECORD}", running.pid())).unwrap();
    let heads = |text: &str| text.lines().take(2).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(heads(&read), heads(&forged), "the forged one would be read");
    let state = image.path("state");
    let state = state.display();
    for attempt in [
        format!("mv {RECORD} {state}/"),
        format!("rm -f {RECORD}"),
        format!("ln -sf {state}/settings.toml {RECORD}"),
        format!("cp {state}/settings.toml {RECORD}"),
        format!("cp {state}/settings.toml {RECORD}.new && mv {RECORD}.new {RECORD}"),
        format!("mkdir {state}/s && mv {state}/s /run/s"),
        "mv /run /run.old".into(),
    ] {
        let script = format!(
            "cd {state} && mkdir -p settings && printf %s '{forged}' > settings.toml && \
             cp settings.toml settings/entrypoint.toml && {attempt}"
        );
        let (code, _, stderr) = as_user(&running, &script);
        assert_ne!(code, 0, "{attempt}: {stderr}");
        assert_eq!(config(&running, &image), (before.clone(), String::new()));
    }
    // Nor does it take the place of one that root lost.
    fs::remove_file(format!("/proc/{}/root{RECORD}", running.pid())).unwrap();
    let (shown, told) = config(&running, &image);
    assert!(!shown.contains(FORGED), "{shown}");
    assert!(told.contains("which root does not read"), "{told}");
    assert!(told.contains("can be written by"), "{told}");
}

#[test]
fn where_others_can_write_there_is_none() {
    let image = Image::new();
    let script = "chmod 777 /run && exec \"$@\"";
    let start = Start::wrapped("sh").args(["-c", script, "sh", PROGRAM]);
    let mut running = start.args(image.options()).arg("--").args(WAITS).start();
    running.wait_for(&format!("the settings are not kept in {RECORD}: "));
    running.wait_for("it runs");
    let forged = forge(&running);
    let (code, _, stderr) = as_user(&running, &format!("printf %s '{forged}' > {RECORD}"));
    assert_eq!(code, 0, "{stderr}");
    let (shown, told) = config(&running, &image);
    assert!(!shown.contains(FORGED), "{shown}");
    assert!(told.contains("which root does not read"), "{told}");
}

#[test]
fn a_start_without_root_keeps_one_for_verbs_of_its_user() {
    let image = Image::new();
    for name in ["state", "notebooks"] {
        fs::create_dir(image.path(name)).unwrap();
        chown(image.path(name), Some(UID), Some(UID)).unwrap();
    }
    let ids = format!("exec setpriv --reuid={UID} --regid={UID} --clear-groups \"$@\"");
    let start = Start::wrapped("sh").args(["-c", &ids, "sh", PROGRAM]);
    let options = ["--stop-timeout", "3", "--"];
    let start = start.args(image.options()).args(options).args(WAITS);
    let mut running = start.start();
    running.wait_for("it runs");
    let state = image.path("state").display().to_string();
    let (code, shown, stderr) = as_user(
        &running,
        &format!("{PROGRAM} config show --state-dir {state}"),
    );
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(shown.contains("server.stop_timeout = 3.0"), "{shown}");
    let (shown, told) = config(&running, &image);
    assert!(!shown.contains("server.stop_timeout = 3.0"), "{shown}");
    assert!(
        told.contains(&format!("`docker exec --user {UID}`")),
        "{told}"
    );
}

#[test]
fn one_that_is_of_another_start_is_none() {
    let image = Image::new();
    fs::create_dir(image.path("state")).unwrap();
    chown(image.path("state"), Some(UID), Some(UID)).unwrap();
    // As in an image that was made of a container; this start cannot write anew.
    let left =
        format!("# What the running start was told.\n# By process 1, started at tick 1.\n{FORGED}");
    let script = format!(
        "printf '%s\n' '{left}' > {RECORD} && mkdir -p {state}/settings && \
         cp {RECORD} {state}/settings/entrypoint.toml && mount -o remount,ro /run && exec \"$@\"",
        state = image.path("state").display()
    );
    let start = Start::wrapped("sh").args(["-c", &script, "sh", PROGRAM]);
    let mut running = start.args(image.options()).arg("--").args(WAITS).start();
    running.wait_for(&format!("the settings are not kept in {RECORD}: "));
    running.wait_for("it runs");
    let (shown, told) = config(&running, &image);
    assert!(!shown.contains(FORGED), "{shown}");
    assert!(told.contains("which root does not read"), "{told}");
}

#[test]
fn it_tells_where_the_state_is() {
    let image = Image::new();
    let mut running = image.command(WAITS).start();
    running.wait_for("it runs");
    for verb in ["healthcheck", "status"] {
        let (code, stdout, stderr) = inside(&running, &[PROGRAM, verb]);
        assert_eq!(code, 0, "{stdout}{stderr}");
        let (code, stdout, stderr) = as_user(&running, &format!("{PROGRAM} {verb}"));
        assert_eq!(code, 0, "{stdout}{stderr}");
    }
}
