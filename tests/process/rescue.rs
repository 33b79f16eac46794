//! A rescue begins when a server ends before it is ready, and only then; its end is the
//! container's, with the code of what was to be rescued.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use serde_json::Value;

use crate::support::{Image, Running, Start, UID, get};

const READY: &str = "] ready in ";
const RESCUE: &str = "rescue: the server is started once more";

/// An image whose server dies with 3, and whose rescue ends with 4 at GET /crash.
fn broken(image: &Image) -> Start {
    let home = image.path("home");
    let server = image.server().args(image.rescue());
    let server = server.env("TMPDIR", home.to_str().unwrap());
    server.env("FAKE", "dies").env("FAKE_RESCUE", "crash")
}

/// What the state says of a rescue; it is written before the line that the test has seen.
fn rescue_of(image: &Image) -> Value {
    json(&image.path("state/state.json"))["rescue"].clone()
}

fn json(path: &Path) -> Value {
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
    running.wait_for_next(READY);
    assert!(rescue_of(&image).is_null());
    running.signal(libc::SIGTERM);
    assert_eq!(running.end(), 0);
    assert_eq!(rescues(&mut running), 1);
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
    // Another one had the directory before, here and in memory.
    let start = broken(&image)
        .env("TMPDIR", "/proc")
        .env("FAKE_RESCUE", "dies");
    let ended = start.run();
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

/// What the rescue was configured with.
fn configuration(image: &Image) -> Value {
    json(&image.path("home/ai-lab-rescue-4242/config.json"))
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
    let jupyters = |image: &Image, text: &str| {
        let directory = image.path("home/.jupyter");
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("jupyter_server_config.py"), text).unwrap();
    };
    let hash = "argon2:$argon2id$v=19$m=10240,t=10,p=8$c2FsdHNhbHQ$\
                MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE";
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
        jupyters(&image, text);
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
