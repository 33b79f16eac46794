//! `password` through `docker exec`, from standard input and at a terminal.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::{Image, PROGRAM, Running, Start, UID};

/// Runs `password WHAT` in the namespaces of a running supervisor, as root, with this
/// standard input: exit code, stdout and stderr.
pub fn ask(running: &Running, image: &Image, what: &str, typed: &str) -> (i32, String, String) {
    let mut child = Command::new("nsenter")
        .args(["--pid", "--mount", "--target", &running.pid().to_string()])
        .args(["--", PROGRAM, "password", what])
        .env("AI_LAB_STATE_DIR", image.path("state"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(typed.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap();
    (code, text(output.stdout), text(output.stderr))
}

pub fn started(start: Start) -> Running {
    let mut running = start.start();
    running.wait_for("] ready in ");
    running
}

#[test]
fn one_is_set_and_checked_and_the_default_is_not_in_force_any_more() {
    let image = Image::new();
    let mut running = started(image.server());
    let check = |running: &Running, typed: &str| ask(running, &image, "check", typed).0;
    assert_eq!(check(&running, "ailab\n"), 0);
    assert_eq!(check(&running, "mine\n"), 1);
    let (code, stdout, stderr) = ask(&running, &image, "set", "mine\n");
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("ai-lab-entrypoint restart"), "{stdout}");
    assert!(!stderr.contains("next start sets"), "{stderr}");
    assert_eq!((check(&running, "ailab"), check(&running, "mine")), (1, 0));
    let config = image.path("home/.jupyter/jupyter_server_config.json");
    use std::os::unix::fs::MetadataExt;
    let data = std::fs::metadata(&config).unwrap();
    assert_eq!(
        (data.uid(), data.mode() & 0o777),
        (UID, 0o600),
        "not root's, though root asked"
    );
    let (_, stdout, _) = ask(&running, &image, "set", "mine");
    assert_eq!(stdout, "this is already the password\n");
    running.signal(15);
    running.end();
    // The next start of the container leaves it.
    let mut running = started(image.server());
    assert_eq!(check(&running, "mine"), 0);
    running.signal(15);
    running.end();
    let (_, stderr) = running.everything();
    assert!(!stderr.contains("Successfully changed"), "{stderr}");
}

#[test]
fn one_that_the_container_forces_is_told_to_come_back() {
    let image = Image::new();
    let running = started(image.server().env("JUPYTER_PASSWORD", "forced"));
    let (code, _, stderr) = ask(&running, &image, "set", "mine");
    assert_eq!(code, 0);
    assert!(stderr.contains("its next start sets again"), "{stderr}");
}

#[test]
fn what_can_be_no_password_is_refused_and_changes_nothing() {
    let image = Image::new();
    let running = started(image.server());
    let config = image.path("home/.jupyter/jupyter_server_config.json");
    let before = std::fs::read(&config).unwrap();
    for typed in ["", "\n", " x", "x \n", "a\nb\n", &"x".repeat(5000)] {
        let (code, _, stderr) = ask(&running, &image, "set", typed);
        assert_eq!(code, 1, "{typed:?}");
        assert!(
            stderr.contains("password (from standard input)"),
            "{stderr}"
        );
    }
    assert_eq!(std::fs::read(&config).unwrap(), before);
}

#[test]
fn a_hash_needs_nobody_and_is_one_that_a_start_takes() {
    let mut child = Command::new(PROGRAM)
        .args(["password", "hash"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"mine\r\n").unwrap();
    let hash = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    let image = Image::new();
    let running = started(image.server().env("JUPYTER_PASSWORD_HASH", hash.trim()));
    assert_eq!(ask(&running, &image, "check", "mine").0, 0);
}

#[test]
fn at_a_terminal_it_is_asked_for_twice_and_not_shown() {
    // Python's pty is the terminal: it waits for each prompt before it types.
    const PERSON: &str = r#"
import os, pty, sys, termios
answers = {b"New password: ": sys.argv[1], b"Repeat the password: ": sys.argv[2], b"[y/N] ": "n"}
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(sys.argv[3], sys.argv[3:])
heard = unanswered = b""
while True:
    try:
        bytes = os.read(terminal, 1000)
    except OSError:
        break
    if not bytes:
        break
    heard += bytes
    unanswered += bytes
    for prompt, answer in answers.items():
        if unanswered.endswith(prompt):
            # The prompt comes just before the echo goes.
            while prompt != b"[y/N] " and termios.tcgetattr(terminal)[3] & termios.ECHO:
                pass
            os.write(terminal, answer.encode() + b"\n")
            unanswered = b""
print(heard.decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;
    let image = Image::new();
    let running = started(image.server());
    let person = |first: &str, second: &str| {
        let output = Command::new("python3")
            .args(["-c", PERSON, first, second])
            .args([
                "nsenter",
                "--pid",
                "--mount",
                "--target",
                &running.pid().to_string(),
            ])
            .args(["--", PROGRAM, "password", "set"])
            .env("AI_LAB_STATE_DIR", image.path("state"))
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let heard = person("typed", "otherwise");
    assert!(heard.contains("the two passwords differ"), "{heard}");
    // The terminal cuts both to the same.
    let heard = person(&"x".repeat(4200), &"x".repeat(4300));
    assert!(heard.contains("it is longer than 4 KiB"), "{heard}");
    let heard = person("typed", "typed");
    assert!(heard.contains("Restart? [y/N]"), "{heard}");
    assert!(
        heard.trim_end().ends_with(" 0") && !heard.contains("typed"),
        "{heard}"
    );
    assert_eq!(ask(&running, &image, "check", "typed").0, 0);
}

/// Also of who is the container's first process, which the kernel ends by no signal. Whatever would
/// still set the terminal after the prompt could turn the echo off after the signal turned it on.
#[test]
fn who_gives_up_at_the_prompt_gets_the_echo_back() {
    const PERSON: &str = r#"
import fcntl, os, pty, signal, subprocess, sys, termios
signal.alarm(200)
hands, terminal = pty.openpty()
program = subprocess.Popen(
    sys.argv[2:], stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True,
    preexec_fn=lambda: fcntl.ioctl(terminal, termios.TIOCSCTTY, 0))
modes = lambda: termios.tcgetattr(terminal)
echo = lambda: bool(modes()[3] & termios.ECHO)
reads = {"x86_64": "0", "aarch64": "63"}[os.uname().machine]
heard = b""
while b"Password: " not in heard:
    heard += os.read(hands, 1000)
asked, at_prompt = echo(), modes()
pid = program.pid
if sys.argv[1] == "first":
    pid = int(open(f"/proc/{pid}/task/{pid}/children").read())
while open(f"/proc/{pid}/syscall").read().split()[0] != reads:
    pass
settled = modes() == at_prompt
if sys.argv[1] == "key":
    os.write(hands, b"\x03")
else:
    os.kill(pid, signal.SIGTERM)
print(asked, settled, program.wait(), echo())
"#;
    let gives_up = |how: &str, line: &[&str]| {
        let mut person = Command::new("python3");
        person.args(["-c", PERSON, how]).args(line);
        let output = person.args(["password", "hash"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(gives_up("key", &[PROGRAM]), "False True -2 True\n");
    assert_eq!(gives_up("signal", &[PROGRAM]), "False True -15 True\n");
    let first = ["unshare", "--pid", "--fork", "--kill-child", PROGRAM];
    assert_eq!(gives_up("first", &first), "False True 143 True\n");
}
