//! After the drop no process of the container is root's, none can become root, and
//! none can look into PID 1; a drop that only seemed to work ends the start.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::docker::{Container, IMAGE, docker, docker_ok, name, run, run_image};
use crate::support::granted::Host;

const READY: &str = "] ready in ";
const CAPABILITIES: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let mut lines = status.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value
        .unwrap_or_else(|| panic!("no {name} in {status}"))
        .trim()
}

/// A status as proc(5) shows it, of a process that has lost everything of root's.
fn has_nothing_of_roots(status: &str, groups: &str) {
    for name in ["Uid", "Gid"] {
        assert_eq!(field(status, name), "1000\t1000\t1000\t1000", "{status}");
    }
    for name in CAPABILITIES {
        assert_eq!(field(status, name), "0000000000000000", "{name}: {status}");
    }
    assert_eq!(field(status, "NoNewPrivs"), "1", "{status}");
    assert_eq!(field(status, "Groups"), groups, "{status}");
}

#[test]
fn every_process_of_a_server_has_lost_everything_seen_from_inside_and_outside() {
    let host = Host::new(4242, 0o660);
    let socket = host.option();
    // Docker's own health checks begin as root, and would be seen at times.
    let quiet = "--no-healthcheck";
    let options = [&socket, "--group-add", "7777", "--group-add", "0", quiet];
    let container = Container::start(&options, &[]);
    container.wait_for(READY);
    container.visit(&["kernel", "ailab"]);
    let listed = docker_ok(["top", &container.name, "-eo", "pid"]);
    let pids: Vec<&str> = listed.split_whitespace().skip(1).collect();
    assert!(pids.len() >= 3, "PID 1, Jupyter and a kernel: {listed}");
    let mut first = 0;
    for pid in pids {
        let outside = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        has_nothing_of_roots(&outside, "4242 7777");
        // Its number in the container is the last of those it has.
        let inner = field(&outside, "NSpid").split_whitespace().last().unwrap();
        first += usize::from(inner == "1");
        let inside = container.exec_ok("jupyter", &["cat", &format!("/proc/{inner}/status")]);
        has_nothing_of_roots(&inside, "4242 7777");
    }
    assert_eq!(first, 1, "PID 1 is among them");
}

#[test]
fn a_command_has_lost_everything_too() {
    let (code, stdout, stderr) = run(&["--group-add", "7777"], &["cat", "/proc/self/status"]);
    assert_eq!(code, 0, "{stderr}");
    has_nothing_of_roots(&stdout, "7777");
}

/// An image made from the one under test; it is removed in the end.
struct Derived(String);

impl Derived {
    fn new(step: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("Dockerfile");
        fs::write(&file, format!("FROM {IMAGE}\n{step}\n")).unwrap();
        let name = name();
        docker_ok(["build", "-t", &name, directory.path().to_str().unwrap()]);
        Self(name)
    }
}

impl Drop for Derived {
    fn drop(&mut self) {
        docker(["rmi", &self.0]);
    }
}

#[test]
fn groups_that_the_image_gives_to_root_are_not_the_users() {
    // Debian's are 42 and 6.
    let image = Derived::new("RUN usermod -aG shadow,disk root");
    let left_out = "Groups not passed on to the user: disk (6), shadow (42); ";
    for (options, flags, groups, told) in [
        (&[][..], &[][..], "", true),
        (&["--group-add", "7777"], &[], "7777", true),
        (&["--group-add", "disk"], &[], "", true),
        (
            &["--group-add", "disk"],
            &["--keep-group", "disk"],
            "6",
            false,
        ),
    ] {
        let command = [flags, &["--", "cat", "/proc/self/status"]].concat();
        let (code, stdout, stderr) = run_image(&image.0, options, &command);
        assert_eq!(code, 0, "{stderr}");
        has_nothing_of_roots(&stdout, groups);
        assert_eq!(stderr.contains(left_out), told, "{stderr}");
    }
    // Seen from outside, and by a verb that starts as root.
    let container = Container::start_image(&image.0, &[], &["sh", "-c", "echo up; sleep 1000"]);
    container.wait_for("up\n");
    let pid = container.inspect("{{.State.Pid}}");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    has_nothing_of_roots(&status, "");
    let healthy = ["ai-lab-entrypoint", "healthcheck"];
    assert_eq!(
        container.exec_ok("root", &healthy),
        "healthy: the command runs\n"
    );
}

/// A setuid shell of root's and, in the second place, `su` to a root without password.
const WAYS_UP: &str = "/host/rootshell -p -c 'id -u' || echo refused; \
                       su -c 'id -u' </dev/null 2>/dev/null || echo refused";

#[test]
fn setuid_programs_give_nothing() {
    let host = tempfile::tempdir().unwrap();
    fs::set_permissions(host.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let shell = host.path().join("rootshell");
    fs::copy("/bin/sh", &shell).unwrap();
    fs::set_permissions(&shell, fs::Permissions::from_mode(0o4755)).unwrap();
    let option = format!("--volume={}:/host", host.path().display());
    // The command begins when root's password is gone.
    let script = format!("mkfifo ~/go; echo made; read _ <~/go; {WAYS_UP}; exec sleep 1000");
    for (flags, expected) in [
        (&[][..], "made\n1000\nrefused\n"),
        // The same where it was asked for: it is our doing, not the image's.
        (&["--new-privileges"], "made\n0\n0\n"),
    ] {
        let command = [flags, &["--", "sh", "-c", &script]].concat();
        let container = Container::start(&[&option], &command);
        container.wait_for("made\n");
        container.exec_ok("root", &["passwd", "-d", "root"]);
        container.exec_ok("jupyter", &["sh", "-c", "echo >~/go"]);
        container.until("both ways were tried", || {
            (container.streams().0.lines().count() == 3).then_some(())
        });
        assert_eq!(container.streams().0, expected, "{flags:?}");
    }
}

/// Everything of a process that shows its memory, environment or files.
const LOOK_INTO: &str = r"
import ctypes, os, sys
pid = sys.argv[1]
for name in 'environ mem maps smaps auxv io stack syscall map_files fd fdinfo'.split():
    path = f'/proc/{pid}/{name}'
    try:
        if os.path.isdir(path): os.listdir(path)
        else:
            file = open(path, 'rb')
            if name != 'mem': file.read(1)
        print(name, 'open')
    except OSError: pass
for name in 'cwd root exe'.split():
    try:
        os.readlink(f'/proc/{pid}/{name}')
        print(name, 'open')
    except OSError: pass
SEIZE = 0x4206
if ctypes.CDLL(None).ptrace(SEIZE, int(pid), 0, 0) == 0: print('ptrace open')
print('looked')
";

#[test]
fn pid_1_is_closed_to_the_user() {
    let secret = ["--env", "JUPYTER_PASSWORD=s3cr3t"];
    let script = r#"python3 -c "$1" 1; sleep 1000 & python3 -c "$1" $! | head -1; wait"#;
    for user in [&[][..], &["--user", "jupyter"]] {
        let options = [&secret[..], user].concat();
        let command = ["sh", "-c", script, "sh", LOOK_INTO];
        let container = Container::start(&options, &command);
        // Of PID 1 nothing; of the user's own process the first thing asked for.
        container.wait_for("environ open\n");
        let (said, _) = container.streams();
        assert_eq!(said, "looked\nenviron open\n", "{user:?}");
        let exec = container.exec_ok("jupyter", &["python3", "-c", LOOK_INTO, "1"]);
        assert_eq!(exec, "looked\n", "docker exec, {user:?}");
    }
}

/// A seccomp rule under which a call succeeds and does nothing.
fn pretend(call: &str, first: Option<i32>) -> tempfile::NamedTempFile {
    let only = first.map(|first| {
        format!(r#", "args": [{{"index": 0, "value": {first}, "op": "SCMP_CMP_EQ"}}]"#)
    });
    let only = only.unwrap_or_default();
    let profile = format!(
        r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls":
            [{{"names": ["{call}"], "action": "SCMP_ACT_ERRNO", "errnoRet": 0{only}}}]}}"#
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), profile).unwrap();
    file
}

#[test]
fn a_drop_that_only_seemed_to_work_ends_the_start() {
    const AS_USER: &[&str] = &["--user", "jupyter"];
    let host = Host::new(4242, 0o660);
    let socket: &[&str] = &[&host.option()];
    for (call, first, user, found) in [
        (
            "setresuid",
            None,
            &[][..],
            "uids [0, 0, 0] instead of uids [1000, 1000, 1000]",
        ),
        (
            "setresgid",
            None,
            &[],
            "gids [0, 0, 0] instead of gids [1000, 1000, 1000]",
        ),
        (
            "setgroups",
            None,
            socket,
            "groups [] instead of groups [4242]",
        ),
        (
            "prctl",
            Some(libc::PR_CAPBSET_DROP),
            &[],
            "instead of bounding set 0x0",
        ),
        (
            "prctl",
            Some(libc::PR_SET_NO_NEW_PRIVS),
            &[],
            "no_new_privs is off",
        ),
        (
            "prctl",
            Some(libc::PR_SET_NO_NEW_PRIVS),
            AS_USER,
            "no_new_privs is off",
        ),
    ] {
        let profile = pretend(call, first);
        let seccomp = format!("seccomp={}", profile.path().display());
        let options = [&["--security-opt", &seccomp], user].concat();
        let (code, stdout, stderr) = run(&options, &["echo", "ran"]);
        assert_eq!((code, stdout.as_str()), (1, ""), "{call}: {stderr}");
        assert!(stderr.contains("privileges were not dropped: "), "{stderr}");
        assert!(stderr.contains(found), "{found:?} is missing in {stderr}");
    }
}

/// A derived image's PATH may begin with the venv, where the user can write.
#[test]
fn a_planted_program_is_neither_the_health_check_nor_pid_1() {
    let path = "--env=PATH=/opt/ai-lab/jupyterenv/bin:/usr/local/bin:/usr/bin:/bin";
    let container = Container::start(&[path, "--health-interval=1s"], &["sleep", "1000"]);
    let log = container.wait_for("] prepared in ");
    assert!(
        log.contains("the container's PATH is not root's alone"),
        "{log}"
    );
    let planted = "#!/bin/sh\\nid >/tmp/planted\\n";
    let plant = format!(
        "cd /opt/ai-lab/jupyterenv/bin && printf '{planted}' >ai-lab-entrypoint && \
         chmod 755 ai-lab-entrypoint"
    );
    container.exec_ok("jupyter", &["sh", "-ec", &plant]);
    // The one that is under way may have begun before.
    for _ in 0..2 {
        let checks = || container.described()["State"]["Health"]["Log"].clone();
        let before = checks();
        container.until("there is one more check", || {
            (checks() != before).then_some(())
        });
    }
    assert_eq!(container.inspect("{{.State.Health.Status}}"), "healthy");
    container.signal("TERM");
    container.end();
    container.begin();
    container.wait_for_nth("] prepared in ", 2);
    assert!(!container.exec("root", &["test", "-e", "/tmp/planted"]).0);
}
