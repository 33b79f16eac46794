//! Recognises expressions that only compute a value and have no other effect.

use crate::jupyter_config::python::tokens::{Token, TokenKind};

/// Functions that an expression may call, by their usual names.
const FUNCTIONS: [&str; 23] = [
    "bool",
    "dict",
    "float",
    "glob.glob",
    "int",
    "len",
    "list",
    "max",
    "min",
    "os.cpu_count",
    "os.environ.get",
    "os.getcwd",
    "os.getenv",
    "os.path.abspath",
    "os.path.basename",
    "os.path.dirname",
    "os.path.exists",
    "os.path.expanduser",
    "os.path.join",
    "set",
    "socket.gethostname",
    "str",
    "tuple",
];

/// Methods that an expression may call on a value.
const METHODS: [&str; 10] = [
    "endswith",
    "format",
    "join",
    "lower",
    "lstrip",
    "replace",
    "rstrip",
    "split",
    "startswith",
    "strip",
];

/// Names that could give a statement access to the configuration or to other code.
const REACHING_NAMES: [&str; 14] = [
    "__builtins__",
    "__import__",
    "c",
    "compile",
    "delattr",
    "eval",
    "exec",
    "get_config",
    "getattr",
    "globals",
    "load_subconfig",
    "locals",
    "setattr",
    "vars",
];

/// Other names that have no place in a plain expression.
const UNCLEAR_NAMES: [&str; 12] = [
    "async",
    "await",
    "breakpoint",
    "class",
    "def",
    "for",
    "import",
    "input",
    "lambda",
    "open",
    "print",
    "yield",
];

/// Reports whether a name could give a statement access to the configuration.
pub(super) fn reaches_configuration(name: &str) -> bool {
    REACHING_NAMES.contains(&name)
}

fn is_unsafe(name: &str) -> bool {
    reaches_configuration(name) || UNCLEAR_NAMES.contains(&name)
}

/// Reports whether a file must not assign to this name: a later call would run the new value.
pub(super) fn is_protected(name: &str) -> bool {
    let function = |known: &&str| known.split('.').next() == Some(name);
    let module = ["glob", "os", "socket"].contains(&name);
    is_unsafe(name) || !module && FUNCTIONS.iter().any(function)
}

/// Reports whether an expression only computes a value.
pub(super) fn is_plain(tokens: &[Token]) -> bool {
    !tokens.is_empty()
        && tokens.iter().enumerate().all(|(at, token)| {
            let before = at.checked_sub(1).map(|before| &tokens[before]);
            match token.kind {
                TokenKind::Text { .. } => !token.computed,
                TokenKind::Number => true,
                TokenKind::Name if before.is_some_and(|before| before.is(".")) => {
                    !token.text.starts_with('_')
                }
                TokenKind::Name if token.text == "for" => assigns_one_name(&tokens[at + 1..]),
                TokenKind::Name => !is_unsafe(&token.text),
                TokenKind::Operator if token.is("(") => may_be_called(&tokens[..at]),
                TokenKind::Operator => token.text != ":=",
            }
        })
}

/// Reports whether a `for` inside an expression assigns to one name, as a statement may.
fn assigns_one_name(after: &[Token]) -> bool {
    matches!(after, [name, of, ..] if name.kind == TokenKind::Name
        && !is_protected(&name.text)
        && of.kind == TokenKind::Name
        && of.text == "in")
}

/// Reports whether a bracket after these tokens calls nothing, or only what may be called.
fn may_be_called(before: &[Token]) -> bool {
    let Some(last) = before.last() else {
        return true;
    };
    match last.kind {
        TokenKind::Name if KEYWORDS.contains(&last.text.as_str()) => true,
        TokenKind::Name => {
            let start = before
                .iter()
                .rposition(|token| match token.kind {
                    TokenKind::Name => KEYWORDS.contains(&token.text.as_str()),
                    _ => !token.is("."),
                })
                .map_or(0, |at| at + 1);
            let name: String = before[start..]
                .iter()
                .map(|token| token.text.as_str())
                .collect();
            match name.rsplit_once('.') {
                _ if FUNCTIONS.contains(&name.as_str()) => true,
                Some((_, method)) => METHODS.contains(&method),
                None => false,
            }
        }
        TokenKind::Operator => ![")", "]", "}"].contains(&last.text.as_str()),
        TokenKind::Text { .. } | TokenKind::Number => false,
    }
}

const KEYWORDS: [&str; 7] = ["and", "else", "if", "in", "is", "not", "or"];

/// Returns the value of a string literal, which may be in brackets and of several pieces.
pub(super) fn text_of(mut tokens: &[Token]) -> Option<String> {
    while let [open, inner @ .., close] = tokens
        && open.is("(")
        && close.is(")")
    {
        tokens = inner;
    }
    let plain = |token: &Token| matches!(token.kind, TokenKind::Text { plain: true });
    let all = !tokens.is_empty() && tokens.iter().all(plain);
    all.then(|| tokens.iter().map(|token| token.text.as_str()).collect())
}
