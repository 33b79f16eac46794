//! An empty token, beside which a server without a password has no login at all.
#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::*;
use crate::password::is_effective;
use crate::password::testing::{Home, default, legacy, secret};

/// Only an empty token together with an empty password turns authentication off.
#[test]
fn an_empty_token_alone_does_not_turn_the_default_off() {
    let home = Home::new();
    let file = "home/.jupyter/jupyter_server_config.py";
    home.put(file, "c.IdentityProvider.token = ''\n");
    let applied = home.apply(&default()).unwrap();
    assert_eq!(applied.outcome, Outcome::Changed);
    assert!(applied.note.unwrap().contains("IdentityProvider.token in "));
    assert!(is_effective(&home.place(), &secret("ailab")));

    home.put(
        file,
        "c.NotebookApp.token = ''\nc.NotebookApp.password = ''\n",
    );
    let Outcome::NotSet(told) = home.outcome(&default()) else {
        panic!("it is as they say");
    };
    assert!(
        told.to_string().contains("authentication is turned off"),
        "{told}"
    );
    assert!(!home.own().exists() || home.json().get("IdentityProvider").is_none());

    let home = Home::new();
    home.put(file, "c.ServerApp.password = ''\n");
    assert_eq!(
        home.outcome(&default()),
        Outcome::Unchanged,
        "no password is wanted"
    );
}

/// Jupyter takes the whole of an empty file for a token.
#[test]
fn a_token_in_a_file_counts_if_the_file_is_not_empty() {
    let mut home = Home::new();
    let file = home.at("token").display().to_string();
    home.variables = vec![("JUPYTER_TOKEN_FILE", file)];
    for (token, outcome) in [("x", Outcome::Unchanged), ("", Outcome::Changed)] {
        home.put("token", token);
        assert_eq!(home.outcome(&default()), outcome, "{token}");
    }
    let applied = home.apply(&default()).unwrap();
    assert_eq!(applied.outcome, Outcome::Unchanged, "it is set already");
}

#[test]
fn an_empty_value_in_a_file_that_is_not_read_turns_nothing_off() {
    let mut home = Home::new();
    home.put(
        "home/.jupyter/jupyter_notebook_config.py",
        "c.NotebookApp.token = ''\nc.NotebookApp.password = ''\n",
    );
    home.line = vec!["--IdentityProvider.token="];
    assert_eq!(home.outcome(&default()), Outcome::Changed);
    assert!(is_effective(&home.place(), &secret("ailab")));
}

/// Without a token the door would be open if there is no login after all.
#[test]
fn an_empty_token_beside_what_may_be_a_login_ends_the_start() {
    let line = vec!["jupyter-lab", "--IdentityProvider.token="];
    let token = ("JUPYTER_TOKEN", "x".to_owned());
    for (line, variables, file, content, cause) in [
        (
            line.clone(),
            vec![],
            "jupyter_lab_config.py",
            "load_subconfig('y.py')\n",
            "jupyter_lab_config.py:1 (`load_subconfig`) may configure a login",
        ),
        (
            vec![],
            vec![],
            "jupyter_server_config.py",
            "import mine\nc.ServerApp.token = ''\n",
            "(`import` of `mine`) may configure a login",
        ),
        (
            line.clone(),
            vec![],
            "jupyter_notebook_config.json",
            r#"{"NotebookApp": {"password": "x"}}"#,
            "jupyter_notebook_config.json rules it out",
        ),
        (
            line.clone(),
            vec![token],
            "x",
            "",
            "JUPYTER_TOKEN rules it out",
        ),
    ] {
        let mut home = Home::new();
        home.put(&format!("home/.jupyter/{file}"), content);
        (home.line, home.variables) = (line, variables);
        let error = home.apply(&default()).unwrap_err().to_string();
        assert!(error.contains("would need no login"), "{error}");
        assert!(
            error.contains("token in ") && error.contains(cause),
            "{error}"
        );
        // A default of an earlier start closes no door, and a person's password does.
        home.put_own(&json!({"IdentityProvider": {"hashed_password": legacy("ailab")}}));
        assert!(home.apply(&default()).is_err(), "{file}");
        home.put_own(&json!({"IdentityProvider": {"hashed_password": legacy("mine")}}));
        assert_eq!(home.outcome(&default()), Outcome::Unchanged, "{file}");
    }
    let home = Home::new();
    home.put(
        "home/.jupyter/jupyter_server_config.py",
        "import mine\nc.ServerApp.token = ''\nc.ServerApp.password = ''\n",
    );
    let Outcome::NotSet(told) = home.outcome(&default()) else {
        panic!("both are empty, whatever the import does");
    };
    let told = told.to_string();
    assert!(told.contains("authentication is turned off"), "{told}");
}

/// The server would have neither password nor token, and no setting asks for that.
#[test]
fn a_default_that_cannot_be_set_beside_an_empty_token_ends_the_start() {
    let mut home = Home::new();
    let text = json!({"IdentityProvider": {"token": ""}}).to_string();
    home.put("elsewhere", &text);
    std::fs::create_dir_all(home.own().parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(home.at("elsewhere"), home.own()).unwrap();
    let error = home.apply(&default()).unwrap_err().to_string();
    assert!(error.contains("IdentityProvider.token in "), "{error}");
    assert!(error.contains("is a symbolic link"), "{error}");

    // Jupyter reads no file, and makes no token either.
    home = Home::new();
    home.variables = vec![("JUPYTER_NO_CONFIG", "1".into())];
    home.line = vec!["jupyter-lab", "--IdentityProvider.token="];
    let error = home.apply(&default()).unwrap_err().to_string();
    assert!(error.contains("IdentityProvider.token"), "{error}");
    assert!(error.contains("JUPYTER_NO_CONFIG"), "{error}");
}

/// Jupyter does not read the file, so its password protects nothing.
#[test]
fn a_password_in_a_file_that_is_not_read_hides_no_open_door() {
    let mut home = Home::new();
    let hash = legacy("mine");
    home.put_own(&json!({"IdentityProvider": {"hashed_password": hash}}));
    home.variables = vec![("JUPYTER_NO_CONFIG", "1".into())];
    home.line = vec![
        "jupyter-lab",
        "--IdentityProvider.token=",
        "--ServerApp.password=",
    ];
    let Outcome::NotSet(told) = home.outcome(&default()) else {
        panic!("the door is open, and nobody is told");
    };
    assert!(
        told.to_string().contains("authentication is turned off"),
        "{told}"
    );
}

/// Another setting beats the hash, or Jupyter does not read its file: it protects nothing.
#[test]
fn a_persons_hash_that_is_not_effective_hides_no_open_door() {
    let provider =
        "c.PasswordIdentityProvider.hashed_password = ''\nc.IdentityProvider.token = ''\n";
    let old = "c.ServerApp.password = ''\nc.IdentityProvider.token = ''\n";
    let maybe_old = &format!("import mine\n{old}");
    let line = ["jupyter-lab", "--config", "/x.py"];
    for (file, content, on_the_line, open) in [
        ("home/.jupyter/jupyter_lab_config.py", provider, false, true),
        // The empty text is the default of the old trait.
        ("home/.jupyter/jupyter_lab_config.py", old, false, false),
        (
            "home/.jupyter/jupyter_lab_config.py",
            maybe_old,
            false,
            false,
        ),
        ("cfg.py", provider, true, true),
        ("cfg.py", old, true, true),
    ] {
        let mut home = Home::new();
        home.put_own(&json!({"IdentityProvider": {"hashed_password": legacy("mine")}}));
        home.put(file, content);
        let path = home.at(file).display().to_string();
        if on_the_line {
            home.line = vec![line[0], line[1], Box::leak(path.into_boxed_str())];
        }
        let outcome = home.outcome(&default());
        match outcome {
            Outcome::NotSet(told) if open => {
                let told = told.to_string();
                assert!(told.contains("authentication is turned off"), "{told}");
            }
            outcome => assert!(
                !open && outcome == Outcome::Unchanged,
                "{content}: {outcome:?}"
            ),
        }
        assert_eq!(
            home.place().read().is_login_off(),
            open,
            "{file}: {content}"
        );
    }
    // Only the token is known to be empty.
    let mut home = Home::new();
    home.put_own(&json!({"IdentityProvider": {"hashed_password": legacy("mine")}}));
    home.put("cfg.py", "c.IdentityProvider.token = ''\n");
    let path = home.at("cfg.py").display().to_string();
    home.line = vec!["jupyter-lab", "--config", Box::leak(path.into_boxed_str())];
    let error = home.apply(&default()).unwrap_err().to_string();
    assert!(error.contains("would need no login"), "{error}");
}

/// A trait such as `GitHubConfig.access_token` has nothing to do with Jupyter's own login.
#[test]
fn an_empty_token_of_something_else_turns_nothing_off() {
    let file = "home/.jupyter/jupyter_server_config.py";
    let other = "c.GitHubConfig.access_token = ''\n";
    let mut home = Home::new();
    home.put(file, other);
    let applied = home.apply(&default()).unwrap();
    assert_eq!((applied.outcome, applied.note), (Outcome::Changed, None));
    assert!(is_effective(&home.place(), &secret("ailab")));

    home.put(file, &format!("{other}c.ServerApp.password = ''\n"));
    assert_eq!(home.outcome(&default()), Outcome::Unchanged);

    home.put(file, &format!("{other}load_subconfig('y.py')\n"));
    let Outcome::NotSet(told) = home.outcome(&default()) else {
        panic!("the other file may configure a login");
    };
    assert!(told.to_string().contains("cannot be evaluated"), "{told}");

    home.put(file, other);
    home.variables = vec![("JUPYTER_TOKEN", "x".into())];
    let note = home.apply(&default()).unwrap().note.unwrap();
    assert!(note.ends_with("JUPYTER_TOKEN"), "{note}");
    assert!(!home.place().read().replaces_token());
}
