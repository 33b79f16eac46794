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
