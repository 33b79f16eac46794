//! Reads the settings file: turns TOML into written values.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use strsim::jaro_winkler;
use toml::de::{DeTable, DeValue};

use crate::settings::check::closest;
use crate::settings::entry::{Entry, Key, ValueKind};
use crate::settings::table::TABLE;
use crate::settings::value::{Origin, Raw, RawValue, SettingError};
use crate::sys::regular_file;

/// The longest settings file, in KiB.
pub const LIMIT: u64 = 64;

/// The content of a settings file.
#[derive(Debug, Default)]
pub struct Content {
    /// The values that could be read.
    pub values: BTreeMap<Key, Raw>,
    /// The errors in the other values, each with its line.
    pub errors: Vec<SettingError>,
}

impl Content {
    fn error_only(wrong: SettingError) -> Self {
        Self {
            errors: vec![wrong],
            ..Self::default()
        }
    }
}

/// Reads the settings file. A missing file is fine unless it was `named`.
pub fn read(path: &Path, named: bool) -> Content {
    let utf8 = |bytes| {
        let text = String::from_utf8(bytes);
        text.map_err(|_| io::Error::other("it is not UTF-8"))
    };
    match regular_file::read_through_links(path, LIMIT).and_then(utf8) {
        Ok(text) => parse(&text, path),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !named => Content::default(),
        Err(error) => {
            let problem = format!("cannot be read: {error}");
            let remedy = "name a readable TOML file with --config";
            Content::error_only(SettingError::new("config", path.display(), problem, remedy))
        }
    }
}

/// Parses the text of a settings file. `path` is only for messages. Every unknown key and every
/// value of the wrong type is an error.
pub fn parse(text: &str, path: &Path) -> Content {
    let line_of = |offset: usize| text[..offset.min(text.len())].matches('\n').count() + 1;
    let origin_at = |offset: usize| Origin::File {
        path: path.to_owned(),
        line: line_of(offset),
    };
    let document = match DeTable::parse(text) {
        Ok(document) => document,
        Err(error) => {
            return Content::error_only(SettingError::new(
                "config",
                origin_at(error.span().map_or(0, |span| span.start)),
                error.message().replace('\n', " "),
                "correct the TOML there",
            ));
        }
    };
    let mut content = Content::default();
    for (name, value) in document.get_ref() {
        let origin = origin_at(name.span().start);
        match value.get_ref() {
            DeValue::Table(table) if is_table(name.get_ref()) => {
                for (key, value) in table {
                    let full = format!("{}.{}", name.get_ref(), key.get_ref());
                    let origin = origin_at(key.span().start);
                    take(&full, value.get_ref(), origin, &mut content);
                }
            }
            value => take(name.get_ref(), value, origin, &mut content),
        }
    }
    content
}

fn is_table(name: &str) -> bool {
    names().any(|full| full.split_once('.').is_some_and(|(table, _)| table == name))
}

fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().filter_map(|entry| entry.toml)
}

fn take(name: &str, value: &DeValue<'_>, origin: Origin, content: &mut Content) {
    let Some(entry) = TABLE.iter().find(|entry| entry.toml == Some(name)) else {
        let (problem, remedy) = match is_table(name) {
            true => (wrong_type(value), format!("put its keys below `[{name}]`")),
            false => ("is not a setting".into(), suggestion(name)),
        };
        let error = SettingError::new(name, origin, problem, remedy);
        return content.errors.push(error);
    };
    match written(entry, value) {
        Some(written) => {
            content.values.insert(
                entry.key,
                Raw {
                    value: written,
                    origin,
                },
            );
        }
        None => content.errors.push(SettingError::new(
            name,
            origin,
            wrong_type(value),
            format!("give {}", expected(entry.kind)),
        )),
    }
}

fn wrong_type(value: &DeValue<'_>) -> String {
    format!("is of the wrong type ({})", value.type_str())
}

fn written(entry: &Entry, value: &DeValue<'_>) -> Option<RawValue> {
    match (entry.kind, value) {
        (ValueKind::Switch, DeValue::Boolean(on)) => Some(RawValue::Switch(*on)),
        (kind, DeValue::Array(items)) if kind.is_list() => items
            .iter()
            .map(|item| item.get_ref().as_str().map(str::to_owned))
            .collect::<Option<Vec<_>>>()
            .map(RawValue::List),
        (ValueKind::Switch, _) => None,
        (kind, _) if kind.is_list() => None,
        (ValueKind::Port | ValueKind::Seconds, DeValue::Integer(number))
            if number.radix() == 10 =>
        {
            Some(RawValue::Text(number.as_str().to_owned()))
        }
        (ValueKind::Seconds, DeValue::Float(number)) => {
            Some(RawValue::Text(number.as_str().to_owned()))
        }
        (ValueKind::Port | ValueKind::Seconds, _) => None,
        // `user.name = 1234` means the same as "1234".
        (ValueKind::Text | ValueKind::Mode | ValueKind::Umask, DeValue::Integer(number))
            if number.radix() == 10 =>
        {
            Some(RawValue::Text(number.as_str().to_owned()))
        }
        (_, DeValue::String(text)) => Some(RawValue::Text(text.to_string())),
        _ => None,
    }
}

fn expected(kind: ValueKind) -> &'static str {
    match kind {
        ValueKind::Switch => "true or false",
        ValueKind::Texts | ValueKind::Paths | ValueKind::Groups | ValueKind::Variables => {
            "a list of strings"
        }
        ValueKind::Port => "an integer",
        ValueKind::Seconds => "a number",
        ValueKind::Text
        | ValueKind::Path
        | ValueKind::Program
        | ValueKind::Mode
        | ValueKind::Umask
        | ValueKind::Choice(_) => "a string",
    }
}

fn suggestion(name: &str) -> String {
    let tables = || names().filter_map(|full| full.split_once('.').map(|(table, _)| table));
    let candidates: Vec<&str> = if name.contains('.') {
        names().collect()
    } else {
        // A name without a dot may be a misspelt table, or a key without its table.
        tables().chain(names()).collect()
    };
    let last = |full: &str| full.rsplit('.').next().unwrap_or(full).to_owned();
    let alike = |full: &str| {
        let whole = jaro_winkler(full, name);
        whole.max(jaro_winkler(&last(full), &last(name)))
    };
    match closest(&candidates, &alike) {
        Some(full) => format!("did you mean `{full}`?"),
        None => "remove it; `--help` lists what there is".into(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<BTreeMap<Key, Raw>, Vec<String>> {
        let content = parse(text, Path::new("/f.toml"));
        match content.errors.is_empty() {
            true => Ok(content.values),
            false => Err(content.errors.iter().map(ToString::to_string).collect()),
        }
    }

    #[test]
    fn reads_every_kind_of_value() {
        let found = parsed(
            "strict = true\n[server]\nport = 1_0\nargs = ['a', 'b']\nstop_timeout = 2.5\n[user]\nname = 1234",
        )
        .unwrap();
        assert_eq!(found[&Key::Strict].value, RawValue::Switch(true));
        assert_eq!(found[&Key::Port].value, RawValue::Text("10".into()));
        assert_eq!(
            found[&Key::JupyterArg].value,
            RawValue::List(vec!["a".into(), "b".into()])
        );
        assert_eq!(found[&Key::StopTimeout].value, RawValue::Text("2.5".into()));
        assert_eq!(found[&Key::User].value, RawValue::Text("1234".into()));
        assert_eq!(
            found[&Key::User].origin,
            Origin::File {
                path: "/f.toml".into(),
                line: 7
            }
        );
    }

    #[test]
    fn tells_all_errors_at_once_with_their_lines() {
        let errors =
            parsed("[server]\nstop_timout = 3\nport = 'x'\n[serwer]\na = 1\n[qqq]\n[[user]]\n")
                .unwrap_err();
        assert_eq!(
            errors,
            [
                "qqq (from /f.toml:6): is not a setting; remove it; `--help` lists what there is",
                "server.port (from /f.toml:3): is of the wrong type (string); give an integer",
                "server.stop_timout (from /f.toml:2): is not a setting; did you mean `server.stop_timeout`?",
                "serwer (from /f.toml:4): is not a setting; did you mean `server`?",
                "user (from /f.toml:7): is of the wrong type (array); put its keys below `[user]`",
            ]
        );
    }

    #[test]
    fn what_is_right_is_found_beside_what_is_wrong() {
        let content = parse("port = 1\n[log]\nformat = 'json'\n", Path::new("/f.toml"));
        assert_eq!(content.errors.len(), 1);
        assert_eq!(
            content.values[&Key::LogFormat].value,
            RawValue::Text("json".into())
        );
    }

    #[test]
    fn a_syntax_error_has_its_line() {
        let errors = parsed("strict = true\nport = = 3\n").unwrap_err();
        assert!(
            errors[0].starts_with("config (from /f.toml:2): "),
            "{errors:?}"
        );
    }

    #[test]
    fn a_missing_file_is_fine_unless_it_was_named() {
        let path = Path::new("/nonexistent/entrypoint.toml");
        let content = read(path, false);
        assert!(content.values.is_empty() && content.errors.is_empty());
        let wrong = read(path, true).errors;
        assert!(wrong[0].to_string().contains("cannot be read"), "{wrong:?}");
    }

    #[test]
    fn a_file_that_is_no_text_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, b"strict = true # \xff\n").unwrap();
        let content = read(file.path(), false);
        assert!(content.values.is_empty());
        let wrong = content.errors[0].to_string();
        assert!(wrong.contains("cannot be read: it is not UTF-8"), "{wrong}");
    }
}
