//! The scripts on other systems than Debian.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Output, Start};

const TOP: &str = env!("CARGO_MANIFEST_DIR");

/// A machine with programs that come first in PATH.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new(programs: &[(&str, &str)]) -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        fs::create_dir(machine.path("bin")).unwrap();
        for (name, text) in programs {
            let path = machine.path("bin").join(name);
            fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().into()
    }

    /// Another program on this machine, with a `/run` of its own.
    fn start(&self, program: &str) -> Start {
        let path = std::env::var("PATH").unwrap();
        Start::wrapped(program)
            .env("PATH", &format!("{}:{path}", self.text("bin")))
            .env("AI_LAB_LOGS", &self.text("log"))
            .env("MACHINE", &self.text(""))
    }
}

/// BSD's and busybox's rm know no long options.
#[test]
fn steps_end_where_rm_has_no_long_options() {
    let machine = Machine::new(&[(
        "rm",
        "case \" $*\" in *' --'*) exit 64 ;; esac; exec /bin/rm \"$@\"",
    )]);
    let script = format!(
        "cd {TOP}; . scripts/progress.sh; steps 1; touch $work/x; end_steps
        [ ! -e $work ]; echo reached"
    );
    let Output { stdout, stderr, .. } = machine.start("bash").args(["-euc", &script]).run();
    assert_eq!(stdout, "reached\n", "{stderr}");
}

/// Docker gives a build no variables of the shell.
#[test]
fn a_build_gets_the_proxies_that_it_can_reach() {
    let docker = "echo \"$@\" >>$MACHINE/said
        case \"$*\" in
            *'image inspect '*:test) exit 1 ;;
            *'build --help'*) ;;
            *'build '*'--file -'*) cat >/dev/null ;;
        esac";
    let machine = Machine::new(&[("docker", docker)]);
    let start = machine
        .start(&format!("{TOP}/scripts/image"))
        .arg("none:test");
    let start = start.env("https_proxy", "http://proxy:3128");
    start.env("http_proxy", "http://localhost:3128").run();
    let said = fs::read_to_string(machine.path("said")).unwrap();
    let builds = said.lines().filter(|line| line.starts_with("build --"));
    let builds: Vec<&str> = builds.filter(|line| *line != "build --help").collect();
    assert_eq!(builds.len(), 3, "{said}");
    for build in builds {
        assert!(build.contains("--build-arg https_proxy "), "{said}");
        assert!(!build.contains(" http_proxy"), "{said}");
    }
}

/// `core.autocrlf` is on in Git for Windows.
#[test]
fn a_checkout_of_windows_has_no_carriage_returns() {
    let place = tempfile::tempdir().unwrap();
    let git = |words: &[&str]| {
        let mut git = Command::new("git");
        let git = git.current_dir(TOP).args(["-c", "core.autocrlf=true"]);
        let output = git.args(words).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    let prefix = format!("--prefix={}/", place.path().display());
    let files = [
        "Dockerfile",
        "scripts/run",
        "image/system/usr/local/lib/ai-lab/in-venv",
    ];
    git(&[&["checkout-index", &prefix, "--"], &files[..]].concat());
    for file in files {
        let text = fs::read(Path::new(place.path()).join(file)).unwrap();
        assert!(!text.contains(&b'\r'), "{file}");
    }
}
