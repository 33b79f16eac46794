//! Finds the traits set by a Python file that decide where the server listens and works. A
//! statement inside an `if` counts, too.

use crate::jupyter_config::python::expression::{reaches_configuration, text_of};
use crate::jupyter_config::python::tokens::{Statement, Token, TokenKind};
use crate::jupyter_config::traits::{CLASSES, ConfiguredTrait, serving_trait};

/// The methods that change traitlets' lazy values, sections and dictionaries.
pub(super) const METHODS: [&str; 8] = [
    "add",
    "append",
    "extend",
    "insert",
    "merge",
    "prepend",
    "setdefault",
    "update",
];

/// Returns the traits that a statement names: `c.ServerApp.ip = …`, `c["ServerApp"]["ip"] = …`,
/// `c.ServerApp.update({"ip": …})`, `c.ServerApp = {"ip": …}`.
pub(super) fn named(statement: &Statement) -> Vec<ConfiguredTrait> {
    let tokens = &statement.tokens[..];
    let begins_with_c = tokens.first().is_some_and(|first| first.text == "c");
    let mut found = Vec::new();
    // The class whose names are the keys of a dictionary.
    let mut section: Option<&str> = None;
    for (at, token) in tokens.iter().enumerate() {
        let rest = &tokens[at + 1..];
        let text = token.text.as_str();
        let (name, value) = if token.kind != TokenKind::Operator && CLASSES.contains(&text) {
            match after_bracket(rest) {
                [next, ..] if next.is("=") || next.is(":") => {
                    section = Some(text);
                    continue;
                }
                [_, method, ..] if METHODS.contains(&method.text.as_str()) => {
                    section = Some(text);
                    continue;
                }
                [opener, name, rest @ ..] if opener.is(".") || opener.is("[") => {
                    let value = match after_bracket(rest) {
                        [equals, value @ ..] if equals.is("=") => text_or_number(value),
                        _ => None,
                    };
                    (serving_trait(text, &name.text), value)
                }
                _ => continue,
            }
        } else if let (Some(class), [colon, value, ..]) = (section, rest)
            && token.is_text()
            && colon.is(":")
        {
            (
                serving_trait(class, text),
                text_or_number(std::slice::from_ref(value)),
            )
        } else {
            continue;
        };
        found.extend(name.map(|name| ConfiguredTrait {
            name,
            line: Some(statement.line),
            value,
            conditional: statement.indented || !begins_with_c,
        }));
    }
    found
}

fn text_or_number(value: &[Token]) -> Option<String> {
    match value {
        [number] if number.kind == TokenKind::Number => Some(number.text.clone()),
        [one] if one.kind == TokenKind::Name && ["True", "False"].contains(&one.text.as_str()) => {
            Some(one.text.clone())
        }
        value => text_of(value),
    }
}

/// Returns the tokens after a name, without the bracket that closes it as a key.
fn after_bracket(tokens: &[Token]) -> &[Token] {
    match tokens {
        [close, rest @ ..] if close.is("]") => rest,
        all => all,
    }
}

/// Returns the traits that a line mentions, if the scanner cannot split the file into statements.
pub(super) fn mentioned(text: &str) -> Vec<ConfiguredTrait> {
    let names = words(text, "._").filter_map(|word| {
        let (class, name) = word.rsplit_once('.')?;
        let class = class.rsplit('.').next()?;
        serving_trait(class, name).filter(|_| CLASSES.contains(&class))
    });
    names
        .map(|name| ConfiguredTrait {
            name,
            line: None,
            value: None,
            conditional: false,
        })
        .collect()
}

/// Reports whether a line may set traits that it does not name, as [`mentioned`] reads it.
pub(super) fn may_hide_others(text: &str) -> bool {
    words(text, "_").any(|word| word != "c" && reaches_configuration(word))
}

/// Splits a line into its words. `joining`: what else is of a word.
fn words<'a>(text: &'a str, joining: &str) -> impl Iterator<Item = &'a str> {
    text.split(move |char: char| !char.is_ascii_alphanumeric() && !joining.contains(char))
}
