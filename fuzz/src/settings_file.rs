//! The settings file, and the record of a start, which is one: any text is settings or a
//! list of errors with their lines; what is settings reads back from the record as it
//! was, but for the password.

use std::collections::BTreeMap;
use std::path::Path;

use ai_lab_entrypoint::settings::file::parse;
use ai_lab_entrypoint::settings::record::{ORIGIN, masked, running};
use ai_lab_entrypoint::settings::resolve::{Typed, read};
use ai_lab_entrypoint::settings::{Key, Settings};

const PLACE: &str = "/f.toml";

pub fn holds(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let content = parse(text, Path::new(PLACE));
    if content.wrong.is_empty() {
        return recorded(bytes);
    }
    let lines = text.matches('\n').count() + 1;
    for error in content.wrong {
        let line = error.origin.strip_prefix("/f.toml:").unwrap();
        assert!((1..=lines).contains(&line.parse().unwrap()), "{error}");
    }
}

fn recorded(bytes: &[u8]) {
    let Some(settings) = loaded(bytes) else {
        return;
    };
    let record = running(&settings, "process 1");
    let again = parse(&record, Path::new(PLACE));
    assert!(again.wrong.is_empty(), "{:?}: {record}", again.wrong);
    assert!(!again.found.contains_key(&Key::Password));
    let again = loaded(record.as_bytes()).expect("a record is settings");
    assert_eq!(values(&running(&again, "process 1")), values(&record));
    for argument in &settings.server.args {
        assert_eq!(masked(&masked(argument)), masked(argument));
    }
}

/// As the verbs read it.
fn loaded(bytes: &[u8]) -> Option<Settings> {
    let directory = super::directory();
    let typed = Typed {
        flags: BTreeMap::new(),
        config: Some(super::file(&directory, "entrypoint.toml", bytes)),
    };
    read(&typed, &|_| None, false).finish().ok()
}

/// The lines without their origins.
fn values(record: &str) -> Vec<&str> {
    let values = record.lines().filter(|line| !line.starts_with('#'));
    values
        .map(|line| line.rsplit_once(ORIGIN).map_or(line, |(value, _)| value))
        .collect()
}
