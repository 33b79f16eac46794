//! What is rescued although a server would start, what is not although it does not, and what a
//! restart by hand does before, during and after a rescue.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;

use super::rescue::{
    OLD_HASH, READY, RESCUE, broken, configuration, jupyters, private, read_json, rescue_of,
};
use crate::support::certificate::{Pair, shown_at};
use crate::support::process::until;
use crate::support::{Image, Running, Start, UID, get};

/// Jupyter's own settings for a certificate and a key with these texts.
fn certified(image: &Image, certificate: &str, key: &str) {
    let texts = [("certfile", certificate), ("keyfile", key)];
    let lines = texts.map(|(name, text)| {
        let path = image.path(name);
        fs::write(&path, text).unwrap();
        format!("c.ServerApp.{name} = '{}'\n", path.display())
    });
    jupyters(image, "jupyter_server_config.py", &lines.concat());
}

pub fn stopped(mut running: Running) {
    running.signal(libc::SIGTERM);
    assert_eq!(running.end(), 0);
}

/// The same server would listen, and refuse every connection.
pub fn deaf(image: &Image) -> Start {
    broken(image).env("FAKE", "")
}

#[test]
fn a_certificate_that_nobody_can_connect_with_is_rescued() {
    let (pair, other) = (Pair::new(), Pair::new());
    let cut = |text: &str| text[..text.len() / 2].to_owned();
    let encrypted = pair.key.replace("PRIVATE", "ENCRYPTED PRIVATE");
    let damaged = pair.key.replacen("MI", "MJ", 1);
    let certificate = pair.certificate.as_str();
    for (certificate, key, place, said) in [
        (&cut(certificate)[..], &pair.key, "certfile", "is damaged"),
        ("", &pair.key, "certfile", "no certificate in PEM"),
        (certificate, &other.key, "keyfile", "does not belong to"),
        (certificate, &encrypted, "keyfile", "is encrypted"),
        (certificate, &damaged, "keyfile", "is damaged"),
        (certificate, &String::new(), "keyfile", "no private key"),
    ] {
        let image = Image::new();
        certified(&image, certificate, key);
        let mut running = deaf(&image).start();
        running.wait_for(READY);
        let rescue = rescue_of(&image).to_string();
        for part in [said, &format!("/{place} cannot be used: ")] {
            assert!(rescue.contains(part), "{part}: {rescue}");
        }
        // Nobody's password goes over the network as it is.
        shown_at(image.port);
        stopped(running);
    }
}

/// A server that knows more kinds of keys than this program is not kept from them.
#[test]
fn a_certificate_that_jupyter_can_use_is_not_rescued() {
    let ways = [
        "ecparam -name secp521r1 -genkey -noout -out key",
        "req -x509 -key key -subj /CN=localhost -out certificate",
        // Of X.509 version 1.
        "req -new -newkey rsa:2048 -nodes -keyout key1 -subj /CN=localhost -out request",
        "x509 -req -in request -signkey key1 -out certificate1",
    ];
    let known = Pair::new();
    let image = Image::new();
    for way in ways {
        let mut openssl = std::process::Command::new("openssl");
        openssl.args(way.split(' ')).current_dir(image.dir.path());
        assert!(openssl.status().unwrap().success());
    }
    let text = |name| fs::read_to_string(image.path(name)).unwrap();
    let kind = [text("certificate"), text("key")];
    let version = [text("certificate1"), text("key1")];
    for [certificate, key] in [kind, version, [known.certificate, known.key]] {
        certified(&image, &certificate, &key);
        let mut running = deaf(&image).start();
        running.wait_for(READY);
        assert!(rescue_of(&image).is_null());
        stopped(running);
        // Browsers that know it would refuse another one.
        let mut running = broken(&image).start();
        running.wait_for(READY);
        let kept = configuration(&image)["ServerApp"]["certfile"].clone();
        assert_eq!(kept, image.path("certfile").to_str().unwrap());
        stopped(running);
    }
}

#[test]
fn a_restart_sees_what_a_start_sees() {
    let image = Image::new();
    let mut running = deaf(&image).start();
    running.wait_for(READY);
    let gone = "c.ServerApp.certfile = '/no/certificate'";
    let is_gone = || jupyters(&image, "jupyter_server_config.py", gone);
    for (break_it, said) in [
        (
            &(|| certified(&image, "", "")) as &dyn Fn(),
            "/certfile cannot be used",
        ),
        (&is_gone, "/no/certificate cannot be read"),
    ] {
        break_it();
        running.signal(libc::SIGHUP);
        running.wait_for("This is a rescue");
        running.wait_for(READY);
        let rescue = rescue_of(&image).to_string();
        assert!(rescue.contains(said), "{rescue}");
        // It listens as the usual server would now, not as it did before.
        let certificate = configuration(&image)["ServerApp"]["certfile"].clone();
        assert!(certificate.is_string(), "{certificate}");
        jupyters(&image, "jupyter_server_config.py", "");
        running.signal(libc::SIGHUP);
        running.wait_for_next("started successfully");
        running.wait_for(READY);
        assert!(rescue_of(&image).is_null());
    }
    stopped(running);
}

/// A server that says this, and goes on.
pub fn saying(image: &Image, said: &str) -> Start {
    fs::write(image.path("home/quoted"), said).unwrap();
    broken(image).env("FAKE", "quotes")
}

/// The same under a hub.
pub fn of_a_hub(image: &Image, start: Start) -> Start {
    let url = format!("http://127.0.0.1:{}/user/alice/", image.port);
    let start = start.env("JUPYTERHUB_SERVICE_URL", &url);
    let start = start.env("JUPYTERHUB_API_TOKEN", "x");
    start.env("JUPYTERHUB_CLIENT_ID", "x")
}

/// Its rescue would wait for the hub as long again, and end in the same way.
#[test]
fn a_server_that_does_not_reach_its_hub_is_not_rescued() {
    let deaths = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/deaths");
    for (death, rescued) in [
        ("hub-unreachable", false),
        ("hub-name", false),
        ("hub-rejects", false),
        ("config-import", true),
    ] {
        let image = Image::new();
        let text = fs::read_to_string(deaths.join(death).with_extension("txt")).unwrap();
        let (_, log) = text.split_once("\n---\n").unwrap();
        // An attempt that failed before the last one says nothing.
        let early =
            "Failed to connect to my Hub at http://hub/hub/api (attempt 1/5). Is it running?";
        let start = saying(&image, &format!("{early}\n{log}"));
        let start = of_a_hub(&image, start).env("FAKE", "quotes dies");
        if rescued {
            let mut running = start.start();
            running.wait_for(READY);
            stopped(running);
            continue;
        }
        let ended = start.run();
        assert_eq!(ended.code, 3, "{}", ended.stderr);
        assert!(!ended.stderr.contains(RESCUE), "{}", ended.stderr);
        let last = ended.stderr.lines().last().unwrap();
        assert!(last.contains("The reason: JupyterHub "), "{}", ended.stderr);
        let reason = read_json(&image.path("state/state.json"))["last_reason"]["cause"].clone();
        assert!(reason.as_str().unwrap().contains("JupyterHub "), "{reason}");
    }
}

const NAME: &str = "jupyter_server_config.py";

/// What Jupyter says of a configuration file that it could not read, and goes on.
fn unread(file: &Path) -> String {
    let file = file.display();
    format!(
        "[E 2026-11-29 22:34:50.900 ServerApp] Exception while loading config file {file}\n    \
         Traceback (most recent call last):\n      \
           File \"/v/traitlets/config/loader.py\", line 658, in _read_file_as_dict\n        \
             exec(compile(f.read(), conf_filename, \"exec\"), namespace, namespace)\n      \
           File \"{file}\", line 1, in <module>\n        \
             import s3contents\n    \
         ModuleNotFoundError: No module named 's3contents'"
    )
}

/// A server that could not read its configuration, which has these settings.
fn without(image: &Image, settings: &str) -> Start {
    jupyters(image, NAME, &format!("import s3contents\n{settings}\n"));
    saying(image, &unread(&image.path("home/.jupyter").join(NAME)))
}

/// Jupyter goes on without the file: elsewhere than where people look, and for other people.
#[test]
fn a_server_without_the_configuration_of_its_access_is_rescued() {
    let password = format!("c.ServerApp.password = '{OLD_HASH}'");
    // What --generate-config writes counts as little as any comment.
    let unfinished = format!("# c.ServerApp.ip = 'localhost'\n{password}\nc.A.b = 'c");
    for (settings, base_url) in [
        ("c.ServerApp.base_url = '/x/'", "/x/"),
        (&password, ""),
        (&unfinished, ""),
    ] {
        let image = Image::new();
        let mut running = without(&image, settings).start();
        running.wait_for("the server is ended: it runs without ");
        running.wait_for("This is a rescue");
        running.wait_for(READY);
        let rescue = rescue_of(&image).to_string();
        let said = "jupyter_server_config.py is wrong in line 1 (ModuleNotFoundError: No module \
                    named 's3contents')";
        assert!(rescue.contains(said), "{rescue}");
        let configured = configuration(&image);
        let url = configured["ServerApp"]["base_url"].as_str();
        assert_eq!(url.unwrap_or_default(), base_url);
        // The rest of the file may have set another password.
        let token = configured["IdentityProvider"]["token"].as_str();
        assert_eq!(token.map(str::len), Some(48));
        fs::write(image.path("home/quoted"), "").unwrap();
        running.signal(libc::SIGHUP);
        running.wait_for_next("started successfully");
        running.wait_for(READY);
        assert!(rescue_of(&image).is_null());
        stopped(running);
    }
}

/// The password of the container is in a file that a restart does not write again.
#[test]
fn a_restart_without_the_file_of_the_password_is_rescued() {
    for (file, text, password) in [
        ("jupyter_server_config.json", "{\"a\": 1,}", true),
        (
            "jupyter_config.json",
            "{\"ServerApp\": {\"base_url\": \"/x/\",}}",
            true,
        ),
        ("jupyter_config.json", "{\"a\": 1,}", false),
    ] {
        let image = Image::new();
        let start = saying(&image, "").env("JUPYTER_PASSWORD", "mine");
        let mut running = start.start();
        running.wait_for(READY);
        jupyters(&image, file, text);
        let said = unread(&image.path("home/.jupyter").join(file));
        fs::write(image.path("home/quoted"), said).unwrap();
        running.signal(libc::SIGHUP);
        if !password {
            running.wait_for("none of its settings is effective");
        }
        running.wait_for_next(READY);
        assert_eq!(rescue_of(&image).is_string(), password, "{file}");
        if password {
            let hash = &configuration(&image)["PasswordIdentityProvider"]["hashed_password"];
            assert!(hash.as_str().unwrap().starts_with("argon2:"), "{hash}");
        }
        stopped(running);
    }
}

#[test]
fn a_server_without_another_part_of_its_configuration_says_so_and_stays() {
    let harmless = "c.ServerApp.max_body_size = 1";
    // The arguments have another value.
    let overridden = "c.ServerApp.port = 1\nc.ServerApp.ip = '::1'";
    let access = "c.ServerApp.base_url = '/x/'";
    for (settings, rescue) in [(harmless, "auto"), (overridden, "auto"), (access, "never")] {
        let image = Image::new();
        let start = without(&image, settings);
        let mut running = start.args(["--rescue", rescue]).start();
        running.wait_for("none of its settings is effective");
        running.wait_for(READY);
        assert!(rescue_of(&image).is_null());
        let degradations =
            || read_json(&image.path("state/state.json"))["degradations"].to_string();
        assert!(degradations().contains("is wrong in line 1"));
        fs::write(image.path("home/quoted"), "").unwrap();
        running.signal(libc::SIGHUP);
        running.wait_for_next(READY);
        assert!(!degradations().contains("is wrong in line 1"));
        stopped(running);
    }
}

/// A rescue would end in the same way; the restart policy tries the usual server again.
#[test]
fn a_server_whose_port_is_taken_is_not_rescued() {
    let image = Image::new();
    let other = std::net::TcpListener::bind(("127.0.0.1", image.port)).unwrap();
    let start = broken(&image).args(["--restart", "on-failure"]);
    let mut running = start.env("FAKE", "reluctant").start();
    running.wait_for("the server is started again in 1 s");
    drop(other);
    running.wait_for(READY);
    assert!(rescue_of(&image).is_null());
    running.signal(libc::SIGTERM);
    assert_eq!(running.end(), 0);
    assert!(!running.everything().1.contains(RESCUE));
}

#[test]
fn a_restart_while_a_rescue_is_prepared_tries_the_usual_server_and_a_stop_ends_it() {
    for (signal, code) in [(libc::SIGHUP, 0), (libc::SIGTERM, 3)] {
        let image = Image::new();
        let mut running = broken(&image).start();
        running.wait_for(READY);
        stopped(running);
        // What an earlier rescue left is removed first, which takes a while.
        let left = private(&image).join("tmp");
        for number in 0..40_000 {
            fs::write(left.join(number.to_string()), "").unwrap();
        }
        chown(&left, Some(UID), Some(UID)).unwrap();
        let mut running = broken(&image).env("FAKE", "reluctant").start();
        running.wait_for(RESCUE);
        running.signal(signal);
        if signal == libc::SIGHUP {
            running.wait_for(READY);
            assert!(rescue_of(&image).is_null());
            running.signal(libc::SIGTERM);
        }
        assert_eq!(running.end(), code);
        assert!(!running.everything().1.contains("This is a rescue"));
    }
}

/// A secret that is replaced is away for a moment: it counts when the wait is over.
#[test]
fn what_is_away_only_while_a_restart_waits_is_no_reason_for_a_rescue() {
    let image = Image::new();
    let pair = Pair::new();
    certified(&image, &pair.certificate, &pair.key);
    let start = broken(&image).env("FAKE", "crash");
    let mut running = start.args(["--restart", "on-failure"]).start();
    running.wait_for(READY);
    fs::rename(image.path("certfile"), image.path("away")).unwrap();
    get(image.port, "/crash");
    running.wait_for("the server is started again in 1 s");
    let threads = format!("/proc/{}/task", running.pid());
    until("nothing is prepared yet", || {
        let threads = fs::read_dir(&threads).unwrap().flatten();
        let mut names = threads.filter_map(|thread| fs::read(thread.path().join("comm")).ok());
        !names.any(|name| name == b"prepare\n")
    });
    fs::rename(image.path("away"), image.path("certfile")).unwrap();
    running.wait_for_next(READY);
    assert!(rescue_of(&image).is_null());
    stopped(running);
}

/// An image with its own address and https in its settings, where no flag says otherwise.
fn of_an_image(image: &Image, ground: &Path) -> Start {
    let file = ground.join("settings.toml");
    let port = image.port;
    let text = format!("[server]\nip = \"127.0.0.1\"\nport = {port}\ntls = \"auto\"\n");
    fs::write(&file, text).unwrap();
    let options = image.options();
    let flag = options.iter().position(|option| option == "--ip").unwrap();
    let start = Start::pid1().args(&options[..flag]);
    let start = start.args(["--config", file.to_str().unwrap()]);
    let start = start.args(["--jupyter-server", "jupyter-lab", "--password", "ailab"]);
    image.rescued(start).env("FAKE", "")
}

/// Jupyter's configuration wins over the image's own values as it is at the restart, not as it was
/// at the start.
#[test]
fn a_restart_listens_where_a_start_would() {
    const ARGUMENTS: &str = "fake: arguments";
    let image = Image::new();
    // Where nobody but root can write, as far up as it goes.
    let ground = tempfile::tempdir_in("/srv").unwrap();
    let broken = "c.ServerApp.ip = 'nowhere'\nc.ServerApp.port = 'abc'\n\
                  c.ServerApp.certfile = '/no/certificate'\n";
    jupyters(&image, NAME, broken);
    let mut running = of_an_image(&image, ground.path()).start();
    running.wait_for("This is a rescue");
    running.wait_for(READY);
    // What the rescue asks for: mend it, and restart.
    jupyters(&image, NAME, "");
    running.signal(libc::SIGHUP);
    let ours = [
        "'--ServerApp.ip=127.0.0.1'".to_owned(),
        format!("'--ServerApp.port={}'", image.port),
        "'--ServerApp.certfile=/proc/self/fd/".to_owned(),
    ];
    let given = |line: &str| ours.each_ref().map(|part| line.contains(&**part));
    let line = running.wait_for_next(ARGUMENTS);
    assert_eq!(given(&line), [true; 3], "{line}");
    let told = running.wait_for(" has the SHA-256 fingerprint ");
    running.wait_for(&format!("https://localhost:{}", image.port));
    running.wait_for(READY);
    assert!(told.ends_with(&shown_at(image.port)), "{told}");
    assert!(rescue_of(&image).is_null());
    // And the other way round.
    let own = Pair::new();
    certified(&image, &own.certificate, &own.key);
    let name = image.path("home/.jupyter").join(NAME);
    let text = fs::read_to_string(&name).unwrap();
    fs::write(name, format!("{text}c.ServerApp.ip = '127.0.0.1'\n")).unwrap();
    running.signal(libc::SIGHUP);
    let line = running.wait_for_next(ARGUMENTS);
    assert_eq!(given(&line), [false, true, false], "{line}");
    running.wait_for_next(READY);
    stopped(running);
}

/// The rescue of a restart that fails has what a start would have, too.
#[test]
fn a_rescue_after_a_restart_has_the_images_certificate() {
    let image = Image::new();
    let ground = tempfile::tempdir_in("/srv").unwrap();
    let own = Pair::new();
    certified(&image, &own.certificate, &own.key);
    let mut running = of_an_image(&image, ground.path())
        .env("FAKE", "quotes")
        .start();
    fs::write(image.path("home/quoted"), "").unwrap();
    running.wait_for(READY);
    jupyters(&image, NAME, "");
    fs::remove_file(image.path("home/quoted")).unwrap();
    running.signal(libc::SIGHUP);
    running.wait_for("This is a rescue");
    running.wait_for(READY);
    shown_at(image.port);
    stopped(running);
}
