use super::*;

fn source(rank: Rank, text: &str) -> Source {
    Source {
        name: "x".into(),
        rank,
        content: SourceContent::json(text.as_bytes()),
    }
}

/// The expected winners are those of jupyter_server 2.21, where each row was tried.
#[test]
fn the_winner_is_the_one_of_jupyter() {
    for (content, winner) in [
        (
            r#"{"ServerApp": {"password": "a"}, "NotebookApp": {"password": "b"}}"#,
            "a",
        ),
        (
            r#"{"NotebookApp": {"password": "b"}, "ServerApp": {"password": "a"}}"#,
            "a",
        ),
        (
            r#"{"LabApp": {"password": "b"}, "ServerApp": {"password": "a"}}"#,
            "a",
        ),
        (r#"{"NotebookApp": {"password": "b"}}"#, "b"),
        (
            r#"{"IdentityProvider": {"hashed_password": "b"}, "ServerApp": {"password": "a"}}"#,
            "a",
        ),
        (
            r#"{"PasswordIdentityProvider": {"hashed_password": "a"}, "ServerApp": {"password": "b"}}"#,
            "a",
        ),
        (
            r#"{"PasswordIdentityProvider": {"hashed_password": "b"},
                "ServerApp": {"IdentityProvider": {"hashed_password": "a"}}}"#,
            "a",
        ),
        (
            r#"{"ServerApp": {"IdentityProvider": {"hashed_password": "b"},
                "PasswordIdentityProvider": {"hashed_password": "a"}}}"#,
            "a",
        ),
        (
            r#"{"IdentityProvider": {"hashed_password": "a"}, "ServerApp": {"password": ""}}"#,
            "a",
        ),
    ] {
        let everything = ConfigSources(vec![source(Rank::Own, content)]);
        assert_eq!(
            everything.effective(),
            Effective::Hash(winner.into()),
            "{content}"
        );
    }
    // With the same class the first of two files wins, otherwise the stronger class.
    let first = source(Rank::Before, r#"{"ServerApp": {"password": "a"}}"#);
    let second = source(Rank::Own, r#"{"ServerApp": {"password": "b"}}"#);
    let hash = ConfigSources(vec![first.clone(), second]).effective();
    assert_eq!(hash, Effective::Hash("a".into()));
    let third = source(
        Rank::After,
        r#"{"PasswordIdentityProvider": {"hashed_password": "c"}}"#,
    );
    let hash = ConfigSources(vec![first, third]).effective();
    assert_eq!(hash, Effective::Hash("c".into()));
    assert_eq!(ConfigSources::default().effective(), Effective::Nothing);
}

#[test]
fn what_is_about_authentication_is_known_by_the_traits_name() {
    let about = |name: &str| is_about_authentication(&["X".to_owned(), name.to_owned()]);
    for yes in [
        "password",
        "hashed_password",
        "token",
        "identity_provider_class",
        "login_handler_class",
        "hub_auth_class",
        "oauth_client_id",
        "PasswordIdentityProvider",
        "IdentityProvider",
    ] {
        assert!(about(yes), "{yes}");
    }
    for no in [
        "port",
        "password_required",
        "allow_password_change",
        "authenticate_prometheus",
        "logout_handler_class",
        "cookie_secret",
    ] {
        assert!(!about(no), "{no}");
    }
}

#[test]
fn json_is_searched_to_its_leaves() {
    let said = SourceContent::json(
        br#"{"A": {"port": 1, "B": {"C": {"token": ""}}}, "token": "x", "D": {"password": 1},
             "E": [{"password": "x"}]}"#,
    );
    let found: Vec<(String, Value)> = said
        .settings
        .into_iter()
        .map(|setting| (setting.path.join("."), setting.value))
        .collect();
    let expected = [
        ("A.B.C.token".to_owned(), Value::Text(String::new())),
        ("D.password".to_owned(), Value::Unknown),
    ];
    assert_eq!(found, expected);
    assert_eq!(SourceContent::json(b""), SourceContent::default());
    assert!(SourceContent::json(b"{").unclear.is_some());
    let deep = "{\"a\":".repeat(100_000);
    assert!(SourceContent::json(deep.as_bytes()).unclear.is_some());
}
