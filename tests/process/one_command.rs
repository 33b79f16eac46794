//! `scripts/run` without an engine, where the binary and the packages are ready, and what the
//! scripts do on other systems than Debian.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::terminal::Terminal;
use crate::support::{Output, PROGRAM, Start};

const TOP: &str = env!("CARGO_MANIFEST_DIR");

/// Stands for the compiler, and for the installer of the packages.
const CARGO: &str = "[ $1 != program ] || install -D -t $CARGO_TARGET_DIR/any/release $PROGRAM";
const UV: &str = "[ $1 = venv ] || exit 0; for last; do :; done; mkdir -p $last/bin
    for name in jupyter-lab jupyterhub-singleuser; do install $SERVER $last/bin/$name; done";

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

    /// `scripts/run` without an engine; its build directory is `build`.
    fn run(&self) -> Start {
        let build = format!(
            "{}{}",
            "../".repeat(TOP.matches('/').count()),
            &self.text("build")[1..]
        );
        self.start(&format!("{TOP}/scripts/run"))
            .env("AI_LAB_RUN_DIRECTORY", &build)
            .env("CARGO_TARGET_DIR", &self.text("cargo"))
            .env("XDG_DATA_HOME", &self.text("data"))
            .env("PROGRAM", PROGRAM)
            .env("SERVER", &format!("{TOP}/tests/support/fake_server.py"))
            .arg("--without-docker")
    }
}

fn without_engine() -> Machine {
    Machine::new(&[("cargo", CARGO), ("uv", UV)])
}

#[test]
fn what_a_person_writes_outlives_the_build_directory() {
    let machine = without_engine();
    let write = "echo mine >~/mine";
    let Output { code, stderr, .. } = machine.run().args(["--", "sh", "-c", write]).run();
    assert_eq!(code, 0, "{stderr}");
    let notebooks = machine.path("data/ai-lab/notebooks");
    let said = format!("the notebooks are in {}\n", notebooks.display());
    assert!(stderr.contains(&said), "{stderr}");
    assert!(!stderr.contains("cannot be written"), "{stderr}");
    assert!(notebooks.join("start.ipynb").is_file());
    fs::remove_dir_all(machine.path("build")).unwrap();
    let again = machine.run().args(["--", "sh", "-c", "cat ~/mine"]).run();
    assert_eq!(again.stdout, "mine\n", "{}", again.stderr);
}

#[test]
fn notebooks_of_an_earlier_version_in_the_build_directory_stay_in_use() {
    let machine = without_engine();
    fs::create_dir_all(machine.path("build/notebooks")).unwrap();
    let ended = machine.run().args(["--", "true"]).run();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stderr.contains("cargo clean"), "{}", ended.stderr);
    assert!(machine.path("build/notebooks/start.ipynb").is_file());
    assert!(!machine.path("data").exists());
}

/// As in each terminal of a hub's server.
#[test]
fn in_a_terminal_of_a_hub_it_starts_a_lab() {
    let hub = "http://0.0.0.0:8888/user/alice/";
    let machine = without_engine();
    let start = machine.run().env("JUPYTERHUB_SERVICE_URL", hub);
    let Output { stdout, stderr, .. } = start.arg("--dry-run").run();
    assert!(stdout.contains("/bin/jupyter-lab "), "{stdout}{stderr}");
}

#[test]
fn the_terminal_of_the_machine_keeps_its_owner() {
    let terminal = Terminal::new();
    let machine = without_engine();
    let start = machine.run().args(["--", "echo", "reached"]);
    let mut running = start.start_on(&terminal);
    running.wait_for_line("reached");
    assert_eq!(running.end(), 0);
    assert_eq!(fs::metadata(terminal.path()).unwrap().uid(), 0);
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
