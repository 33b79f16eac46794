//! The harness: the program in a PID namespace of its own, with a server that
//! hand-shakes. Nothing here sleeps; everything waits for words, with a limit.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, missing_docs)]

pub mod blocks;
pub mod certificate;
pub mod chance;
pub mod docker;
pub mod figures;
pub mod file_systems;
pub mod granted;
pub mod ground;
pub mod grown;
pub mod hub;
pub mod lab;
pub mod outcomes;
mod ports;
pub mod process;
pub mod terminal;
pub mod tmpfs;
pub mod tracees;
pub mod tracer;
pub mod typist;

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

pub use ports::free_port;

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_ai-lab-entrypoint");

/// How long anything may take before a test gives up. Never how long it takes.
pub const LIMIT: Duration = Duration::from_secs(240);

/// How often something is repeated, or how far apart the moments are at which it is tried: few
/// in an ordinary run, all there are under `scripts/test --long`.
pub fn repeated<N>(few: N, all: N) -> N {
    match std::env::var_os("AI_LAB_LONG") {
        Some(_) => all,
        None => few,
    }
}

/// A directory with what an image has: a venv with a fake server, defaults, a volume.
pub struct Image {
    pub dir: tempfile::TempDir,
    pub port: u16,
}

impl Image {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("ai-lab-test-")
            .tempdir()
            .unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["home", "defaults", "venv/bin"] {
            fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("defaults/start.ipynb"), "{}").unwrap();
        let fake = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/fake_server.py");
        for name in ["jupyter-lab", "jupyterhub-singleuser"] {
            let place = dir.path().join("venv/bin").join(name);
            fs::copy(&fake, &place).unwrap();
            fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
        }
        nix::unistd::chown(&dir.path().join("home"), Some(UID.into()), Some(UID.into())).unwrap();
        Self {
            dir,
            port: free_port(),
        }
    }

    /// A Python for a rescue, and the option that names its environment.
    pub fn rescue(&self) -> [String; 2] {
        let venv = self.path("rescue");
        fs::create_dir_all(venv.join("bin")).unwrap();
        let fake = self.path("venv/bin/jupyterhub-singleuser");
        fs::copy(fake, venv.join("bin/python")).unwrap();
        ["--rescue-venv".into(), venv.display().to_string()]
    }

    /// A server that dies with 3, whose rescue keeps its files in HOME.
    pub fn rescued(&self, start: Start) -> Start {
        let start = start.args(self.rescue()).env("FAKE", "dies");
        start.env("TMPDIR", self.path("home").to_str().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The options of a usual start as uid 4242.
    pub fn options(&self) -> Vec<String> {
        let path = |name| self.path(name).display().to_string();
        [
            ("--notebook-defaults", path("defaults")),
            ("--notebooks", path("notebooks")),
            ("--venv", path("venv")),
            ("--home", path("home")),
            ("--user", UID.to_string()),
            ("--group", UID.to_string()),
            ("--docker-socket", path("no.sock")),
            ("--state-dir", path("state")),
            ("--ip", "127.0.0.1".into()),
            ("--port", self.port.to_string()),
        ]
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect()
    }

    /// A start of the fake server, as PID 1.
    pub fn server(&self) -> Start {
        self.server_of(Start::pid1())
    }

    /// The same with a signal that was sent before the program could do anything.
    pub fn server_with_pending(&self, signal: i32) -> Start {
        let code = format!(
            "import os, signal, sys\n\
             signal.pthread_sigmask(signal.SIG_BLOCK, [{signal}])\n\
             os.kill(os.getpid(), {signal})\n\
             os.execv(sys.argv[1], sys.argv[1:])"
        );
        self.server_of(Start::wrapped("python3").args(["-c", &code, PROGRAM]))
    }

    fn server_of(&self, start: Start) -> Start {
        start
            .args(self.options())
            .args(["--jupyter-server", "jupyter-lab", "--password", "ailab"])
    }

    /// A start of a command, as PID 1.
    pub fn command<const N: usize>(&self, command: [&str; N]) -> Start {
        Start::pid1().args(self.options()).arg("--").args(command)
    }
}

/// Executes a program with a `/run` of its own, and without the machine's last words: where the
/// tests run in a pod, Kubernetes reads them.
const OWN_RUN: &str = "set -e
mount -t tmpfs -o mode=755 tmpfs /run
[ ! -e /dev/termination-log ] || mount --bind /dev/null /dev/termination-log
exec \"$@\"";

/// The user of the process tests: nobody's uid.
pub const UID: u32 = 4242;

/// How the program is started.
pub struct Start {
    command: Command,
    pid1: bool,
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

    fn of(command: Command, pid1: bool) -> Self {
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
                "JUPYTER", "AI_LAB", "NOTEBOOK", "JPY_", "NO_COLOR", "NOTIFY_",
            ];
            let set = ["USER", "LOGNAME", "SHELL", "VIRTUAL_ENV", "PYTHONHOME"];
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

    fn running(&self, child: Child, said: Receiver<(Stream, String)>) -> Running {
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

fn tell_lines(stream: impl Read + Send + 'static, name: Stream, say: Sender<(Stream, String)>) {
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
    child: Child,
    pid1: bool,
    limit: Duration,
    said: Receiver<(Stream, String)>,
    heard: Vec<(Stream, String)>,
    /// Indices of the lines heard that a wait has returned.
    answers: HashSet<usize>,
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

    fn wait_for_any(&mut self, told: &str, is_it: impl Fn(&str) -> bool) -> String {
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

    fn wait_for_new(&mut self, told: &str, is_it: impl Fn(&str) -> bool) -> String {
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

/// Asks a server of this machine: the status of `GET path`.
pub fn get(port: u16, path: &str) -> Option<u16> {
    use std::io::Write;
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok()?;
    line.split(' ').nth(1)?.parse().ok()
}
