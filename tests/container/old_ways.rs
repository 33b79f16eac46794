//! What people did with containers of the predecessor works as it did: the whole of its
//! line, a life of stops and starts and commits, the old layout under /root, other first
//! processes, and the keys of an attached terminal.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use crate::support::docker::{
    COMPAT, Container, IMAGE, Volume, docker, docker_ok, mounted, name, visit,
};
use crate::support::typist::{types, typist};

const READY: &str = "] ready in ";
/// The same on a terminal, where the bracket before it has a colour.
const SEEN: &str = " ready in ";
const PYTHON: &str = "/home/jupyter/jupyterenv/bin/python3";
const CTRL_C: &str = "\x03";
const CTRL_P_CTRL_Q: &str = "\x10\x11";

/// Makes a wheel, so that pip needs no network, and installs it as people do.
const INSTALL: &str = "cd /tmp && python3 -c '
import zipfile
with zipfile.ZipFile(\"old_ways-1-py3-none-any.whl\", \"w\") as wheel:
    wheel.writestr(\"old_ways.py\", \"answer = 42\\n\")
    wheel.writestr(\"old_ways-1.dist-info/METADATA\", \"Metadata-Version: 2.1\\nName: old_ways\\nVersion: 1\\n\")
    wheel.writestr(\"old_ways-1.dist-info/WHEEL\", \"Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n\")
    wheel.writestr(\"old_ways-1.dist-info/RECORD\", \"\")
' && /home/jupyter/jupyterenv/bin/pip install --no-index /tmp/old_ways-1-py3-none-any.whl";

fn ready_again(container: &Container, times: usize) -> String {
    container.wait_for_nth(READY, times)
}

fn answer(container: &Container, user: &str) -> String {
    let look = "import old_ways; print(old_ways.answer)";
    container.exec_ok(user, &[PYTHON, "-c", look])
}

/// What watches the log of a predecessor's container finds the lines that it knows.
#[test]
fn the_compat_image_writes_the_predecessors_lines() {
    let closed = tempfile::tempdir().unwrap();
    let socket = closed.path().join("docker.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    std::fs::set_permissions(&socket, Permissions::from_mode(0o600)).unwrap();
    let mount = format!("--volume={}:/var/run/docker.sock", socket.display());
    let container = Container::start_image(COMPAT, &[&mount], &[]);
    let log = container.wait_for("The default password is \"ailab\".\n");
    for part in [
        "INFO    entrypoint.py: Did chown -R jupyter:jupyter /home/jupyter/notebooks\n",
        "INFO    entrypoint.py: Switched uid/gid to jupyter/jupyter\n",
        "INFO    entrypoint.py: Copied notebooks from /opt/ai-lab/notebook-defaults to \
         /home/jupyter/notebooks\n",
        "INFO    entrypoint.py: Disabled coredumps\n",
        "INFO    entrypoint.py: The server for Jupyter has been started successfully.\n",
        "WARNING entrypoint.py: PermissionError: No rw permissions for group in -rw------- \
         /var/run/docker.sock.",
    ] {
        assert!(log.contains(part), "{part:?} is missing in {log}");
    }
}

#[test]
fn the_whole_old_line_and_a_life_of_stops_starts_and_a_commit() {
    let volume = Volume::new();
    let options = [
        "--init",
        "--volume=/var/run/docker.sock:/var/run/docker.sock",
        "--env=JUPYTER_PASSWORD=of my own",
        &volume.option(),
    ];
    let container = Container::start(&options, &[]);
    container.wait_for(READY);
    assert_eq!(container.visit(&["login", "of my own"]), "in");
    container.exec_ok("jupyter", &["docker", "ps"]);
    assert_eq!(container.exec_ok("root", &["id", "-u"]), "0\n");
    assert_eq!(container.exec_ok("jupyter", &["id", "-un"]), "jupyter\n");
    container.exec_ok("jupyter", &["sh", "-ec", INSTALL]);
    container.visit(&["save", "of my own", "mine.txt"]);

    assert_eq!(container.stop(), 0);
    container.begin();
    ready_again(&container, 2);
    assert_eq!(container.visit(&["login", "of my own"]), "in");
    assert_eq!(answer(&container, "jupyter"), "42\n");
    assert_eq!(answer(&container, "root"), "42\n");
    assert_eq!(container.stop(), 0);

    // The image of it, elsewhere: another volume, another password, no socket.
    let image = name();
    docker_ok(["commit", &container.name, &image]);
    let other = Volume::new();
    let options = ["--env=JUPYTER_PASSWORD=another", &other.option()];
    let second = Container::start_image(&image, &options, &[]);
    let log = second.wait_for(READY);
    second.lets(&[("of my own", "out"), ("another", "in")]);
    assert_eq!(answer(&second, "jupyter"), "42\n");
    assert!(log.contains("notebooks: 4 installed"), "{log}");
    drop(second);
    docker(["rmi", "--force", &image]);
    // Both volumes have what belongs there.
    let list = |volume: &Volume| {
        let command = ["run", "--rm", "--entrypoint=ls", &volume.option(), IMAGE];
        docker_ok(command.iter().chain(&["/home/jupyter/notebooks"]).copied())
    };
    assert!(list(&volume).contains("mine.txt"));
    assert!(!list(&other).contains("mine.txt"));
}

#[test]
fn the_old_layout_under_root_without_a_settings_file() {
    let (_file, settings) = mounted("", "/etc/ai-lab/entrypoint.toml");
    let prepare = "ln -s /home/jupyter/jupyterenv /root/jupyterenv
        cp -r /home/jupyter/notebook-defaults /root/
        exec ai-lab-entrypoint --jupyter-server /root/jupyterenv/bin/jupyter-lab \
            --port 49494 --password ailab --jupyter-logfile /root/jupyter-server.log \"$@\"";
    let volume = Volume::new();
    let mount = format!("--volume={}:/root/notebooks", volume.0);
    for user in [&[][..], &["--user", "root"]] {
        let words = [&["-ec", prepare, "sh"], user].concat();
        // Neither the file nor the variables of this image.
        let bare = [
            "--env=NOTEBOOKS=",
            "--env=NOTEBOOK_DEFAULTS=",
            "--env=JUPYTER_VENV=",
        ];
        let options = [&["--entrypoint=sh", &settings, &mount][..], &bare].concat();
        let container = Container::start(&options, &words);
        let log = container.wait_for(READY);
        assert!(log.contains("The server runs as root"), "{log}");
        let copied = "Copied notebooks from /root/notebook-defaults to /root/notebooks";
        assert!(log.contains(copied), "{log}");
        assert_eq!(container.visit(&["login", "ailab"]), "in");
        let root = ["stat", "-c", "%u", "/root/notebooks/start.ipynb"];
        assert_eq!(container.exec_ok("root", &root), "0\n");
        assert!(container.file("/root/jupyter-server.log").len() > 100);
        assert_eq!(container.stop(), 0);
    }
}

#[test]
fn other_first_processes_of_derived_images() {
    let (_script, script) = mounted(
        "#!/bin/sh\nexport OURS=yes\nexec ai-lab-entrypoint \"$@\"\n",
        "/start",
    );
    let tini = "--volume=/usr/bin/tini-static:/usr/bin/tini:ro";
    for (options, command, above) in [
        (
            &["--entrypoint="][..],
            &["ai-lab-entrypoint", "jupyter-lab"][..],
            false,
        ),
        (
            &["--entrypoint=tini", tini],
            &["--", "ai-lab-entrypoint", "jupyter-lab"],
            true,
        ),
        (
            &["--entrypoint=sh", &script],
            &["/start", "jupyter-lab"],
            false,
        ),
    ] {
        let options = [options, &["--no-healthcheck"]].concat();
        let container = Container::start(&options, command);
        let log = container.wait_for(READY);
        assert_eq!(
            log.contains("tini remains a parent process of this one, as root"),
            above,
            "{log}"
        );
        assert_eq!(container.visit(&["login", "ailab"]), "in", "{command:?}");
        // Who is above is root; nobody else.
        let said = docker_ok(["top", &container.name, "-eo", "uid,pid,args"]);
        for process in said
            .lines()
            .skip(1)
            .filter(|line| !line.contains("tini --"))
        {
            assert!(process.trim().starts_with("1000 "), "{said}");
        }
        assert_eq!(container.stop(), 0, "{command:?}");
    }
}

#[test]
fn ctrl_c_at_docker_run_ends_it_and_detach_keys_leave_it_running() {
    let container = Container { name: name() };
    let name = &container.name;
    let line = format!("docker run -it --name {name} -p 127.0.0.1:0:49494 {IMAGE}");
    let (code, said) = types(&line, &[(SEEN, ""), ("", CTRL_P_CTRL_Q)]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(container.visit(&["login", "ailab"]), "in");

    // Whoever attaches again sees what is said from then on. Ctrl-C ends it.
    let mut attach = typist(
        &format!("docker attach {name}"),
        &[("GET /api/status", CTRL_C)],
    );
    let mut attached = attach.stdout(Stdio::null()).spawn().unwrap();
    let port = container.port();
    while attached.try_wait().unwrap().is_none() {
        visit(port, &["login", "wrong"]);
    }
    assert_eq!(attached.wait().unwrap().code(), Some(0));
    assert_eq!(container.end(), 0);

    // And so it does when it is started at a terminal.
    let line = format!("docker start --attach --interactive {name}");
    let (code, said) = types(&line, &[(SEEN, CTRL_C)]);
    assert_eq!(code, 0, "{said}");
}
