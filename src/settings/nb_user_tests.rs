#![allow(clippy::unwrap_used)]

use super::*;

/// Reads the variables beside the image's own settings.
fn read_with(
    variables: &[(&str, &str)],
    flags: &[(Key, &'static str, &str)],
) -> (Option<NewAccount>, BTreeMap<Key, Raw>, Vec<SettingError>) {
    read_as(true, variables, flags)
}

fn read_as(
    as_root: bool,
    variables: &[(&str, &str)],
    flags: &[(Key, &'static str, &str)],
) -> (Option<NewAccount>, BTreeMap<Key, Raw>, Vec<SettingError>) {
    let file = |line| Origin::File {
        path: "/etc/ai-lab/entrypoint.toml".into(),
        line,
    };
    let text = |value: &str| RawValue::Text(value.into());
    let image = [
        (Key::User, "jupyter"),
        (Key::Group, "jupyter"),
        (Key::Home, "/home/jupyter"),
        (Key::Notebooks, "/home/jupyter/notebooks"),
    ];
    let mut raw: BTreeMap<Key, Raw> = image
        .into_iter()
        .map(|(key, value)| {
            (
                key,
                Raw {
                    value: text(value),
                    origin: file(1),
                },
            )
        })
        .collect();
    for (key, flag, value) in flags {
        raw.insert(
            *key,
            Raw {
                value: text(value),
                origin: Origin::Flag(flag),
            },
        );
    }
    let mut errors = Vec::new();
    let environment = |name: &str| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).into())
    };
    let account = read(&environment, as_root, &mut raw, &mut errors);
    (account, raw, errors)
}

fn value(raw: &BTreeMap<Key, Raw>, key: Key) -> &str {
    match &raw[&key].value {
        RawValue::Text(text) => text,
        _ => panic!("not a text"),
    }
}

#[test]
fn a_person_of_the_hub_has_their_own_home() {
    let spawner = [
        ("NB_USER", "alice"),
        ("NB_UID", "1234"),
        ("NB_GID", "100"),
        ("HOME", "/srv/home/alice"),
    ];
    let (account, raw, errors) = read_with(&spawner, &[]);
    assert!(errors.is_empty(), "{errors:?}");
    let expected = NewAccount {
        name: "alice".into(),
        uid: Some(1234),
        has_home: true,
    };
    assert_eq!(account, Some(expected));
    for (key, expected) in [
        (Key::User, "alice"),
        (Key::Group, "100"),
        (Key::Home, "/srv/home/alice"),
        (Key::Notebooks, "/srv/home/alice/notebooks"),
    ] {
        assert_eq!(value(&raw, key), expected);
    }
}

#[test]
fn roots_home_is_nobodys_choice() {
    for home in ["/root", "/", ""] {
        let (account, raw, _) = read_with(&[("NB_USER", "bob"), ("HOME", home)], &[]);
        assert_eq!(account.unwrap().uid, None);
        assert_eq!(value(&raw, Key::Home), "/home/bob");
        assert!(!raw.contains_key(&Key::Group), "their own");
    }
}

#[test]
fn without_root_a_home_that_is_there_is_used_and_none_is_made_up() {
    let name = ("NB_USER", "alice");
    assert_eq!(read_as(false, &[name, ("HOME", "/")], &[]).0, None);
    let (account, raw, _) = read_as(false, &[name, ("HOME", "/h")], &[]);
    assert!(account.unwrap().has_home);
    assert_eq!(value(&raw, Key::Notebooks), "/h/notebooks");
}

/// A person of the hub may be called as the image's user is.
#[test]
fn a_person_with_the_images_name_has_their_own_home() {
    let spawner = [
        ("NB_USER", "jupyter"),
        ("NB_UID", "1234"),
        ("HOME", "/home/jupyter"),
    ];
    let (account, raw, _) = read_with(&spawner, &[]);
    assert!(account.unwrap().has_home);
    assert_eq!(value(&raw, Key::Notebooks), "/home/jupyter/notebooks");
    // An engine says the same of HOME to whom nobody gave one.
    assert_eq!(read_as(false, &spawner, &[]).0, None);
}

#[test]
fn other_ids_alone_leave_the_configured_user_and_home() {
    let (account, raw, _) = read_with(&[("NB_UID", "501"), ("NB_GID", "20")], &[]);
    let expected = NewAccount {
        name: "jupyter".into(),
        uid: Some(501),
        has_home: false,
    };
    assert_eq!(account, Some(expected));
    assert_eq!(value(&raw, Key::Home), "/home/jupyter");
    assert_eq!(value(&raw, Key::Notebooks), "/home/jupyter/notebooks");
}

#[test]
fn what_a_flag_names_stays() {
    let user = [(Key::User, "user", "jupyter")];
    let (account, raw, _) = read_with(&[("NB_USER", "alice"), ("NB_UID", "2")], &user);
    assert_eq!(account, None);
    assert_eq!(value(&raw, Key::Home), "/home/jupyter");
    let others = [
        (Key::Home, "home", "/h"),
        (Key::Notebooks, "notebooks", "/n"),
        (Key::Group, "group", "g"),
    ];
    let (_, raw, _) = read_with(&[("NB_USER", "alice"), ("NB_GID", "100")], &others);
    for (key, expected) in [(Key::Home, "/h"), (Key::Notebooks, "/n"), (Key::Group, "g")] {
        assert_eq!(value(&raw, key), expected);
    }
    let nothing_else = [
        vec![],
        vec![("NB_USER", "jupyter")],
        vec![("NB_USER", "")],
        vec![("HOME", "relative")],
    ];
    for variables in nothing_else {
        assert_eq!(read_with(&variables, &[]).0, None, "{variables:?}");
    }
}

#[test]
fn what_is_no_name_and_no_number_is_an_error() {
    for name in [
        "root", "a:b", "a b", "-x", "+", "1234", "a/b", "..", "a\nb", "~a",
    ] {
        let (account, _, errors) = read_with(&[("NB_USER", name)], &[]);
        assert!(account.is_none() && errors.len() == 1, "{name}: {errors:?}");
        assert!(errors[0].to_string().contains("NB_USER"), "{errors:?}");
    }
    for name in ["first.last@example.org", "a", "Ann_1", "zoë"] {
        assert!(read_with(&[("NB_USER", name)], &[]).2.is_empty(), "{name}");
    }
    for home in ["relative", "/a:b", "/a\nb"] {
        let (_, _, errors) = read_with(&[("NB_USER", "alice"), ("HOME", home)], &[]);
        assert_eq!(errors.len(), 1, "{home}: {errors:?}");
    }
    for number in [
        "0",
        "-1",
        "x",
        "1.5",
        "4294967295",
        "99999999999",
        " 5",
        "+5",
    ] {
        for name in ["NB_UID", "NB_GID"] {
            let (_, _, errors) = read_with(&[(name, number)], &[]);
            assert_eq!(errors.len(), 1, "{name}={number}");
            assert!(errors[0].to_string().contains(name), "{errors:?}");
        }
    }
}

#[test]
fn a_start_below_another_one_has_the_home_that_its_record_names() {
    let variables = [("NB_USER", "alice"), ("HOME", "/home/alice")];
    let (_, mut raw, _) = read_with(&variables, &[]);
    let environment = |name: &str| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).into())
    };
    let before = raw.clone();
    let account = read(&environment, false, &mut raw, &mut Vec::new());
    assert!(account.unwrap().has_home);
    assert_eq!(raw, before);
}
