use super::*;

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
        "author",
        "authors",
        "authorizer_class",
        "tokenizer",
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
    for (text, about) in [
        (
            r#"{"ServerApp": {"tornado_settings": {"password": ""}}}"#,
            true,
        ),
        (
            r#"{"ServerApp": {"tornado_settings": {"headers": {"X-Auth": ""}}}}"#,
            false,
        ),
        (
            r#"{"ServerProxy": {"servers": {"code": {"command": ["--auth=none"]}}}}"#,
            false,
        ),
    ] {
        let said = SourceContent::json(text.as_bytes());
        assert_eq!(!said.settings.is_empty(), about, "{text}");
    }
    let blank = SourceContent::json(b" \n");
    assert_eq!(blank, SourceContent::default());
    assert_eq!(SourceContent::json(b""), SourceContent::default());
    assert!(SourceContent::json(b"{").unclear.is_some());
    let deep = "{\"a\":".repeat(100_000);
    assert!(SourceContent::json(deep.as_bytes()).unclear.is_some());
}
