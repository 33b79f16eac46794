#![allow(clippy::unwrap_used)]

use super::*;
use crate::settings::LogFormat;

fn flags(list: &[(Key, &str)]) -> CliSettings {
    CliSettings {
        flags: list
            .iter()
            .map(|(key, text)| (*key, RawValue::Text((*text).into())))
            .collect(),
        ..CliSettings::default()
    }
}

fn load_with(typed: &CliSettings, environment: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
    let find = |name: &str| {
        environment
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| OsString::from(value))
    };
    let loaded = read(typed, &find, false).finish();
    loaded.map_err(|e| e.0.iter().map(ToString::to_string).collect())
}

fn written_file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

#[test]
fn flags_beat_the_environment_which_beats_the_file_which_beats_the_default() {
    let file =
        written_file("[server]\nport = 1\nstop_timeout = 1\n[notebooks]\ndirectory = '/file'");
    let config = Some(file.path().to_owned());
    let environment = [
        ("JUPYTER_PORT", "2"),
        ("NOTEBOOKS", "/env"),
        ("NOTEBOOK_DEFAULTS", ""),
    ];
    let mut typed = flags(&[(Key::Port, "3"), (Key::User, "jupyter")]);
    typed.config = config;
    let settings = load_with(&typed, &environment).unwrap();
    assert_eq!(settings.server.port, Some(3));
    assert_eq!(settings.origin(Key::Port), Origin::Flag("port"));
    assert_eq!(settings.notebooks.directory, Some("/env".into()));
    assert_eq!(
        settings.origin(Key::Notebooks),
        Origin::Environment("NOTEBOOKS")
    );
    assert_eq!(
        settings.notebooks.defaults, None,
        "an empty variable counts as unset"
    );
    assert_eq!(settings.server.stop_timeout, Duration::from_secs(1));
    assert_eq!(settings.server.drain_timeout, Duration::from_millis(1500));
    assert_eq!(settings.origin(Key::DrainTimeout), Origin::Default);
}

#[test]
fn kubernetes_service_variables_are_not_a_port() {
    let settings = load_with(&flags(&[]), &[("JUPYTER_PORT", "tcp://10.0.0.1:80")]).unwrap();
    assert_eq!(settings.server.port, None);
}

#[test]
fn no_user_or_root_selects_the_old_layout() {
    for typed in [
        flags(&[]),
        flags(&[(Key::User, "root")]),
        flags(&[(Key::User, "0")]),
    ] {
        let settings = load_with(&typed, &[]).unwrap();
        assert!(settings.user.is_none());
        assert_eq!(settings.notebooks.directory, Some("/root/notebooks".into()));
    }
    let settings = load_with(&flags(&[(Key::User, "jupyter")]), &[]).unwrap();
    assert_eq!(settings.notebooks.directory, None);
}

#[test]
fn every_wrong_value_is_told_with_origin_problem_and_remedy() {
    let errors = load_with(
        &flags(&[(Key::StopTimeout, "-1"), (Key::User, "")]),
        &[
            ("JUPYTER_PORT", "0"),
            ("AI_LAB_VOLUME_OWNER", "chwon"),
            ("NOTEBOOKS", "work"),
        ],
    )
    .unwrap_err();
    let expected = [
        "user.name (from --user): \"\" is empty; give a value or leave it out",
        "notebooks.directory (from environment variable NOTEBOOKS): \"work\" is not an absolute path; write it from the root, such as /work",
        "notebooks.owner (from environment variable AI_LAB_VOLUME_OWNER): \"chwon\" is not one of the choices; give one of auto, chown, adopt, keep (did you mean chown?)",
        "server.port (from environment variable JUPYTER_PORT): \"0\" is not a port; give a number from 1 to 65535",
        "server.stop_timeout (from --stop-timeout): \"-1\" is not a time in seconds; give a number from 0 to 86400, such as 7 or 1.5",
    ];
    for line in expected {
        assert!(
            errors.iter().any(|error| error == line),
            "{line}\nnot in {errors:#?}"
        );
    }
    assert_eq!(errors.len(), expected.len());
}

#[test]
fn a_relative_path_of_the_command_line_is_one_below_the_working_directory() {
    let here = std::env::current_dir().unwrap();
    let mut typed = flags(&[
        (Key::User, "jupyter"),
        (Key::Notebooks, "./work"),
        (Key::JupyterServer, "bin/jupyter-lab"),
    ]);
    typed
        .flags
        .insert(Key::GrantAccess, RawValue::List(vec!["dri".into()]));
    let settings = load_with(&typed, &[]).unwrap();
    assert_eq!(settings.notebooks.directory, Some(here.join("work")));
    let program = here.join("bin/jupyter-lab").display().to_string();
    assert_eq!(settings.server.program, Some(program));
    assert_eq!(settings.docker.grant_access, [here.join("dri")]);
    // A relative path in a file is an error: the file does not depend on the working directory.
    let text = "[server]\nprogram = 'bin/lab'\n[docker]\ngrant_access = ['dri']";
    let file = written_file(text);
    typed = flags(&[]);
    typed.config = Some(file.path().to_owned());
    let errors = load_with(&typed, &[]).unwrap_err();
    for problem in [
        "\"bin/lab\" is a relative path",
        "\"dri\" is not an absolute path",
    ] {
        assert!(
            errors.iter().any(|error| error.contains(problem)),
            "{errors:#?}"
        );
    }
    // A bare name is looked up in the venv.
    let typed = flags(&[(Key::JupyterServer, "jupyter-lab")]);
    let settings = load_with(&typed, &[]).unwrap();
    assert_eq!(settings.server.program.as_deref(), Some("jupyter-lab"));
}

#[test]
fn a_directory_that_the_image_names_twice_is_the_files() {
    let file = written_file("[notebooks]\ndirectory = '/same'\n[server]\nport = 1");
    let mut typed = flags(&[(Key::User, "jupyter")]);
    typed.config = Some(file.path().to_owned());
    let same = [("NOTEBOOKS", "/same"), ("JUPYTER_PORT", "1")];
    let settings = load_with(&typed, &same).unwrap();
    let origin = settings.origin(Key::Notebooks);
    assert!(matches!(origin, Origin::File { line: 2, .. }), "{origin}");
    // Only a person names this one.
    let chosen = Origin::Environment("JUPYTER_PORT");
    assert_eq!(settings.origin(Key::Port), chosen);
}

#[test]
fn the_file_the_environment_and_the_flags_are_told_together() {
    let file = written_file("typo = 1\n[log]\nformat = 'json'\n[server]\nport = 'x'");
    let mut typed = flags(&[(Key::Home, "")]);
    typed.config = Some(file.path().to_owned());
    let environment = |name: &str| (name == "NOTEBOOKS").then(|| "z".into());
    let mut draft = read(&typed, &environment, false);
    assert_eq!(draft.settings().log.format, LogFormat::Json);
    let later = SettingError::new("password", "there", "is wrong", "mend it");
    let later: Result<(), _> = Err(SettingsError(vec![later]));
    assert_eq!(draft.checked(later), None);
    assert_eq!(draft.checked(Ok(1)), Some(1));
    let wrong = draft.finish().unwrap_err().0;
    let names: Vec<&str> = wrong.iter().map(|wrong| wrong.setting.as_str()).collect();
    assert_eq!(
        names,
        [
            "server.port",
            "typo",
            "user.home",
            "notebooks.directory",
            "password"
        ]
    );
}

#[test]
fn every_built_in_default_passes_its_own_check() {
    for entry in TABLE {
        if let Some(default) = entry.default {
            assert_eq!(check(entry.kind, default), Ok(()), "{}", entry.flag);
        }
    }
}

#[test]
fn the_mode_of_notebooks_is_that_of_a_plain_file() {
    for (text, mode) in [("644", 0o644), ("0664", 0o664), ("600", 0o600)] {
        let settings = load_with(&flags(&[(Key::NotebookMode, text)]), &[]).unwrap();
        assert_eq!(settings.notebooks.mode, mode, "{text}");
    }
    for text in ["755", "444", "888", "1644", "rw", "-1"] {
        let errors = load_with(&flags(&[(Key::NotebookMode, text)]), &[]).unwrap_err();
        assert!(errors[0].contains("not a mode for notebooks"), "{errors:?}");
    }
}

#[test]
fn the_certificate_that_is_named_or_made_or_turned_off() {
    let named = |key: Option<&str>| Tls::Named {
        certificate: "/c".into(),
        key: key.map(PathBuf::from),
    };
    let file = "[server]\ntls = 'auto'\ntls_cert = '/c'\ntls_key = '/k'\n";
    let off = (Key::Tls, "off");
    let cert = (Key::TlsCert, "/c");
    for (text, environment, typed, expected) in [
        ("", "", &[][..], Tls::Off),
        ("", "yes", &[], Tls::Auto),
        ("", "whatever", &[], Tls::Auto),
        ("", "No", &[], Tls::Off),
        ("", "yes", &[off], Tls::Off),
        ("", "yes", &[cert], named(None)),
        ("", "no", &[cert], named(None)),
        ("", "", &[cert, off], Tls::Off),
        ("", "", &[cert, (Key::TlsKey, "/k")], named(Some("/k"))),
        (file, "", &[], named(Some("/k"))),
        (file, "yes", &[], named(Some("/k"))),
        (file, "no", &[], Tls::Off),
        (file, "", &[off], Tls::Off),
        ("[server]\ntls = 'off'", "", &[cert], named(None)),
        ("[server]\ntls = 'off'", "yes", &[], Tls::Auto),
    ] {
        let file = written_file(text);
        let mut typed = flags(typed);
        typed.config = Some(file.path().to_owned());
        let settings = load_with(&typed, &[("GEN_CERT", environment)]).unwrap();
        assert_eq!(
            settings.server.tls, expected,
            "{text} {environment} {typed:?}"
        );
    }
    let errors = load_with(&flags(&[(Key::TlsKey, "/k")]), &[]).unwrap_err();
    assert_eq!(
        errors,
        [
            "server.tls_key (from --tls-key): no certificate is named for this key; \
          name its certificate, too, with --tls-cert FILE"
        ]
    );
}
