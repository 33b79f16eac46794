//! A run of the program: how it is started, what it says, and how it ends.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{LIMIT, PROGRAM, process};

/// Executes a program with a `/run` of its own, and without the machine's last words: where the
/// tests run in a pod, Kubernetes reads them.
const OWN_RUN: &str = "set -e
mount -t tmpfs -o mode=755 tmpfs /run
[ ! -e /dev/termination-log ] || mount --bind /dev/null /dev/termination-log
exec \"$@\"";

/// How the program is started.
pub struct Start {
    pub(super) command: Command,
    pub(super) pid1: bool,
    limit: Duration,
}

impl Start {
    /// As PID 1 of its own PID namespace, with its own `/proc`.
    pub fn pid1() -> Self {
        Self::wrapped(PROGRAM)
    }

    /// Another program as PID 1, such as tini. Its `/run` is its own, as a container's is.
    pub fn wrapped(program: &str) -> Self {
        Self::of_the_machine("sh").args(["-c", OWN_RUN, "sh", program])
    }

    /// Another program as PID 1, with the machine's `/run`: there are the engine's sockets.
    pub fn of_the_machine(program: &str) -> Self {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
        command.arg(program);
        Self::of(command, true)
    }

    /// As a process among others.
    pub fn plain() -> Self {
        Self::of(Command::new(PROGRAM), false)
    }

    /// The same, started by another program, such as `env --ignore-signal=…`.
    pub fn under(self, outer: &[&str]) -> Self {
        let mut command = Command::new(outer[0]);
        command.args(&outer[1..]);
        command.arg(self.command.get_program());
        command.args(self.command.get_args());
        let mut start = Self::of(command, self.pid1);
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => start.command.env(name, value),
                None => start.command.env_remove(name),
            };
        }
        start
    }

    /// A script of this project, in a process group of its own. It may have to build
    /// and to install, so it may take longer.
    pub fn script(name: &str) -> Self {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join(name));
        command.process_group(0);
        Self {
            limit: Duration::from_secs(900),
            ..Self::of(command, false)
        }
    }

    pub(super) fn of(command: Command, pid1: bool) -> Self {
        let limit = LIMIT;
        Self {
            command,
            pid1,
            limit,
        }
        .clean()
    }

    /// Nothing of the environment of whoever runs the tests shows in what is said.
    fn clean(mut self) -> Self {
        self.command.stdin(Stdio::null()).env("TERM", "xterm");
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            let ours = [
                "JUPYTER", "AI_LAB", "NOTEBOOK", "JPY_", "NO_COLOR", "NOTIFY_", "PYTHON",
            ];
            let set = ["USER", "LOGNAME", "SHELL", "VIRTUAL_ENV"];
            if ours.iter().any(|prefix| name.starts_with(prefix)) || set.contains(&&*name) {
                self.command.env_remove(&*name);
            }
        }
        self
    }

    pub fn arg(self, arg: &str) -> Self {
        self.args([arg])
    }

    pub fn args<S: AsRef<str>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        for arg in args {
            self.command.arg(arg.as_ref());
        }
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Self {
        self.command.stdin(stdin);
        self
    }

    /// Starts, and reads what it says.
    pub fn start(mut self) -> Running {
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap();
        let (say, said) = channel();
        let stdout = child.stdout.take().unwrap();
        let stderr = child.stderr.take().unwrap();
        tell_lines(stdout, Stream::Stdout, say.clone());
        tell_lines(stderr, Stream::Stderr, say);
        self.running(child, said)
    }

    pub(super) fn running(&self, child: Child, said: Receiver<(Stream, String)>) -> Running {
        Running {
            child,
            pid1: self.pid1,
            limit: self.limit,
            said,
            heard: Vec::new(),
            answers: HashSet::new(),
        }
    }

    /// Runs to the end: exit code and everything that was said.
    pub fn run(self) -> Output {
        let mut running = self.start();
        let code = running.end();
        let (stdout, stderr) = running.everything();
        Output {
            code,
            stdout,
            stderr,
        }
    }
}

pub(super) fn tell_lines(
    stream: impl Read + Send + 'static,
    name: Stream,
    say: Sender<(Stream, String)>,
) {
    thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n') {
            let Ok(line) = line else { break };
            let line = String::from_utf8_lossy(&line).into_owned();
            let _ = say.send((name, line));
        }
    });
}

/// The end of a run.
#[derive(Debug)]
pub struct Output {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// The running program. It is killed, with its whole namespace, when it goes away.
pub struct Running {
    pub(super) child: Child,
    pub(super) pid1: bool,
    pub(super) limit: Duration,
    pub(super) said: Receiver<(Stream, String)>,
    pub(super) heard: Vec<(Stream, String)>,
    /// Indices of the lines heard that a wait has returned.
    pub(super) answers: HashSet<usize>,
}

impl Running {
    /// Waits for a line that contains `part`; the line.
    ///
    /// A line is the answer to one wait only: who waits for the same words again waits for them
    /// to be said again.
    pub fn wait_for(&mut self, part: &str) -> String {
        self.wait_for_any(part, |line| line.contains(part))
    }

    /// Waits for this line and nothing else: a short word of a command may be a part of a line of
    /// the log ("already there").
    pub fn wait_for_line(&mut self, whole: &str) {
        self.wait_for_any(whole, |line| line.trim_end() == whole);
    }

    pub fn wait_for_any(&mut self, told: &str, is_it: impl Fn(&str) -> bool) -> String {
        let mut lines = self.heard.iter().enumerate();
        let known = lines.find(|(index, (_, line))| is_it(line) && !self.answers.contains(index));
        if let Some((index, (_, line))) = known {
            let line = line.clone();
            self.answers.insert(index);
            return line;
        }
        self.wait_for_new(told, is_it)
    }

    /// The same, but only lines that were not heard yet count.
    pub fn wait_for_next(&mut self, part: &str) -> String {
        self.wait_for_new(part, |line| line.contains(part))
    }

    pub(super) fn wait_for_new(&mut self, told: &str, is_it: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + self.limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.said.recv_timeout(left) {
                Ok((stream, line)) => {
                    self.heard.push((stream, line.clone()));
                    if is_it(&line) {
                        self.answers.insert(self.heard.len() - 1);
                        return line;
                    }
                }
                Err(error) => {
                    let why = match error {
                        RecvTimeoutError::Timeout => "was not said in time",
                        RecvTimeoutError::Disconnected => "was never said",
                    };
                    panic!("{told:?} {why}; heard: {:#?}", self.heard);
                }
            }
        }
    }

    /// The pid of the program, as this namespace knows it.
    pub fn pid(&self) -> i32 {
        let ended = || panic!("it has ended; heard: {:#?}", self.heard);
        self.living().unwrap_or_else(ended)
    }

    /// The pid of the program, if it has not ended.
    pub fn living(&self) -> Option<i32> {
        let own = i32::try_from(self.child.id()).unwrap();
        if !self.pid1 {
            return Some(own);
        }
        loop {
            // unshare may not have forked yet.
            if let Some(pid) = process::children(own).first() {
                return Some(*pid);
            }
            // Ended, and perhaps waited for.
            let state = process::state(own);
            if state.is_none_or(|state| state == "Z") {
                return None;
            }
        }
    }

    /// Sends a signal to the program.
    pub fn signal(&self, number: i32) {
        process::send(self.pid(), number);
    }

    /// Ctrl-C at the terminal of a script: everything in the foreground gets it.
    pub fn ctrl_c(&self) {
        let group = format!("-{}", self.child.id());
        let status = Command::new("kill").args(["-INT", "--", &group]).status();
        assert!(status.unwrap().success());
    }

    /// Waits for the end; the exit code.
    pub fn end(&mut self) -> i32 {
        let deadline = Instant::now() + LIMIT;
        loop {
            // `try_wait` with a bound, because a hang is what some tests look for.
            if let Some(status) = self.child.try_wait().unwrap() {
                return code(status);
            }
            assert!(
                Instant::now() < deadline,
                "it does not end; heard: {:#?}",
                self.heard
            );
            thread::park_timeout(Duration::from_millis(2));
        }
    }

    /// Everything that was said until the end: stdout and stderr.
    pub fn everything(&mut self) -> (String, String) {
        while let Ok(said) = self.said.recv_timeout(LIMIT) {
            self.heard.push(said);
        }
        let of = |wanted| {
            let lines = self.heard.iter().filter(|(stream, _)| *stream == wanted);
            lines.map(|(_, line)| format!("{line}\n")).collect()
        };
        (of(Stream::Stdout), of(Stream::Stderr))
    }

    /// The processes of the namespace, by pid outside: their command lines.
    pub fn processes(&self) -> Vec<(i32, String)> {
        let pid = self.pid();
        let namespace = fs::read_link(format!("/proc/{pid}/ns/pid")).unwrap();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else {
                continue;
            };
            let theirs = fs::read_link(format!("/proc/{pid}/ns/pid"));
            if theirs.is_ok_and(|theirs| theirs == namespace) {
                let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                found.push((pid, line.replace('\0', " ")));
            }
        }
        found
    }

    /// A field of `/proc/PID/status`.
    pub fn status(&self, pid: i32, field: &str) -> String {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        line.unwrap().trim_start_matches(':').trim().to_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            if self.pid1
                && let Some(pid) = self.living()
            {
                let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// 128+n for an end by signal n.
pub fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}
