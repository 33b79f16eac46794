#![allow(clippy::unwrap_used)]

use std::path::Path;

use serde_json::json;

use super::*;
use crate::password::testing::{Home, default, forced, legacy, provider, secret};

const OLD: &str = "sha1:salt:0000000000000000000000000000000000000000";

#[test]
fn a_forced_password_is_really_in_force_and_other_keys_stay() {
    let home = Home::new();
    home.put_own(&json!({
        "z": {"big": 1.0, "text": "ü"},
        "ServerApp": {"password": OLD, "port": 1},
        "NotebookApp": {"password": OLD},
        "IdentityProvider": {"hashed_password": OLD, "token": ""},
        "a": [1, null],
    }));
    assert_eq!(home.outcome(&forced()), Outcome::Changed);
    let now = home.json();
    let hash = now["IdentityProvider"]["hashed_password"].as_str().unwrap();
    assert!(hash::verify(hash, &secret("new")));
    assert_eq!(
        now,
        json!({
            "z": {"big": 1.0, "text": "ü"},
            "ServerApp": {"port": 1},
            "IdentityProvider": {"hashed_password": hash, "token": ""},
            "a": [1, null],
        })
    );
    let order: Vec<&String> = now.as_object().unwrap().keys().collect();
    assert_eq!(order[..3], ["z", "ServerApp", "IdentityProvider"]);
    let text = std::fs::read_to_string(home.own()).unwrap();
    assert!(text.contains("\n  \"z\": {\n    \"big\": 1.0,"), "{text}");
}

#[test]
fn numbers_keep_every_digit() {
    let home = Home::new();
    let content = r#"{"x": {"n": 123456789012345678901234567890, "f": 1.10, "e": 1e400}}"#;
    home.put("home/.jupyter/jupyter_server_config.json", content);
    assert_eq!(home.outcome(&forced()), Outcome::Changed);
    let text = std::fs::read_to_string(home.own()).unwrap();
    for number in ["123456789012345678901234567890", "1.10", "1e+400"] {
        assert!(text.contains(number), "{text}");
    }
}

#[test]
fn a_hash_that_does_already_is_never_written_again() {
    for content in [
        provider(&legacy("new")),
        json!({"IdentityProvider": {"hashed_password": legacy("new")}}),
        json!({"ServerApp": {"password": legacy("new")}}),
    ] {
        let home = Home::new();
        home.put_own(&content);
        assert_eq!(home.outcome(&forced()), Outcome::Unchanged, "{content}");
        assert_eq!(home.json(), content);
    }
    let home = Home::new();
    home.put_own(&provider(&legacy("new")));
    let hash = Wanted::ForcedHash(legacy("new"));
    assert_eq!(home.outcome(&hash), Outcome::Unchanged);
    let hash = Wanted::ForcedHash(legacy("other"));
    assert_eq!(home.outcome(&hash), Outcome::Changed);
    let base = json!({"IdentityProvider": {"hashed_password": legacy("other")}});
    assert_eq!(home.json(), base);
    // A file that may set another password requires the stronger key, with the same hash.
    home.put(
        "home/.jupyter/jupyter_server_config.py",
        "load_subconfig('y.py')\n",
    );
    let outcome = home.outcome(&Wanted::Forced(secret("other")));
    assert_eq!(outcome, Outcome::Changed);
    let all = home.json();
    assert_eq!(all["IdentityProvider"], base["IdentityProvider"]);
    assert_eq!(all["PasswordIdentityProvider"], base["IdentityProvider"]);
}

/// A command, such as a shell script, may start another server than the one that is expected.
#[test]
fn a_forced_password_beats_that_of_another_servers_file() {
    let home = Home::new();
    home.put(
        "home/.jupyter/jupyter_notebook_config.json",
        r#"{"NotebookApp": {"password": "x"}}"#,
    );
    assert_eq!(home.outcome(&forced()), Outcome::Changed);
    let strongest = &home.json()["PasswordIdentityProvider"]["hashed_password"];
    assert!(hash::verify(strongest.as_str().unwrap(), &secret("new")));
}

#[test]
fn where_another_directory_wins_the_server_is_told_to_read_the_users_first() {
    let shadow = provider(&legacy("stale")).to_string();

    let mut home = Home::new();
    home.put("venv/etc/jupyter/jupyter_server_config.json", &shadow);
    home.variables = vec![("JUPYTER_PREFER_ENV_PATH", "0".into())];
    assert_eq!(home.apply(&forced()).unwrap().variable, None, "HOME wins");

    // Jupyter's own idea of the venv's owner may be another one.
    home.variables.clear();
    let user = home.at("home/.jupyter");
    for owns_venv in [false, true, true] {
        home.owns_venv = owns_venv;
        let applied = home.apply(&forced()).unwrap();
        let expected = ("JUPYTER_CONFIG_PATH", user.clone().into_os_string());
        assert_eq!(applied.variable, Some(expected));
        assert_eq!(
            applied.outcome,
            Outcome::Unchanged,
            "written the first time"
        );
    }

    let mut home = Home::new();
    home.put("a/jupyter_server_config.py", "c.ServerApp.password = 'x'");
    home.variables = vec![("JUPYTER_CONFIG_PATH", home.at("a").display().to_string())];
    let applied = home.apply(&forced()).unwrap();
    let expected = format!(
        "{}:{}",
        home.at("home/.jupyter").display(),
        home.at("a").display()
    );
    assert_eq!(
        applied.variable,
        Some(("JUPYTER_CONFIG_PATH", expected.into()))
    );
    let judged = check_password(&home.place(), &secret("new"));
    assert_eq!(judged, Ok(true), "a hash of the class that wins over all");
}

/// Nothing is told of a file that cannot beat the user's own, whoever owns the venv.
#[test]
fn a_file_that_never_wins_needs_no_variable() {
    let shadow = provider(&legacy("stale")).to_string();
    for name in ["jupyter_config", "jupyter_lab_config"] {
        let home = Home::new();
        home.put(&format!("venv/etc/jupyter/{name}.json"), &shadow);
        assert_eq!(home.apply(&forced()).unwrap().variable, None, "{name}");
        assert_eq!(home.outcome(&forced()), Outcome::Unchanged, "{name}");
    }
    // The variable that an earlier change needed puts the user's directory first already.
    let mut home = Home::new();
    home.put("venv/etc/jupyter/jupyter_server_config.json", &shadow);
    let user = home.at("home/.jupyter").display().to_string();
    home.variables = vec![("JUPYTER_CONFIG_PATH", user)];
    for owns_venv in [false, true] {
        home.owns_venv = owns_venv;
        assert_eq!(home.apply(&forced()).unwrap().variable, None);
    }
    // A venv that the variable names before it wins all the same.
    let paths = [home.at("venv/etc/jupyter"), home.at("home/.jupyter")];
    let paths = std::env::join_paths(paths).unwrap().into_string().unwrap();
    home.variables = vec![("JUPYTER_CONFIG_PATH", paths)];
    assert!(home.apply(&forced()).unwrap().variable.is_some());
}

#[test]
fn the_directory_is_the_one_that_jupyter_uses() {
    let mut home = Home::new();
    let file = |home: &Home| home.place().file();
    assert_eq!(file(&home), home.own());
    home.variables = vec![("JUPYTER_PLATFORM_DIRS", "1".into())];
    assert_eq!(
        file(&home),
        home.at("home/.config/jupyter/jupyter_server_config.json")
    );
    home.variables = vec![("JUPYTER_CONFIG_DIR", "/c".into())];
    assert_eq!(file(&home), Path::new("/c/jupyter_server_config.json"));
    // The server works in the notebooks directory.
    home.variables = vec![("JUPYTER_CONFIG_DIR", "c".into())];
    let below = home.at("notebooks/c/jupyter_server_config.json");
    assert_eq!(file(&home), below);
    home.variables = vec![("JUPYTER_NO_CONFIG", "0".into())];
    assert!(matches!(
        home.apply(&forced()),
        Err(PasswordError::NoConfig)
    ));
    assert!(matches!(home.outcome(&default()), Outcome::NotSet(_)));
}

#[test]
fn a_password_on_the_command_line_is_the_users_word_and_is_judged() {
    let mut home = Home::new();
    let hash = format!("--ServerApp.password={}", legacy("mine"));
    home.line = vec!["jupyter-lab", Box::leak(hash.into_boxed_str())];
    assert_eq!(home.outcome(&default()), Outcome::Unchanged);
    assert!(!home.own().exists());
    assert_eq!(check_password(&home.place(), &secret("mine")), Ok(true));
    assert_eq!(check_password(&home.place(), &secret("ailab")), Ok(false));
    // It beats the base class, and loses against the class that beats all others.
    home.put_own(&json!({"IdentityProvider": {"hashed_password": legacy("ailab")}}));
    assert_eq!(check_password(&home.place(), &secret("ailab")), Ok(false));
    home.put_own(&provider(&legacy("file")));
    assert_eq!(check_password(&home.place(), &secret("file")), Ok(true));
}

#[test]
fn a_file_on_the_command_line_takes_the_place_of_all_others_of_its_name() {
    let mut home = Home::new();
    home.put(
        "x.py",
        &format!("c.ServerApp.password = '{}'", legacy("mine")),
    );
    home.put_own(&provider(&legacy("own")));
    let file = format!("--config={}", home.at("x.py").display());
    home.line = vec![Box::leak(file.into_boxed_str())];
    assert_eq!(check_password(&home.place(), &secret("mine")), Ok(true));
    assert_eq!(check_password(&home.place(), &secret("own")), Ok(false));
    std::fs::remove_file(home.own()).unwrap();
    home.put("x.py", "");
    assert_eq!(home.outcome(&default()), Outcome::Unchanged);
    assert!(!home.own().exists());
}

#[test]
fn what_python_says_counts_where_it_names_a_password_and_is_not_beaten() {
    let home = Home::new();
    let venv = "venv/etc/jupyter/jupyter_server_config.py";
    home.put(venv, "c.ServerApp.password_required = True\n");
    assert_eq!(home.outcome(&default()), Outcome::Changed);
    // The user's own file beats the file of a venv that is not the user's.
    home.put(venv, "c.ServerApp.password = 'sha1:x:y'\n");
    assert!(
        is_effective(&home.place(), &secret("ailab"))
            == home.json().get("PasswordIdentityProvider").is_some()
    );
    assert_eq!(home.outcome(&forced()), Outcome::Changed);
    assert!(is_effective(&home.place(), &secret("new")));
    home.put(
        "home/.jupyter/jupyter_lab_config.py",
        "c.ServerApp.password = ''\n",
    );
    assert!(is_effective(&home.place(), &secret("new")), "it wins");
}

#[test]
fn broken_files_are_told_with_their_place_and_never_overwritten() {
    for (content, place) in [
        ("{\n  \"a\": tru,\n}", "line 2, column 11"),
        ("[1]", "the content must be an object"),
        (
            r#"{"PasswordIdentityProvider": 1, "IdentityProvider": 1}"#,
            "must be an object",
        ),
    ] {
        let home = Home::new();
        home.put("home/.jupyter/jupyter_server_config.json", content);
        for wanted in [default(), forced()] {
            let error = home.apply(&wanted).unwrap_err().to_string();
            assert!(error.contains(place), "{content}: {error}");
            assert!(
                error.contains("home/.jupyter/jupyter_server_config.json"),
                "{error}"
            );
        }
        assert_eq!(std::fs::read_to_string(home.own()).unwrap(), content);
    }
}

#[test]
fn a_blank_file_is_written_again() {
    for (wanted, text) in [(default(), "ailab"), (forced(), "new")] {
        let home = Home::new();
        home.put("home/.jupyter/jupyter_server_config.json", " \n");
        assert_eq!(home.outcome(&wanted), Outcome::Changed);
        assert!(is_effective(&home.place(), &secret(text)));
    }
}

#[test]
fn a_link_in_place_of_the_file_is_read_and_never_replaced() {
    let home = Home::new();
    home.put("elsewhere.json", &provider(&legacy("new")).to_string());
    std::fs::create_dir_all(home.at("home/.jupyter")).unwrap();
    std::os::unix::fs::symlink(home.at("elsewhere.json"), home.own()).unwrap();
    assert_eq!(home.outcome(&forced()), Outcome::Unchanged);
    let other = Wanted::Forced(secret("other"));
    assert!(matches!(home.apply(&other), Err(PasswordError::Link(_))));
    home.put("elsewhere.json", "{}");
    assert!(matches!(home.outcome(&default()), Outcome::NotSet(_)));
    assert_eq!(
        std::fs::read_to_string(home.at("elsewhere.json")).unwrap(),
        "{}"
    );
}

#[test]
fn where_nothing_can_be_written_a_default_is_a_degradation_and_a_forced_one_an_error() {
    let home = Home::new();
    // Root ignores modes, but cannot make a file inside a file.
    std::fs::create_dir_all(home.at("home")).unwrap();
    std::fs::write(home.at("home/.jupyter"), "").unwrap();
    assert!(matches!(
        home.apply(&forced()),
        Err(PasswordError::File { .. })
    ));
    let mut home = Home::new();
    home.variables = vec![("JUPYTER_CONFIG_DIR", "/proc/self/no".into())];
    assert!(matches!(
        home.apply(&forced()),
        Err(PasswordError::File { .. })
    ));
    assert!(matches!(home.outcome(&default()), Outcome::NotSet(_)));
}

#[test]
fn nothing_is_left_beside_the_file() {
    let home = Home::new();
    assert_eq!(home.outcome(&forced()), Outcome::Changed);
    let directory = std::fs::read_dir(home.at("home/.jupyter")).unwrap();
    let names: Vec<_> = directory.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["jupyter_server_config.json"]);
}

/// The FIFO has no writer, and the other file is too long to read to its end.
#[test]
fn what_is_no_file_of_a_sensible_length_is_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    let long = directory.path().join("long");
    std::fs::File::create(&long)
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    for (path, problem) in [(fifo, "not a regular file"), (long, "longer than 4 MiB")] {
        let error = Document::read(&path).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
        assert!(crate::jupyter_config::config_files::contents(&path).is_err());
    }
}

/// traitlets prefers a section inside its parent's section.
#[test]
fn a_hash_inside_of_the_servers_section_is_beaten() {
    let home = Home::new();
    home.put(
        "venv/etc/jupyter/jupyter_server_config.json",
        r#"{"ServerApp": {"PasswordIdentityProvider": {"hashed_password": "x"}}}"#,
    );
    assert_eq!(home.outcome(&forced()), Outcome::Changed);
    assert!(is_effective(&home.place(), &secret("new")));
    assert_eq!(home.outcome(&forced()), Outcome::Unchanged);
}

#[test]
fn another_way_in_is_nothing_that_a_hash_can_be_judged_by() {
    let home = Home::new();
    home.put_own(&provider(&legacy("mine")));
    home.put(
        "venv/etc/jupyter/jupyter_config.json",
        r#"{"ServerApp": {"identity_provider_class": "x"}}"#,
    );
    let why = check_password(&home.place(), &secret("mine")).unwrap_err();
    assert!(
        why.contains("ServerApp.identity_provider_class in "),
        "{why}"
    );
}
