//! Kernels and sandboxes that do not know a system call, or do not allow it: the start goes
//! on where that is safe, otherwise it ends and names the call.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::{Image, Output, PROGRAM, Start, UID};

const SECCOMP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/seccomp.py");

/// The program under a kernel that ends these calls with this error.
fn under(error: &str, calls: &[String]) -> Vec<String> {
    let words = ["python3", SECCOMP, error].map(str::to_owned);
    let end = ["--".to_owned()];
    [&words[..], calls, &end].concat()
}

/// How a call comes to be made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    /// By PID 1, with a command.
    Command,
    /// By PID 1, with a server, which ends by itself.
    Server,
    /// By one process among others, with a command.
    Beside,
    /// By PID 1 that was started without root.
    WithoutRoot,
    /// By a process that has hooks of root's, below another one.
    Hook,
    /// By PID 1 that was started with a group which is root's.
    WithGroup,
}
use When::{Beside, Command, Hook, Server, WithGroup, WithoutRoot};

const ERRORS: [&str; 3] = ["ENOSYS", "EPERM", "EINVAL"];

/// Every call of the drop and of the supervisor that another kernel or a sandbox may refuse.
/// Those without which no program runs at all are not among them.
#[rustfmt::skip]
fn calls() -> Vec<(&'static str, i64, Option<i32>, When)> {
    let control = |name, what, when| (name, libc::SYS_prctl, Some(what), when);
    let call = |name, number, when| (name, number, None, when);
    vec![
        call("getresuid", libc::SYS_getresuid, Command),
        call("getresgid", libc::SYS_getresgid, Command),
        call("getgroups", libc::SYS_getgroups, Command),
        call("capget", libc::SYS_capget, Command),
        control("PR_CAPBSET_READ", libc::PR_CAPBSET_READ, Command),
        control("PR_CAP_AMBIENT", libc::PR_CAP_AMBIENT, Command),
        control("PR_CAP_AMBIENT, without root", libc::PR_CAP_AMBIENT, WithoutRoot),
        control("PR_GET_NO_NEW_PRIVS", libc::PR_GET_NO_NEW_PRIVS, Command),
        control("PR_GET_DUMPABLE", libc::PR_GET_DUMPABLE, Command),
        call("setgroups, with none to change", libc::SYS_setgroups, Command),
        call("setgroups", libc::SYS_setgroups, WithGroup),
        call("setresgid", libc::SYS_setresgid, Command),
        call("setresuid", libc::SYS_setresuid, Command),
        call("capset", libc::SYS_capset, Command),
        control("PR_CAPBSET_DROP", libc::PR_CAPBSET_DROP, Command),
        control("PR_SET_NO_NEW_PRIVS", libc::PR_SET_NO_NEW_PRIVS, Command),
        control("PR_SET_NO_NEW_PRIVS, without root", libc::PR_SET_NO_NEW_PRIVS, WithoutRoot),
        control("PR_SET_DUMPABLE", libc::PR_SET_DUMPABLE, Command),
        control("PR_SET_DUMPABLE, without root", libc::PR_SET_DUMPABLE, WithoutRoot),
        control("PR_SET_NAME", libc::PR_SET_NAME, Command),
        call("prlimit64", libc::SYS_prlimit64, Command),
        call("rt_sigprocmask", libc::SYS_rt_sigprocmask, Command),
        call("signalfd4", libc::SYS_signalfd4, Command),
        call("epoll_create1", libc::SYS_epoll_create1, Command),
        call("epoll_ctl", libc::SYS_epoll_ctl, Command),
        call("epoll_wait", libc::SYS_epoll_wait, Command),
        call("eventfd2", libc::SYS_eventfd2, Command),
        call("fcntl", libc::SYS_fcntl, Command),
        call("pipe2", libc::SYS_pipe2, Command),
        call("socketpair", libc::SYS_socketpair, Command),
        call("kill", libc::SYS_kill, Command),
        call("wait4", libc::SYS_wait4, Command),
        call("clone", libc::SYS_clone, Command),
        call("clone3, for a server's log", libc::SYS_clone3, Server),
        call("setsid, for a server", libc::SYS_setsid, Server),
        call("setpgid, for a command", libc::SYS_setpgid, Command),
        call("ioctl", libc::SYS_ioctl, Command),
        call("getrandom", libc::SYS_getrandom, Command),
        call("madvise", libc::SYS_madvise, Command),
        call("sched_getaffinity", libc::SYS_sched_getaffinity, Command),
        call("flock", libc::SYS_flock, Command),
        control("PR_SET_CHILD_SUBREAPER, not PID 1", libc::PR_SET_CHILD_SUBREAPER, Beside),
        control("PR_SET_CHILD_SUBREAPER, with root hooks", libc::PR_SET_CHILD_SUBREAPER, Hook),
        call("pidfd_open, not PID 1", libc::SYS_pidfd_open, Beside),
        call("pidfd_send_signal, not PID 1", libc::SYS_pidfd_send_signal, Beside),
    ]
}

/// A start for which this call ends with this error.
fn start(image: &Image, hooks: &Path, call: &str, when: When, error: &str) -> Start {
    let refuse = ["python3", SECCOMP, error, call, "--"];
    let below = ["-c", "\"$@\"; exit $?", "sh"];
    let ids = [format!("--reuid={UID}"), format!("--regid={UID}")];
    let step_down = ["setpriv", &ids[0], &ids[1], "--clear-groups", "--"];
    let start = match when {
        Command | Server => Start::wrapped(refuse[0]).args(&refuse[1..]).arg(PROGRAM),
        WithGroup => {
            let start = Start::wrapped("setpriv").args(["--groups", "0", "--"]);
            start.args(refuse).arg(PROGRAM)
        }
        Beside | Hook => Start::wrapped("sh").args(below).args(refuse).arg(PROGRAM),
        WithoutRoot => {
            // Where the user can execute it.
            let program = image.path("venv/bin/program");
            fs::copy(PROGRAM, &program).unwrap();
            let start = Start::wrapped(refuse[0]).args(&refuse[1..]).args(step_down);
            start.arg(&program.display().to_string())
        }
    };
    let start = start.args(image.options());
    match when {
        Server => start
            .args(["--jupyter-server", "jupyter-lab"])
            .env("FAKE", "dies"),
        Hook => start.args(["--hooks", hooks.to_str().unwrap(), "--", "true"]),
        Beside => start.args(["--", "cat", "/proc/self/status"]),
        Command | WithGroup | WithoutRoot => {
            start.args(["--", "cat", "/proc/1/status", "/proc/self/status"])
        }
    }
}

/// A directory with a hook of root's, where only root can write.
fn hooks() -> tempfile::TempDir {
    let dir = tempfile::tempdir_in("/srv").unwrap();
    let everybody = fs::Permissions::from_mode(0o755);
    fs::set_permissions(dir.path(), everybody.clone()).unwrap();
    fs::create_dir(dir.path().join("root")).unwrap();
    let hook = dir.path().join("root/a");
    fs::write(&hook, "#!/bin/sh\necho hook ran\n").unwrap();
    fs::set_permissions(&hook, everybody).unwrap();
    dir
}

/// The lines of the log with this level, without their times.
fn lines(log: &str, level: char) -> Vec<&str> {
    let begin = format!("[{level} ");
    let lines = log.lines().filter(|line| line.starts_with(&begin));
    lines
        .filter_map(|line| Some(line.split_once("] ")?.1))
        .collect()
}

/// What happens, in the words of the page: `goes on`, `goes on and tells X`, `ends with N: X`.
fn outcome(ended: &Output, usual: &Output) -> String {
    let told = lines(&ended.stderr, 'W');
    let new = told.iter().filter(|line| !usual.stderr.contains(**line));
    let new: Vec<&str> = new.copied().collect();
    match (ended.code == usual.code, &new[..]) {
        (true, []) => "goes on".into(),
        (true, told) => format!("goes on and tells {}", told.join(" ")),
        (false, _) => {
            let last = lines(&ended.stderr, 'E').join(" ");
            format!("ends with {}: {last}", ended.code)
        }
    }
}

/// A cell of the page: its words before the quoted part, and that part.
fn cell(text: &str) -> (&str, &str) {
    let (words, quoted) = text.split_once('`').unwrap_or((text, ""));
    (words.trim(), quoted.trim_end_matches('`'))
}

/// The table of the page: what happens for each call and error.
fn documented() -> BTreeMap<String, Vec<String>> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/limits.md");
    let page = fs::read_to_string(page).unwrap();
    let table = page
        .split("\n| Call | ENOSYS | EPERM | EINVAL |\n")
        .nth(1)
        .unwrap();
    let rows = table
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'));
    let rows = rows.map(|row| {
        let cells = row.trim_matches('|').split('|');
        let mut cells = cells.map(|cell| cell.trim().to_owned());
        (cells.next().unwrap(), cells.collect())
    });
    rows.collect()
}

/// Nothing of root's is left to any process whose status this is.
fn has_dropped(ended: &Output, when: When) {
    // Both have their own tests: the set stays without CAP_SETPCAP.
    let kept = when == WithoutRoot || ended.stderr.contains("bounding set was kept");
    for line in ended.stdout.lines() {
        let Some((name, value)) = line.split_once(":\t") else {
            continue;
        };
        let ids = format!("{UID}\t{UID}\t{UID}\t{UID}");
        let expected = match name {
            "Uid" | "Gid" => ids.as_str(),
            "CapBnd" if kept => continue,
            "CapInh" | "CapPrm" | "CapEff" | "CapBnd" | "CapAmb" => "0000000000000000",
            "NoNewPrivs" => "1",
            _ => continue,
        };
        assert_eq!(value, expected, "{name}: {ended:?}");
    }
}

/// The table of `docs/limits.md` is what happens. Where a start goes on, the drop is whole.
#[test]
fn a_refused_call_does_what_the_page_says() {
    let mut documented = documented();
    let image = Image::new();
    let hooks = hooks();
    // No kernel knows this one.
    let usual = |when| start(&image, hooks.path(), "4095", when, "ENOSYS").run();
    let usual: Vec<Output> = [Command, Server, Beside, WithoutRoot, Hook, WithGroup]
        .map(usual)
        .into();
    for (usual, code) in usual.iter().zip([0, 3, 0, 0, 0, 0]) {
        assert_eq!(usual.code, code, "{usual:?}");
    }
    let mut wrong = Vec::new();
    for (name, number, first, when) in calls() {
        let call = first.map_or(number.to_string(), |first| format!("{number}:{first}"));
        let row = documented.remove(name).unwrap_or_default();
        let found = ERRORS.map(|error| {
            let ended = start(&image, hooks.path(), &call, when, error).run();
            let usual = &usual[when as usize];
            let outcome = outcome(&ended, usual);
            if ended.code == usual.code {
                has_dropped(&ended, when);
            } else {
                assert!(!ended.stderr.contains("which is a bug"), "{name} {ended:?}");
                assert!(!ended.stderr.contains("hook ran"), "{name} {ended:?}");
                assert_eq!(ended.stdout, "", "{name} {error}");
            }
            outcome
        });
        let fits = |(found, expected): (&String, &String)| {
            let (words, quoted) = cell(expected);
            found.starts_with(words)
                && found.contains(quoted)
                && (!quoted.is_empty() || found == words)
        };
        if row.len() != found.len() || !found.iter().zip(&row).all(fits) {
            wrong.push(format!("{name}: {found:#?} but the page has {row:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(documented.is_empty(), "who tries these? {documented:?}");
}

/// Leaves one process behind that counts how often it gets TERM until CONT comes, and one
/// that is deaf to TERM; each in a session of its own.
const LEAVES_TWO: &str = r#"
import os, subprocess, sys
COUNTS = """
import os, signal, sys
signals = {signal.SIGTERM, signal.SIGCONT}
signal.pthread_sigmask(signal.SIG_BLOCK, signals)
os.close(int(sys.argv[1]))
terms = 0
while signal.sigwait(signals) != signal.SIGCONT: terms += 1
later = signal.sigtimedwait(signals, 0.1)
print('TERM came', terms, 'times, later', later, flush=True)
"""
DEAF = """
import os, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.close(int(sys.argv[1]))
while True: signal.pause()
"""
for code in COUNTS, DEAF:
    wait, ready = os.pipe()
    words = [sys.executable, '-c', code, str(ready)]
    subprocess.Popen(words, start_new_session=True, pass_fds=[ready])
    os.close(ready)
    os.read(wait, 1)
"#;

#[test]
fn leftovers_get_term_and_kill_without_pidfds() {
    let image = Image::new();
    let open = libc::SYS_pidfd_open;
    let send = libc::SYS_pidfd_send_signal;
    for error in ERRORS {
        for calls in [vec![open], vec![send]] {
            let calls: Vec<String> = calls.iter().map(i64::to_string).collect();
            let outer = under(error, &calls);
            let outer: Vec<&str> = outer.iter().map(String::as_str).collect();
            // Not PID 1, as under `docker run --init` and `--pid=host`.
            let start = Start::plain().args(image.options());
            let start = start.args(["--drain-timeout", "0.5", "--", "python3", "-c", LEAVES_TWO]);
            // The streams end only when the leftovers have.
            let ended = start.under(&outer).run();
            let what = format!("{error} {calls:?}: {ended:?}");
            assert_eq!(ended.code, 0, "{what}");
            assert_eq!(ended.stdout, "TERM came 1 times, later None\n", "{what}");
        }
    }
}

#[test]
fn real_time_signals_pass_where_they_cannot_be_queued() {
    const WAITS: &str = "import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [39])
print('it waits', flush=True)
print('got', signal.sigwait([39]))";
    let image = Image::new();
    let call = libc::SYS_rt_sigqueueinfo.to_string();
    for error in ERRORS {
        let start = Start::wrapped("python3").args([SECCOMP, error, &call, "--", PROGRAM]);
        let start = start
            .args(image.options())
            .args(["--", "python3", "-c", WAITS]);
        let mut running = start.start();
        running.wait_for("it waits");
        running.signal(39);
        assert_eq!(running.end(), 0);
        running.wait_for("got 39");
    }
}
