#![allow(clippy::unwrap_used)]

use super::*;
use crate::jupyter_config::sources::SourceContent;

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
fn another_login_is_one_of_the_server() {
    for (name, replaces) in [
        ("ServerApp.identity_provider_class", true),
        ("ServerApp.login_handler_class", true),
        ("NotebookApp.hub_auth_class", true),
        ("Mine.IdentityProvider", true),
        ("PostgresContents.db_password", false),
        ("GitHubConfig.access_token", false),
    ] {
        let (class, name) = name.split_once('.').unwrap();
        let text = format!("{{\"{class}\": {{\"{name}\": \"x\"}}}}");
        let sources = ConfigSources(vec![source(Rank::After, &text)]);
        assert_eq!(sources.other_login().is_some(), replaces, "{text}");
        // Either may be a login.
        let decision = sources.default_decision();
        assert!(matches!(decision, DefaultDecision::Configured(_)), "{text}");
    }
}
