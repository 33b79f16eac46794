#![allow(clippy::unwrap_used)]

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::jupyter_config::location::ConfigInputs;

const OLD: &str = "sha1:salt:0000000000000000000000000000000000000000";

/// Returns a hash that takes no time to verify.
fn legacy(text: &str) -> String {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(text);
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256::{hex}")
}

struct Home {
    directory: tempfile::TempDir,
    variables: Vec<(&'static str, String)>,
    owns_venv: bool,
    line: Vec<&'static str>,
}

impl Home {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            variables: Vec::new(),
            owns_venv: false,
            line: Vec::new(),
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn own(&self) -> PathBuf {
        self.at("home/.jupyter/jupyter_server_config.json")
    }

    fn put(&self, name: &str, content: &str) {
        let path = self.at(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn put_own(&self, content: &Value) {
        let name = "home/.jupyter/jupyter_server_config.json";
        self.put(name, &content.to_string());
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.own()).unwrap()).unwrap()
    }

    fn place(&self) -> ConfigLocation {
        ConfigLocation::resolve(&ConfigInputs {
            own_config_name: crate::jupyter_config::location::LAB_CONFIG_NAME.into(),
            environment: &|name| {
                let found = self.variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| value.into())
            },
            home: &self.at("home"),
            venv: Some(&self.at("venv")),
            owns_venv: self.owns_venv,
            working_dir: None,
            line: crate::jupyter_config::CommandLine::of(self.line.iter().map(OsStr::new)),
            password_dir: None,
        })
    }

    fn apply(&self, wanted: &Wanted) -> Result<Applied, PasswordError> {
        apply(&Dropped::for_tests(), &self.place(), wanted)
    }

    fn outcome(&self, wanted: &Wanted) -> Outcome {
        self.apply(wanted).unwrap().outcome
    }
}

fn secret(text: &str) -> Secret {
    Secret::new(text.into())
}

fn default() -> Wanted {
    Wanted::Default(secret("ailab"))
}

fn forced() -> Wanted {
    Wanted::Forced(secret("new"))
}

fn provider(hash: &str) -> Value {
    json!({"PasswordIdentityProvider": {"hashed_password": hash}})
}

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
    let hash = now["PasswordIdentityProvider"]["hashed_password"]
        .as_str()
        .unwrap();
    assert!(hash::verify(hash, &secret("new")));
    assert_eq!(
        now,
        json!({
            "z": {"big": 1.0, "text": "ü"},
            "ServerApp": {"port": 1},
            "IdentityProvider": {"hashed_password": hash, "token": ""},
            "a": [1, null],
            "PasswordIdentityProvider": {"hashed_password": hash},
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
    assert_eq!(
        home.json()["PasswordIdentityProvider"]["hashed_password"],
        legacy("other")
    );
}

#[test]
fn where_another_directory_wins_the_server_is_told_to_read_the_users_first() {
    let shadow = provider(&legacy("stale")).to_string();

    let mut home = Home::new();
    home.put("venv/etc/jupyter/jupyter_server_config.json", &shadow);
    assert_eq!(home.apply(&forced()).unwrap().variable, None, "HOME wins");

    home.owns_venv = true;
    let user = home.at("home/.jupyter");
    for _ in 0..2 {
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
        ("", "line 1, column 1"),
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
fn what_is_left_of_a_file_where_the_power_failed_is_written_again() {
    for (wanted, text) in [(default(), "ailab"), (forced(), "new")] {
        let home = Home::new();
        home.put("home/.jupyter/jupyter_server_config.json", "");
        let permissions = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(home.own(), permissions).unwrap();
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
        assert!(crate::jupyter_config::location::contents(&path).is_err());
    }
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
    for directory in [
        "home/.jupyter",
        "home/.local/etc/jupyter",
        "venv/etc/jupyter",
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

/// Neither password nor token: everybody could come in, and nobody asked for that.
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

/// A file that Jupyter does not read keeps nobody out.
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
