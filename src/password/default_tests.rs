#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::password::testing::{Home, default, legacy, provider, secret};
use crate::password::{Wanted, is_effective};

#[test]
fn the_default_is_set_where_none_is_and_can_still_be_changed_by_jupyter() {
    let home = Home::new();
    assert_eq!(home.outcome(&default()), Outcome::Changed);
    assert!(is_effective(&home.place(), &secret("ailab")));
    assert!(!is_effective(&home.place(), &secret("new")));
    // `jupyter server password` writes only this key.
    let keys = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(keys(&home.json()), ["IdentityProvider"]);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&home.own()), 0o600);
    assert_eq!(mode(home.own().parent().unwrap()), 0o700);

    let before = std::fs::read(home.own()).unwrap();
    assert_eq!(home.outcome(&default()), Outcome::Unchanged);
    assert_eq!(std::fs::read(home.own()).unwrap(), before);
}

#[test]
fn the_default_leaves_every_kind_of_configured_password() {
    for content in [
        provider("x"),
        provider(""),
        json!({"IdentityProvider": {"hashed_password": "x"}}),
        json!({"ServerApp": {"password": "x"}}),
        json!({"NotebookApp": {"password": "x"}}),
    ] {
        for file in [
            "home/.jupyter/jupyter_server_config.json",
            "home/.jupyter/jupyter_lab_config.json",
            "venv/etc/jupyter/jupyter_server_config.json",
        ] {
            let home = Home::new();
            home.put(file, &content.to_string());
            assert_eq!(
                home.outcome(&default()),
                Outcome::Unchanged,
                "{file} {content}"
            );
            let now: Value =
                serde_json::from_slice(&std::fs::read(home.at(file)).unwrap()).unwrap();
            assert_eq!(now, content, "{file}");
        }
    }
    let home = Home::new();
    home.put(
        "home/.jupyter/jupyter_server_config.py",
        "# c.ServerApp.password = ''\nc.PasswordIdentityProvider.hashed_password = 'x'\n",
    );
    assert_eq!(home.outcome(&default()), Outcome::Unchanged);
    assert!(!home.own().exists());
    home.put(
        "home/.jupyter/jupyter_server_config.py",
        "# c.ServerApp.password = ''\n",
    );
    assert_eq!(home.outcome(&default()), Outcome::Changed);
}

/// Each of these settings prevents the default, in whichever file it is.
#[test]
fn the_default_is_set_nowhere_beside_a_password_a_token_or_another_way_in() {
    let contents = [
        ("json", r#"{"ServerApp": {"token": "x"}}"#),
        (
            "json",
            r#"{"ServerApp": {"PasswordIdentityProvider": {"hashed_password": "x"}}}"#,
        ),
        ("json", r#"{"JupyterApp": {"password": "x"}}"#),
        (
            "json",
            r#"{"ServerApp": {"identity_provider_class": "my.Provider"}}"#,
        ),
        (
            "json",
            r#"{"NotebookApp": {"login_handler_class": "my.Handler"}}"#,
        ),
        ("json", r#"{"IdentityProvider": {"token": null}}"#),
        ("py", "c.IdentityProvider.token = 'x'"),
        ("py", "import os\nc.ServerApp.token = os.environ['X']"),
        ("py", "c.ServerApp.identity_provider_class = 'my.Provider'"),
        (
            "py",
            "c.ServerApp.PasswordIdentityProvider.hashed_password = 'x'",
        ),
        ("py", "c['ServerApp']['password'] = 'x'"),
        ("py", "c.ServerApp.update({'password': 'x'})"),
        ("py", "c.JupyterHubSingleUser.hub_auth_class = 'x'"),
    ];
    let names = [
        "jupyter_config",
        "jupyter_server_config",
        "jupyter_lab_config",
        "jupyter_notebook_config",
    ];
    let mut home = Home::new();
    home.variables = vec![("JUPYTER_CONFIG_PATH", home.at("path").display().to_string())];
    home.prefix = Some("conda");
    for directory in [
        "home/.jupyter",
        "home/.local/etc/jupyter",
        "venv/etc/jupyter",
        "conda/etc/jupyter",
        "path",
    ] {
        for name in names {
            for (extension, content) in contents {
                let file = format!("{directory}/{name}.{extension}");
                if home.at(&file) == home.own() {
                    continue; // another test's
                }
                home.put(&file, content);
                let applied = home.apply(&default()).unwrap();
                assert_eq!(applied.outcome, Outcome::Unchanged, "{file}: {content}");
                assert!(applied.note.unwrap().contains(&file), "{content}");
                assert!(!home.own().exists(), "{file}: {content}");
                std::fs::remove_file(home.at(&file)).unwrap();
            }
        }
        let file = format!("{directory}/jupyter_server_config.d/x.json");
        home.put(&file, r#"{"ServerApp": {"password": "x"}}"#);
        assert_eq!(home.outcome(&default()), Outcome::Unchanged, "{file}");
        std::fs::remove_file(home.at(&file)).unwrap();
    }
    for line in [
        "--IdentityProvider.token=x",
        "--ServerApp.identity_provider_class=x",
    ] {
        home.line = vec![line];
        assert_eq!(home.outcome(&default()), Outcome::Unchanged, "{line}");
    }
    home.line = vec![];
    for token in ["JUPYTER_TOKEN", "JUPYTERHUB_API_TOKEN"] {
        home.variables = vec![(token, "x".into())];
        let note = home.apply(&default()).unwrap().note.unwrap();
        assert!(note.ends_with(token), "{note}");
    }
}

#[test]
fn what_cannot_be_judged_closes_the_door_and_is_told_with_its_line() {
    let made_of = |home: &Home| match home.outcome(&default()) {
        Outcome::NotSet(degradation) => degradation.to_string(),
        other => panic!("{other:?}"),
    };
    let home = Home::new();
    home.put(
        "home/.jupyter/jupyter_lab_config.py",
        "x = 1\nload_subconfig('y.py')\n",
    );
    let told = made_of(&home);
    assert!(
        told.contains("jupyter_lab_config.py:2 (`load_subconfig`)"),
        "{told}"
    );
    assert!(told.contains("JUPYTER_PASSWORD="), "{told}");
    std::fs::remove_file(home.at("home/.jupyter/jupyter_lab_config.py")).unwrap();

    for (name, content) in [
        ("jupyter_config.json", "{"),
        ("jupyter_lab_config.json", r#"{"a": NaN}"#),
    ] {
        let file = format!("venv/etc/jupyter/{name}");
        home.put(&file, content);
        let told = made_of(&home);
        assert!(
            told.contains(name) && told.contains("not valid JSON"),
            "{told}"
        );
        std::fs::remove_file(home.at(&file)).unwrap();
    }
    let long = std::fs::File::create(home.at("venv/etc/jupyter/jupyter_config.py")).unwrap();
    long.set_len(1 << 40).unwrap();
    assert!(made_of(&home).contains("longer than 4 MiB"));
    assert!(!home.own().exists());
}

/// Docker creates a directory if a file to mount is missing on the host.
#[test]
fn what_is_no_regular_file_keeps_the_default_away() {
    use std::os::unix::fs::symlink;
    let place = "home/.jupyter/jupyter_config.py";
    let obstacles: [fn(&Path); 3] = [
        |path| std::fs::create_dir(path).unwrap(),
        |path| nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap(),
        |path| symlink("/nowhere", path).unwrap(),
    ];
    for make in obstacles {
        let home = Home::new();
        std::fs::create_dir_all(home.at("home/.jupyter")).unwrap();
        make(&home.at(place));
        assert!(matches!(home.outcome(&default()), Outcome::NotSet(_)));
        assert!(!home.own().exists());
    }
}

/// A default that an earlier start set, this one or the image's, is not a person's choice.
#[test]
fn a_default_of_an_earlier_start_makes_room() {
    let home = Home::new();
    assert_eq!(home.outcome(&default()), Outcome::Changed);
    let other = Wanted::Default(secret("another"));
    assert_eq!(home.outcome(&other), Outcome::Changed);
    assert!(is_effective(&home.place(), &secret("another")));

    let home = Home::new();
    assert_eq!(home.outcome(&default()), Outcome::Changed);
    let none = Wanted::RemoveDefault(secret("another"));
    assert_eq!(home.outcome(&none), Outcome::Unchanged);
    assert!(!is_effective(&home.place(), &secret("ailab")));
}

#[test]
fn many_small_files_are_not_all_read() {
    use std::os::unix::fs::symlink;
    let home = Home::new();
    for number in 0..MANY {
        home.put(&format!("home/.jupyter/d/{number}.json"), "");
        let link = home.at(&format!("home/.jupyter/jupyter{number}_config.d"));
        symlink("d", link).unwrap();
    }
    assert!(matches!(home.outcome(&default()), Outcome::NotSet(_)));
}

/// The number of links times the number of files exceeds the limit for all `*_config.d`.
const MANY: usize = 100;

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

#[test]
fn a_default_of_an_earlier_start_goes_when_something_else_is_configured() {
    let home = Home::new();
    assert_eq!(home.outcome(&default()), Outcome::Changed);
    home.put(
        "home/.jupyter/jupyter_server_config.py",
        "c.IdentityProvider.token = 'x'",
    );
    assert_eq!(home.outcome(&default()), Outcome::Unchanged);
    assert_eq!(home.json(), json!({}));

    // A password that a person set stays.
    let own = json!({"IdentityProvider": {"hashed_password": legacy("mine")}});
    home.put_own(&own);
    assert_eq!(home.outcome(&default()), Outcome::Unchanged);
    assert_eq!(home.json(), own);
}
