//! Sockets and devices of the host, mounted into containers; what a user there can do
//! with them, and what became of the account files.

use std::fs;
use std::net::Shutdown;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use super::docker::{Container, docker_ok, name};

/// Where the container has the socket.
pub const SOCKET: &str = "/var/run/docker.sock";

/// Tries each path, and says which groups it did that with.
const LOOK: &str = r"
import os, socket, stat, sys
for path in sys.argv[1:]:
    try:
        if stat.S_ISSOCK(os.stat(path).st_mode):
            socket.socket(socket.AF_UNIX).connect(path)
        else:
            os.close(os.open(path, os.O_RDWR))
        print(path, 'usable')
    except OSError as error:
        print(path, error.strerror)
print('groups', *sorted(os.getgroups()))
";

/// The last line of what [`LOOK`] says in a container.
const LOOKED: &str = "looked.\n";

/// A directory of the host with one socket that somebody listens on.
pub struct Host {
    pub dir: tempfile::TempDir,
    _listener: UnixListener,
}

/// Everything of a file that a `chown`, `chmod` or rename would change.
#[derive(Debug, PartialEq, Eq)]
pub struct Stat(Vec<i64>);

impl Host {
    /// A socket of root's with this gid and mode.
    pub fn new(gid: u32, mode: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sock");
        let host = Self {
            _listener: UnixListener::bind(&path).unwrap(),
            dir,
        };
        host.change(gid, mode);
        host
    }

    /// A socket of root's with this gid, behind which the tests' engine answers.
    pub fn of_the_engine(gid: u32) -> Self {
        let host = Self::new(gid, 0o660);
        let listener = host._listener.try_clone().unwrap();
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                let engine = UnixStream::connect(SOCKET).unwrap();
                let pass = |mut from: UnixStream, mut to: UnixStream| {
                    thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Write);
                    });
                };
                pass(client.try_clone().unwrap(), engine.try_clone().unwrap());
                pass(engine, client);
            }
        });
        host
    }

    pub fn change(&self, gid: u32, mode: u32) {
        chown(self.path(), Some(0), Some(gid)).unwrap();
        fs::set_permissions(self.path(), fs::Permissions::from_mode(mode)).unwrap();
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("sock")
    }

    /// The option that mounts it.
    pub fn option(&self) -> String {
        format!("--volume={}:{SOCKET}", self.path().display())
    }

    /// A device node with this gid that is `/dev/null` by another name.
    pub fn device(&self, name: &str, gid: u32) -> PathBuf {
        let path = self.dir.path().join(name);
        let mut command = Command::new("mknod");
        let made = command.arg(&path).args(["c", "1", "3"]).status();
        assert!(made.unwrap().success());
        chown(&path, Some(0), Some(gid)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o660)).unwrap();
        path
    }

    pub fn stat(&self) -> Stat {
        let data = fs::metadata(self.path()).unwrap();
        let numbers = [data.uid(), data.gid(), data.mode()].map(i64::from);
        let times = [data.ctime(), data.ctime_nsec(), data.mtime_nsec()];
        let inode = i64::try_from(data.ino()).unwrap();
        Stat(numbers.into_iter().chain(times).chain([inode]).collect())
    }
}

/// What a process could do: a line for each path, and its groups.
pub struct Look(String);

impl Look {
    pub fn says(&self, path: &str) -> &str {
        let mut lines = self.0.lines();
        let line = lines.find_map(|line| line.strip_prefix(&format!("{path} ")));
        line.unwrap_or_else(|| panic!("no {path} in {}", self.0))
    }

    pub fn groups(&self) -> &str {
        self.0.trim_end().rsplit_once("groups").unwrap().1.trim()
    }
}

/// A container whose command looks at `paths` and then stays.
pub struct Looker {
    pub container: Container,
    paths: Vec<String>,
    starts: usize,
    said: usize,
}

impl Looker {
    pub fn new(options: &[&str], flags: &[&str], paths: &[&str]) -> Self {
        let script = r#"python3 -c "$@"; echo "looked."; exec sleep 1000"#;
        let mut command = flags.to_vec();
        command.extend(["--", "sh", "-c", script, "sh", LOOK]);
        command.extend(paths);
        Self {
            container: Container::create(options, &command),
            paths: paths.iter().map(|&path| path.to_owned()).collect(),
            starts: 0,
            said: 0,
        }
    }

    /// Starts it, for the first time or again: what its own processes could do, and
    /// what this start logged.
    pub fn start(&mut self) -> (Look, String) {
        self.container.begin();
        self.starts += 1;
        // Two streams, two pipes: the end of each is awaited.
        let (out, log) = self.container.until("the look", || {
            let (out, log) = self.container.streams();
            let ended = |text: &str, end| text.matches(end).count() == self.starts;
            (ended(&out, LOOKED) && ended(&log, "] prepared in ")).then_some((out, log))
        });
        let own = out.split(LOOKED).nth(self.starts - 1).unwrap();
        let said = log[self.said..].to_owned();
        self.said = log.len();
        (Look(own.to_owned()), said)
    }

    /// What `docker exec --user jupyter` can do.
    pub fn exec(&self) -> Look {
        let words = ["python3", "-c", LOOK].into_iter();
        let words: Vec<&str> = words.chain(self.paths.iter().map(String::as_str)).collect();
        Look(self.container.exec_ok("jupyter", &words))
    }

    /// An account file, as it is now.
    pub fn text(&self, path: &str) -> String {
        String::from_utf8(self.container.file(path)).unwrap()
    }
}

/// A file of the image.
pub fn pristine(path: &str) -> String {
    let (name, image) = (name(), super::docker::IMAGE);
    docker_ok([
        "run",
        "--rm",
        "--name",
        &name,
        "--entrypoint",
        "cat",
        image,
        path,
    ])
}

/// `text` with the line of `group` changed, and no other byte.
pub fn with_line(text: &str, group: &str, change: impl Fn(&str) -> String) -> String {
    let start = format!("{group}:");
    let line = text.lines().find(|line| line.starts_with(&start)).unwrap();
    text.replacen(&format!("\n{line}\n"), &format!("\n{}\n", change(line)), 1)
}
