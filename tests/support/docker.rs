//! Containers of the image under test, with random names and ports; they are removed
//! with everything they made.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::LIMIT;
use super::granted::SOCKET;
use super::process::fed;

/// The image that `scripts/test` builds, or another one while the tests are written.
pub const IMAGE: &str = match option_env!("AI_LAB_TEST_IMAGE") {
    Some(image) => image,
    None => "ai-lab:test",
};
pub const COMPAT: &str = "ai-lab:test-compat";

/// A name nobody else uses.
pub fn name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("ai-lab-test-{}-{count}", std::process::id())
}

/// Runs `docker` with these words.
pub fn docker<S: AsRef<str>>(words: impl IntoIterator<Item = S>) -> Output {
    let words: Vec<String> = words
        .into_iter()
        .map(|word| word.as_ref().to_owned())
        .collect();
    Command::new("docker").args(words).output().unwrap()
}

/// The same, and it must succeed; what it said.
pub fn docker_ok<S: AsRef<str>>(words: impl IntoIterator<Item = S>) -> String {
    let words: Vec<String> = words
        .into_iter()
        .map(|word| word.as_ref().to_owned())
        .collect();
    let output = docker(&words);
    let said = text(&output);
    assert!(output.status.success(), "docker {words:?}: {said}");
    said
}

pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned()
}

/// The archive of the image, for another engine to load.
pub fn archive() -> File {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/saved-image");
    let output = Command::new(script).arg(IMAGE).output().unwrap();
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    File::open(said.trim()).unwrap()
}

/// A named volume.
pub struct Volume(pub String);

impl Volume {
    pub fn new() -> Self {
        let name = name();
        let wanted = json!({ "Name": name }).to_string();
        let (status, answer) = asked("POST", "/volumes/create", &wanted);
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&rest(answer)));
        Self(name)
    }

    /// The option that mounts it as the notebooks.
    pub fn option(&self) -> String {
        format!("--volume={}:/home/jupyter/notebooks", self.0)
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = ask("DELETE", &format!("/volumes/{}?force=1", self.0), "");
    }
}

/// A file for a container, which everybody may read, and the option that mounts it.
pub fn mounted(content: &str, place: &str) -> (tempfile::NamedTempFile, String) {
    use std::os::unix::fs::PermissionsExt;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), content).unwrap();
    let permissions = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(file.path(), permissions).unwrap();
    let option = format!("--volume={}:{place}:ro", file.path().display());
    (file, option)
}

/// An image that is removed in the end.
pub struct Derived(pub String);

impl Derived {
    pub fn new(dockerfile: &str) -> Self {
        let tag = format!("{}:derived", name());
        let output = fed(
            "docker",
            &["build", "--force-rm", "--tag", &tag, "-"],
            dockerfile,
        );
        assert!(output.status.success(), "{}", text(&output));
        Self(tag)
    }
}

impl Drop for Derived {
    fn drop(&mut self) {
        docker(["rmi", "--force", &self.0]);
    }
}

/// A container.
pub struct Container {
    pub name: String,
}

impl Container {
    /// Starts `image` with these options of `docker run` and this command. Docker checks its
    /// health only where an option says how: for each check it starts a process.
    pub fn start_image(image: &str, options: &[&str], command: &[&str]) -> Self {
        let is_about_health = |option: &&str| option.contains("-health");
        let quiet: &[&str] = match options.iter().any(is_about_health) {
            true => &[],
            false => &["--no-healthcheck"],
        };
        Self::as_the_image_is(image, &[quiet, options].concat(), command)
    }

    /// The same with the image's own health check.
    pub fn as_the_image_is(image: &str, options: &[&str], command: &[&str]) -> Self {
        let name = name();
        let fixed = [
            "run",
            "--detach",
            "--name",
            &name,
            "--publish",
            "127.0.0.1:0:49494",
        ];
        let words = fixed.iter().chain(options).chain([&image]).chain(command);
        docker_ok(words.copied());
        Self { name }
    }

    pub fn start(options: &[&str], command: &[&str]) -> Self {
        Self::start_image(IMAGE, options, command)
    }

    /// Makes a container without starting it, so that files can be put into it.
    pub fn create(options: &[&str], command: &[&str]) -> Self {
        let name = name();
        let words = ["create", "--name", &name];
        let words = words.iter().chain(options).chain([&IMAGE]).chain(command);
        docker_ok(words.copied());
        Self { name }
    }

    /// `docker start`.
    pub fn begin(&self) {
        self.order("/start");
    }

    /// Puts a file of root's into the container, which may be stopped.
    pub fn put(&self, path: &str, content: &[u8], mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(file.path(), permissions).unwrap();
        let place = format!("{}:{path}", self.name);
        docker_ok(["cp", file.path().to_str().unwrap(), &place]);
    }

    /// A file's bytes in a running container. No link on its path may be absolute: it would be
    /// followed on this machine.
    pub fn file(&self, path: &str) -> Vec<u8> {
        let pid = &self.described()["State"]["Pid"];
        std::fs::read(format!("/proc/{pid}/root{path}")).unwrap()
    }

    /// Has the engine do this with the container.
    fn order(&self, what: &str) {
        let path = format!("/containers/{}{what}", self.name);
        let (status, answer) = asked("POST", &path, "");
        let said = String::from_utf8_lossy(&rest(answer)).into_owned();
        assert!(status < 400, "{path}: {status} {said}");
    }

    /// What `docker inspect` prints.
    pub fn described(&self) -> Value {
        let (_, answer) = asked("GET", &format!("/containers/{}/json", self.name), "");
        serde_json::from_reader(answer).unwrap()
    }

    /// The log's two streams, followed until they are enough or the container has ended, or as
    /// they are.
    fn log(&self, enough: Option<&dyn Fn(&str) -> bool>) -> [Vec<u8>; 2] {
        let is_terminal = self.described()["Config"]["Tty"] == true;
        let follow = u8::from(enough.is_some());
        let query = format!("logs?stdout=1&stderr=1&follow={follow}");
        let path = format!("/containers/{}/{query}", self.name);
        match asked("GET", &path, "") {
            (200, answer) => streams(answer, is_terminal, enough),
            (_, answer) => [Vec::new(), rest(answer)],
        }
    }

    /// The port on this machine that is the container's 49494.
    pub fn port(&self) -> u16 {
        let described = self.described();
        let port = &described["NetworkSettings"]["Ports"]["49494/tcp"][0]["HostPort"];
        let port = port
            .as_str()
            .unwrap_or_else(|| panic!("no port: {described}"));
        port.parse().unwrap()
    }

    pub fn logs(&self) -> String {
        String::from_utf8_lossy(&self.log(None).concat()).into_owned()
    }

    /// The log's two streams: stdout and stderr.
    pub fn streams(&self) -> (String, String) {
        let [out, err] = self.log(None);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&out), text(&err))
    }

    /// Waits until the log says this; the log.
    pub fn wait_for(&self, part: &str) -> String {
        self.wait_for_nth(part, 1)
    }

    /// Waits until the log says this so many times; the log.
    pub fn wait_for_nth(&self, part: &str, times: usize) -> String {
        let enough = |log: &str| log.matches(part).count() >= times;
        self.log(Some(&enough));
        let logs = self.logs();
        assert!(
            enough(&logs),
            "never: the log says {part:?} {times} times; log:\n{logs}"
        );
        logs
    }

    /// Waits until `look` finds something.
    pub fn until<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(found) = look() {
                return found;
            }
            let gone = self.described()["State"]["Running"] != true;
            if let (true, Some(found)) = (gone, look()) {
                return found;
            }
            assert!(
                !gone && Instant::now() < deadline,
                "never: {what}; gone: {gone}; log:\n{}",
                self.logs()
            );
            std::thread::park_timeout(Duration::from_millis(150));
        }
    }

    /// The files and directories of its own file system that the container, which may be stopped,
    /// made or changed, a line each. `docker diff` compares the whole image to say the same.
    pub fn changed(&self) -> String {
        let top = self.inspect("{{.GraphDriver.Data.UpperDir}}");
        let words = [&top, "-mindepth", "1", "-printf", "/%P\\n"];
        let found = Command::new("find").args(words).output().unwrap();
        assert!(found.status.success(), "{}", text(&found));
        text(&found)
    }

    /// What `docker exec` does; what was said, and whether it succeeded.
    pub fn exec(&self, user: &str, command: &[&str]) -> (bool, String) {
        let wanted = json!({
            "User": user, "Cmd": command, "AttachStdout": true, "AttachStderr": true,
        });
        let path = format!("/containers/{}/exec", self.name);
        let made = match asked("POST", &path, &wanted.to_string()) {
            (201, answer) => serde_json::from_reader::<_, Value>(answer).unwrap(),
            (_, answer) => return (false, String::from_utf8(rest(answer)).unwrap()),
        };
        let path = format!("/exec/{}", made["Id"].as_str().unwrap());
        let (_, answer) = asked("POST", &format!("{path}/start"), "{}");
        let said = streams(answer, false, None).concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        let (_, answer) = asked("GET", &format!("{path}/json"), "");
        let ended: Value = serde_json::from_reader(answer).unwrap();
        (ended["ExitCode"] == 0, said)
    }

    pub fn exec_ok(&self, user: &str, command: &[&str]) -> String {
        let (ok, said) = self.exec(user, command);
        assert!(ok, "{command:?}: {said}");
        said
    }

    /// `docker stop`; the exit code.
    pub fn stop(&self) -> i32 {
        self.order("/stop");
        self.exit_code()
    }

    /// Sends a signal to PID 1.
    pub fn signal(&self, name: &str) {
        let name = name.replace('+', "%2B");
        self.order(&format!("/kill?signal={name}"));
    }

    /// Waits for the end; the exit code.
    pub fn end(&self) -> i32 {
        let answer = ask("POST", &format!("/containers/{}/wait", self.name), "");
        let ended = answer.and_then(|(_, mut answer)| io::copy(&mut answer, &mut io::sink()));
        assert!(ended.is_ok(), "it never ends: {}", self.logs());
        self.exit_code()
    }

    /// The state, as `status --json` prints it.
    pub fn status(&self) -> Value {
        let command = ["ai-lab-entrypoint", "status", "--json"];
        serde_json::from_str(&self.exec_ok("jupyter", &command)).unwrap()
    }

    /// A file of a container that runs or has ended; `None`: there is none.
    pub fn read(&self, path: &str) -> Option<String> {
        let directory = tempfile::tempdir().unwrap();
        let copy = directory.path().join("copy");
        let from = format!("{}:{path}", self.name);
        let copied = docker(["cp", &from, copy.to_str().unwrap()]);
        let absent = text(&copied).contains("Could not find the file");
        assert!(copied.status.success() || absent, "{}", text(&copied));
        std::fs::read_to_string(copy).ok()
    }

    /// What `docker inspect --format` says.
    pub fn inspect(&self, format: &str) -> String {
        let said = docker_ok(["inspect", "--format", format, &self.name]);
        said.trim().to_owned()
    }

    pub fn exit_code(&self) -> i32 {
        let code = self.described()["State"]["ExitCode"].as_i64();
        i32::try_from(code.unwrap()).unwrap()
    }

    /// A person at the browser: see `visitor.py`.
    pub fn visit(&self, words: &[&str]) -> String {
        visit(self.port(), words)
    }

    /// Each of these passwords lets a person in, or not: "in" or "out".
    pub fn lets(&self, passwords: &[(&str, &str)]) {
        let words: Vec<&str> = passwords.iter().map(|(password, _)| *password).collect();
        let said = self.visit(&[&["login"], &words[..]].concat());
        let answers: Vec<_> = words.into_iter().zip(said.lines()).collect();
        assert_eq!(answers, passwords, "{said}; log:\n{}", self.logs());
    }

    /// The same with https, where this person trusts one certificate only.
    pub fn visit_trusting(&self, certificate: &Path, words: &[&str]) -> String {
        let mut person = person(&format!("https://localhost:{}", self.port()), words);
        said_by(person.env("SSL_CERT_FILE", certificate))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if std::thread::panicking() && ask("GET", "/_ping", "").is_ok() {
            let _ = writeln!(std::io::stderr(), "log of {}:\n{}", self.name, self.logs());
        }
        let path = format!("/containers/{}?force=1&v=1", self.name);
        let _ = ask("DELETE", &path, "");
    }
}

/// Asks the engine: the status of its answer, and what follows the head. Docker's client does the
/// same, and is a process that takes forty times as long.
fn ask(method: &str, path: &str, body: &str) -> io::Result<(u16, BufReader<UnixStream>)> {
    let mut engine = UnixStream::connect(SOCKET)?;
    engine.set_read_timeout(Some(LIMIT))?;
    let length = body.len();
    let kind = format!("Content-Type: application/json\r\nContent-Length: {length}");
    write!(engine, "{method} {path} HTTP/1.0\r\n{kind}\r\n\r\n{body}")?;
    let mut answer = BufReader::new(engine);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if answer.read_line(&mut head)? == 0 {
            return Err(io::Error::other(head));
        }
    }
    let status = head.split(' ').nth(1).unwrap_or_default();
    Ok((status.parse().map_err(io::Error::other)?, answer))
}

fn asked(method: &str, path: &str, body: &str) -> (u16, BufReader<UnixStream>) {
    ask(method, path, body).unwrap()
}

fn rest(mut answer: impl Read) -> Vec<u8> {
    let mut rest = Vec::new();
    answer.read_to_end(&mut rest).unwrap();
    rest
}

/// Stdout and stderr, until they are enough together or there is no more.
fn streams(
    mut answer: BufReader<UnixStream>,
    is_terminal: bool,
    enough: Option<&dyn Fn(&str) -> bool>,
) -> [Vec<u8>; 2] {
    let deadline = Instant::now() + LIMIT;
    let mut streams = [Vec::new(), Vec::new()];
    loop {
        let text = || String::from_utf8_lossy(&streams.concat()).into_owned();
        let is_enough = || enough.is_some_and(|enough| enough(&text()));
        // Nothing that is there is left out.
        if answer.buffer().is_empty() && (is_enough() || Instant::now() > deadline) {
            return streams;
        }
        // What is no terminal's has a head: the stream, and how many bytes are its.
        let mut head = [0; 8];
        let (stream, length) = match is_terminal {
            true => match answer.fill_buf() {
                Ok(bytes) if !bytes.is_empty() => (0, bytes.len()),
                _ => return streams,
            },
            false => match answer.read_exact(&mut head) {
                Ok(()) => {
                    let [stream, _, _, _, length @ ..] = head;
                    let length = u32::from_be_bytes(length);
                    (usize::from(stream == 2), usize::try_from(length).unwrap())
                }
                Err(_) => return streams,
            },
        };
        let from = streams[stream].len();
        streams[stream].resize(from + length, 0);
        answer.read_exact(&mut streams[stream][from..]).unwrap();
    }
}

/// A person at the browser of a server on this machine: see `visitor.py`.
pub fn visit(port: u16, words: &[&str]) -> String {
    said_by(&mut person(&format!("http://127.0.0.1:{port}"), words))
}

fn person(url: &str, words: &[&str]) -> Command {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/visitor.py");
    let mut person = Command::new("python3");
    person.args([script, url]).args(words);
    person
}

fn said_by(person: &mut Command) -> String {
    text(&person.output().unwrap()).trim().to_owned()
}

/// Runs a container to its end, which a rescue would not come to: exit code, stdout, stderr. It
/// has a network where an option is about one, which takes Docker as long as all the rest.
pub fn run(options: &[&str], command: &[&str]) -> (i32, String, String) {
    run_image(IMAGE, options, command)
}

/// The same with another image.
pub fn run_image(image: &str, options: &[&str], command: &[&str]) -> (i32, String, String) {
    let name = name();
    let is_about_network = |option: &&str| {
        let words = ["--network", "--publish", "--sysctl", "docker.sock"];
        words.iter().any(|word| option.contains(word))
    };
    let mut fixed = vec!["run", "--rm", "--env=AI_LAB_RESCUE=never", "--name", &name];
    if !options.iter().any(is_about_network) {
        fixed.push("--network=none");
    }
    let output = Command::new("docker")
        .args(fixed.iter().chain(options).chain([&image]).chain(command))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}
