//! The settings file, and the record of a start, which is one: any text is settings or a
//! list of errors with their lines; what is settings reads back from the record as it
//! was, but for the password.

use std::collections::BTreeMap;
use std::path::Path;

use ai_lab_entrypoint::settings::file::parse;
use ai_lab_entrypoint::settings::resolve::{CliSettings, read};
use ai_lab_entrypoint::settings::saved::{ORIGIN_SEPARATOR, mask_secret, record_text};
use ai_lab_entrypoint::settings::{Key, Settings};

const PLACE: &str = "/f.toml";

pub fn holds(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let content = parse(text, Path::new(PLACE));
    if content.errors.is_empty() {
        return recorded(bytes);
    }
    let lines = text.matches('\n').count() + 1;
    for error in content.errors {
        let line = error.origin.strip_prefix("/f.toml:").unwrap();
        assert!((1..=lines).contains(&line.parse().unwrap()), "{error}");
    }
}

fn recorded(bytes: &[u8]) {
    let Some(settings) = loaded(bytes) else {
        return;
    };
    let record = record_text(&settings, "process 1");
    let again = parse(&record, Path::new(PLACE));
    assert!(again.errors.is_empty(), "{:?}: {record}", again.errors);
    assert!(!again.values.contains_key(&Key::Password));
    let again = loaded(record.as_bytes()).expect("a record is settings");
    assert_eq!(values(&record_text(&again, "process 1")), values(&record));
    for argument in &settings.server.args {
        assert_eq!(mask_secret(&mask_secret(argument)), mask_secret(argument));
    }
}

/// As the verbs read it.
fn loaded(bytes: &[u8]) -> Option<Settings> {
    let directory = super::directory();
    let typed = CliSettings {
        flags: BTreeMap::new(),
        config: Some(super::file(&directory, "entrypoint.toml", bytes)),
        ..CliSettings::default()
    };
    read(&typed, &|_| None, false).finish().ok()
}

/// The lines without their origins.
fn values(record: &str) -> Vec<&str> {
    let values = record.lines().filter(|line| !line.starts_with('#'));
    values
        .map(|line| {
            line.rsplit_once(ORIGIN_SEPARATOR)
                .map_or(line, |(value, _)| value)
        })
        .collect()
}
