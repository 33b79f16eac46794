//! Which login is effective, whoever configured it, and what the log says of it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use serde_json::Value;

use super::password_verb::{ask, started};
use crate::support::{Image, Running, Start, UID};

#[test]
fn a_password_on_the_servers_line_wins_and_that_is_told() {
    let image = Image::new();
    let named = "--PasswordIdentityProvider.hashed_password=argon2:x";
    let running = started(image.server().args(["--", "jupyter-lab", named]));
    for what in ["set", "check"] {
        let (_, _, stderr) = ask(&running, &image, what, "mine");
        let told = "the server's arguments name a password";
        assert!(stderr.contains(told), "{what}: {stderr}");
    }
}

/// A hash that takes no time.
fn hash(text: &str) -> String {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(text);
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256::{hex}")
}

/// The record of the settings has it masked; the kernel knows the server's arguments.
#[test]
fn a_hash_on_the_servers_line_is_judged() {
    let named = format!(
        "--PasswordIdentityProvider.hashed_password={}",
        hash("mine")
    );
    let image = Image::new();
    let running = started(image.server().args(["--", "jupyter-lab", &named]));
    let (code, stdout, _) = ask(&running, &image, "check", "mine");
    assert_eq!((code, &*stdout), (0, "this is the effective password\n"));
    let (code, stdout, _) = ask(&running, &image, "check", "ailab");
    assert_eq!(
        (code, &*stdout),
        (1, "this is not the effective password\n")
    );
    // In the settings it is the server's, too.
    let image = Image::new();
    let running = started(image.server().args(["--jupyter-arg", &named]));
    assert_eq!(ask(&running, &image, "check", "mine").0, 0);
    assert_eq!(ask(&running, &image, "check", "ailab").0, 1);
}

#[test]
fn a_forced_password_beats_the_arguments_that_a_command_gives_its_server() {
    let image = Image::new();
    let forced = |start: Start| start.env("JUPYTER_PASSWORD", "mine");
    // A server whose arguments are known needs no stronger key.
    let mut running = started(forced(image.server()));
    running.signal(15);
    running.end();
    let hashes = || {
        let file = image.path("home/.jupyter/jupyter_server_config.json");
        let all: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        ["IdentityProvider", "PasswordIdentityProvider"].map(|name| all[name].clone())
    };
    let [base, stronger] = hashes();
    assert!(base.is_object() && stronger.is_null());
    let ended = forced(image.command(["true"])).run();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(hashes(), [base.clone(), base]);
}

/// `JUPYTER_PASSWORD` wins always, also over a line that would open the door.
#[test]
fn a_hash_on_the_servers_line_is_left_out_where_the_environment_has_a_password() {
    let image = Image::new();
    for named in [
        "--PasswordIdentityProvider.hashed_password=",
        "--ServerApp.password=",
        "--NotebookApp.password=argon2:x",
    ] {
        for words in [["--", "jupyter-lab", named], ["--password", "ailab", named]] {
            let words = words.map(|word| match word == named && words[0] != "--" {
                true => format!("--jupyter-arg={word}"),
                false => word.to_owned(),
            });
            let start = image.server().args(words);
            let mut running = start.env("JUPYTER_PASSWORD", "mine").start();
            running.wait_for("is left out: the password of the environment");
            running.wait_for("] ready in ");
            let line = std::fs::read(format!("/proc/{}/cmdline", running.main_pid())).unwrap();
            let line = String::from_utf8(line).unwrap();
            assert!(!line.contains("password"), "{line}");
            assert_eq!(ask(&running, &image, "check", "mine").0, 0, "{named}");
        }
    }
}

/// Whether the file that `jupyter server password` writes has a hash.
fn has_a_hash(image: &Image) -> bool {
    let file = image.path("home/.jupyter/jupyter_server_config.json");
    std::fs::read_to_string(file).is_ok_and(|text| text.contains("hashed_password"))
}

/// A program of another environment than the venv of the settings, such as conda's.
#[test]
fn a_login_in_the_environment_of_the_servers_own_python_counts() {
    let image = Image::new();
    let at = |name: &str| image.path(name);
    fs::create_dir_all(at("other/bin")).unwrap();
    fs::create_dir_all(at("other/etc/jupyter")).unwrap();
    fs::write(at("other/pyvenv.cfg"), "").unwrap();
    symlink("/usr/bin/python3", at("other/bin/python")).unwrap();
    let (program, server) = (at("other/bin/jupyter-lab"), at("venv/bin/jupyter-lab"));
    let script = fs::read_to_string(server).unwrap();
    let script = script.split_once('\n').unwrap().1;
    let line = format!("#!{}\n{script}", at("other/bin/python").display());
    fs::write(&program, line).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let token = r#"{"IdentityProvider": {"token": "x"}}"#;
    fs::write(at("other/etc/jupyter/jupyter_server_config.json"), token).unwrap();
    let start = image.server().args(["--", program.to_str().unwrap()]);
    let mut running = start.start();
    running
        .wait_for("the default password is not set: the configuration has IdentityProvider.token");
    running.wait_for("] ready in ");
    assert!(!has_a_hash(&image));
    // Its own login is the only one.
    let (_, _, stderr) = ask(&running, &image, "check", "ailab");
    assert!(!stderr.contains("only the server can tell"), "{stderr}");
}

/// The server's Python is the first on its own PATH, which has the venv. That venv's Python does
/// not read the user's site directory; the system's does.
#[test]
fn a_verb_asks_for_the_python_of_the_venv() {
    let image = Image::new();
    let at = |name: &str| image.path(name);
    symlink("/usr/bin/python3", at("venv/bin/python3")).unwrap();
    fs::write(at("venv/pyvenv.cfg"), "home = /usr/bin\n").unwrap();
    let program = at("venv/bin/jupyter-lab");
    let script = fs::read_to_string(&program).unwrap();
    let script = script.split_once('\n').unwrap().1;
    fs::write(&program, format!("#!/usr/bin/env python3\n{script}")).unwrap();
    fs::create_dir_all(at("home/.local/etc/jupyter")).unwrap();
    let other = hash("other");
    let other = format!(r#"{{"PasswordIdentityProvider": {{"hashed_password": "{other}"}}}}"#);
    let site = at("home/.local/etc/jupyter/jupyter_server_config.json");
    fs::write(site, other).unwrap();
    let running = started(image.server().args(["--password", "ailab"]));
    let line = fs::read(format!("/proc/{}/cmdline", running.main_pid())).unwrap();
    assert!(line.starts_with(b"python3\0"), "it is looked up");
    let (code, stdout, stderr) = ask(&running, &image, "check", "ailab");
    assert_eq!(
        (code, &*stdout),
        (0, "this is the effective password\n"),
        "{stderr}"
    );
}

/// Jupyter takes the whole of an empty file for a token.
#[test]
fn an_empty_token_in_a_file_opens_no_door() {
    let image = Image::new();
    let file = image.path("token");
    fs::write(&file, "").unwrap();
    let start = image.server().args(["--password", "ailab"]);
    let mut running = start
        .env("JUPYTER_TOKEN_FILE", file.to_str().unwrap())
        .start();
    running.wait_for("an empty token (JUPYTER_TOKEN_FILE) does not turn the password off");
    running.wait_for("] ready in ");
    assert!(has_a_hash(&image));
}

#[test]
fn a_server_that_may_have_no_login_at_all_is_not_started() {
    let image = Image::new();
    let file = image.path("home/.jupyter/jupyter_lab_config.py");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "load_subconfig('mine.py')\n").unwrap();
    let start = image
        .server()
        .args(["--password", "ailab", "--rescue", "never"]);
    let ended = start
        .args(["--", "jupyter-lab", "--IdentityProvider.token="])
        .run();
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("the server would need no login"),
        "{}",
        ended.stderr
    );
}

/// The usual line of jupyter-server-proxy, an author, who may do what once they are logged in.
#[test]
fn what_only_sounds_like_a_login_is_none() {
    let proxy = "c.ServerProxy.servers = {'code': {'command': ['code-server', '--auth=none']}}";
    let headers = r#"{"ServerApp": {"tornado_settings": {"headers": {"X-Auth": "x"}}}}"#;
    for (end, text) in [
        ("py", proxy),
        ("py", "c.LatexExporter.author = 'me'"),
        ("py", "c.ServerApp.authorizer_class = 'x.Y'"),
        ("json", headers),
    ] {
        let image = Image::new();
        fs::create_dir_all(image.path("home/.jupyter")).unwrap();
        let file = format!("home/.jupyter/jupyter_lab_config.{end}");
        fs::write(image.path(&file), text).unwrap();
        let start = || image.server().arg("--dry-run");
        let ended = start().env("JUPYTER_PASSWORD", "x").run();
        assert!(!ended.stderr.contains("[W "), "{text}: {}", ended.stderr);
        let ended = start().run();
        assert!(ended.stdout.contains("write its hash to"), "{text}");
        assert!(!ended.stderr.contains("default password"), "{text}");
    }
}

/// Another program's password is a reason to set no public one, but it replaces nothing.
#[test]
fn a_secret_of_something_else_leaves_the_chosen_password_effective() {
    let image = || {
        let image = Image::new();
        let directory = image.path("home/.jupyter");
        fs::create_dir_all(&directory).unwrap();
        let text = "c.PostgresContents.db_password = 'x'\n";
        fs::write(directory.join("jupyter_server_config.py"), text).unwrap();
        image
    };
    let chosen = image();
    let running = started(chosen.server().env("JUPYTER_PASSWORD", "mine"));
    assert_eq!(ask(&running, &chosen, "check", "mine").0, 0);
    assert!(!running.has_said("[W "));
    let ended = image().server().arg("--dry-run").run();
    let told = "the configuration has PostgresContents.db_password";
    assert!(ended.stderr.contains(told), "{}", ended.stderr);
}

/// `touch`, or an editor that was killed.
#[test]
fn a_blank_file_is_no_broken_one() {
    for text in ["", " \n"] {
        let image = Image::new();
        let file = image.path("home/.jupyter/jupyter_server_config.json");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
        chown(file.parent().unwrap(), Some(UID), Some(UID)).unwrap();
        chown(&file, Some(UID), Some(UID)).unwrap();
        let running = started(image.server());
        assert!(has_a_hash(&image));
        assert_eq!(ask(&running, &image, "check", "ailab").0, 0);
    }
}

/// Without it, whoever had logged in with the default would have to do so again.
#[test]
fn only_a_command_that_names_a_login_removes_the_default() {
    let image = Image::new();
    let start = |words: &[&str]| {
        let start = Start::pid1().args(image.options());
        let start = start.args(["--password", "ailab", "--", "true"]);
        start.args(words).run()
    };
    for words in [
        &[
            "/home/jupyter/train.py",
            "--tokenizer",
            "bert",
            "--author=me",
        ][..],
        &["jupyter lab --no-browser"],
    ] {
        let ended = start(words);
        assert!(has_a_hash(&image), "{words:?}: {}", ended.stderr);
    }
    for words in [
        &["pip install x && jupyter lab --ServerApp.token=''"][..],
        &["start-notebook.sh", "--NotebookApp.token="],
        &["./start-lab", "--token=x"],
        &[
            "-c",
            "/opt/bin/python3 -m jupyterlab --IdentityProvider.token x",
        ],
    ] {
        let ended = start(words);
        assert!(!has_a_hash(&image), "{words:?}: {}", ended.stderr);
        let told = "the default password of an earlier start is removed";
        assert!(ended.stderr.contains(told), "{}", ended.stderr);
        start(&[]);
        assert!(has_a_hash(&image));
    }
}

/// Only Jupyter knows that the variable is not set.
#[test]
fn a_server_that_says_that_it_needs_no_login_is_told_of() {
    let said = "[W 2026-01-01 00:00:00.000 ServerApp] All authentication is disabled.  Anyone who \
                can connect to this server will be able to run code.\n";
    let both = "c.ServerApp.token = ''\nc.ServerApp.password = ''\n";
    for (config, default, told) in [
        (
            "import os\nc.ServerApp.token = os.environ.get('X', '')\n",
            true,
            "the server needs no login",
        ),
        (both, true, "authentication is turned off by"),
        // Only a start with a default password asks whether there is a login.
        (both, false, "the server needs no login"),
    ] {
        let image = Image::new();
        let file = image.path("home/.jupyter/jupyter_server_config.py");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, config).unwrap();
        fs::write(image.path("home/quoted"), said).unwrap();
        let start = match default {
            true => image.server(),
            false => Start::pid1()
                .args(image.options())
                .args(["--jupyter-server", "jupyter-lab"]),
        };
        let mut running = started(start.env("FAKE", "quotes"));
        running.signal(15);
        running.end();
        let (_, stderr) = running.everything();
        assert!(stderr.contains(told), "{stderr}");
        let twice =
            stderr.contains("the server needs no login") && stderr.contains("is turned off by");
        assert!(!twice, "{stderr}");
    }
}

/// Also where the strongest hash had to be written, because another file has a password.
#[test]
fn a_public_password_that_was_forced_once_is_not_accepted_beside_a_login() {
    for (file, text) in [
        ("none.py", ""),
        (
            "jupyter_server_config.py",
            "c.ServerApp.password = 'argon2:x'\n",
        ),
    ] {
        let image = Image::new();
        fs::create_dir_all(image.path("home/.jupyter")).unwrap();
        fs::write(image.path("home/.jupyter").join(file), text).unwrap();
        chown(image.path("home/.jupyter"), Some(UID), Some(UID)).unwrap();
        end(started(image.server().env("JUPYTER_PASSWORD", "ailab")));
        let running = started(image.server().env("JUPYTER_TOKEN", "x"));
        assert_eq!(ask(&running, &image, "check", "ailab").0, 1, "{file}");
        assert!(!has_a_hash(&image), "{file}");
    }
}

/// `jupyter server password` and the login page write the weakest hash.
#[test]
fn a_password_that_was_changed_with_jupyter_is_effective() {
    let image = Image::new();
    let file = image.path("home/.jupyter/jupyter_server_config.json");
    let change = |text: &str| {
        let mut config: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        config["IdentityProvider"]["hashed_password"] = hash(text).into();
        fs::write(&file, config.to_string()).unwrap();
    };
    end(started(image.server().env("JUPYTER_PASSWORD", "forced")));
    change("changed");
    let running = started(image.server());
    let check = |typed| ask(&running, &image, "check", typed).0;
    assert_eq!((check("changed"), check("forced")), (0, 1));
    assert_eq!(ask(&running, &image, "set", "set").0, 0);
    assert_eq!((check("set"), check("changed")), (0, 1));
    change("changed");
    assert_eq!((check("changed"), check("set")), (0, 1));
    end(running);
    // The container's password is effective at each of its starts.
    let running = started(image.server().env("JUPYTER_PASSWORD", "forced"));
    assert_eq!(ask(&running, &image, "check", "forced").0, 0);
}

#[test]
fn authentication_that_is_turned_off_in_json_is_told_before_the_server_runs() {
    let image = Image::new();
    fs::create_dir_all(image.path("home/.jupyter")).unwrap();
    let file = image.path("home/.jupyter/jupyter_server_config.json");
    let off = r#"{"IdentityProvider": {"token": "", "hashed_password": ""}}"#;
    fs::write(&file, off).unwrap();
    let ended = image.server().arg("--warning-as-error").run();
    let told = "authentication is turned off by IdentityProvider.hashed_password in";
    assert!(ended.stderr.contains(told), "{}", ended.stderr);
    assert_eq!(ended.code, 1);
    assert_eq!(fs::read_to_string(file).unwrap(), off);
}

#[test]
fn the_default_goes_at_an_in_place_restart_if_a_token_was_configured_meanwhile() {
    let image = Image::new();
    let mut running = image.server().args(["--password", "ailab"]).start();
    running.wait_for("] ready in ");
    assert!(has_a_hash(&image));
    let token = image.path("home/.jupyter/jupyter_server_config.py");
    std::fs::write(&token, "c.IdentityProvider.token = 'mine'").unwrap();
    running.signal(1);
    running.wait_for("the default password is not set: the configuration has");
    running.wait_for_next("fake: pid");
    assert!(!has_a_hash(&image));
    // And it comes back as at any start.
    std::fs::remove_file(&token).unwrap();
    running.signal(1);
    running.wait_for_next("fake: pid");
    assert!(has_a_hash(&image));
}

#[test]
fn a_password_in_a_python_file_is_judged_and_what_only_the_server_knows_is_told() {
    let image = Image::new();
    let file = image.path("home/.jupyter/jupyter_server_config.py");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(
        &file,
        format!("c.ServerApp.password = '{}'\n", hash("mine")),
    )
    .unwrap();
    let running = started(image.server());
    assert_eq!(ask(&running, &image, "check", "mine").0, 0);
    assert_eq!(ask(&running, &image, "check", "ailab").0, 1);
    std::fs::write(&file, "exec('')\n").unwrap();
    let (code, stdout, stderr) = ask(&running, &image, "check", "mine");
    assert_eq!((code, &*stdout), (1, ""));
    assert!(
        stderr.contains("jupyter_server_config.py:1 (`exec`)"),
        "{stderr}"
    );
}

#[test]
fn a_variable_that_is_there_and_empty_ends_the_start() {
    for name in [
        "JUPYTER_PASSWORD",
        "JUPYTER_PASSWORD_FILE",
        "JUPYTER_PASSWORD_HASH",
    ] {
        let image = Image::new();
        for start in [image.server(), image.command(["true"])] {
            let ended = start.env(name, "").run();
            assert_eq!(ended.code, 78, "{}", ended.stderr);
            for part in [name, "there and empty", "Compose", "do not pass it"] {
                assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
            }
        }
        assert!(
            !image.path("notebooks").exists(),
            "nothing is touched before"
        );
        // JupyterHub has its own door.
        let url = format!("http://127.0.0.1:{}/user/alice/", image.port);
        let hub = image
            .server()
            .env("JUPYTERHUB_SERVICE_URL", &url)
            .env(name, "");
        let running = started(hub);
        drop(running);
    }
}

#[test]
fn a_forced_password_beside_another_way_in_is_told() {
    let image = Image::new();
    let etc = image.path("venv/etc/jupyter");
    std::fs::create_dir_all(&etc).unwrap();
    let other = r#"{"ServerApp": {"identity_provider_class": "mine"}}"#;
    std::fs::write(etc.join("jupyter_server_config.json"), other).unwrap();
    let mut running = started(image.server().env("JUPYTER_PASSWORD", "mine"));
    running.signal(15);
    running.end();
    let (_, stderr) = running.everything();
    assert!(
        stderr.contains("ServerApp.identity_provider_class in "),
        "{stderr}"
    );
    assert!(stderr.contains("replaces Jupyter's own login"), "{stderr}");
}

fn end(mut running: Running) {
    running.signal(15);
    assert_eq!(running.end(), 0);
}
