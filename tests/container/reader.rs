//! A reader of the pages, who types their code blocks.

use std::path::Path;

use crate::support::blocks::{Block, blocks};
use crate::support::docker::{Container, IMAGE, Volume, docker, docker_ok, name, visit};
use crate::support::typist::types;
use crate::support::{Running, Start, free_port};

const READY: &str = "] ready in ";

/// What is done with a block, and what it promises.
pub enum Do {
    /// Starts a server in the foreground: it says these, the password lets in, and TERM
    /// ends it with code 0.
    Serves(&'static str, &'static [&'static str]),
    /// Starts a container in the background: the password lets in.
    Detaches(&'static str),
    /// Ends with code 0 and says these. `ai-lab` is a container that is ready.
    Says(&'static [&'static str]),
    /// The same at a terminal: when these words appear, these keys are pressed.
    Types(
        &'static [(&'static str, &'static str)],
        &'static [&'static str],
    ),
    /// What it builds is made.
    Builds,
    /// Is part of what is built.
    IsBuiltIn,
    /// This test runs it.
    Proves(&'static str, &'static str),
    /// Nobody runs it, for a reason that its page names in these words.
    ByHand(&'static str),
}

use Do::{Builds, ByHand, Detaches, IsBuiltIn, Proves, Says, Serves, Types};

/// Where the blocks of a page are typed: a directory of its own, a volume, an image, and
/// the container that the page calls `ai-lab`.
pub struct Reader {
    pub directory: tempfile::TempDir,
    pub volume: Volume,
    pub ai_lab: Container,
    pub port: u16,
}

impl Reader {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("password.txt"), "of a file\n").unwrap();
        std::os::unix::fs::chown(directory.path(), Some(1234), Some(1234)).unwrap();
        Self {
            directory,
            volume: Volume::new(),
            ai_lab: Container { name: name() },
            port: free_port(),
        }
    }

    /// The few words that stand for something else here.
    fn typed(&self, block: &str) -> String {
        let ai_lab = &self.ai_lab.name;
        let published = |from: &str, to: u16| {
            (
                format!("-p {from}:{to} "),
                format!("-p 127.0.0.1:{}:{to} ", self.port),
            )
        };
        let words = [
            published("127.0.0.1:49494", 49494),
            published("127.0.0.1:8888", 8888),
            published("49494", 49494),
            ("ai-lab:dev".into(), IMAGE.into()),
            ("ai-lab-notebooks:".into(), format!("{}:", self.volume.0)),
            (
                "--name ai-lab ".into(),
                format!("--name {ai_lab} -p 127.0.0.1:0:49494 "),
            ),
            ("-it ai-lab ".into(), format!("-it {ai_lab} ")),
        ];
        let mut text = block.to_owned();
        for (from, to) in words {
            text = text.replace(&from, &to);
        }
        for verb in ["exec", "logs", "stop", "rm"] {
            let line = format!("docker {verb} ai-lab");
            text = text.replace(&line, &format!("docker {verb} {ai_lab}"));
        }
        let line = format!("docker exec {ai_lab} ai-lab-entrypoint");
        let text = text.replace("docker run --rm my-ai-lab", &line);
        format!("cd {}\n{text}", self.directory.path().display())
    }

    fn bash(&self, line: &str) -> Start {
        Start::script("/bin/bash").args(["-euc", line])
    }

    /// The container `ai-lab`, as the README starts it, ready.
    pub fn have_ai_lab(&self) {
        if !docker(["inspect", &self.ai_lab.name]).status.success() {
            let mount = self.volume.option();
            let name = &self.ai_lab.name;
            docker_ok([
                "run",
                "-d",
                "--name",
                name,
                "-p",
                "127.0.0.1:0:49494",
                &mount,
                IMAGE,
            ]);
        }
        self.ai_lab.until("ready", || {
            let said = docker([
                "exec",
                &self.ai_lab.name,
                "ai-lab-entrypoint",
                "healthcheck",
            ]);
            said.status.success().then_some(())
        });
        self.ai_lab.wait_for(READY);
    }

    pub fn follow(&self, block: &Block, what: &Do) {
        let line = self.typed(&block.text);
        match what {
            Serves(password, words) => {
                let mut running: Running = self.bash(&line).start();
                running.wait_for(READY);
                self.lets_in(self.port, password);
                running.signal(libc::SIGTERM);
                assert_eq!(running.end(), 0, "{line}");
                let (stdout, stderr) = running.everything();
                has(&(stdout + &stderr), words, &line);
            }
            Detaches(password) => {
                docker(["rm", "--force", &self.ai_lab.name]);
                let ended = self.bash(&line).run();
                assert_eq!(ended.code, 0, "{line}: {}", ended.stderr);
                self.ai_lab.wait_for(READY);
                self.lets_in(self.ai_lab.port(), password);
            }
            Says(words) => {
                if line.contains(&self.ai_lab.name) && !block.text.contains("my-ai-lab") {
                    self.have_ai_lab();
                }
                let ended = self.bash(&line).run();
                let said = ended.stdout + &ended.stderr;
                assert_eq!(ended.code, 0, "{line}: {said}");
                has(&said.replace(&self.ai_lab.name, "ai-lab"), words, &line);
            }
            Types(keys, words) => {
                if line.contains(&self.ai_lab.name) {
                    self.have_ai_lab();
                }
                let (code, said) = types(&line, keys);
                assert_eq!(code, 0, "{line}: {said}");
                has(&said, words, &line);
            }
            Builds => self.build(&line, &block.page),
            IsBuiltIn | Proves(..) | ByHand(_) => {}
        }
    }

    fn lets_in(&self, port: u16, password: &str) {
        assert_eq!(visit(port, &["login", "wrong"]), "out");
        assert_eq!(visit(port, &["login", password]), "in");
    }

    /// What this Dockerfile makes, with a notebook and with the page's hook, in a container
    /// rather than an image: some storage drivers take most of a minute for a layer.
    fn build(&self, line: &str, page: &str) {
        let directory = self.directory.path();
        write(&directory.join("notebooks/ours.ipynb"), "{}");
        let hook = blocks(page)
            .into_iter()
            .find(|block| block.first_line() == "#!/bin/sh");
        let hook = hook.unwrap().text + "\n";
        write(&directory.join("hooks/user/10-threads"), &hook);
        docker(["rm", "--force", &self.ai_lab.name]);
        let (_, dockerfile) = line.split_once('\n').unwrap();
        for step in dockerfile.lines() {
            match step.split_once(' ').unwrap() {
                ("FROM", image) => {
                    let name = &self.ai_lab.name;
                    let idle = ["run", "-d", "--init", "--name", name, "--entrypoint=sleep"];
                    docker_ok(idle.iter().chain(&[image, "infinity"]).copied());
                }
                ("RUN", command) => {
                    self.ai_lab.exec_ok("root", &["sh", "-ec", command]);
                }
                ("COPY", places) => {
                    let (from, to) = places.split_once(' ').unwrap();
                    let from = format!("{}/.", directory.join(from).display());
                    self.ai_lab.exec_ok("root", &["mkdir", "-p", to]);
                    docker_ok(["cp", &from, &format!("{}:{to}", self.ai_lab.name)]);
                }
                ("ENV", variable) => assert!(variable.starts_with("AI_LAB_VERSION="), "{step}"),
                _ => panic!("what is done for {step}?"),
            }
        }
    }
}

/// A file that everybody can read and execute, in directories that are made for it.
fn write(place: &Path, content: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    std::fs::write(place, content).unwrap();
    std::fs::set_permissions(place, std::fs::Permissions::from_mode(0o755)).unwrap();
}

impl Drop for Reader {
    fn drop(&mut self) {
        // Before its volume, which it uses.
        docker(["rm", "--force", "--volumes", &self.ai_lab.name]);
    }
}

fn has(said: &str, words: &[&str], line: &str) {
    for part in words {
        assert!(
            said.contains(part),
            "{part:?} is missing after {line}: {said}"
        );
    }
}
