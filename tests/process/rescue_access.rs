//! A rescue lets in whom the usual server lets in, and nobody else; it listens where that one does.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use super::rescue::{OLD_HASH, READY, RESCUE, broken, configuration, jupyters, read_json};
use crate::support::{Image, Start, free_port};

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
        // The usual server takes no other than its own.
        ("c.IdentityProvider.token = 'own'", "a-token", "", "random"),
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

/// Jupyter takes the whole file, also the line break that `echo` adds, and takes white space from
/// what a person types.
#[test]
fn the_token_of_a_file_opens_a_rescue_also_if_nobody_can_type_it_for_the_usual_server() {
    const UNUSABLE: &str = "begins or ends with white space, which Jupyter's login removes";
    for (text, token, unusable) in [("a-token", "a-token", 0), ("a-token\n", "a-token", 1)] {
        let image = Image::new();
        let file = image.path("token");
        fs::write(&file, text).unwrap();
        let start = broken(&image).env("JUPYTER_TOKEN_FILE", file.to_str().unwrap());
        let mut running = start.start();
        running.wait_for(READY);
        assert_eq!(configuration(&image)["IdentityProvider"]["token"], token);
        running.signal(libc::SIGTERM);
        assert_eq!(running.end(), 0);
        assert_eq!(running.everything().1.matches(UNUSABLE).count(), unusable);
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
        let own = read_json(&image.path("home/.jupyter/jupyter_server_config.json"));
        assert!(own["IdentityProvider"]["hashed_password"].is_string());
        let configured = configuration(&image);
        let set = &configured["PasswordIdentityProvider"]["hashed_password"];
        assert_eq!(set, "", "{default}");
        running.signal(libc::SIGTERM);
        assert_eq!(running.end(), 0);
    }
}

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
    // The password is there, but another login has replaced it, and the variable's token, or
    // another password that only Python knows; a new one that cannot be set replaces no login.
    let other_login = "c.ServerApp.identity_provider_class = 'x.Y'";
    for (text, variable, linked) in [
        (other_login, "JUPYTER_TOKEN", false),
        (other_login, "JUPYTER_PASSWORD", true),
        (
            "import s3contents\nc.ServerApp.password = s3contents.x",
            "UNUSED",
            false,
        ),
    ] {
        let image = Image::new();
        jupyters(&image, "elsewhere.json", &own);
        let file = image.path("home/.jupyter/jupyter_server_config.json");
        match linked {
            true => symlink("elsewhere.json", file).unwrap(),
            false => fs::rename(image.path("home/.jupyter/elsewhere.json"), file).unwrap(),
        }
        jupyters(&image, "jupyter_server_config.py", text);
        let mut running = broken(&image).env(variable, "a-token").start();
        running.wait_for(READY);
        let configured = configuration(&image);
        let hash = &configured["PasswordIdentityProvider"]["hashed_password"];
        assert_eq!(hash, "", "{text}, {variable}");
        let token = configured["IdentityProvider"]["token"].as_str().unwrap();
        assert_eq!(token.len(), 48, "{text}, {variable}");
    }
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
        (server, image.port)
    };
    let (server, port) = listens("");
    assert_eq!(
        (&server["ip"], &server["port"]),
        (&json!("*"), &json!(port))
    );
    let free = free_port();
    let (server, _) = listens(&format!(
        "import os\nwith open(os.devnull) as file:\n    c.A.b = file.read()\n\
         c.ServerApp.ip = '127.0.0.1'\nc.ServerApp.port = {free}\n\
         c.ServerApp.allow_origin = '*'\nc.ServerApp.allow_remote_access = True"
    ));
    for (name, value) in [
        ("ip", json!("127.0.0.1")),
        ("port", json!(free)),
        // A proxy needs them.
        ("allow_origin", json!("*")),
        ("allow_remote_access", json!(true)),
    ] {
        assert_eq!(server[name], value, "{name}");
    }
    // That is what may have broken.
    let (server, port) = listens("c.ServerApp.port = 'none'");
    assert_eq!(server["port"], port);
}

#[test]
fn there_is_no_rescue_where_it_could_listen_more_widely() {
    for (end, text) in [
        ("py", "c.ServerApp.ip = '192.0.2.1'"),
        ("py", "c.ServerApp.ip = str('127.0.0.1')"),
        (
            "py",
            "c.ServerApp.certfile = '/c'\nc.ServerApp.client_ca = '/ca'",
        ),
        ("py", "c.ServerApp.ssl_options = {'ca_certs': '/ca'}"),
        ("py", "c.ServerApp.ssl_options['ca_certs'] = '/ca'"),
        ("py", "load_subconfig('/etc/corp/tls.py')"),
        (
            "py",
            "c.ServerApp.ip = '127.0.0.1'\nexec(open('/etc/corp/tls.py').read())",
        ),
        (
            "json",
            "{\"ServerApp\": {\"ssl_options\": {\"ca_certs\": \"/ca\"}}}",
        ),
    ] {
        is_never_rescued(&format!("jupyter_server_config.{end}"), text, &[]);
    }
}

#[test]
fn there_is_no_rescue_where_only_jupyter_reads_what_decides() {
    let long = |bytes: usize| " ".repeat(bytes + 1);
    let relative = ["--config", "mine.py"];
    for (name, text, words) in [
        ("jupyter_server_config.py", long(256 << 10), &[][..]),
        ("jupyter_server_config.json", long(4 << 20), &[]),
        ("unused.py", String::new(), &relative),
    ] {
        is_never_rescued(name, &text, words);
    }
}

/// Runs a server that dies, with this file of Jupyter's configuration and these arguments.
fn is_never_rescued(name: &str, text: &str, words: &[&str]) {
    let image = Image::new();
    jupyters(&image, name, text);
    let mut options = image.options();
    let ip = options.iter().position(|word| word == "--ip").unwrap();
    options.drain(ip..ip + 2);
    let start = Start::pid1().args(options).args(image.rescue());
    let start = match words {
        [] => start.args(["--jupyter-server", "jupyter-lab"]),
        words => start.args(["jupyter-lab"]).args(words),
    };
    let ended = start.env("FAKE", "dies").run();
    assert_ne!(ended.code, 0, "{}", ended.stderr);
    let said = &text[..text.len().min(80)];
    assert!(!ended.stderr.contains(RESCUE), "{said}: {}", ended.stderr);
}
