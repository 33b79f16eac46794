//! Configurations in which another password than the wanted one would be in force: each
//! is a trap for the real JupyterLab first, and then none for us. Proven at its login page.

use crate::support::docker::{Container, docker_ok};
use crate::support::few;

const READY: &str = "] ready in ";
/// Makes JSON with the hash of "stale" for a trait, as old volumes have it.
const STALE: &str = r#"
stale() { # CLASS TRAIT
    printf '{"%s": {"%s": "sha256::%s"}, "kept": 1}' \
        "$1" "$2" "$(printf stale | sha256sum | cut -d ' ' -f 1)"
}
own=/home/jupyter/.jupyter
install -d -o jupyter -g jupyter "$own" /home/jupyter/elsewhere
"#;
/// How a container goes on after a trap was laid in it.
const START: &str = "chown -R jupyter:jupyter $own /home/jupyter/elsewhere\n\
                     exec ai-lab-entrypoint jupyter-lab";

/// Starts the image after this script of root's, which lays the trap.
fn caught(options: &[&str], trap: &str) -> Container {
    let script = [STALE, trap, START].join("\n");
    Container::start(
        &[&["--entrypoint=sh"], options].concat(),
        &["-e", "-c", &script],
    )
}

/// Who may come in: each of these passwords with "in" or "out".
fn lets(container: &Container, passwords: [(&str, &str); 3]) {
    container.wait_for(READY);
    container.lets(&passwords);
}

/// Without us in between this trap holds "stale" in force, the default is not told then;
/// and a forced password beats it.
fn is_none(options: &[&str], trap: &str) {
    let standing = caught(options, trap);
    lets(
        &standing,
        [("stale", "in"), ("ailab", "out"), ("mine", "out")],
    );
    let log = standing.logs();
    assert!(
        !log.contains("The default password"),
        "the default is not it: {log}"
    );
    drop(standing);
    let forced = [options, &["--env=JUPYTER_PASSWORD=mine"]].concat();
    lets(
        &caught(&forced, trap),
        [("mine", "in"), ("stale", "out"), ("ailab", "out")],
    );
}

#[test]
fn a_password_of_an_older_jupyter_is_beaten() {
    // ServerApp's is in Lab's own file and behind a link, below.
    for class in few(1, &["NotebookApp", "ServerApp"]) {
        let trap = format!("stale {class} password >$own/jupyter_server_config.json");
        is_none(&[], &trap);
    }
}

#[test]
fn a_hash_of_the_class_that_wins_over_all_is_beaten() {
    let trap = "stale PasswordIdentityProvider hashed_password >$own/jupyter_server_config.json";
    is_none(&[], trap);
}

#[test]
fn a_password_in_labs_own_file_is_beaten() {
    is_none(
        &[],
        "stale ServerApp password >$own/jupyter_lab_config.json",
    );
}

#[test]
fn a_password_in_python_is_beaten() {
    let trap = r#"
        hash=$(printf stale | sha256sum | cut -d ' ' -f 1)
        echo "c.PasswordIdentityProvider.hashed_password = 'sha256::$hash'" \
            >$own/jupyter_server_config.py"#;
    is_none(&[], trap);
}

#[test]
fn a_venv_of_the_users_own_wins_over_his_home_and_is_beaten() {
    let trap = "
        venv=/opt/ai-lab/jupyterenv
        chown jupyter $venv $venv/etc $venv/etc/jupyter
        stale PasswordIdentityProvider hashed_password >$venv/etc/jupyter/jupyter_server_config.json";
    is_none(&[], trap);
}

#[test]
fn a_venv_that_is_preferred_by_name_is_beaten() {
    let trap = "
        venv=/opt/ai-lab/jupyterenv
        stale PasswordIdentityProvider hashed_password >$venv/etc/jupyter/jupyter_server_config.json";
    is_none(&["--env=JUPYTER_PREFER_ENV_PATH=1"], trap);
}

/// As Podman starts it for a person who logged in as root: the kernel keeps who that was, and
/// Jupyter takes that for the user, who then owns the venv.
#[test]
fn a_venv_is_beaten_where_root_logged_in_to_start_the_container() {
    let trap = "
        echo 0 >/proc/self/loginuid
        venv=/opt/ai-lab/jupyterenv
        stale PasswordIdentityProvider hashed_password >$venv/etc/jupyter/jupyter_server_config.json";
    is_none(&["--cap-add=AUDIT_CONTROL"], trap);
}

/// Only Jupyter can evaluate this token, and it warns of a server that needs no login.
#[test]
fn a_server_without_a_login_is_told_of() {
    let trap = "
        echo 'import os; c.ServerApp.token = os.environ.get(\"NOT_SET\", \"\")' \
            >$own/jupyter_server_config.py";
    let container = caught(&[], trap);
    container.wait_for(READY);
    let log = container.logs();
    assert!(log.contains("the server needs no login"), "{log}");
    let status = container.exec_ok("root", &["ai-lab-entrypoint", "status"]);
    assert!(status.contains("the server needs no login"), "{status}");
}

#[test]
fn a_directory_named_by_jupyters_own_variables_is_beaten() {
    // The unit tests of `password` have both.
    for variable in few(1, &["JUPYTER_CONFIG_PATH", "JUPYTER_CONFIG_DIR"]) {
        let option = format!("--env={variable}=/home/jupyter/elsewhere");
        let file = "/home/jupyter/elsewhere/jupyter_server_config.json";
        let trap = format!("stale PasswordIdentityProvider hashed_password >{file}");
        is_none(&[&option], &trap);
    }
}

#[test]
fn a_password_of_the_system_is_beaten() {
    let trap = "
        mkdir -p /etc/jupyter
        stale PasswordIdentityProvider hashed_password >/etc/jupyter/jupyter_server_config.json";
    is_none(&[], trap);
}

/// A start that fails ends the container.
const NO_RESCUE: &str = "--env=AI_LAB_RESCUE=never";

/// Such a start ends for this reason, and leaves the file as it is.
fn ends(options: &[&str], trap: &str, reason: &str, content: &str) {
    let file = "/home/jupyter/.jupyter/jupyter_server_config.json";
    let container = caught(&[options, &[NO_RESCUE]].concat(), trap);
    assert_eq!(container.end(), 1, "{}", container.logs());
    let log = container.logs();
    assert!(log.contains(&format!("{file} {reason}")), "{log}");
    assert_eq!(container.read(file).as_deref(), Some(content));
}

#[test]
fn json_that_is_broken_is_told_with_its_place_and_kept() {
    let content = r#"{"ServerApp": {"port": 1},,}"#;
    let trap = format!("printf '%s' '{content}' >$own/jupyter_server_config.json");
    let reason = "is not valid JSON (line 1, column 27";
    for options in [&[][..], &["--env=JUPYTER_PASSWORD=mine"]] {
        ends(options, &trap, reason, content);
    }
}

#[test]
fn a_password_on_the_servers_line_is_beaten() {
    // The process test `passwords` has the two that name a password.
    for argument in few(
        1,
        &[
            "--IdentityProvider.token=",
            "--PasswordIdentityProvider.hashed_password=",
            "--ServerApp.password=",
        ],
    ) {
        let forced = ["--env=JUPYTER_PASSWORD=mine"];
        let container = Container::start(&forced, &["jupyter-lab", argument]);
        lets(
            &container,
            [("mine", "in"), ("stale", "out"), ("ailab", "out")],
        );
    }
}

#[test]
fn a_link_in_place_of_the_file_is_never_replaced() {
    let trap = "
        stale ServerApp password >/home/jupyter/elsewhere/mine.json
        ln -s ../elsewhere/mine.json $own/jupyter_server_config.json";
    let standing = caught(&[], trap);
    lets(
        &standing,
        [("stale", "in"), ("ailab", "out"), ("mine", "out")],
    );
    let forced = caught(&["--env=JUPYTER_PASSWORD=mine", NO_RESCUE], trap);
    assert_eq!(forced.end(), 1, "{}", forced.logs());
    let reason = "/home/jupyter/.jupyter/jupyter_server_config.json is a symbolic link";
    assert!(forced.logs().contains(reason), "{}", forced.logs());
    let target = forced.read("/home/jupyter/elsewhere/mine.json");
    assert!(target.unwrap().contains("\"kept\""));
    let path = "/home/jupyter/.jupyter/jupyter_server_config.json";
    let place = format!("{}:{path}", forced.name);
    let listed = docker_ok(["cp", &place, "-"]);
    assert!(
        listed.contains("../elsewhere/mine.json"),
        "it is still a link: {listed}"
    );
}

#[test]
fn a_home_that_nobody_can_write_keeps_no_password_out() {
    let options = [
        "--read-only",
        "--tmpfs=/tmp",
        "--tmpfs=/run",
        "--env=JUPYTER_PASSWORD=mine",
    ];
    let container = Container::start(&options, &[]);
    lets(
        &container,
        [("mine", "in"), ("stale", "out"), ("ailab", "out")],
    );
    let container = Container::start(&options[..3], &[]);
    lets(
        &container,
        [("ailab", "in"), ("stale", "out"), ("mine", "out")],
    );
    assert!(
        container
            .logs()
            .contains("The default password is \"ailab\".\n")
    );
}
