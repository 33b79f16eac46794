//! What is in `examples/` to be copied works as it stands. The hubs among them are in
//! `container_hub*.rs`; `scripts/other-world` runs those for Podman.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::Start;
use crate::support::docker::{Container, IMAGE, docker_ok, name, text};

fn example(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples")
        .join(file)
}

/// A copy of the Compose file, with a name and a port that nobody else has.
struct Compose {
    project: String,
    directory: tempfile::TempDir,
}

impl Compose {
    fn new(change: impl Fn(&str) -> String) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let text = fs::read_to_string(example("compose.yaml")).unwrap();
        let text = text.replace("image: ai-lab:dev", &format!("image: {IMAGE}"));
        let text = text.replace("127.0.0.1:49494:49494", "127.0.0.1:0:49494");
        fs::write(directory.path().join("compose.yaml"), change(&text)).unwrap();
        fs::write(directory.path().join("password.txt"), "choose one\n").unwrap();
        let project = name();
        Self { project, directory }
    }

    fn run(&self, words: &[&str]) -> Output {
        let fixed = ["--file", "compose.yaml", "--project-name", &self.project];
        Command::new("docker-compose")
            .args(fixed)
            .args(words)
            .current_dir(self.directory.path())
            .output()
            .unwrap()
    }

    fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}: {}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Compose {
    fn drop(&mut self) {
        self.run(&["down", "--volumes"]);
    }
}

#[test]
fn compose_starts_it_with_a_secret_password_and_keeps_the_notebooks() {
    let compose = Compose::new(str::to_owned);
    compose.ok(&["up", "--detach"]);
    let container = Container {
        name: compose.ok(&["ps", "--quiet"]).trim().to_owned(),
    };
    container.until("it is healthy", || {
        (container.inspect("{{.State.Health.Status}}") == "healthy").then_some(())
    });
    assert_eq!(container.visit(&["login", "ailab"]), "out");
    assert_eq!(container.visit(&["save", "choose one", "x.txt"]), "x.txt");
    assert!(!container.inspect("{{json .Config}}").contains("choose one"));
    compose.ok(&["down"]);
    let volume = format!("--volume={}_notebooks:/n", compose.project);
    let listed = docker_ok(["run", "--rm", &volume, IMAGE, "ls", "/n"]);
    assert!(listed.contains("x.txt"), "{listed}");
}

#[test]
fn what_is_commented_out_in_the_compose_file_fits_into_it() {
    let compose = Compose::new(|text| {
        let lines = text.lines().skip_while(|line| line.starts_with('#'));
        let on = |line: &str| match line.split_once("# ") {
            Some((indent, setting)) if !setting.ends_with(['.', ';']) => {
                format!("{indent}{setting}\n")
            }
            _ => format!("{line}\n"),
        };
        lines.map(on).collect()
    });
    let config = compose.ok(&["config"]);
    for part in ["/var/run/docker.sock", "driver: nvidia", "shm_size:"] {
        assert!(config.contains(part), "{part}: {config}");
    }
}

#[test]
fn systemd_accepts_the_unit() {
    let output = Command::new("systemd-analyze")
        .arg("verify")
        .arg(example("ai-lab.service"))
        .output()
        .unwrap();
    assert!(
        output.status.success() && text(&output).is_empty(),
        "{}",
        text(&output)
    );
}

/// The line that the unit gives to Docker, without systemd.
#[test]
fn the_units_line_starts_it_and_term_ends_it() {
    let unit = fs::read_to_string(example("ai-lab.service")).unwrap();
    let line = unit.replace("\\\n", " ");
    let line = line
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="))
        .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let password = directory.path().join("password");
    fs::write(&password, "choose one\n").unwrap();
    let name = name();
    let line = line
        .replace("--name ai-lab ", &format!("--name {name} "))
        .replace("127.0.0.1:49494:49494", "127.0.0.1:0:49494")
        .replace("ai-lab-notebooks:", &format!("{name}:"))
        .replace("/etc/ai-lab/password", password.to_str().unwrap())
        .replace(" ai-lab:dev", &format!(" {IMAGE}"));
    let mut docker = Start::script("/bin/sh")
        .args(["-c", &format!("exec {line}")])
        .start();
    docker.wait_for("] ready in ");
    let container = Container { name };
    assert_eq!(container.visit(&["login", "choose one"]), "in");
    docker.signal(libc::SIGTERM);
    let code = docker.end();
    docker_ok(["volume", "rm", "--force", &container.name]);
    assert_eq!(code, 0);
}
