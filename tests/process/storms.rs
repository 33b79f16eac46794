//! Crowds of orphans and restarts leave nothing behind: no zombie, no descriptor, no
//! memory; and where nothing happens, nothing wakes up.

mod figures;

use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::support::process::{children, until};
use crate::support::{Image, Running, UID, repeated};

/// Its child makes `count` zombies and ends: all become PID 1's at once. For Python, also in
/// rounds (`figures`).
const ZOMBIES: &str = "
import os, sys
def zombies():
    if os.fork() == 0:
        here, there = os.pipe()
        for _ in range(count):
            if os.fork() == 0:
                os.write(there, b'.')
                os._exit(0)
            os.read(here, 1)
        os._exit(0)
    os.wait()
";

/// Makes them once.
const ONCE: &str = "
count = 10_000
print('ready', flush=True)
sys.stdin.readline()
zombies()
print('made', flush=True)
sys.stdin.readline()
";

/// Its child makes small processes that wait until somebody opens `fifo`, and ends.
const LIVING: &str = "
echo ready; read line
(count=0; while [ $count -lt MOST ]; do (read line <fifo) & count=$((count+1)); done)
echo made; read line
";

/// A figure of a process's memory in KiB, see proc_pid_status(5).
fn memory(running: &Running, pid: i32, which: &str) -> u64 {
    let memory = running.status(pid, which);
    memory.split_whitespace().next().unwrap().parse().unwrap()
}

/// What a process holds: descriptors, and its own resident memory in KiB. (What is
/// mapped of its file besides comes and goes.)
fn holds(running: &Running, pid: i32) -> (usize, u64) {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    (descriptors, memory(running, pid, "RssAnon"))
}

/// A command, and how to tell it to go on.
fn crowd(image: &Image, command: [&str; 3]) -> (Running, impl FnMut()) {
    let (input, mut talk) = UnixStream::pair().unwrap();
    let input = Stdio::from(OwnedFd::from(input));
    let mut running = image.command(command).stdin(input).start();
    running.wait_for_line("ready");
    (running, move || talk.write_all(b"\n").unwrap())
}

fn compare(before: (usize, u64), after: (usize, u64)) {
    // The state may have been on its way to disk before.
    assert!(after.0 <= before.0, "descriptors: {before:?}, {after:?}");
    assert!(after.1 < before.1 + 1024, "KiB: {before:?}, {after:?}");
}

#[test]
fn ten_thousand_zombies_leave_nothing_behind() {
    let image = Image::new();
    let script = format!("{ZOMBIES}{ONCE}");
    let (mut running, mut go_on) = crowd(&image, ["python3", "-c", &script]);
    let pid = running.pid();
    let before = holds(&running, pid);
    go_on();
    running.wait_for_line("made");
    until("all are reaped", || children(pid).len() == 1);
    compare(before, holds(&running, pid));
    go_on();
    assert_eq!(running.end(), 0);
}

/// Forks twice without end, as a daemon does once; says how often.
const DAEMONS: &str = "
import os, sys
print('ready', flush=True)
sys.stdin.readline()
count = 0
while True:
    if os.fork() == 0:
        os.fork()
        os._exit(0)
    os.wait()
    count += 1
    if count % 1000 == 0:
        print('forked', count, flush=True)
";

#[test]
fn double_forks_without_end_leave_nothing_behind() {
    let image = Image::new();
    let (mut running, mut go_on) = crowd(&image, ["python3", "-c", DAEMONS]);
    let pid = running.pid();
    go_on();
    running.wait_for("forked 1000");
    let before = holds(&running, pid);
    running.wait_for(repeated("forked 3000", "forked 10000"));
    compare(before, holds(&running, pid));
    running.signal(15);
    assert_eq!(running.end(), 143);
}

#[test]
fn living_orphans_leave_nothing_behind() {
    let half = repeated(1_000, 10_000);
    let image = Image::new();
    let fifo = image.path("home/fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    nix::unistd::chown(&fifo, Some(UID.into()), None).unwrap();
    let script = LIVING.replace("fifo", fifo.to_str().unwrap());
    let script = script.replace("MOST", &(2 * half).to_string());
    let (mut running, mut go_on) = crowd(&image, ["sh", "-c", &script]);
    let pid = running.pid();
    let before = holds(&running, pid);
    go_on();
    running.wait_for_line("made");
    let main = running.main_pid();
    let all = children(pid);
    assert_eq!(all.len(), 2 * half + 1);
    // Half of them end by themselves.
    let others = all.into_iter().filter(|child| *child != main);
    let first: Vec<String> = others.take(half).map(|pid| pid.to_string()).collect();
    for some in first.chunks(1000) {
        let status = Command::new("kill").args(some).status();
        assert!(status.unwrap().success());
    }
    until("they are reaped", || children(pid).len() == half + 1);
    compare(before, holds(&running, pid));
    // The others end with the command.
    running.signal(15);
    assert_eq!(running.end(), 143);
}

#[test]
fn many_restarts_leave_nothing_behind() {
    let image = Image::new();
    let mut running = image.server().start();
    running.wait_for("] ready in ");
    let pid = running.pid();
    let mut first = None;
    for _ in 0..repeated(15, 100) {
        running.signal(1);
        running.wait_for_next("restarting the server in place");
        running.wait_for_next("] ready in ");
        first = first.or_else(|| Some(holds(&running, pid)));
    }
    until("nobody else is left", || running.processes().len() == 2);
    // What belonged to the last one but one is given back in its own time.
    let first = first.unwrap();
    until("it holds no more descriptors", || {
        holds(&running, pid).0 <= first.0
    });
    compare(first, holds(&running, pid));
    running.signal(15);
    assert_eq!(running.end(), 0);
}

/// How often all threads of a process went to sleep, which is how often they woke up.
fn wake_ups(running: &Running, pid: i32) -> Vec<(String, String)> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let mut found: Vec<_> = threads
        .map(|thread| {
            let id = thread.unwrap().file_name().into_string().unwrap();
            let count = running.status(id.parse().unwrap(), "voluntary_ctxt_switches");
            (id, count)
        })
        .collect();
    found.sort();
    found
}

/// KiB of a process's own program that are mapped as code, and how many of them are
/// resident.
fn code(pid: i32) -> (u64, u64) {
    let maps = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    let is_code =
        |line: &&str| line.contains(" r-xp ") && line.ends_with(program.to_str().unwrap());
    let mut lines = maps.lines().skip_while(|line| !is_code(line));
    let mut figure = |name: &str| -> u64 {
        let line = lines.find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    (figure("Size:"), figure("Rss:"))
}

#[test]
fn what_only_the_start_needed_is_given_back() {
    let (with_server, with_command) = (Image::new(), Image::new());
    let mut server = with_server.server().start();
    let mut command = with_command
        .command(["sh", "-c", "echo ready; exec sleep 1000"])
        .start();
    server.wait_for("] ready in ");
    command.wait_for_line("ready");
    for running in [&server, &command] {
        let pid = running.pid();
        until("code is given back", || {
            let (size, resident) = code(pid);
            2 * resident < size
        });
        // The hash of a password takes 10 MiB.
        until("memory is given back", || {
            memory(running, pid, "RssAnon") < 5 * 1024
        });
    }
}

#[test]
fn ten_idle_seconds_pass_without_a_wake_up() {
    let (with_server, with_command, alone) = (Image::new(), Image::new(), Image::new());
    let mut server = with_server.server().start();
    let mut command = with_command
        .command(["sh", "-c", "echo ready; exec sleep 1000"])
        .start();
    let mut idle = crate::support::Start::pid1().args(alone.options()).start();
    server.wait_for("] ready in ");
    command.wait_for_line("ready");
    idle.wait_for("waiting for a signal");
    let all = [&server, &command, &idle];
    // What readiness left to do is done when two looks in a row see the same. The last of it is a
    // second after it.
    let look = || all.map(|running| wake_ups(running, running.pid()));
    let settled = Duration::from_millis(1500);
    let mut before = look();
    until("it is idle", || {
        thread::sleep(settled);
        let now = look();
        std::mem::replace(&mut before, now.clone()) == now
    });
    // Not a wait for something: this is the measurement.
    thread::sleep(Duration::from_secs(10));
    assert_eq!(before, look());
}
