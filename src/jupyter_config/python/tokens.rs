//! Splits Python into tokens and simple statements, as far as a configuration file needs it (The
//! Python Language Reference, chapter 2).

/// The kinds of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    Name,
    Number,
    /// A string or bytes literal. `plain`: true if its value is its text.
    Text {
        plain: bool,
    },
    Operator,
}

/// A token. The text of a string literal is the part between its quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub kind: TokenKind,
    pub text: String,
    /// True for an f-string or t-string that may call something: it has an opening bracket.
    pub computed: bool,
}

impl Token {
    pub fn is(&self, text: &str) -> bool {
        self.kind == TokenKind::Operator && self.text == text
    }

    pub fn is_text(&self) -> bool {
        matches!(self.kind, TokenKind::Text { .. })
    }

    /// Returns the token as text for a message.
    pub fn for_message(&self) -> String {
        match self.kind {
            TokenKind::Text { .. } => "a text".into(),
            _ => format!("`{}`", self.text),
        }
    }
}

/// A statement: a logical line, or a part of one between semicolons.
#[derive(Debug, Default)]
pub(super) struct Statement {
    /// The line of the first token, counted from 1.
    pub line: usize,
    pub indented: bool,
    pub tokens: Vec<Token>,
}

/// The line that stopped the scanner, and the reason.
type ScanError = (usize, String);

/// Returns the statements of a file.
///
/// # Errors
/// The first line that the scanner cannot read, and the reason.
pub(super) fn statements(source: &[u8]) -> Result<Vec<Statement>, ScanError> {
    let source = source.strip_prefix(b"\xef\xbb\xbf").unwrap_or(source);
    let text = std::str::from_utf8(source).map_err(|_| (1, "not UTF-8".to_owned()))?;
    // Python ends a line at a lone CR, too, even within a comment.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    other_encoding(&text)?;
    let mut reader = Scanner {
        rest: &text,
        line: 1,
        depth: 0,
        found: Vec::new(),
        current: Statement {
            line: 1,
            ..Statement::default()
        },
        line_start: true,
    };
    while !reader.rest.is_empty() {
        reader.step()?;
    }
    if reader.depth > 0 {
        return Err((reader.line, "open bracket".into()));
    }
    reader.end_statement();
    Ok(reader.found)
}

/// Refuses another encoding (PEP 263), in which the same bytes are other Python code.
fn other_encoding(text: &str) -> Result<(), ScanError> {
    for (at, line) in text.lines().take(2).enumerate() {
        let Some((comment, named)) = line.split_once("coding") else {
            continue;
        };
        let named = named.trim_start_matches([':', '=']).trim_start();
        let known = ["utf-8", "utf8", "ascii", "latin-1", "iso-8859-1"];
        let named = named.to_lowercase().replace('_', "-");
        if comment.trim_start().starts_with('#') && !known.iter().any(|k| named.starts_with(k)) {
            return Err((at + 1, "other encoding".into()));
        }
    }
    Ok(())
}

struct Scanner<'a> {
    rest: &'a str,
    line: usize,
    /// The number of open brackets.
    depth: u32,
    found: Vec<Statement>,
    current: Statement,
    line_start: bool,
}

impl Scanner<'_> {
    /// Reads one token, white space, a comment or the end of a line.
    fn step(&mut self) -> Result<(), ScanError> {
        let Some(next) = self.rest.chars().next() else {
            return Ok(());
        };
        let begins_line = std::mem::take(&mut self.line_start);
        match next {
            '\n' => {
                self.skip(1);
                if self.depth == 0 {
                    self.end_statement();
                    self.line_start = true;
                }
            }
            ' ' | '\t' | '\x0c' => {
                let space = self.length_while(|c| matches!(c, ' ' | '\t' | '\x0c'));
                self.skip(space);
                let blank = self.rest.is_empty() || self.rest.starts_with(['\n', '#']);
                self.current.indented |= begins_line && !blank;
            }
            '#' => {
                let comment = self.length_while(|c| c != '\n');
                self.skip(comment);
            }
            '\\' if self.rest[1..].starts_with('\n') => self.skip(2),
            ';' if self.depth == 0 => {
                self.skip(1);
                let indented = self.current.indented;
                self.end_statement();
                self.current.indented = indented;
            }
            _ => self.token(next)?,
        }
        Ok(())
    }

    fn token(&mut self, next: char) -> Result<(), ScanError> {
        if next.is_ascii_alphabetic() || next == '_' {
            let length = self.length_while(|c| c.is_ascii_alphanumeric() || c == '_');
            let name = self.rest[..length].to_owned();
            if self.rest[length..].starts_with(['"', '\'']) && is_prefix(&name) {
                self.skip(length);
                return self.string(&name.to_lowercase());
            }
            self.push(TokenKind::Name, length);
        } else if next.is_ascii_digit() {
            let length = self.length_while(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_'));
            self.push(TokenKind::Number, length);
        } else if matches!(next, '"' | '\'') {
            return self.string("");
        } else {
            let operators = ["**=", "//=", ">>=", "<<="];
            let two = [
                "==", "!=", "<=", ">=", ":=", "+=", "-=", "*=", "/=", "|=", "&=", "^=", "%=", "@=",
                "**", "//", "->", "<<", ">>",
            ];
            let known = |operator: &&str| self.rest.starts_with(*operator);
            let length = operators.iter().chain(&two).copied().find(known);
            let length = length.map_or(1, str::len);
            // Python normalises names, so that a non-ASCII letter may stand for an ASCII one.
            if !"()[]{},.:=+-*/%<>|&^~@!".contains(next) {
                return Err((self.line, format!("the character {next:?}")));
            }
            match next {
                '(' | '[' | '{' => self.depth += 1,
                ')' | ']' | '}' if self.depth == 0 => {
                    return Err((self.line, "stray bracket".into()));
                }
                ')' | ']' | '}' => self.depth -= 1,
                _ => {}
            }
            self.push(TokenKind::Operator, length);
        }
        Ok(())
    }

    /// Reads a string literal, starting at its first quote.
    fn string(&mut self, prefix: &str) -> Result<(), ScanError> {
        let line = self.line;
        let one = &self.rest[..1];
        let three = one.repeat(3);
        let quote = match self.rest.starts_with(&three) {
            true => three,
            false => one.to_owned(),
        };
        let raw = prefix.contains('r');
        let mut at = quote.len();
        let open = || (line, "unfinished text".to_owned());
        loop {
            let rest = self.rest.get(at..).ok_or_else(open)?;
            if rest.starts_with(&quote) {
                break;
            }
            let next = rest.chars().next().ok_or_else(open)?;
            if next == '\n' && quote.len() == 1 {
                return Err(open());
            }
            at += next.len_utf8();
            if next == '\\' {
                at += rest[1..].chars().next().ok_or_else(open)?.len_utf8();
            }
        }
        let text = self.rest[quote.len()..at].to_owned();
        let formatted = prefix.contains(['f', 't']);
        let token = Token {
            kind: TokenKind::Text {
                plain: !prefix.contains('b') && !formatted && (raw || !text.contains('\\')),
            },
            computed: formatted && text.contains('('),
            text,
        };
        self.set_line(line);
        self.current.tokens.push(token);
        self.skip(at + quote.len());
        Ok(())
    }

    fn push(&mut self, kind: TokenKind, length: usize) {
        self.set_line(self.line);
        self.current.tokens.push(Token {
            kind,
            text: self.rest[..length].to_owned(),
            computed: false,
        });
        self.skip(length);
    }

    /// Sets the line of the statement if this is its first token.
    fn set_line(&mut self, line: usize) {
        if self.current.tokens.is_empty() {
            self.current.line = line;
        }
    }

    fn length_while(&self, such: impl Fn(char) -> bool) -> usize {
        self.rest.find(|c| !such(c)).unwrap_or(self.rest.len())
    }

    fn skip(&mut self, length: usize) {
        self.line += self.rest[..length].matches('\n').count();
        self.rest = &self.rest[length..];
    }

    fn end_statement(&mut self) {
        let ended = std::mem::take(&mut self.current);
        if !ended.tokens.is_empty() {
            self.found.push(ended);
        }
    }
}

fn is_prefix(name: &str) -> bool {
    let name = name.to_lowercase();
    ["r", "b", "u", "f", "t", "rb", "br", "rf", "fr", "rt", "tr"].contains(&&*name)
}
