//! Every way to choose a password, proven at the login page of the real JupyterLab.

use crate::support::docker::{Container, IMAGE, docker_ok, mounted, text, visit};
use crate::support::few;
use crate::support::process::fed;

const READY: &str = "] ready in ";
/// White space inside, quotes, what shells and TOML could take for theirs, no ASCII.
const PASSWORD: &str = "pa$$ \"w'ö\\rd #1";

/// The real Jupyter's own idea of a hash, with each of these algorithms.
fn hashed(algorithms: &[&str]) -> Vec<String> {
    let code = "import sys; from jupyter_server.auth import passwd\n\
                for algorithm in sys.argv[2:]: print(passwd(sys.argv[1], algorithm))";
    let python = "--entrypoint=/opt/ai-lab/jupyterenv/bin/python3";
    let words = ["run", "--rm", python, IMAGE, "-c", code, PASSWORD];
    let said = docker_ok(words.iter().chain(algorithms));
    said.lines().map(str::to_owned).collect()
}

/// The image's configuration file with this instead of its default password.
fn config(password: &str) -> String {
    let image = include_str!("../../image/system/etc/ai-lab/entrypoint.toml");
    assert!(image.contains("default = \"ailab\""));
    image.replace("default = \"ailab\"", password)
}

/// With these options this password lets in and no other, the image's default included.
fn lets_in(options: &[&str], command: &[&str]) -> Container {
    let container = Container::start(options, command);
    container.wait_for(READY);
    container.lets(&[("ailab", "out"), (&PASSWORD[1..], "out"), (PASSWORD, "in")]);
    container
}

#[test]
fn as_an_option_or_in_the_configuration_file_it_is_a_default() {
    let toml = config("default = '''pa$$ \"w'ö\\rd #1'''");
    let (_file, mount) = mounted(&toml, "/etc/ai-lab/entrypoint.toml");
    // As an option: in the process test `every_setting`.
    for (options, command) in few(
        1,
        &[
            (&[mount.as_str()][..], &[][..]),
            (&[], &["--password", PASSWORD]),
        ],
    ) {
        let log = lets_in(options, command).logs();
        let line = format!("The default password is \"{PASSWORD}\".\n");
        assert!(log.contains(&line), "a default is told: {log}");
    }
}

#[test]
fn in_the_environment_it_is_forced() {
    let variable = format!("--env=JUPYTER_PASSWORD={PASSWORD}");
    let log = lets_in(&[&variable], &["--password", "another default"]).logs();
    assert!(
        !log.contains("The default password") && !log.contains("pa$$"),
        "{log}"
    );
}

#[test]
fn a_file_may_be_named_in_three_ways_and_its_last_newline_does_not_count() {
    let toml = config("default = 'ailab'\nfile = '/run/secrets/jupyter'");
    let (_toml, own) = mounted(&toml, "/etc/ai-lab/entrypoint.toml");
    // The process test `every_setting` has each way, and the unit tests of `source` each end.
    for (end, options, command) in few(
        1,
        &[
            ("\r\n", &[&*own][..], &[][..]),
            ("", &[], &["--password-file", "/run/secrets/jupyter"]),
            (
                "\n",
                &["--env=JUPYTER_PASSWORD_FILE=/run/secrets/jupyter"],
                &[],
            ),
        ],
    ) {
        let content = format!("{PASSWORD}{end}");
        let (_file, secret) = mounted(&content, "/run/secrets/jupyter");
        let log = lets_in(&[&[secret.as_str()], *options].concat(), command).logs();
        assert!(
            !log.contains("The default password") && !log.contains("pa$$"),
            "{log}"
        );
    }
}

#[test]
fn a_hash_that_jupyter_made_lets_in_whom_it_would_let_in_there() {
    let algorithms = ["argon2", "sha256", "sha1"];
    let hashes = hashed(&algorithms);
    assert_eq!(hashes.len(), algorithms.len(), "{hashes:?}");
    for hash in hashes {
        lets_in(&[&format!("--env=JUPYTER_PASSWORD_HASH={hash}")], &[]);
    }
}

/// The server is up as often as this.
fn ready(container: &Container, times: usize) {
    container.wait_for_nth(READY, times);
}

#[test]
fn a_login_survives_a_restart_of_the_container_but_no_new_password() {
    for &(options, password) in few(
        1,
        &[
            (&[][..], "ailab"),
            (&["--env=JUPYTER_PASSWORD=mine"], "mine"),
        ],
    ) {
        // Jupyter's cookies are for one port, and Docker would choose another one.
        let port = crate::support::free_port();
        let publish = format!("--publish=127.0.0.1:{port}:49494");
        let container = Container::start(&[&[publish.as_str()][..], options].concat(), &[]);
        ready(&container, 1);
        let directory = tempfile::tempdir().unwrap();
        let cookies = directory.path().join("cookies");
        let cookies = cookies.to_str().unwrap();
        assert_eq!(visit(port, &["come", password, cookies]), "in");
        docker_ok(["restart", &container.name]);
        ready(&container, 2);
        assert_eq!(visit(port, &["again", cookies]), "in", "{password}");
        docker_ok(["stop", &container.name]);
        docker_ok(["start", &container.name]);
        ready(&container, 3);
        assert_eq!(visit(port, &["again", cookies]), "in", "{password}");
        if password == "mine" {
            continue;
        }
        set(&container, "chosen later\n");
        container.exec_ok("jupyter", &["ai-lab-entrypoint", "restart"]);
        ready(&container, 4);
        assert_eq!(visit(port, &["again", cookies]), "out");
        assert_eq!(visit(port, &["login", "ailab"]), "out");
        assert_eq!(visit(port, &["login", "chosen later"]), "in");
        // Jupyter's own command changes it again.
        let command = ["jupyter", "server", "password"];
        let words = ["exec", "--interactive", "--user=jupyter", &container.name];
        let words = [&words[..], &command].concat();
        let output = fed("docker", &words, "by jupyter\nby jupyter\n");
        assert!(output.status.success(), "{}", text(&output));
        container.exec_ok("jupyter", &["ai-lab-entrypoint", "restart"]);
        ready(&container, 5);
        assert_eq!(visit(port, &["login", "chosen later"]), "out");
        assert_eq!(visit(port, &["login", "by jupyter"]), "in");
    }
}

/// `password set`, as somebody types it.
fn set(container: &Container, typed: &str) {
    let verb = ["ai-lab-entrypoint", "password", "set"];
    let words = [&["exec", "--interactive", &container.name], &verb[..]].concat();
    let output = fed("docker", &words, typed);
    assert!(output.status.success(), "{}", text(&output));
}
