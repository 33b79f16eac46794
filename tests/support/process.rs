//! Looking at processes, and signalling them.

use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{LIMIT, Running, Start};

/// Runs a program with this on its stdin.
pub fn fed(program: &str, words: &[&str], input: &str) -> Output {
    let mut child = Command::new(program)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    child.wait_with_output().unwrap()
}

/// Sends a signal, any of 1 to 64, to a process that has not ended.
#[track_caller]
pub fn send(pid: i32, number: i32) {
    let sent = match Signal::try_from(number) {
        // At once: some tests hold a program in the middle of its work.
        Ok(signal) => kill(Pid::from_raw(pid), signal).is_ok(),
        // nix has no names for real-time signals.
        Err(_) => {
            let words = [format!("-{number}"), pid.to_string()];
            Command::new("kill").args(words).status().unwrap().success()
        }
    };
    assert!(sent, "{pid} had ended before signal {number}");
}

/// Asks until it is so.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !so() {
        assert!(Instant::now() < deadline, "never: {what}");
        thread::park_timeout(Duration::from_millis(2));
    }
}

/// The letter of a process's state, see proc_pid_stat(5); `None`: there is none.
pub fn state(pid: i32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').next().map(str::to_owned)
}

/// The pids of the children, as this namespace knows them.
pub fn children(pid: i32) -> Vec<i32> {
    let listed = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let listed = listed.unwrap_or_default();
    let numbers = listed.split_whitespace().map(|pid| pid.parse().unwrap());
    numbers.collect()
}

impl Start {
    /// Another program, as a process among others.
    pub fn plain_of(program: &str) -> Self {
        Self::of(Command::new(program), false)
    }

    /// The same as the leader of a session on its terminal, as in a container.
    pub fn in_session(self) -> Self {
        let mut command = Command::new("unshare");
        let (unshare, program) = (5, self.command.get_args());
        let words: Vec<_> = program.collect();
        command.args(&words[..unshare]).args(["setsid", "--ctty"]);
        command.args(&words[unshare..]);
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        Self::of(command, self.pid1)
    }

    /// Starts with these as stdout and stderr; nothing is read.
    pub fn start_into(mut self, stdout: impl Into<Stdio>, stderr: impl Into<Stdio>) -> Running {
        self.command.stdout(stdout).stderr(stderr);
        let child = self.command.spawn().unwrap();
        self.running(child, channel().1)
    }

    /// The bare command, for a test that wants its streams as they are.
    pub fn into_command(self) -> Command {
        self.command
    }
}

impl Running {
    /// The next line that was not heard yet, if one is said in this time.
    pub fn next_line(&mut self, within: Duration) -> Option<String> {
        let (stream, line) = self.said.recv_timeout(within).ok()?;
        self.heard.push((stream, line.clone()));
        Some(line)
    }

    /// Whether it has ended; it is not waited for.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Everything that was heard so far.
    pub fn all_heard(&self) -> Vec<&str> {
        self.heard.iter().map(|(_, line)| &**line).collect()
    }

    /// Whether it was heard already.
    pub fn has_said(&self, part: &str) -> bool {
        self.heard.iter().any(|(_, line)| line.contains(part))
    }

    /// The one child of the program.
    pub fn main_pid(&self) -> i32 {
        let pid = self.pid();
        until("it has a child", || !children(pid).is_empty());
        children(pid)[0]
    }

    /// Its state, as in ps(1): `T` is stopped.
    pub fn is_stopped(&self, pid: i32) -> bool {
        self.status(pid, "State").starts_with('T')
    }
}
