//! A rescue begins when a server ends before it is ready, and only then; its end is the
//! container's, with the code of what was to be rescued.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Image, Running, Start, UID, free_port, get};

pub const READY: &str = "] ready in ";
pub const RESCUE: &str = "rescue: the server is started once more";

/// An image whose server dies with 3, and whose rescue ends with 4 at GET /crash.
pub fn broken(image: &Image) -> Start {
    image.rescued(image.server()).env("FAKE_RESCUE", "crash")
}

/// What the state says of a rescue; it is written before the line that the test has seen.
pub fn rescue_of(image: &Image) -> Value {
    json(&image.path("state/state.json"))["rescue"].clone()
}

pub fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn rescues(running: &mut Running) -> usize {
    running.everything().1.matches(RESCUE).count()
}

#[test]
fn a_restart_tries_the_usual_server_again() {
    let image = Image::new();
    let mut running = broken(&image).env("FAKE", "reluctant").start();
    running.wait_for(READY);
    assert!(rescue_of(&image).is_string());
    running.wait_for("error code 3 before it was ready");
    running.signal(libc::SIGHUP);
    // Nobody has seen this server yet: it is welcomed as at a start.
    let welcomed = "The default password is \"ailab\".";
    running.wait_for_next(welcomed);
    running.wait_for(READY);
    assert!(rescue_of(&image).is_null());
    // That is over.
    running.signal(libc::SIGHUP);
    running.wait_for_next(READY);
    running.signal(libc::SIGTERM);
    assert_eq!(running.end(), 0);
    assert_eq!(rescues(&mut running), 1);
    assert_eq!(running.everything().1.matches(welcomed).count(), 1);
}

#[test]
fn who_wants_no_rescue_gets_the_servers_code_at_once() {
    for option in [&["--rescue", "never"][..], &["--warning-as-error"]] {
        let image = Image::new();
        let ended = broken(&image).args(option).run();
        assert_eq!(ended.code, 3, "{}", ended.stderr);
        assert!(!ended.stderr.contains(RESCUE), "{}", ended.stderr);
    }
}

#[test]
fn a_rescue_that_fails_too_ends_with_the_code_of_what_it_was_for() {
    let image = Image::new();
    let start = broken(&image);
    fs::set_permissions(
        image.path("rescue/bin/python"),
        Permissions::from_mode(0o644),
    )
    .unwrap();
    let ended = start.run();
    assert_eq!(ended.code, 3, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("python cannot be executed"),
        "{}",
        ended.stderr
    );

    let image = Image::new();
    let missing = "ModuleNotFoundError: No module named 'mine'";
    fs::write(image.path("home/quoted"), missing).unwrap();
    // No directory can be made there, so it is in memory.
    let start = broken(&image)
        .env("TMPDIR", "/proc")
        .env("FAKE", "quotes dies")
        .env("FAKE_RESCUE", "leaves");
    let ended = start.run();
    // The end of the usual server says more than that of its rescue.
    let reason = json(&image.path("state/state.json"))["last_reason"].to_string();
    assert!(reason.contains("mine"), "{reason}");
    assert_eq!(ended.code, 3, "{}", ended.stderr);
    assert_eq!(
        ended.stderr.matches("my last words").count(),
        2,
        "{}",
        ended.stderr
    );
}

#[test]
fn a_server_that_was_ready_is_not_rescued_and_a_rescue_ends_as_a_server_does() {
    let image = Image::new();
    for (fake, rescued) in [("crash", 0), ("dies", 1)] {
        let mut running = broken(&image).env("FAKE", fake).start();
        running.wait_for(READY);
        get(image.port, "/crash");
        assert_eq!(running.end(), 4);
        assert_eq!(rescues(&mut running), rescued);
    }
    let mut running = broken(&image).start();
    running.wait_for(READY);
    running.signal(libc::SIGTERM);
    assert_eq!(running.end(), 0);
}

#[test]
fn the_restart_policy_goes_on_after_a_rescue() {
    let image = Image::new();
    let mut running = broken(&image).args(["--restart", "on-failure"]).start();
    running.wait_for(READY);
    get(image.port, "/crash");
    running.wait_for("the server is started again in 1 s");
    running.wait_for_next(READY);
    assert!(rescue_of(&image).is_string());
    running.signal(libc::SIGTERM);
    assert_eq!(running.end(), 0);
    assert_eq!(rescues(&mut running), 2);
}

#[test]
fn a_program_that_is_gone_from_the_venv_is_rescued_and_a_misspelt_one_is_127() {
    let image = Image::new();
    let start = broken(&image);
    fs::remove_file(image.path("venv/bin/jupyter-lab")).unwrap();
    let mut running = start.start();
    running.wait_for(READY);
    let rescue = rescue_of(&image).to_string();
    assert!(rescue.contains("jupyter-lab was not found"), "{rescue}");
    running.signal(libc::SIGTERM);
    assert_eq!(running.end(), 0);

    let misspelt = image.path("venv-2/bin/jupyter-lab").display().to_string();
    let ended = broken(&image).args(["--jupyter-server", &misspelt]).run();
    assert_eq!(ended.code, 127, "{}", ended.stderr);
}

/// The private directory of the rescue.
pub fn private(image: &Image) -> PathBuf {
    let mut entries = fs::read_dir(image.path("home"))
        .unwrap()
        .map(Result::unwrap);
    let name = |entry: &fs::DirEntry| entry.file_name().into_string().unwrap();
    let private = entries.find(|entry| name(entry).starts_with("ai-lab-rescue-4242-"));
    private.unwrap().path()
}

/// What the rescue was configured with.
pub fn configuration(image: &Image) -> Value {
    json(&private(image).join("config.json"))
}

#[test]
fn a_file_that_does_not_parse_is_rescued_and_the_password_set_once_it_does() {
    let image = Image::new();
    let file = image.path("home/.jupyter/jupyter_server_config.json");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "{\"a\": 1,}").unwrap();
    chown(file.parent().unwrap(), Some(UID), Some(UID)).unwrap();
    chown(&file, Some(UID), Some(UID)).unwrap();
    let forced = |start: Start| start.env("JUPYTER_PASSWORD", "mine").env("FAKE", "");
    let ended = forced(broken(&image)).args(["--rescue", "never"]).run();
    assert_eq!(ended.code, 1, "{}", ended.stderr);

    let mut running = forced(broken(&image)).start();
    running.wait_for(READY);
    assert!(rescue_of(&image).to_string().contains("is not valid JSON"));
    let configured = configuration(&image);
    let hash = configured["PasswordIdentityProvider"]["hashed_password"].as_str();
    assert!(hash.unwrap().starts_with("argon2:"), "{configured}");
    assert_eq!(configured["IdentityProvider"]["token"], "");
    // Still broken: the usual server would have another password, or none.
    running.signal(libc::SIGHUP);
    running.wait_for_next(READY);
    assert!(rescue_of(&image).is_string());
    fs::write(&file, "{}").unwrap();
    running.signal(libc::SIGHUP);
    running.wait_for_next(READY);
    assert!(rescue_of(&image).is_null());
    let hash = json(&file)["IdentityProvider"]["hashed_password"].clone();
    assert!(hash.is_string(), "{hash}");
    running.signal(libc::SIGTERM);
    assert_eq!(running.end(), 0);
}

#[test]
fn a_rescue_is_never_easier_to_enter() {
    let hash = OLD_HASH;
    let own = format!("c.PasswordIdentityProvider.hashed_password = '{hash}'");
    let open = "c.IdentityProvider.token = ''\nc.ServerApp.password = ''\n\
                c.PasswordIdentityProvider.hashed_password = ''";
    for (text, variable, password, token) in [
        ("", "", "", "random"),
        (own.as_str(), "", hash, ""),
        ("", "a-token", "", "a-token"),
        (open, "", "", "random"),
        (
            "c.ServerApp.identity_provider_class = 'x.Y'",
            "",
            "",
            "random",
        ),
    ] {
        let image = Image::new();
        jupyters(&image, "jupyter_server_config.py", text);
        let mut running = broken(&image).env("JUPYTER_TOKEN", variable).start();
        running.wait_for(READY);
        let configured = configuration(&image);
        let set = configured["PasswordIdentityProvider"]["hashed_password"].clone();
        assert_eq!(set, password, "{text}");
        let given = configured["IdentityProvider"]["token"].as_str().unwrap();
        match token {
            "random" => {
                assert_eq!(given.len(), 48, "{text}");
                running.wait_for(&format!("/?token={given}"));
            }
            known => {
                assert_eq!(given, known, "{text}");
            }
        }
        running.signal(libc::SIGTERM);
        assert_eq!(running.end(), 0);
        let told = running.everything().1.contains("token=");
        assert_eq!(told, token == "random", "{text}");
    }
}

#[test]
fn no_default_password_opens_a_rescue() {
    for default in ["ailab", "the-operators"] {
        let image = Image::new();
        let start = Start::pid1().args(image.options());
        let start = start.args(["--jupyter-server", "jupyter-lab", "--password", default]);
        let mut running = image.rescued(start).start();
        running.wait_for(READY);
        // It is effective for the usual server.
        let own = json(&image.path("home/.jupyter/jupyter_server_config.json"));
        assert!(own["IdentityProvider"]["hashed_password"].is_string());
        let configured = configuration(&image);
        let set = &configured["PasswordIdentityProvider"]["hashed_password"];
        assert_eq!(set, "", "{default}");
        running.signal(libc::SIGTERM);
        assert_eq!(running.end(), 0);
    }
}

/// Writes a file of Jupyter's configuration.
pub fn jupyters(image: &Image, name: &str, text: &str) {
    let directory = image.path("home/.jupyter");
    fs::create_dir_all(&directory).unwrap();
    chown(&directory, Some(UID), Some(UID)).unwrap();
    fs::write(directory.join(name), text).unwrap();
}

pub const OLD_HASH: &str = "argon2:$argon2id$v=19$m=10240,t=10,p=8$c2FsdHNhbHQ$\
                        MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE";

#[test]
fn a_password_that_was_replaced_opens_no_rescue() {
    let own = format!("{{\"IdentityProvider\": {{\"hashed_password\": \"{OLD_HASH}\"}}}}");
    // The new password cannot be set: the file is a link.
    let image = Image::new();
    jupyters(&image, "elsewhere.json", &own);
    let link = image.path("home/.jupyter/jupyter_server_config.json");
    symlink("elsewhere.json", link).unwrap();
    let mut running = broken(&image).env("JUPYTER_PASSWORD", "new").start();
    running.wait_for(READY);
    let hash = configuration(&image)["PasswordIdentityProvider"]["hashed_password"].clone();
    assert!(hash.as_str().unwrap().starts_with("argon2:"), "{hash}");
    assert_ne!(hash, OLD_HASH);
    // The password is there, but another login has replaced it, and the variable's token.
    let image = Image::new();
    jupyters(&image, "jupyter_server_config.json", &own);
    let other = "c.ServerApp.identity_provider_class = 'x.Y'";
    jupyters(&image, "jupyter_server_config.py", other);
    let mut running = broken(&image).env("JUPYTER_TOKEN", "a-token").start();
    running.wait_for(READY);
    let configured = configuration(&image);
    assert_eq!(
        configured["PasswordIdentityProvider"]["hashed_password"],
        ""
    );
    assert_eq!(
        configured["IdentityProvider"]["token"]
            .as_str()
            .unwrap()
            .len(),
        48
    );
}

#[test]
fn a_rescue_listens_where_the_usual_server_would_and_nowhere_else() {
    let listens = |text: &str| {
        let image = Image::new();
        jupyters(&image, "jupyter_server_config.py", text);
        // As in the image, whose own file names the port.
        let options = image.options();
        let own = [("--ip", "ip"), ("--port", "port")];
        let mut lines = String::from("[server]\n");
        let mut kept = Vec::new();
        for pair in options.chunks(2) {
            match own.iter().find(|(flag, _)| *flag == pair[0]) {
                Some((_, "port")) => lines += &format!("port = {}\n", pair[1]),
                Some(_) => {}
                None => kept.extend_from_slice(pair),
            }
        }
        // Where nobody but root can write, as far up as it goes.
        let ground = tempfile::tempdir_in("/srv").unwrap();
        let file = ground.path().join("settings.toml");
        fs::write(&file, lines).unwrap();
        let start = Start::pid1()
            .args(kept)
            .args(["--config", file.to_str().unwrap()]);
        let start = start.args(["--jupyter-server", "jupyter-lab", "--password", "ailab"]);
        let mut running = image.rescued(start).start();
        let line = running.wait_for("ai-lab] rescue:");
        assert!(line.contains(RESCUE));
        running.wait_for(READY);
        let server = configuration(&image)["ServerApp"].clone();
        running.signal(libc::SIGTERM);
        running.end();
        (server["ip"].clone(), server["port"].clone(), image.port)
    };
    let (ip, port, image) = listens("");
    assert_eq!(
        (ip.as_str(), port.as_u64()),
        (Some("*"), Some(image.into()))
    );
    let free = free_port();
    let (ip, port, _) = listens(&format!(
        "c.ServerApp.ip = '127.0.0.1'\nc.ServerApp.port = {free}"
    ));
    assert_eq!(
        (ip.as_str(), port.as_u64()),
        (Some("127.0.0.1"), Some(free.into()))
    );
    // That is what may have broken.
    let (_, port, image) = listens("c.ServerApp.port = 'none'");
    assert_eq!(port.as_u64(), Some(image.into()));
}

#[test]
fn there_is_no_rescue_where_it_could_listen_more_widely() {
    for text in [
        "c.ServerApp.ip = '192.0.2.1'",
        "c.ServerApp.ip = str('127.0.0.1')",
        "c.ServerApp.certfile = '/c'\nc.ServerApp.client_ca = '/ca'",
    ] {
        let image = Image::new();
        jupyters(&image, "jupyter_server_config.py", text);
        let mut options = image.options();
        let ip = options.iter().position(|word| word == "--ip").unwrap();
        options.drain(ip..ip + 2);
        let start = Start::pid1().args(options).args(image.rescue());
        let start = start.args(["--jupyter-server", "jupyter-lab"]);
        let ended = start.env("FAKE", "dies").run();
        assert_ne!(ended.code, 0, "{}", ended.stderr);
        assert!(!ended.stderr.contains(RESCUE), "{text}: {}", ended.stderr);
    }
}

#[test]
fn a_usual_server_after_a_rescue_that_did_not_start_is_no_rescue() {
    let image = Image::new();
    let start = broken(&image)
        .args(["--restart", "on-failure"])
        .env("FAKE", "reluctant");
    fs::set_permissions(
        image.path("rescue/bin/python"),
        Permissions::from_mode(0o644),
    )
    .unwrap();
    let mut running = start.start();
    running.wait_for("python cannot be executed");
    running.wait_for(READY);
    assert!(rescue_of(&image).is_null());
    running.signal(libc::SIGTERM);
    assert_eq!(running.end(), 0);
    assert!(!running.everything().1.contains("This is a rescue"));
}

/// Variables of the user's that would bring back what broke.
const THE_USERS: [&str; 6] = [
    "JUPYTER_CONFIG_PATH",
    "JUPYTER_PATH",
    "JUPYTERLAB_SETTINGS_DIR",
    "JUPYTERLAB_WORKSPACES_DIR",
    "JUPYTER_PREFER_ENV_PATH",
    "JUPYTERLAB_DIR",
];

#[test]
fn a_rescue_has_nothing_of_the_users_but_the_login() {
    let image = Image::new();
    let mut start = broken(&image).args(["--umask", "027"]);
    for name in THE_USERS {
        start = start.env(name, "/mine");
    }
    let mut running = start.start();
    running.wait_for(READY);
    let private = private(&image);
    let proc = format!("/proc/{}", running.main_pid());
    let read = |name: &str| fs::read_to_string(format!("{proc}/{name}")).unwrap();
    let environment = read("environ");
    let of_jupyter = |name: &str| {
        let mut all = environment.split('\0');
        all.find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
    };
    let mut wrong = Vec::new();
    let mut keeps = |what: &str, kept: bool| {
        if !kept {
            wrong.push(what.to_owned());
        }
    };
    let no_config = of_jupyter("JUPYTER_NO_CONFIG") == Some("1");
    keeps("no configuration", no_config);
    for (name, directory) in [
        ("JUPYTER_DATA_DIR", "data"),
        ("JUPYTER_RUNTIME_DIR", "runtime"),
        ("IPYTHONDIR", "ipython"),
        ("TMPDIR", "tmp"),
    ] {
        let directory = private.join(directory).display().to_string();
        keeps(name, of_jupyter(name) == Some(&directory));
    }
    for name in THE_USERS {
        keeps(name, of_jupyter(name).is_none());
    }
    // Neither Python's own variables, nor a module in the working directory or the user site.
    let line = read("cmdline");
    keeps("-I", line.contains("\0-I\0-m\0jupyterlab\0--config="));
    let directory = fs::read_link(format!("{proc}/cwd")).unwrap();
    keeps("the working directory", directory == private);
    keeps("the umask", read("status").contains("Umask:\t0027"));
    let all = configuration(&image);
    let server = &all["ServerApp"];
    let own = serde_json::json!({"jupyterlab": true, "jupyter_server_terminals": true});
    keeps("server extensions", server["jpserver_extensions"] == own);
    let none = serde_json::json!([]);
    keeps("extensions", all["LabApp"]["labextensions_path"] == none);
    keeps("the port", server["port_retries"] == 0);
    keeps("all files", server["root_dir"] == "/");
    // A changed password would be gone with the rescue.
    let login = &all["PasswordIdentityProvider"];
    keeps("the password", login["allow_password_change"] == false);
    assert!(wrong.is_empty(), "{wrong:?}");
    running.signal(libc::SIGTERM);
    assert_eq!(running.end(), 0);
}
