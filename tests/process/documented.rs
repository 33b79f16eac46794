//! `docs/entrypoint.toml`: every key of the settings file, from the table that `--help`
//! is made of. `AI_LAB_WRITE_DOCS=1 cargo test --test process documented` writes it.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use ai_lab_entrypoint::settings::entry::{Entry, ValueKind};
use ai_lab_entrypoint::settings::table::TABLE;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/entrypoint.toml");

const HEAD: &str = "\
# Every key of /etc/ai-lab/entrypoint.toml, all of them commented out. A flag beats the
# environment variable, which beats the file, which beats the default. The file and every
# directory above it must be writable by root alone. Check yours with
#
#     ai-lab-entrypoint config check FILE
";

/// A value as TOML: the default, or one that could be.
fn value(entry: &Entry) -> String {
    let text = |text: &str| format!("\"{text}\"");
    match entry.kind {
        ValueKind::Switch => "true".into(),
        ValueKind::Port => "49494".into(),
        ValueKind::Seconds => entry.default.unwrap().into(),
        ValueKind::Texts => "[\"--ServerApp.allow_remote_access=True\"]".into(),
        ValueKind::Paths => "[\"/dev/dri/renderD128\"]".into(),
        ValueKind::Groups => "[\"video\"]".into(),
        ValueKind::Variables => "[\"HTTPS_PROXY\"]".into(),
        ValueKind::Choice(_) | ValueKind::Mode => text(entry.default.unwrap()),
        ValueKind::Umask => text("002"),
        ValueKind::Path => text(entry.default.unwrap_or("/home/jupyter/…")),
        ValueKind::Program => text("jupyter-lab"),
        ValueKind::Text => text(entry.default.unwrap_or("…")),
    }
}

/// The lines of a comment, at most 90 characters long.
fn comment(text: &str) -> String {
    let mut lines = vec![String::from("#")];
    for word in text.split(' ') {
        if lines.last().unwrap().len() + 1 + word.len() > 90 {
            lines.push("#".into());
        }
        let line = lines.last_mut().unwrap();
        line.push_str(&format!(" {word}"));
    }
    lines.join("\n") + "\n"
}

fn paragraph(entry: &Entry, key: &str) -> String {
    let mut about = format!("{}.", entry.help.trim_end_matches('.'));
    if let ValueKind::Choice(words) = entry.kind {
        about += &format!(" One of {}.", words.join(", "));
    }
    about += &format!(" Flag: --{}.", entry.flag);
    if let Some(name) = entry.env {
        about += &format!(" Variable: {name}.");
    }
    match entry.default {
        Some(default) => about += &format!(" Default: {default}."),
        None if entry.kind == ValueKind::Switch => about += " Default: false.",
        None => {}
    }
    format!("\n{}#{key} = {}\n", comment(&about), value(entry))
}

fn generated() -> String {
    let mut alone = String::new();
    let mut tables: BTreeMap<&str, String> = BTreeMap::new();
    let mut order = Vec::new();
    for entry in TABLE {
        match entry.toml.map(|name| name.split_once('.').ok_or(name)) {
            Some(Ok((table, key))) => {
                if !order.contains(&table) {
                    order.push(table);
                }
                *tables.entry(table).or_default() += &paragraph(entry, key);
            }
            Some(Err(key)) => alone += &paragraph(entry, key),
            // Of a start's own line only.
            None => {}
        }
    }
    let tables = order
        .iter()
        .map(|table| format!("\n[{table}]\n{}", tables[table]));
    format!("{HEAD}{alone}{}", tables.collect::<String>())
}

#[test]
fn the_settings_file_is_documented_key_by_key() {
    let text = generated();
    if std::env::var_os("AI_LAB_WRITE_DOCS").is_some() {
        fs::write(FILE, &text).unwrap();
    }
    assert_eq!(fs::read_to_string(FILE).unwrap(), text);
}

#[test]
fn what_is_documented_is_accepted() {
    // Keys have no space after the hash.
    let lines = generated();
    let lines = lines.lines().map(|line| match line.strip_prefix('#') {
        Some(key) if key.starts_with(|first: char| first.is_ascii_lowercase()) => key,
        _ => line,
    });
    let text: Vec<&str> = lines.collect();
    let given = text.iter().filter(|line| line.contains(" = ")).count();
    assert_eq!(
        given,
        TABLE.iter().filter(|entry| entry.toml.is_some()).count()
    );
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("settings.toml");
    fs::write(&path, text.join("\n")).unwrap();
    let mut check = Command::new(env!("CARGO_BIN_EXE_ai-lab-entrypoint"));
    let output = check.args(["config", "check"]).arg(&path).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}
