//! `scripts/run` is all a newcomer needs: with Docker or Podman, and without an engine. It
//! says how far it is, why something is not as usual, and what helps against a failure.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::docker::{IMAGE, Volume, docker_ok, name, visit};
use crate::support::hub::{CACHE, path, uv};
use crate::support::terminal::Terminal;
use crate::support::{Output, PROGRAM, Start, free_port, repeated};

const READY: &str = "] ready in ";

/// Programs that come first in PATH.
struct Fakes(tempfile::TempDir);

impl Fakes {
    fn new(programs: &[(&str, &str)]) -> Self {
        let fakes = Self(tempfile::tempdir().unwrap());
        for (name, text) in programs {
            let path = fakes.0.path().join(name);
            fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        fakes
    }

    fn script(&self) -> Start {
        self.start("scripts/run")
    }

    fn start(&self, script: &str) -> Start {
        let path = std::env::var("PATH").unwrap();
        let own = self.path();
        Start::script(script)
            .env("PATH", &format!("{own}:{path}"))
            .env("FAKES", own)
            .env("REAL", &real_docker())
            .env("AI_LAB_TAG", IMAGE)
            .env("AI_LAB_LOGS", &format!("{own}/log"))
    }

    fn path(&self) -> &str {
        self.0.path().to_str().unwrap()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.path().join(name)).unwrap()
    }
}

fn real_docker() -> String {
    let path = std::env::var("PATH").unwrap();
    let mut places = path.split(':').map(|place| format!("{place}/docker"));
    places.find(|place| Path::new(place).exists()).unwrap()
}

/// Runs the script to the welcome, logs in, and ends it with Ctrl-C; what it said.
fn newcomer(script: Start, port: u16) -> String {
    let mut run = script.start();
    run.wait_for(READY);
    assert_eq!(visit(port, &["login", "wrong"]), "out");
    assert_eq!(visit(port, &["login", "ailab"]), "in");
    run.ctrl_c();
    assert_eq!(run.end(), 0);
    let (stdout, stderr) = run.everything();
    let said = stdout + &stderr;
    for part in [
        &format!("http://localhost:{port}\n"),
        "The default password is \"ailab\".\n",
        "notebooks: 4 installed, ",
    ] {
        assert!(said.contains(part), "{part:?} is missing in {said}");
    }
    said
}

fn port_option(port: u16) -> [String; 2] {
    ["--port".into(), port.to_string()]
}

#[test]
fn in_docker_it_builds_starts_and_ends() {
    let volume = Volume::new();
    let port = free_port();
    let script = Start::script("scripts/run")
        .env("AI_LAB_VOLUME", &volume.0)
        .env("AI_LAB_TAG", IMAGE)
        .args(port_option(port));
    let said = newcomer(script, port);
    let last = format!("] starting on port {port}; Ctrl-C stops it\n");
    assert!(said.contains(&last), "{said}");
    // The notebooks outlive the container, which is gone.
    let mount = volume.option();
    let list = [
        "run",
        "--rm",
        &mount,
        IMAGE,
        "ls",
        "/home/jupyter/notebooks",
    ];
    assert!(docker_ok(list).contains("start.ipynb"));
    let all = docker_ok(["ps", "--all", "--format", "{{.Mounts}}"]);
    assert!(!all.contains(&volume.0), "{all}");
}

/// The second start needs no network; the port of the first may still be taken.
#[test]
fn nothing_is_built_or_pulled_again_and_the_browser_opens() {
    let built = std::process::Command::new("scripts/image")
        .arg(IMAGE)
        .output();
    assert!(built.unwrap().status.success());
    let fakes = Fakes::new(&[
        ("docker", "echo $1 >>$FAKES/verbs; exec $REAL \"$@\""),
        (
            "xdg-open",
            "echo $1 >$FAKES/opened.new; mv $FAKES/opened.new $FAKES/opened",
        ),
    ]);
    let (taken, volume) = (free_port(), Volume::new());
    let listener = TcpListener::bind(("127.0.0.1", taken)).unwrap();
    let script = fakes.script().env("AI_LAB_VOLUME", &volume.0);
    let mut run = script.arg("--open").args(port_option(taken)).start();
    run.wait_for("nothing has changed");
    let line = run.wait_for(&format!("port {taken} is taken: using "));
    let port: u16 = line.rsplit(' ').next().unwrap().parse().unwrap();
    run.wait_for(READY);
    let opened = fakes.0.path().join("opened");
    crate::support::process::until("the browser opens", || opened.exists());
    assert_eq!(fakes.read("opened"), format!("http://localhost:{port}\n"));
    assert_eq!(visit(port, &["login", "ailab"]), "in");
    run.ctrl_c();
    assert_eq!(run.end(), 0);
    drop(listener);
    let verbs = fakes.read("verbs");
    assert!(
        !verbs.contains("build") && !verbs.contains("pull"),
        "{verbs}"
    );
}

/// How fast the program is, is not asked here: what the tests have built takes the place of an
/// optimized one.
const CARGO: &str = "
    [ \"$*\" = 'program' ] &&
        install -D -t \"$CARGO_TARGET_DIR/any/release\" \"$PROGRAM\"";

/// The one of the tests, with their cache. What is imported is compiled then; most of it is not.
const UV: &str = "
    export UV_CACHE_DIR=\"$REAL_CACHE\"
    for word; do
        shift
        [ \"$word\" = --compile-bytecode ] || set -- \"$@\" \"$word\"
    done
    exec $REAL_UV \"$@\"";

fn built_in_a_hurry(fakes: &Fakes, start: Start) -> Start {
    start
        .env("CARGO_TARGET_DIR", &format!("{}/target", fakes.path()))
        .env("PROGRAM", PROGRAM)
        .env("REAL_UV", uv().get_program().to_str().unwrap())
        .env("REAL_CACHE", path(CACHE).to_str().unwrap())
}

/// Where a person's files are, in a directory of the build that a test removes.
fn data(directory: &str) -> String {
    format!("{}/{directory}/data", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn without_an_engine_it_says_so_and_runs_in_namespaces() {
    let directory = format!("target/{}", name());
    let port = free_port();
    // Without uv, the script installs it first.
    let programs = [("podman", "exit 1"), ("cargo", CARGO), ("uv", UV)];
    let fakes = Fakes::new(&programs[..repeated(3, 2)]);
    let script = fakes
        .script()
        .env("DOCKER_HOST", "unix:///nonexistent")
        .env("AI_LAB_RUN_DIRECTORY", &directory)
        .env("XDG_DATA_HOME", &data(&directory))
        .args(port_option(port));
    let said = newcomer(built_in_a_hurry(&fakes, script), port);
    assert!(said.contains("no Docker engine answers"), "{said}");
    let notebooks = Path::new(&data(&directory)).join("ai-lab/notebooks");
    assert!(notebooks.join("start.ipynb").is_file());
    fs::remove_dir_all(Path::new(env!("CARGO_MANIFEST_DIR")).join(directory)).unwrap();
}

/// As in a container of somebody else's.
#[test]
fn without_the_right_to_make_namespaces_it_runs_as_plain_processes() {
    let directory = format!("target/{}", name());
    let port = free_port();
    let weak = "exec setpriv --bounding-set=-sys_admin scripts/run \"$@\"";
    let fakes = Fakes::new(&[("weak", weak), ("cargo", CARGO), ("uv", UV)]);
    let weak = fakes.0.path().join("weak");
    let script = fakes
        .start(weak.to_str().unwrap())
        .env("AI_LAB_RUN_DIRECTORY", &directory)
        .env("XDG_DATA_HOME", &data(&directory))
        .arg("--without-docker")
        .args(port_option(port));
    let said = newcomer(built_in_a_hurry(&fakes, script), port);
    assert!(said.contains("running as plain processes"), "{said}");
    assert!(said.contains("Switched uid/gid to "), "{said}");
    fs::remove_dir_all(Path::new(env!("CARGO_MANIFEST_DIR")).join(directory)).unwrap();
}

const DENIED: &str = "
[ -z \"$BY_SUDO\" ] || exec $REAL \"$@\"
echo 'permission denied while trying to connect to the Docker daemon socket' >&2
exit 1";

#[test]
fn a_docker_that_answers_root_alone_is_used_with_sudo() {
    let sudo = "while case $1 in -*) true ;; *) false ;; esac; do shift; done
        BY_SUDO=1 exec \"$@\"";
    let fakes = Fakes::new(&[("docker", DENIED), ("sudo", sudo)]);
    let (port, volume) = (free_port(), Volume::new());
    let script = fakes.script().env("AI_LAB_VOLUME", &volume.0);
    let said = newcomer(script.args(port_option(port)), port);
    assert!(
        said.contains("docker answers root alone: using sudo\n"),
        "{said}"
    );
}

#[test]
fn without_rights_to_docker_it_says_what_helps() {
    let fakes = Fakes::new(&[("docker", DENIED), ("podman", "exit 1"), ("sudo", "exit 1")]);
    let Output { code, stderr, .. } = fakes.script().run();
    assert_eq!(code, 1, "{stderr}");
    for part in [
        "scripts/run --sudo",
        "usermod -aG docker",
        "--without-docker",
    ] {
        assert!(stderr.contains(part), "{stderr}");
    }
}

#[test]
fn podman_serves_where_docker_does_not_answer() {
    let podman = "echo $1 >>$FAKES/verbs; exec $REAL \"$@\"";
    let fakes = Fakes::new(&[("docker", "echo nobody; exit 1"), ("podman", podman)]);
    let (port, volume) = (free_port(), Volume::new());
    let script = fakes.script().env("AI_LAB_VOLUME", &volume.0);
    newcomer(script.args(port_option(port)), port);
    assert!(fakes.read("verbs").ends_with("run\n"));
}

/// An engine that has the base images; a build of the binary says a line and waits.
const SLOW: &str = "
case \"$*\" in
    *'image inspect '*:test) exit 1 ;;
    *'build --file - '*) cat >/dev/null ;;
    *'build --target build '*) echo 'Step 6/9 : RUN cargo'; read -r end <$FAKES/end; echo $end; exit 1 ;;
esac";

fn slow() -> (Fakes, Start) {
    let fakes = Fakes::new(&[("docker", SLOW)]);
    let end = fakes.0.path().join("end");
    rustix::fs::mkfifoat(rustix::fs::CWD, &end, 0o600.into()).unwrap();
    let script = fakes.script().env("AI_LAB_TAG", "none:test");
    (fakes, script)
}

const FULL: &str = "write /x: no space left on device";

/// A log has a line at least every ten seconds, with the step, its seconds and what goes on.
#[test]
fn it_is_never_silent_and_a_failure_says_what_helps() {
    let (fakes, script) = slow();
    let mut run = script.start();
    run.wait_for("[1/6] base image debian:trixie-slim: is there");
    run.wait_for("[4/6] entrypoint ...");
    run.wait_for("[2/6] JupyterLab and its packages: done, ");
    let line = run.wait_for("s: Step 6/9 : RUN cargo");
    let seconds = line
        .strip_prefix("[4/6] entrypoint, ")
        .unwrap()
        .split(' ')
        .next();
    assert!(seconds.unwrap().parse::<u32>().unwrap() <= 10, "{line}");
    fs::write(fakes.0.path().join("end"), FULL).unwrap();
    run.wait_for("[4/6] entrypoint: failed after ");
    run.wait_for(FULL);
    assert_eq!(run.end(), 1);
    let (_, stderr) = run.everything();
    for part in ["/log/binary.log:", "The disk is full: `docker system df`"] {
        assert!(stderr.contains(part), "{stderr}");
    }
}

/// A terminal has one line that lives.
#[test]
fn a_terminal_has_one_live_line() {
    let (fakes, script) = slow();
    let terminal = Terminal::new();
    let mut run = script.start_on(&terminal);
    // What was there a moment ago is written over, in the same line.
    let line = run.wait_for("\x1b[K[2/6] JupyterLab and its packages: done, ");
    let before = "\x1b[K[2/6] JupyterLab and its packages, ";
    assert!(line.contains(before), "{line:?}");
    fs::write(fakes.0.path().join("end"), FULL).unwrap();
    run.wait_for("[4/6] entrypoint: failed after ");
    assert_eq!(run.end(), 1);
}

/// What `docker build` alone makes says of itself what Cargo.toml says.
#[test]
fn the_image_has_the_version_of_the_crate() {
    let dockerfile = include_str!("../../Dockerfile");
    let version = env!("CARGO_PKG_VERSION");
    for part in ["ENV AI_LAB_VERSION=", "org.opencontainers.image.version="] {
        assert!(dockerfile.contains(&format!("{part}{version}")), "{part}");
    }
}
