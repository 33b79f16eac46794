//! Whatever happens to the console, the logfile or a queue: TERM ends everything in
//! time, and orphans are reaped meanwhile.

use std::fs;
use std::io::{PipeReader, PipeWriter, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::process::until;
use crate::support::terminal::{CTRL_S, Terminal};
use crate::support::tmpfs::{Bound, Disk};
use crate::support::{Image, Running, Start, get};

/// The grace periods: those of the server and of everyone else.
const GRACE: Duration = Duration::from_millis(7000 + 1500);

/// A pipe that holds all it can.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let size = rustix::pipe::fcntl_getpipe_size(&writer).unwrap();
    writer.write_all(&vec![b'x'; size]).unwrap();
    (reader, writer)
}

fn is_full(reader: &PipeReader, size: usize) -> bool {
    rustix::io::ioctl_fionread(reader).unwrap() >= u64::try_from(size).unwrap()
}

/// The server leaves orphans, they are reaped, and TERM ends it all in time.
fn reaps_and_stops(image: &Image, running: &mut Running) {
    until("it answers", || get(image.port, "/api") == Some(200));
    let bred = image.path("home/bred");
    running.signal(10);
    until("orphans were left", || bred.exists());
    until("they are reaped", || running.processes().len() == 2);
    let start = Instant::now();
    running.signal(15);
    assert_eq!(running.end(), 0);
    assert!(start.elapsed() < GRACE, "{:?}", start.elapsed());
}

#[test]
fn for_pipes_that_fill_up_because_nobody_reads_them() {
    let image = Image::new();
    let (out, stdout) = std::io::pipe().unwrap();
    let (_err, stderr) = std::io::pipe().unwrap();
    let size = rustix::pipe::fcntl_getpipe_size(&stdout).unwrap();
    let start = image.server().env("FAKE", "flood breeds");
    let mut running = start.start_into(stdout, stderr);
    until("the pipe is full", || is_full(&out, size - 4096));
    reaps_and_stops(&image, &mut running);
}

#[test]
fn for_pipes_that_are_full_from_the_beginning() {
    let image = Image::new();
    let ((_out, stdout), (_err, stderr)) = (full_pipe(), full_pipe());
    let start = image.server().env("FAKE", "flood breeds");
    let mut running = start.start_into(stdout, stderr);
    reaps_and_stops(&image, &mut running);
}

#[test]
fn for_pipes_that_nobody_will_ever_read() {
    let image = Image::new();
    let (_, stdout) = std::io::pipe().unwrap();
    let (_, stderr) = std::io::pipe().unwrap();
    let start = image.server().env("FAKE", "flood breeds");
    let mut running = start.start_into(stdout, stderr);
    reaps_and_stops(&image, &mut running);
}

#[test]
fn for_a_terminal_stopped_with_ctrl_s() {
    let image = Image::new();
    let terminal = Terminal::new();
    let server = image.server().env("FAKE", "flood breeds");
    let mut running = server.in_session().start_on(&terminal);
    running.wait_for("xxx");
    terminal.press(CTRL_S);
    while running.next_line(Duration::from_millis(200)).is_some() {}
    reaps_and_stops(&image, &mut running);
}

#[test]
fn for_a_command_whose_console_takes_nothing() {
    let image = Image::new();
    let (_err, stderr) = full_pipe();
    let here = image.path("home/here");
    let script = format!("touch {}; exec sleep 1000", here.display());
    let command = image.command(["sh", "-c", &script]);
    let mut running = command.start_into(Stdio::null(), stderr);
    until("the command runs", || here.exists());
    let start = Instant::now();
    running.signal(15);
    assert_eq!(running.end(), 143);
    assert!(start.elapsed() < GRACE, "{:?}", start.elapsed());
}

#[test]
fn for_a_logfile_that_takes_nothing() {
    let image = Image::new();
    let fifo = image.path("home/fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let link = image.path("home/link");
    std::os::unix::fs::symlink("/dev/full", &link).unwrap();
    for place in ["/dev/full", fifo.to_str().unwrap(), link.to_str().unwrap()] {
        let _ = fs::remove_file(image.path("home/bred"));
        let server = image.server().env("FAKE", "breeds");
        let mut running = server.args(["--jupyter-logfile", place]).start();
        running.wait_for(&format!("the logfile {place} cannot be written"));
        running.wait_for("Jupyter Server 2.0.0 is running at:");
        reaps_and_stops(&image, &mut running);
    }
}

#[test]
fn for_a_logfile_on_a_full_disk() {
    let image = Image::new();
    let log = image.path("home/server.log");
    // No file may grow beyond this: write(2) fails with EFBIG instead of ENOSPC.
    let limited = ["prlimit", "--fsize=65536"];
    let options = ["--jupyter-logfile", log.to_str().unwrap()];
    let server = image.server().args(options).under(&limited);
    let mut running = server.env("FAKE", "flood breeds").start();
    until("it is full", || {
        fs::metadata(&log).is_ok_and(|data| data.len() == 65536)
    });
    let told = format!("the logfile {} cannot be written any more: ", log.display());
    running.wait_for(&told);
    // The console goes on.
    running.wait_for_next("xxx");
    reaps_and_stops(&image, &mut running);
    let (_, stderr) = running.everything();
    assert_eq!(stderr.matches(&told).count(), 1);
}

/// How soon the server has its TERM, whatever a disk does.
const AT_ONCE: Duration = Duration::from_millis(50);

#[test]
fn for_a_disk_that_takes_no_writes() {
    // The machine may be busy with something else; the disk is not what is waited for.
    let fastest = (0..5)
        .map(|_| stopped_on_a_frozen_disk())
        .find(|time| *time < AT_ONCE);
    assert!(fastest.is_some());
}

/// Stops a server whose state and logfile are on a frozen disk: how long it took until the
/// server had its TERM.
fn stopped_on_a_frozen_disk() -> Duration {
    let image = Image::new();
    let disk = Disk::mount(&image.path("disk.img"), &image.path("disk"));
    let path = |name: &str| image.path("disk").join(name).display().to_string();
    let (state, log) = (path("state"), path("server.log"));
    fs::write(&log, "").unwrap();
    std::os::unix::fs::chown(&log, Some(crate::support::UID), None).unwrap();
    let options = ["--state-dir", &state, "--jupyter-logfile", &log];
    let server = image.server().args(options);
    let mut running = server.start();
    running.wait_for("] ready in ");
    let pid = running.pid();
    let frozen = disk.freeze();
    let start = Instant::now();
    running.signal(15);
    running.wait_for_next("fake: got TERM");
    let time = start.elapsed();
    // It does not wait for the disk either, but the kernel does, for what was on its way.
    until("it ends as far as it can", || {
        crate::support::process::state(pid).is_none_or(|state| state == "Z")
    });
    drop(frozen);
    assert_eq!(running.end(), 0);
    time
}

/// An in-place restart removes the default password first where something else was configured:
/// here that takes for ever.
#[test]
fn for_an_in_place_restart_that_waits_for_a_disk() {
    let image = Image::new();
    let disk = Disk::mount(&image.path("disk.img"), &image.path("disk"));
    let config = image.path("disk/jupyter");
    fs::create_dir(&config).unwrap();
    std::os::unix::fs::chown(&config, Some(crate::support::UID), None).unwrap();
    let named = config.display().to_string();
    let server = image.server().args(["--password", "ailab"]);
    let mut running = server.env("JUPYTER_CONFIG_DIR", &named).start();
    running.wait_for("] ready in ");
    let pid = running.pid();
    let token = config.join("jupyter_server_config.py");
    fs::write(token, "c.IdentityProvider.token = 'mine'").unwrap();
    let frozen = disk.freeze();
    running.signal(1);
    running.wait_for("the server ended");
    running.signal(15);
    until("it ends as far as it can", || {
        crate::support::process::state(pid).is_none_or(|state| state == "Z")
    });
    drop(frozen);
    assert_eq!(running.end(), 0);
}

/// Has room for 100 SIGRTMIN+6, and takes them only after TERM, 10,000 in all; leaves
/// an orphan at USR1 and tells when it is gone.
const BUSY: &str = "
import os, resource, signal, sys, time
signal.pthread_sigmask(signal.SIG_BLOCK, {40, 15, 10})
RLIMIT_SIGPENDING = 11
resource.setrlimit(RLIMIT_SIGPENDING, (100, 100))
print('ready', flush=True)
signal.sigwait({10})
here, there = os.pipe()
if os.fork() == 0:
    if os.fork() == 0:
        os.write(there, b'%d' % os.getpid())
    os._exit(0)
os.wait()
orphan = os.read(here, 100).decode()
while os.path.exists('/proc/' + orphan):
    time.sleep(0.001)
print('reaped', flush=True)
signal.sigwait({15})
print('got TERM', flush=True)
for _ in range(10_000):
    signal.sigwait({40})
print('took all', flush=True)
";

/// Queues 10,000. (Python's own `os.kill` is
/// kill(2), which loses what finds no room.)
const SENDER: &str = "
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
for sent in range(10_000):
    if libc.sigqueue(int(sys.argv[1]), 40, ctypes.c_void_p(7)):
        sys.exit(f'after {sent}: {os.strerror(ctypes.get_errno())}')
";

#[test]
fn for_a_command_whose_queue_of_real_time_signals_is_full() {
    let image = Image::new();
    // The kernel counts what is queued for a user, wherever: this one is ours alone.
    let uid = (100_000 + std::process::id() % 50_000).to_string();
    let options = image.options().into_iter();
    let options = options.map(|word| match word == crate::support::UID.to_string() {
        true => uid.clone(),
        false => word,
    });
    let mut running = Start::pid1()
        .args(options)
        .args(["--", "python3", "-c", BUSY])
        .start();
    running.wait_for_line("ready");
    let pid = running.pid().to_string();
    let sent = std::process::Command::new("python3")
        .args(["-c", SENDER, &pid])
        .status();
    assert!(sent.unwrap().success());
    running.signal(10);
    running.wait_for_line("reaped");
    running.signal(15);
    running.wait_for("got TERM");
    running.wait_for("took all");
    assert_eq!(running.end(), 0);
}

#[test]
fn and_a_console_that_takes_nothing_changes_no_exit_code() {
    for (argument, code) in [("--port=0", 78), ("--prot=1", 2)] {
        let mut command = Start::plain().arg(argument).into_command();
        let full = || fs::File::options().write(true).open("/dev/full").unwrap();
        command.stdout(full()).stderr(full());
        assert_eq!(command.status().unwrap().code(), Some(code), "{argument}");
    }
}

/// The in-place restart enters the notebooks and executes the server: both may be on a server of
/// files that is away.
#[test]
fn for_a_restart_whose_notebooks_do_not_answer() {
    let image = Image::new();
    let notebooks = image.path("notebooks");
    fs::create_dir(image.path("there")).unwrap();
    let options = ["-o", "attr_timeout=0,entry_timeout=0"];
    let bound = Bound::mount(&image.path("there"), &notebooks, &options);
    let mut running = image.server().start();
    running.wait_for("] ready in ");
    let paused = bound.pause();
    running.signal(1);
    running.wait_for("the server ended");
    until("it waits for the notebooks", || {
        running
            .processes()
            .into_iter()
            .any(|(pid, _)| waits_for_fuse(pid))
    });
    let start = Instant::now();
    running.signal(15);
    until("it ends", || running.has_ended() || start.elapsed() > GRACE);
    drop(paused);
    assert_eq!(running.end(), 0);
    assert!(start.elapsed() < GRACE, "{:?}", start.elapsed());
}

/// Reports whether a thread of a process waits for the program behind a file system.
fn waits_for_fuse(pid: i32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let mut waits =
        threads.filter_map(|thread| fs::read_to_string(thread.path().join("wchan")).ok());
    waits.any(|wait| wait == "request_wait_answer")
}
