//! What can be wrong with a command line and with settings.

use std::fs;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};

use super::golden::start;
use crate::support::{Image, PROGRAM, Start, UID};

/// A start that gets no further than its settings.
fn given(words: &[&str]) -> Start {
    Start::pid1().args(words)
}

/// A settings file that only root can write.
fn file(image: &Image, text: &str) -> tempfile::NamedTempFile {
    let name = image.dir.path().file_name().unwrap().to_str().unwrap();
    let mut builder = tempfile::Builder::new();
    let file = builder
        .prefix(name)
        .rand_bytes(0)
        .tempfile_in("/root")
        .unwrap();
    fs::write(file.path(), text).unwrap();
    file
}

#[test]
fn a_wrong_command_line() {
    start("line-unknown-option", |_| given(&["--prot", "1"]));
    start("line-option-of-jupyter", |_| {
        given(&["--NotebookApp.token=", "--no-browser"])
    });
    start("line-option-of-docker", |_| given(&["--volume", "x:/x"]));
    start("line-no-value", |_| given(&["--port"]));
    start("line-wrong-word-of-a-verb", |_| given(&["config", "shwo"]));
    start("line-help", |_| given(&["--help"]));
    start("line-help-short", |_| given(&["-h"]));
    start("line-version", |_| given(&["--version"]));
}

#[test]
fn values_that_do_not_fit() {
    start("settings-flags", |_| {
        given(&[
            "--port",
            "0",
            "--home",
            "",
            "--stop-timeout",
            "-1",
            "--user",
            "",
        ])
        .args([
            "--notebook-mode",
            "755",
            "--umask",
            "700",
            "--jupyter-arg",
            "",
        ])
        .args(["--hook-env", "A=B", "--hook-env", "PATH"])
    });
    // A byte that is no UTF-8, which only a shell can name here.
    start("settings-not-utf8", |_| {
        let script = format!("NOTEBOOKS=$(printf '/\\377') exec {PROGRAM}");
        Start::wrapped("sh").args(["-c", &script])
    });
    start("settings-environment", |_| {
        given(&[])
            .env("AI_LAB_VOLUME_OWNER", "chwon")
            .env("AI_LAB_RESTART", "sometimes")
            .env("NOTEBOOKS", "work")
    });
    // As Git Bash and `docker run --env-file` pass them on.
    start("settings-of-windows", |_| {
        given(&["--notebooks", "C:/Program Files/Git/home/jupyter/work"])
            .env("NOTEBOOK_DEFAULTS", r"C:\course")
            .env("JUPYTER_PORT", "\"8888\"")
    });
}

#[test]
fn a_settings_file_that_is_wrong() {
    // The file must live as long as the start that reads it.
    let kept = std::cell::RefCell::new(Vec::new());
    for (name, text) in [
        (
            "settings-file",
            "prot = 1\nqqq = 2\ndocker = []\n[server]\nprogram = 'bin/jupyter'\nport = 'x'\nargs = 1\nstop_timout = 3\n[serwer]\na = 1\n\
             [user]\nnew_privileges = 'yes'\nname = true\nhome = 1\n[server.x]\n",
        ),
        ("settings-file-syntax", "strict = true\nport = = 3\n"),
    ] {
        start(name, |image| {
            let file = file(image, text);
            let words = given(&["--config", file.path().to_str().unwrap()]);
            kept.borrow_mut().push(file);
            words
        });
    }
    start("settings-file-nul", |image| {
        let file = file(image, "notebooks.directory = \"/n\\u0000\"\n");
        let words = given(&["--config", file.path().to_str().unwrap()]);
        kept.borrow_mut().push(file);
        words
    });
    start("settings-file-loop", |image| {
        symlink("loop", image.path("loop")).unwrap();
        given(&["--config", image.path("loop").to_str().unwrap()])
    });
    start("settings-file-long", |image| {
        let file = file(image, &"#".repeat(70_000));
        let words = given(&["--config", file.path().to_str().unwrap()]);
        kept.borrow_mut().push(file);
        words
    });
    start("settings-file-absent", |_| {
        given(&["--config", "/nonexistent/x.toml"])
    });
    start("settings-file-directory", |_| given(&["--config", "/root"]));
    start("settings-of-a-start-below", |image| {
        let script = format!("exec {PROGRAM} jupyter-lab");
        let argument = "--jupyter-arg=--IdentityProvider.token=mine";
        let start = Start::pid1().args(image.options()).arg(argument);
        start.args(["--", "sh", "-c", &script])
    });
    start("settings-file-of-others", |image| {
        fs::write(image.path("x.toml"), "").unwrap();
        given(&["--config", image.path("x.toml").to_str().unwrap()])
    });
}

#[test]
fn accounts_hooks_and_passwords() {
    start("settings-accounts", |_| {
        given(&["--user", "nobody-of-that-name", "--group", "no-such-group"])
            .args(["--keep-group", "0"])
    });
    start("settings-hook-of-others", |image| {
        fs::create_dir_all(image.path("hooks/root")).unwrap();
        fs::write(image.path("hooks/root/10-x"), "").unwrap();
        let all = fs::Permissions::from_mode(0o777);
        fs::set_permissions(image.path("hooks/root/10-x"), all).unwrap();
        given(&["--hooks", image.path("hooks").to_str().unwrap()])
    });
    // Where only root can write, for as long as the start that looks there.
    let kept = std::cell::RefCell::new(Vec::new());
    let hook = |image: &Image, line: &str| {
        let name = image.dir.path().file_name().unwrap().to_str().unwrap();
        let mut builder = tempfile::Builder::new();
        let hooks = builder
            .prefix(name)
            .rand_bytes(0)
            .tempdir_in("/root")
            .unwrap();
        fs::create_dir(hooks.path().join("root")).unwrap();
        let hook = hooks.path().join("root/10-x");
        let line = line.replace('@', image.dir.path().to_str().unwrap());
        fs::write(&hook, format!("#!{line}\n")).unwrap();
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
        let path = hooks.path().display().to_string();
        kept.borrow_mut().push(hooks);
        path
    };
    for (name, line) in [
        ("settings-hook-interpreter", "@/defaults/start.ipynb"),
        ("settings-hook-env", "/usr/bin/env -S -i sh"),
    ] {
        start(name, |image| given(&["--hooks", &hook(image, line)]));
    }
    start("settings-hook-path", |image| {
        let script = format!(
            "mount --bind {} /usr/local && exec \"$@\"",
            image.path("home").display()
        );
        let start = Start::wrapped("sh").args(["-c", &script, "sh", PROGRAM]);
        start.args(["--hooks", &hook(image, "/bin/sh")])
    });
    let set = |name, value: &'static str| given(&[]).env(name, value);
    start("password-white-space", |_| set("JUPYTER_PASSWORD", " x"));
    start("password-line-break", |_| set("JUPYTER_PASSWORD", "x\ny"));
    start("password-control", |_| set("JUPYTER_PASSWORD", "x\x1by"));
    start("password-empty", |_| set("JUPYTER_PASSWORD", ""));
    start("password-mark", |_| set("JUPYTER_PASSWORD", "\u{feff}x"));
    start("password-hash", |_| set("JUPYTER_PASSWORD_HASH", "sha1:x"));
    start("password-file-absent", |_| {
        set("JUPYTER_PASSWORD_FILE", "/nonexistent")
    });
    start("password-file-closed", |image| {
        let file = image.path("closed");
        fs::write(&file, "x\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let user = UID.to_string();
        Start::wrapped("setpriv")
            .args([
                "--clear-groups",
                "--reuid",
                &user,
                "--regid",
                &user,
                PROGRAM,
            ])
            .env("JUPYTER_PASSWORD_FILE", file.to_str().unwrap())
    });
    start("password-two-sources", |image| {
        fs::write(image.path("empty"), "\n").unwrap();
        fs::write(image.path("binary"), b"\xff").unwrap();
        given(&["--password-file", image.path("empty").to_str().unwrap()])
            .env("JUPYTER_PASSWORD", "x")
            .env(
                "JUPYTER_PASSWORD_FILE",
                image.path("binary").to_str().unwrap(),
            )
    });
    start("password-file-behind-a-link", |image| {
        let link = image.path("theirs");
        symlink("/etc/hostname", &link).unwrap();
        lchown(&link, Some(4242), None).unwrap();
        given(&["--password-file", link.to_str().unwrap()])
    });
    start("password-file-wrong", |image| {
        fs::write(image.path("long"), "x".repeat(5000)).unwrap();
        given(&["--password-file", image.path("long").to_str().unwrap()])
            .env("JUPYTER_PASSWORD_FILE", image.dir.path().to_str().unwrap())
    });
}
