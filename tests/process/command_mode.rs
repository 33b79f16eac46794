//! A command should not notice us: its signals, streams, arguments and directory are
//! its own. What it shares with other first processes is in `compliance.rs`.

use std::io::Write;
use std::process::Stdio;

use crate::support::process::{children, send, until};
use crate::support::{Image, PROGRAM, Start};

#[test]
fn stdin_stdout_and_stderr_are_the_commands_own() {
    let image = Image::new();
    let input = std::fs::File::open(image.path("defaults/start.ipynb")).unwrap();
    let mut running = image
        .command(["sh", "-c", "cat; echo; echo two; echo three >&2"])
        .stdin(Stdio::from(input))
        .start();
    assert_eq!(running.end(), 0);
    let (stdout, stderr) = running.everything();
    assert_eq!(stdout, "{}\ntwo\n");
    assert!(stderr.lines().any(|line| line == "three"), "{stderr}");
    assert!(stderr.contains("prepared in "), "{stderr}");
}

/// Jupyter's terminals start it. OpenShift enters each uid with nologin, Apptainer with the shell
/// that the person has on the host.
#[test]
fn a_login_shell_that_cannot_be_started_is_replaced() {
    let script = "cp /etc/passwd $0/passwd; echo alice:x:4242:4242::/:$1 >>$0/passwd
        mount --bind $0/passwd /etc/passwd; shift; exec \"$@\"";
    let image = Image::new();
    let place = image.dir.path().to_str().unwrap();
    for (entered, shell) in [
        ("/sbin/nologin", "/bin/bash"),
        ("/bin/false", "/bin/bash"),
        ("/usr/bin/none", "/bin/bash"),
        ("/etc/passwd", "/bin/bash"),
        ("/usr/bin/env", "/usr/bin/env"),
        ("", "/bin/sh"),
    ] {
        let start = Start::wrapped("sh").args(["-ec", script, place, entered, PROGRAM]);
        let command = ["--", "sh", "-c", "echo $SHELL"];
        let ended = start.args(image.options()).args(command).run();
        assert_eq!(ended.stdout.trim(), shell, "{entered}: {}", ended.stderr);
    }
}

#[test]
fn the_user_can_open_the_streams_that_were_roots() {
    let image = Image::new();
    let script = "echo one >/dev/stdout; echo two >/dev/stderr";
    let ended = image.command(["sh", "-c", script]).run();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(ended.stdout, "one\n");
    assert!(ended.stderr.contains("\ntwo\n"), "{}", ended.stderr);
}

#[test]
fn a_log_that_nobody_reads_is_not_the_commands_business() {
    // Our own lines meet a closed pipe, and the kernel sends SIGPIPE for them.
    let closed = "import os, sys; r, w = os.pipe(); os.close(r); os.dup2(w, 2); \
                  os.execvp(sys.argv[1], sys.argv[1:])";
    let image = Image::new();
    let told = image.path("home/told").display().to_string();
    let script =
        format!("trap 'echo PIPE' PIPE; trap 'echo XFSZ' XFSZ; echo up >{told}; read x; echo $x");
    let (stdin, mut keys) = std::io::pipe().unwrap();
    let mut running = Start::wrapped("python3")
        .args(["-c", closed, crate::support::PROGRAM])
        .args(image.options())
        .args(["--", "bash", "-c", &script])
        .stdin(stdin)
        .start();
    until("it runs", || std::path::Path::new(&told).exists());
    keys.write_all(b"heard\n").unwrap();
    assert_eq!(running.end(), 0);
    assert_eq!(running.everything().0, "heard\n");
}

/// As in `docker run --workdir DIRECTORY IMAGE python train.py`.
#[test]
fn a_directory_of_the_users_own_is_no_trouble_for_a_command() {
    let image = Image::new();
    let script = "cd \"$0\" && exec \"$@\"";
    let home = image.path("home").display().to_string();
    let shell = Start::wrapped("sh").args(["-c", script, &home, crate::support::PROGRAM]);
    let ended = shell.args(image.options()).args(["--", "pwd"]).run();
    assert_eq!(
        (ended.code, ended.stdout.trim()),
        (0, &*home),
        "{}",
        ended.stderr
    );
    assert!(
        !ended.stderr.contains("works in a directory"),
        "{}",
        ended.stderr
    );
}

#[test]
fn arguments_and_directory_are_untouched() {
    let image = Image::new();
    let show = "import os, sys; print(sys.argv[1:], os.getcwd())";
    let ended = image
        .command(["python3", "-c", show, "-l", "--", "--port", "1", "", "a b"])
        .run();
    let here = std::env::current_dir().unwrap();
    assert_eq!(
        ended.stdout.trim(),
        format!("['-l', '--', '--port', '1', '', 'a b'] {}", here.display())
    );
}

#[test]
fn the_environment_is_made_for_the_user_and_holds_no_secret() {
    let image = Image::new();
    let ended = image
        .command(["env"])
        .env("JUPYTER_PASSWORD", "s3cr3t")
        .env("JUPYTERHUB_HOST", "")
        .env("MINE", "kept")
        .run();
    let home = image.path("home").display().to_string();
    let venv = image.path("venv").display().to_string();
    for line in [
        format!("HOME={home}"),
        format!("VIRTUAL_ENV={venv}"),
        "MINE=kept".into(),
        "JUPYTERHUB_HOST=".into(),
    ] {
        assert!(
            ended.stdout.lines().any(|found| found == line),
            "{line}: {}",
            ended.stdout
        );
    }
    assert!(
        ended.stdout.contains(&format!("PATH={venv}/bin:")),
        "{}",
        ended.stdout
    );
    for secret in ["s3cr3t", "JUPYTER_PASSWORD"] {
        assert!(!ended.stdout.contains(secret), "{}", ended.stdout);
        assert!(!ended.stderr.contains("s3cr3t"), "{}", ended.stderr);
    }
}

/// As users of the Docker Stacks have it for what only hooks may know.
#[test]
fn variables_that_are_to_be_unset_reach_nobody() {
    let image = Image::new();
    let list = "DB_PASSWORD, OF_HOOKS,,";
    let ended = image
        .command(["env"])
        .env("JUPYTER_ENV_VARS_TO_UNSET", list)
        .env("DB_PASSWORD", "s3cr3t")
        .env("OF_HOOKS", "1")
        .env("DB_PASSWORD_FILE", "/kept")
        .run();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let names = ended.stdout.lines().filter_map(|line| line.split_once('='));
    let names: Vec<&str> = names.map(|(name, _)| name).collect();
    for name in ["DB_PASSWORD", "OF_HOOKS", "JUPYTER_ENV_VARS_TO_UNSET"] {
        assert!(!names.contains(&name), "{name}: {names:?}");
    }
    assert!(names.contains(&"DB_PASSWORD_FILE"), "{names:?}");
}

#[test]
fn without_anything_to_run_it_idles_and_ends_cleanly() {
    let image = Image::new();
    let mut running = Start::pid1().args(image.options()).start();
    running.wait_for("waiting for a signal");
    running.signal(15);
    assert_eq!(running.end(), 0);
}

#[test]
fn as_one_process_among_others_it_does_the_same_duties() {
    // Not PID 1: orphans come to us as the subreaper, and nobody else is signalled.
    const PARENT: &str = "
import subprocess, sys, time
subprocess.run([sys.executable, '-c', '''
import os, subprocess, sys
subprocess.Popen([sys.executable, \"-c\", \"import sys,time;print(\\\\\"orphan lives\\\\\",flush=True);time.sleep(1000)\"], start_new_session=True)
'''])
print('orphaned', flush=True)
sys.stdin.readline()
sys.exit(5)
";
    let image = Image::new();
    let bystander = std::process::Command::new("sleep").arg("1000").spawn();
    let mut bystander = bystander.unwrap();
    let (input, mut talk) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut running = Start::plain()
        .args(image.options())
        .args(["--", "python3", "-c", PARENT])
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(input)))
        .start();
    running.wait_for("orphan lives");
    running.wait_for("orphaned");
    std::io::Write::write_all(&mut talk, b"\n").unwrap();
    assert_eq!(running.end(), 5);
    // Its streams end only when the orphan is gone too.
    running.everything();
    assert!(bystander.try_wait().unwrap().is_none());
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}

#[test]
fn a_caller_that_ignores_the_ends_of_children_hides_none_from_us() {
    // Not in a namespace: unshare(1) would put it right before we begin.
    let image = Image::new();
    let start = crate::support::Start::plain().args(image.options());
    let start = start.args(["--", "sh", "-c", "exit 7"]);
    let ended = start.under(&["env", "--ignore-signal=CHLD"]).run();
    assert_eq!(ended.code, 7, "{}", ended.stderr);
}

/// A scheduler pauses a job, and nobody would continue the process above it: under `docker run
/// --init`, the job goes on with the same result as under tini alone.
#[test]
fn a_command_that_another_process_pauses_goes_on_and_ends() {
    let image = Image::new();
    let job = ["bash", "-c", "trap 'exit 7' USR1; echo up; read x"];
    let ours = Start::wrapped("tini").args(["--", PROGRAM]);
    let ours = ours.args(image.options());
    for (start, is_ours) in [(ours, true), (Start::wrapped("tini"), false)] {
        let (stdin, _keys) = std::io::pipe().unwrap();
        let mut running = start.arg("--").args(job).stdin(stdin).start();
        running.wait_for_line("up");
        let main = running.main_pid();
        let job = if is_ours { children(main)[0] } else { main };
        send(job, libc::SIGSTOP);
        until("it is paused", || running.is_stopped(job));
        // This one is read after the end of the first.
        running.signal(libc::SIGUSR1);
        until("the signal waits", || {
            assert!(!is_ours || !running.is_stopped(main));
            running.status(job, "ShdPnd") != "0000000000000000"
        });
        send(job, libc::SIGCONT);
        assert_eq!(running.end(), 7);
    }
}
