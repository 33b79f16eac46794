//! The image is a lab that people can work in: its tools, its shells, its kernels, and the
//! page where people arrive.

use crate::support::docker::{Container, IMAGE, docker_ok, mounted, run};
use crate::support::{few, repeated};

const READY: &str = "] ready in ";

/// What a command in the image says.
fn said(options: &[&str], command: &[&str]) -> String {
    let (code, stdout, stderr) = run(options, command);
    assert_eq!(code, 0, "{command:?}: {stderr}");
    stdout.trim_end().to_owned()
}

#[test]
fn it_is_small_and_has_the_tools() {
    let size = docker_ok(["image", "inspect", "--format", "{{.Size}}", IMAGE]);
    let size: u64 = size.trim().parse().unwrap();
    println!("{IMAGE} has {} MB", size / 1_000_000);
    assert!(size <= 700_000_000, "{size}");
    let tools = "git curl less nano vi ssh unzip zip rsync tree jq ps docker python pip";
    let missing = "for tool; do command -v $tool >/dev/null || echo $tool; done";
    let words = ["sh", "-c", missing, "sh"]
        .into_iter()
        .chain(tools.split(' '));
    let words: Vec<&str> = words.collect();
    assert_eq!(said(&[], &words), "");
    let clock = said(
        &["--env", "TZ=Asia/Tokyo"],
        &["date", "--date=@0", "+%R %Z"],
    );
    assert_eq!(clock, "09:00 JST");
    let encoding = "import locale, sys; print(locale.getencoding(), sys.stdout.encoding, 'ä')";
    assert_eq!(said(&[], &["python", "-c", encoding]), "UTF-8 utf-8 ä");
}

/// The shells of a terminal in JupyterLab (`bash -l`), of a Dockerfile (`bash -c`) and of
/// `docker exec`.
const WHERE_IS: &str = "python -c 'import sys; print(sys.prefix)' && pip --version && \
                        jupyter --paths && python3 -c 'import numpy'";

#[test]
fn every_shell_of_the_users_finds_the_venv_first_and_roots_does_not() {
    let paths = ["", "--env=PATH=", "--env=PATH=/usr/bin:/bin"];
    for (at, path) in paths.into_iter().enumerate() {
        let options: Vec<&str> = Some(path)
            .filter(|path| !path.is_empty())
            .into_iter()
            .collect();
        let container = Container::start(&options, &["sleep", "1000"]);
        container.wait_for("] prepared in ");
        // Each has a path, and in a long run all.
        let all = ["-lc", "-ic", "-lic"].into_iter().cycle();
        for options in all.skip(at).take(repeated(1, 3)) {
            let found = container.exec_ok("jupyter", &["/bin/bash", options, WHERE_IS]);
            let venv = "/opt/ai-lab/jupyterenv";
            assert!(found.contains(&format!("{venv}\n")), "{options}: {found}");
            let site = format!("from {venv}/lib/");
            assert!(found.contains(&site), "{options}: {found}");
            assert!(found.contains(&format!("{venv}/etc")), "{options}: {found}");
            let path = container.exec_ok("root", &["/bin/bash", options, "echo $PATH"]);
            assert!(!path.contains("/opt"), "{options}: {path}");
        }
    }
}

pub fn every_shell_beside_a_server_finds_the_venv_first_and_roots_does_not(container: &Container) {
    for shell in [["bash", "-c"], ["sh", "-c"], ["sh", "-lc"]] {
        container.exec_ok("jupyter", &[shell[0], shell[1], WHERE_IS]);
    }
    // Docker gives both the same PATH.
    container.exec_ok("jupyter", &["python3", "-c", "import numpy"]);
    container.exec_ok("jupyter", &["python3", "-m", "venv", "/tmp/venv"]);
    let servers = container.exec_ok("jupyter", &["jupyter", "server", "list"]);
    assert!(servers.contains(":49494/"), "{servers}");
    let prefix = "import sys; print(sys.prefix)";
    let system = container.exec_ok("root", &["python3", "-c", prefix]);
    assert_eq!(system, "/usr\n");
    let (found, said) = container.exec("root", &["jupyter", "server", "list"]);
    assert!(!found, "{said}");
    for remedy in [
        "docker exec --user jupyter",
        "RUN /opt/ai-lab/jupyterenv/bin/jupyter",
    ] {
        assert!(said.contains(remedy), "{said}");
    }
    let writable = "find /usr/local/bin /usr/local/lib/ai-lab -writable";
    assert_eq!(container.exec_ok("jupyter", &["sh", "-c", writable]), "");
    let shown = "cd ~/notebooks; echo \"${PS1@P}\"; _comp_load git && complete -p git";
    for shell in ["-ic", "-lic"] {
        let shown = container.exec_ok("jupyter", &["bash", shell, shown]);
        assert!(shown.contains("(ai-lab)jupyter@"), "{shell}: {shown}");
        assert!(shown.contains(":~/notebooks$"), "{shell}: {shown}");
        assert!(
            shown.contains("__git_wrap__git_main git"),
            "{shell}: {shown}"
        );
    }
}

#[test]
fn its_variables_are_those_of_the_image_that_it_replaces() {
    let image = [
        "image",
        "inspect",
        "--format",
        "{{json .Config.Env}}",
        IMAGE,
    ];
    let variables = docker_ok(image);
    for (name, value, key) in [
        ("JUPYTER_VENV", "/opt/ai-lab/jupyterenv", "server.venv"),
        (
            "NOTEBOOK_DEFAULTS",
            "/opt/ai-lab/notebook-defaults",
            "notebooks.defaults",
        ),
        (
            "NOTEBOOKS",
            "/home/jupyter/notebooks",
            "notebooks.directory",
        ),
    ] {
        assert!(variables.contains(&format!("\"{name}={value}\"")), "{name}");
        // They change nothing: what the file says is still the image's own word.
        let settings = said(&[], &["config", "show", "--origin"]);
        let line = settings.lines().find(|line| line.starts_with(key)).unwrap();
        assert!(
            line.contains(value) && line.contains("entrypoint.toml:"),
            "{line}"
        );
    }
}

pub fn people_arrive_at_the_start_page(log: &str) {
    assert!(
        log.contains("http://localhost:49494/lab/tree/start.ipynb\n"),
        "{log}"
    );
    // The list of what is not installed came after the welcome.
    assert!(!log.contains("language-server"), "{log}");
}

#[test]
fn people_arrive_where_they_say() {
    let place = "/home/jupyter/.jupyter/jupyter_lab_config.py";
    let (_file, theirs) = mounted("c.LabApp.default_url = '/lab/tree/data.ipynb'\n", place);
    let container = Container::start(&[&theirs], &[]);
    let log = container.wait_for(READY);
    assert!(
        log.contains("http://localhost:49494/lab/tree/data.ipynb\n"),
        "{log}"
    );
}

const NOTEBOOKS: &str = "/home/jupyter/notebooks";

/// Deletes a directory with a file as a person does; what is left of it.
fn left_of_what_is_deleted(container: &Container) -> String {
    let make = format!("mkdir {NOTEBOOKS}/dir && touch {NOTEBOOKS}/dir/gone");
    container.exec_ok("jupyter", &["sh", "-c", &make]);
    assert_eq!(container.visit(&["delete", "ailab", "dir"]), "204");
    let look = ["find", NOTEBOOKS, "/home/jupyter/.local", "-name", "gone"];
    container.exec_ok("root", &[&look[..], &["-printf", "%f\n"]].concat())
}

pub fn what_is_deleted_is_gone(container: &Container) {
    assert_eq!(left_of_what_is_deleted(container), "");
}

#[test]
fn what_is_deleted_is_kept_where_a_person_wants_the_trash() {
    let place = "/home/jupyter/.jupyter/jupyter_server_config.py";
    let trash = "c.FileContentsManager.delete_to_trash = True\n";
    let (_file, theirs) = mounted(trash, place);
    let container = Container::start(&[&theirs], &[]);
    container.wait_for(READY);
    assert_eq!(left_of_what_is_deleted(&container), "gone\n");
}

/// Without a server, a kernel with Unix sockets would have them in the notebook's directory: those
/// of every other kernel there have the same names, and it may not be writable.
#[test]
fn a_notebook_runs_without_a_server_from_a_directory_that_cannot_be_written() {
    let notebook = r#"{"cells": [{"cell_type": "code", "id": "a", "metadata": {}, "outputs": [],
        "execution_count": null, "source": ["print(6 * 7)"]}], "metadata": {}, "nbformat": 4,
        "nbformat_minor": 5}"#;
    let (_file, option) = mounted(notebook, "/data/answer.ipynb");
    let convert = [
        "jupyter",
        "nbconvert",
        "--execute",
        "--to=markdown",
        "--stdout",
    ];
    let words = [&convert[..], &["/data/answer.ipynb"]].concat();
    assert!(said(&[&option], &words).ends_with("    42"));
}

/// Prints the address of the kernel's own socket.
const WHERE: &str = "import os\nfrom ipykernel.kernelapp import IPKernelApp\n\
                     kernel = IPKernelApp.instance()\n\
                     print(kernel.transport, os.path.dirname(kernel.ip))";

const RUNTIME: &str = ".local/share/jupyter/runtime";

/// The sockets are in this home, or what stands for it.
fn sockets_are_in(home: &str, container: &Container) {
    let place = format!("{home}/{RUNTIME}");
    assert_eq!(
        container.visit(&["run", "ailab", WHERE]),
        format!("ipc {place}")
    );
    let mode = container.exec_ok("root", &["stat", "-c", "%a", &place]);
    assert!(mode.trim_end().ends_with("700"), "{mode}");
    let log = container.logs();
    assert!(!log.contains("over TCP"), "{log}");
}

pub fn kernels_are_reached_by_sockets_that_only_the_user_gets_to(container: &Container) {
    sockets_are_in("/home/jupyter", container);
}

#[test]
fn kernels_are_reached_by_sockets_wherever_home_is() {
    let long = format!("/home/jupyter/{}", "long".repeat(20));
    for &(options, words, home) in few(
        2,
        &[
            // A socket's name has at most 107 bytes.
            (&[][..], &["--home", &*long][..], "/tmp/ai-lab-home-1000"),
            (&["--user=1234:0"], &[], "/tmp/ai-lab-home-1234"),
            (
                &["--read-only", "--tmpfs=/tmp"],
                &[],
                "/tmp/ai-lab-home-1000",
            ),
        ],
    ) {
        let container = Container::start(options, words);
        container.wait_for(READY);
        sockets_are_in(home, &container);
        assert_eq!(container.stop(), 0, "{}", container.logs());
    }
}

/// IRkernel and others put `:` and the port behind whatever address they are given.
#[test]
fn beside_a_kernel_of_another_language_all_use_tcp() {
    let other = r#"{"argv": ["R", "{connection_file}"], "display_name": "R", "language": "R"}"#;
    let place = "/usr/local/share/jupyter/kernels/ir/kernel.json";
    let (_file, option) = mounted(other, place);
    let container = Container::start(&[&option], &[]);
    container.wait_for(READY);
    assert_eq!(container.visit(&["run", "ailab", WHERE]), "tcp");
}

#[test]
fn a_notebook_completes_and_finds_definitions_without_a_network() {
    let code = "from IPython.core.completer import provisionalcompleter\n\
                from IPython.terminal.interactiveshell import TerminalInteractiveShell as Shell\n\
                shell = Shell.instance()\n\
                cell = 'import pandas as pd\\npd.DataFr'\n\
                with provisionalcompleter():\n    \
                    print({found.text for found in shell.Completer.completions(cell, len(cell))})\n\
                import jedi\n\
                print(jedi.Script('import pandas').goto(1, 8, follow_imports=True))";
    let found = said(&["--network=none"], &["python", "-c", code]);
    assert!(found.contains("'DataFrame'"), "{found}");
    assert!(found.contains("pandas"), "{found}");
}

#[test]
fn what_a_killed_kernel_leaves_behind_is_ended_where_that_is_asked_for() {
    let container = Container::start(&[], &["--orphans", "end"]);
    container.wait_for(READY);
    // Jupyter ends the group of a kernel that it starts again, at times before we look.
    let code = "import os, subprocess, threading\n\
                subprocess.Popen(['sleep', '1000'], process_group=0)\n\
                threading.Timer(0.2, os.kill, (os.getpid(), 9)).start()\n\
                print('left')";
    assert_eq!(container.visit(&["run", "ailab", code]), "left");
    container.wait_for("processes that a kernel or a terminal left behind are ended: 1");
    container.until("it is gone", || {
        let (lives, _) = container.exec("root", &["pgrep", "-x", "sleep"]);
        (!lives).then_some(())
    });
}
