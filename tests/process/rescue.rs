//! A rescue begins when a server ends before it is ready, and only then; its end is the
//! container's, with the code of what was to be rescued.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Image, Running, Start, UID, get};

pub const READY: &str = "] ready in ";
pub const RESCUE: &str = "rescue: the server is started once more";

/// An image whose server dies with 3, and whose rescue ends with 4 at GET /crash.
pub fn broken(image: &Image) -> Start {
    image.rescued(image.server()).env("FAKE_RESCUE", "crash")
}

/// What the state says of a rescue; it is written before the line that the test has seen.
pub fn rescue_of(image: &Image) -> Value {
    read_json(&image.path("state/state.json"))["rescue"].clone()
}

pub fn read_json(path: &Path) -> Value {
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
    let reason = read_json(&image.path("state/state.json"))["last_reason"].to_string();
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
    read_json(&private(image).join("config.json"))
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
    let hash = read_json(&file)["IdentityProvider"]["hashed_password"].clone();
    assert!(hash.is_string(), "{hash}");
    running.signal(libc::SIGTERM);
    assert_eq!(running.end(), 0);
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
