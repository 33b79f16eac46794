//! Finds the settings about authentication in a Python configuration file, without running it.
//!
//! This is a scanner, not an interpreter: it knows the few kinds of statements that such files
//! consist of (`c.ServerApp.port = 8888`) and reports every other one as unclear.

mod expression;
mod tokens;
mod traits;

use crate::jupyter_config::sources::{
    Setting, SourceContent, Value, is_about_authentication, mentions_authentication,
};
use expression::{is_plain, is_protected, reaches_configuration, text_of};
use tokens::{Statement, Token, TokenKind, statements};

/// Reads a configuration file. Statements after an unclear one are read, too, because they can
/// still name a password.
pub fn read(source: &[u8]) -> SourceContent {
    let mut said = SourceContent::default();
    let found = match statements(source) {
        Ok(found) => found,
        Err((line, what)) => {
            said.unclear_at(line, what);
            let text = String::from_utf8_lossy(source);
            let lines = || {
                let lines = text.lines().map(str::trim_start);
                lines.filter(|line| !line.starts_with('#'))
            };
            said.server_traits = lines().flat_map(traits::mentioned).collect();
            said.mentions_access = lines().any(mentions_authentication);
            said.hides_traits = lines().any(traits::may_hide_others);
            return said;
        }
    };
    for statement in found {
        said.server_traits.extend(traits::named(&statement));
        match interpret_statement(&statement) {
            Ok(Some(setting)) => said.settings.push(setting),
            Ok(None) => {}
            Err(what) => {
                said.hides_traits |= may_change_others(&statement.tokens);
                said.unclear_at(statement.line, what);
            }
        }
    }
    if said.unclear.is_some() {
        // The unclear statement may have changed a value, or ended the file before its setting.
        for setting in &mut said.settings {
            setting.value = match &setting.value {
                Value::Text(text) if text.is_empty() => Value::MaybeEmpty,
                _ => Value::Unknown,
            };
        }
    }
    let conditional = said.server_traits.iter().filter(|named| named.conditional);
    let conditional: Vec<String> = conditional.map(|named| named.name.clone()).collect();
    for named in &mut said.server_traits {
        if said.hides_traits || conditional.contains(&named.name) {
            named.value = None;
        }
    }
    said
}

/// Returns the setting about authentication that a statement makes, or why it is unclear.
fn interpret_statement(statement: &Statement) -> Result<Option<Setting>, String> {
    let tokens = &statement.tokens[..];
    if statement.indented {
        return Err("indented block".into());
    }
    let Some(first) = tokens.first() else {
        return Ok(None);
    };
    match (&first.kind, first.text.as_str()) {
        // A docstring.
        (TokenKind::Text { .. }, _) if tokens.iter().all(Token::is_text) => Ok(None),
        (TokenKind::Name, "pass") if tokens.len() == 1 => Ok(None),
        (TokenKind::Name, "import" | "from") => interpret_import(tokens),
        (TokenKind::Name, "c") => interpret_setting(statement.line, &tokens[1..]),
        (TokenKind::Name, name) if tokens.get(1).is_some_and(|next| next.is("=")) => {
            match !is_protected(name) && is_plain(&tokens[2..]) {
                true => Ok(None),
                false => Err(first.for_message()),
            }
        }
        _ => Err(first.for_message()),
    }
}

/// Reports whether an unclear statement may set traits that it does not name. An import of a package
/// that is missing, or a division by zero, ends the file and sets nothing.
fn may_change_others(tokens: &[Token]) -> bool {
    let sets_one = |rest| {
        path(rest).ok().is_some_and(|(path, rest)| {
            path.len() > 1 && rest.first().is_some_and(|next| next.is("="))
        })
    };
    let rest = match tokens {
        [first, rest @ ..] if first.text == "c" && sets_one(rest) => rest,
        all => all,
    };
    let all_names = matches!(rest, [first, .., last] if first.text == "from" && last.is("*"));
    all_names || rest.iter().any(|token| reaches_configuration(&token.text))
}

/// Modules of Python's standard library that do not touch the configuration.
const SAFE_MODULES: [&str; 23] = [
    "__future__",
    "collections",
    "datetime",
    "errno",
    "getpass",
    "glob",
    "json",
    "logging",
    "math",
    "os",
    "pathlib",
    "platform",
    "re",
    "secrets",
    "socket",
    "stat",
    "string",
    "sys",
    "tempfile",
    "textwrap",
    "time",
    "typing",
    "uuid",
];

/// Interprets an import: `import os, sys`, `from os import environ as e`.
fn interpret_import(tokens: &[Token]) -> Result<Option<Setting>, String> {
    let what = || Err(format!("`{}` of {}", tokens[0].text, shown_module(tokens)));
    let simple = |token: &Token| match &token.kind {
        TokenKind::Name => token.text == "import" || !is_protected(&token.text),
        _ => [".", ",", "(", ")"].contains(&token.text.as_str()),
    };
    if !tokens[1..].iter().all(simple) {
        return what();
    }
    let harmless = |token: Option<&Token>| {
        token.is_some_and(|token| SAFE_MODULES.contains(&token.text.as_str()))
    };
    let known = match tokens[0].text.as_str() {
        "from" => harmless(tokens.get(1)),
        _ => tokens[1..]
            .split(|token| token.is(","))
            .all(|module| harmless(module.first())),
    };
    if known { Ok(None) } else { what() }
}

fn shown_module(tokens: &[Token]) -> String {
    let module = tokens.get(1).map(Token::for_message);
    module.unwrap_or_else(|| "nothing".into())
}

/// Interprets a statement after its first token `c`: `.ServerApp.port = 1`,
/// `["ServerApp"]["port"] = 1`, `.ServerApp.jpserver_extensions.update({…})`, `= get_config()`.
fn interpret_setting(line: usize, tokens: &[Token]) -> Result<Option<Setting>, String> {
    let (mut path, rest) = path(tokens)?;
    let Some(operator) = rest.first() else {
        return Ok(None); // `c.ServerApp` alone
    };
    let value = match operator.text.as_str() {
        "=" if path.is_empty() => {
            let texts: Vec<&str> = rest.iter().map(|token| token.text.as_str()).collect();
            return match texts[..] {
                ["=", "get_config", "(", ")"] => Ok(None),
                _ => Err("`c = …`".into()),
            };
        }
        "=" => &rest[1..],
        "(" => {
            let method = path.pop().unwrap_or_default();
            if !traits::METHODS.contains(&method.as_str())
                || !rest.last().is_some_and(|last| last.is(")"))
            {
                return Err(format!("call of `{method}`"));
            }
            &rest[1..rest.len() - 1]
        }
        text if text.len() > 1 && text.ends_with('=') => &rest[1..],
        _ => return Err(operator.for_message()),
    };
    let about = path.len() > 1 && is_about_authentication(&path);
    let inside = match path.len() < 2 {
        // The statement sets a whole section, whose traits are named in the value.
        true => value
            .iter()
            .any(|token| mentions_authentication(&token.text)),
        false => value.first().is_some_and(|first| first.is("{")) && has_such_a_key(value),
    };
    if about || inside {
        let literal = about && operator.is("=");
        let value = literal.then(|| text_of(value)).flatten();
        return Ok(Some(Setting {
            line: Some(line),
            path,
            value: value.map_or(Value::Unknown, Value::Text),
        }));
    }
    if !is_plain(value) || path.len() < 2 && value.iter().any(|token| token.kind == TokenKind::Name)
    {
        return Err(format!("value of `c.{}`", path.join(".")));
    }
    Ok(None)
}

/// Reports whether a key of a dictionary, but not of one inside it, is about authentication.
fn has_such_a_key(dictionary: &[Token]) -> bool {
    let mut depth = 0_i32;
    let mut pairs = dictionary.iter().zip(dictionary.iter().skip(1));
    pairs.any(|(token, next)| {
        depth += i32::from(["(", "[", "{"].iter().any(|open| token.is(open)));
        depth -= i32::from([")", "]", "}"].iter().any(|close| token.is(close)));
        depth == 1 && next.is(":") && mentions_authentication(&token.text)
    })
}

/// Splits the tokens after `c` into the names, given as attributes or keys, and the rest.
fn path(mut tokens: &[Token]) -> Result<(Vec<String>, &[Token]), String> {
    let mut path = Vec::new();
    loop {
        match tokens {
            [dot, name, rest @ ..] if dot.is(".") && name.kind == TokenKind::Name => {
                if name.text.starts_with('_') {
                    return Err(name.for_message());
                }
                path.push(name.text.clone());
                tokens = rest;
            }
            [open, key, close, rest @ ..] if open.is("[") && close.is("]") => {
                let TokenKind::Text { plain: true } = key.kind else {
                    return Err("computed key".into());
                };
                path.push(key.text.clone());
                tokens = rest;
            }
            _ => return Ok((path, tokens)),
        }
    }
}

#[cfg(test)]
#[path = "../python_tests.rs"]
mod tests;
