//! What a start cannot do as asked, and survives; and what ends it.

use std::fs;
use std::os::unix::fs::{chown, symlink};

use serde_json::json;

use super::super::rescue::jupyters;
use super::golden::{lived, start};
use super::serving::{ready, server};
use crate::support::{Image, PROGRAM, Start, UID};

/// A usual start of `true`.
pub fn usual(image: &Image, options: &[&str]) -> Start {
    let start = Start::pid1().args(image.options());
    start.args(options).args(["--", "true"])
}

/// The same after a script, in a mount namespace of its own.
pub fn after(script: &str, image: &Image, options: &[&str]) -> Start {
    let script = format!(
        "cd {}\n{script}\nexec {PROGRAM} \"$@\"",
        image.dir.path().display()
    );
    Start::wrapped("unshare")
        .args(["-m", "sh", "-e", "-c", &script, "sh"])
        .args(image.options())
        .args(options)
        .args(["--", "true"])
}

/// A shell that starts a server prints no welcome.
#[test]
fn a_command_that_starts_a_server() {
    start("command-with-a-server", |image| {
        let line = "true || jupyter lab --ip=0.0.0.0";
        let start = Start::pid1().args(image.options());
        start.args(["--password", "ailab", "--", "sh", "-c", line])
    });
}

/// What only `start.sh` of the Docker Stacks knows is named with what does the same.
#[test]
fn options_of_the_docker_stacks() {
    start("options-of-the-docker-stacks", |image| {
        let options = [
            ("CHOWN_EXTRA", "/data"),
            ("CHOWN_HOME", "yes"),
            ("DOCKER_STACKS_JUPYTER_CMD", "notebook"),
            ("GEN_CERT", "yes"),
            ("GRANT_SUDO", "1"),
            // The line has --user.
            ("NB_USER", "alice"),
            ("NB_GROUP", "lab"),
            ("NOTEBOOK_ARGS", "--debug"),
            ("RESTARTABLE", "yes"),
            // Said in silence, and set to nothing.
            ("NB_UMASK", "022"),
        ];
        let usual = usual(image, &[]);
        options
            .iter()
            .fold(usual, |start, (name, value)| start.env(name, value))
    });
    start("options-of-the-docker-stacks-off", |image| {
        usual(image, &[])
            .env("GRANT_SUDO", "no")
            .env("CHOWN_HOME", "")
    });
}

/// A variable of which somebody expects an effect that it does not have.
#[test]
fn variables_without_an_effect() {
    let set = |image: &Image, variables: &[(&str, &str)]| {
        let pairs = variables.iter();
        pairs.fold(server(image), |start, (name, value)| start.env(name, value))
    };
    let variables = [
        ("AI_LAB_PASSWORD", "mine"),
        ("AI_LAB_TLS_CERT", "/cert.pem"),
        ("JUPYTERLAB_TOKEN", "mine"),
        ("JUPYTER_PROT", "8888"),
        ("PGID", "1000"),
        ("PUID", "1000"),
        ("UMASK", "002"),
        // Silent: of a Service of Kubernetes, of other programs, without a value.
        ("AI_LAB_PORT", "tcp://10.0.0.1:80"),
        ("DB_PASSWORD", "x"),
        ("JUPYTER_PATH", "/kernels"),
        ("NOTEBOOK_PASSWORD", ""),
    ];
    let make = |image: &Image| set(image, &variables);
    lived("variables-without-effect", make, ready);
    // The password is set, so that of another name is another program's.
    let quoted = [
        ("JUPYTER_PASSWORD", "'mine'"),
        ("JUPYTER_TOKEN", "\"mine\""),
        ("PASSWORD", "theirs"),
    ];
    let make = |image: &Image| set(image, &quoted);
    lived("password-in-quotation-marks", make, ready);
    let hash = [("JUPYTER_PASSWORD", "argon2:=19=10240,t=10,p=8/AAAA")];
    lived("password-is-a-hash", |image| set(image, &hash), ready);
    let failing = [("JUPYTER_TOKEN", "mine\n"), ("SSL_CERT_FILE", "/none.pem")];
    lived(
        "variables-that-cannot-work",
        |image| set(image, &failing),
        ready,
    );
    let make = |image: &Image| server(image).args(["jupyter-lab", "--ServerApp.password=mine"]);
    lived("password-in-plain-text", make, ready);
    // What a command does with its password is its own matter.
    start("variables-of-a-command", |image| {
        usual(image, &[]).env("PASSWORD", "theirs")
    });
    start("password-of-a-command", |image| {
        // Of the default, without the time that argon2 takes.
        let digest = "de7ef085dddb484e6a83d53e19c254bb5eaf7b8d8bdb5bec2967199654d72dee";
        let hash = json!({"IdentityProvider": {"hashed_password": format!("sha256::{digest}")}});
        jupyters(image, "jupyter_server_config.json", &hash.to_string());
        let start = usual(image, &["--password", "ailab"]);
        start.arg("--ServerApp.token=x")
    });
}

/// As where root starts another one in a running container.
#[test]
fn a_state_directory_of_a_running_start() {
    start("state-of-a-running-start", |image| {
        let script = "sleep 100 &\n\
             start=$(cut -d ' ' -f 22 /proc/$!/stat)\n\
             mkdir state\n\
             printf '{\"version\":1,\"program\":\"x\",\"phase\":\"ready\",\"mode\":\"lab\",\"pid\":%d,\
             \"started\":%d,\"main_pid\":null,\"probe\":null,\"since\":0,\"restarts\":0,\
             \"last_exit\":null,\"boot\":[],\"degradations\":[]}' $! $start >state/state.json\n\
             chown -R 4242 state";
        after(script, image, &[])
    });
}

#[test]
fn nothing_is_wrong() {
    start("start-command", |image| usual(image, &[]));
    start("start-dry-run", |image| usual(image, &["--dry-run"]));
}

/// A file of Jupyter's configuration, which is the user's.
fn configuration(image: &Image, name: &str, content: &str) {
    let directory = image.path("home/.jupyter");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join(name), content).unwrap();
    for path in [&directory, &directory.join(name)] {
        chown(path, Some(UID), Some(UID)).unwrap();
    }
}

#[test]
fn home_state_and_logfile() {
    let temp = |image: &Image| {
        let temp = image.path("temp");
        fs::create_dir(&temp).unwrap();
        chown(&temp, Some(UID), Some(UID)).unwrap();
        temp.to_str().unwrap().to_owned()
    };
    start("home-read-only", |image| {
        let script = "mount --bind home home\nmount -o remount,bind,ro home";
        after(script, image, &["--password", "ailab"]).env("TMPDIR", &temp(image))
    });
    start("home-read-only-dry-run", |image| {
        let script = "mount --bind home home\nmount -o remount,bind,ro home";
        after(script, image, &["--password", "ailab", "--dry-run"]).env("TMPDIR", &temp(image))
    });
    start("home-full", |image| {
        let script =
            "mount -t tmpfs -o size=4k,mode=1777 tmpfs home\nhead -c 4096 /dev/zero >home/big";
        after(script, image, &["--password", "ailab"]).env("TMPDIR", &temp(image))
    });
    start("home-of-another-user", |image| {
        let base = image.path("temp/ai-lab-home-4242");
        let temp = temp(image);
        fs::create_dir(base).unwrap();
        let script = "mount --bind home home\nmount -o remount,bind,ro home";
        after(script, image, &["--password", "ailab"]).env("TMPDIR", &temp)
    });
    start("home-of-another-person", |image| {
        let script = "install -d -o 4711 -g 4712 home home/.ipython\n\
                      install -d -m 700 -o 4711 home/.jupyter\nmount --bind home home";
        let start = after(script, image, &["--password", "ailab"]);
        let start = start.env("TMPDIR", &temp(image));
        start.env("JUPYTERHUB_DISABLE_USER_CONFIG", "1")
    });
    start("home-too-long-dry-run", |image| {
        let long = image.path("home").join("long".repeat(20));
        let words = ["--home", long.to_str().unwrap(), "--dry-run"];
        usual(image, &words).env("TMPDIR", &temp(image))
    });
    start("home-of-too-many-files", |image| {
        let directory = image.path("home/.ipython");
        fs::create_dir_all(&directory).unwrap();
        for number in 0..5000 {
            fs::write(directory.join(number.to_string()), "").unwrap();
        }
        let script = "mount --bind home home\nmount -o remount,bind,ro home";
        after(script, image, &[]).env("TMPDIR", &temp(image))
    });
    start("home-handed-over", |image| {
        fs::create_dir_all(image.path("home/.local/share")).unwrap();
        usual(image, &[])
    });
    start("home-handed-over-dry-run", |image| {
        fs::create_dir_all(image.path("home/.local/share")).unwrap();
        usual(image, &["--dry-run"])
    });
    start("home-of-somebody-else", |image| {
        fs::create_dir(image.path("temp")).unwrap();
        fs::create_dir(image.path("temp/ai-lab-home-4242")).unwrap();
        let script = "mount --bind home home\nmount -o remount,bind,ro home";
        after(script, image, &[]).env("TMPDIR", image.path("temp").to_str().unwrap())
    });
    start("nothing-can-be-written", |image| {
        fs::create_dir(image.path("notebooks")).unwrap();
        let script = "mount -t tmpfs tmpfs /dev/shm -o ro\nmount -o remount,bind,ro /";
        after(script, image, &["--password", "ailab"])
    });
    start("state-is-the-systems", |image| {
        let script = "mount -t tmpfs tmpfs /dev/shm";
        after(script, image, &["--state-dir", "/tmp/"])
    });
    start("state-is-a-projects", |image| {
        fs::create_dir(image.path("state")).unwrap();
        fs::write(image.path("state/state.json"), "{}").unwrap();
        chown(image.path("state"), Some(UID), Some(UID)).unwrap();
        usual(image, &[])
    });
    start("state-is-a-link", |image| {
        symlink("home", image.path("state")).unwrap();
        usual(image, &[])
    });
}

#[test]
fn the_password_cannot_be_set() {
    let config = |image: &Image, text: &str| {
        fs::create_dir(image.path("home/.jupyter")).unwrap();
        let file = image.path("home/.jupyter/jupyter_server_config.json");
        fs::write(&file, text).unwrap();
        for path in [image.path("home/.jupyter"), file] {
            chown(path, Some(UID), Some(UID)).unwrap();
        }
    };
    start("password-not-json", |image| {
        config(image, "{\n  x\n}");
        usual(image, &["--password", "ailab"])
    });
    start("password-other-form", |image| {
        config(image, "[]");
        usual(image, &["--password", "ailab"])
    });
    start("password-behind-a-link", |image| {
        config(image, "{}");
        let file = image.path("home/.jupyter/jupyter_server_config.json");
        fs::rename(&file, image.path("home/.jupyter/x")).unwrap();
        symlink("x", file).unwrap();
        usual(image, &[]).env("JUPYTER_PASSWORD", "x")
    });
    let behind_a_link = |image: &Image| {
        config(image, r#"{"IdentityProvider": {"token": ""}}"#);
        let file = image.path("home/.jupyter/jupyter_server_config.json");
        fs::rename(&file, image.path("home/.jupyter/x")).unwrap();
        symlink("x", file).unwrap();
    };
    start("password-behind-a-link-without-a-token", |image| {
        behind_a_link(image);
        image.server()
    });
    for (name, file, text) in [
        (
            "unclear",
            "jupyter_lab_config.py",
            "load_subconfig('x.py')\n",
        ),
        (
            "elsewhere",
            "jupyter_notebook_config.json",
            r#"{"NotebookApp": {"password": "x"}}"#,
        ),
    ] {
        start(&format!("password-{name}-without-a-token"), |image| {
            configuration(image, file, text);
            let token = ["--jupyter-arg", "--IdentityProvider.token="];
            image.server().args(["--rescue", "never"]).args(token)
        });
    }
    start("password-of-a-command-without-a-token", |image| {
        behind_a_link(image);
        usual(image, &["--password", "ailab"])
    });
    start("password-no-config", |image| {
        let start = usual(image, &[]).env("JUPYTER_NO_CONFIG", "1");
        start.env("JUPYTER_PASSWORD", "x")
    });
    start("password-cannot-be-written", |image| {
        let script = "mount -t tmpfs tmpfs /dev/shm -o ro\nmount -o remount,bind,ro /";
        fs::create_dir(image.path("notebooks")).unwrap();
        let start = after(script, image, &[]);
        start
            .env("JUPYTER_CONFIG_DIR", image.path("home/c").to_str().unwrap())
            .env("JUPYTER_PASSWORD", "x")
    });
    start("password-config-long", |image| {
        config(image, &" ".repeat(4 * 1024 * 1024 + 1));
        usual(image, &[]).env("JUPYTER_PASSWORD", "x")
    });
    start("password-configured", |image| {
        configuration(
            image,
            "jupyter_server_config.py",
            "c.IdentityProvider.token = 'x'\n",
        );
        usual(image, &["--password", "ailab"])
    });
    start("password-of-another-server-dry-run", |image| {
        let file = "jupyter_notebook_config.json";
        configuration(image, file, r#"{"NotebookApp": {"password": "sha1::0"}}"#);
        let start = Start::pid1().args(image.options());
        start.args([
            "--jupyter-server",
            "jupyter-lab",
            "--password",
            "ailab",
            "--dry-run",
        ])
    });
    start("password-undecided", |image| {
        configuration(image, "jupyter_server_config.py", "\nif True: pass\n");
        usual(image, &["--password", "ailab"])
    });
    start("password-empty-token", |image| {
        configuration(image, "jupyter_lab_config.py", "c.ServerApp.token = ''\n");
        usual(image, &["--password", "ailab"])
    });
    start("password-turned-off", |image| {
        let off = r#"{"ServerApp": {"token": "", "password": ""}}"#;
        configuration(image, "jupyter_config.json", off);
        usual(image, &["--password", "ailab"])
    });
    start("password-default-stays", |image| {
        use sha2::Digest;
        let digest = sha2::Sha256::digest("ailab");
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let hash = format!(r#"{{"IdentityProvider": {{"hashed_password": "sha256::{hex}"}}}}"#);
        configuration(image, "x", &hash);
        symlink("x", image.path("home/.jupyter/jupyter_server_config.json")).unwrap();
        configuration(image, "jupyter_lab_config.py", "c.ServerApp.token = 'x'\n");
        usual(image, &["--password", "ailab"])
    });
    start("password-default-elsewhere", |image| {
        let hash = r#"{"IdentityProvider": {"hashed_password": "sha256::HEX"}}"#;
        let hex: String = <sha2::Sha256 as sha2::Digest>::digest("ailab")
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let directory = image.path("elsewhere");
        fs::create_dir(&directory).unwrap();
        let file = directory.join("jupyter_server_config.json");
        fs::write(file, hash.replace("HEX", &hex)).unwrap();
        configuration(image, "jupyter_lab_config.py", "c.ServerApp.token = 'x'\n");
        usual(image, &["--password", "ailab"])
            .env("JUPYTER_CONFIG_PATH", directory.to_str().unwrap())
    });
    start("password-beside-another-login", |image| {
        let other = "c.ServerApp.identity_provider_class = 'x'\n";
        configuration(image, "jupyter_server_config.py", other);
        usual(image, &[]).env("JUPYTER_PASSWORD", "x")
    });
    start("password-changed", |image| {
        usual(image, &[]).env("JUPYTER_PASSWORD", "x")
    });
}
