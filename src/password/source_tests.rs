#![allow(clippy::unwrap_used)]

use super::*;

const HASH: &str = "sha1:67c9e60bb8b6:a7dba672a0ea89531ca67be74085f24bd0a0b082";

fn decide(
    default: Option<&str>,
    file: Option<&Path>,
    variables: &[(&str, &str)],
) -> Result<Wanted, String> {
    let sources = Sources {
        default: default.map(|text| (text, Origin::Flag("password"))),
        file: file.map(|path| (path.to_owned(), Origin::Flag("password-file"))),
        environment: &|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.into())
        },
    };
    wanted(&sources).map_err(|errors| {
        let texts: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
        texts.join("\n")
    })
}

fn secret(text: &str) -> Secret {
    Secret::new(text.into())
}

#[test]
fn a_forced_password_beats_the_default_and_nothing_is_nothing() {
    assert_eq!(decide(None, None, &[]), Ok(Wanted::Nothing));
    let default = decide(Some("ailab"), None, &[]);
    assert_eq!(default, Ok(Wanted::Default(secret("ailab"))));
    let forced = decide(Some("ailab"), None, &[(PASSWORD, "x y")]);
    assert_eq!(forced, Ok(Wanted::Forced(secret("x y"))));
    let hash = decide(Some("ailab"), None, &[(PASSWORD_HASH, HASH)]);
    assert_eq!(hash, Ok(Wanted::ForcedHash(HASH.into())));
}

#[test]
fn two_that_force_are_an_error_that_names_both() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "x").unwrap();
    let all = [
        (PASSWORD, "x".to_owned()),
        (PASSWORD_FILE, file.path().to_str().unwrap().to_owned()),
        (PASSWORD_HASH, HASH.to_owned()),
    ];
    for (first, a) in &all {
        let with_flag = decide(None, Some(file.path()), &[(first, a)]).unwrap_err();
        assert!(with_flag.contains("--password-file and"), "{with_flag}");
        assert!(with_flag.contains(first), "{with_flag}");
        for (second, b) in all.iter().filter(|(second, _)| second != first) {
            let error = decide(None, None, &[(first, a), (second, b)]).unwrap_err();
            assert!(error.contains(first) && error.contains(second), "{error}");
        }
    }
}

#[test]
fn a_variable_that_is_there_and_empty_is_an_error_with_its_remedy() {
    for name in [PASSWORD, PASSWORD_FILE, PASSWORD_HASH] {
        let error = decide(Some("ailab"), None, &[(name, "")]).unwrap_err();
        for part in [name, "there and empty", "Compose", "${…}", "do not pass it"] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
    // An empty variable does not count as a second source.
    let error = decide(None, None, &[(PASSWORD, "x"), (PASSWORD_FILE, "")]).unwrap_err();
    assert!(!error.contains("only one of them"), "{error}");
}

#[test]
fn one_final_newline_of_a_file_is_removed_and_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("password");
    for (content, password) in [
        ("gélée $1'\"", Some("gélée $1'\"")),
        ("x\n", Some("x")),
        ("x\r\n", Some("x")),
        ("x\n\n", None),
        ("x\r", None),
        ("x \n", None),
        ("\n", None),
        ("", None),
        ("a\nb\n", None),
        ("a\0b", None),
    ] {
        std::fs::write(&path, content).unwrap();
        let expected = password.map(|text| Wanted::Forced(secret(text)));
        assert_eq!(decide(None, Some(&path), &[]).ok(), expected, "{content:?}");
    }
    std::fs::write(&path, b"\xff\xfe").unwrap();
    let error = decide(None, Some(&path), &[]).unwrap_err();
    assert!(error.contains("not UTF-8"), "{error}");
}

#[test]
fn a_password_file_is_regular_and_at_most_4_kib() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    std::fs::write(at("longest"), "x".repeat(4096)).unwrap();
    std::fs::write(at("longer"), "x".repeat(4097)).unwrap();
    nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::os::unix::fs::symlink("longest", at("link")).unwrap();
    for name in ["longest", "link"] {
        assert!(decide(None, Some(&at(name)), &[]).is_ok(), "{name}");
    }
    for (name, why) in [
        ("longer", "longer than 4 KiB"),
        ("fifo", "not a regular file"),
        ("", "it is a directory (an engine makes one if"),
        ("absent", "No such file"),
    ] {
        let error = decide(None, Some(&at(name)), &[]).unwrap_err();
        assert!(error.contains(why), "{name}: {error}");
        assert!(error.contains("--password-file"), "{name}: {error}");
    }
}

#[test]
fn what_could_never_log_in_or_lets_everyone_in_is_refused() {
    for text in [" x", "x ", "x\t", "\u{3000}x", "x\u{1c}", "a\nb", "a\rb"] {
        let error = decide(None, None, &[(PASSWORD, text)]).unwrap_err();
        assert!(error.contains("variable JUPYTER_PASSWORD)"), "{error}");
        assert!(decide(Some(text), None, &[]).is_err(), "{text:?}");
    }
    assert!(
        decide(Some(""), None, &[])
            .unwrap_err()
            .contains("let everyone in")
    );
    let long = "ü$'\"\\ ".repeat(200) + "!";
    assert!(decide(None, None, &[(PASSWORD, &long)]).is_ok());
    let error = decide(None, None, &[(PASSWORD_HASH, "argon2:garbage")]).unwrap_err();
    assert!(error.contains("not a hash"), "{error}");
    // Jupyter knows it, although nothing here verifies it.
    assert!(
        decide(
            None,
            None,
            &[(PASSWORD_HASH, "sha512:salt:0123456789abcdef")]
        )
        .is_ok()
    );
}

#[test]
fn no_error_and_no_debug_output_tells_a_password() {
    let error = decide(Some(" hunter2"), None, &[(PASSWORD, "hunter2 ")]).unwrap_err();
    assert!(!error.contains("hunter2"), "{error}");
    let forced = decide(None, None, &[(PASSWORD, "hunter2")]).unwrap();
    assert!(!format!("{forced:?}").contains("hunter2"));
}
