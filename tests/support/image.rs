//! What an image has, in a directory: a server that hand-shakes, defaults, a volume.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::support::{PROGRAM, Start, UID, free_port};

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
