//! Escapes text from untrusted sources, to make it safe for a terminal and a log.
//!
//! Escaped are the control characters (C0, DEL and C1), which a terminal obeys; the separators of
//! lines and paragraphs; and the marks of writing direction, which can make a name look like
//! another one. All other characters stay, so names in any script remain readable.

/// Returns text on one line, with escapes such as `\n` and `\u{1b}`. Bytes that are not UTF-8
/// become U+FFFD.
pub fn shown<T: AsRef<[u8]> + ?Sized>(text: &T) -> String {
    let text = String::from_utf8_lossy(text.as_ref());
    escaped(&text, |c| c.escape_default().to_string())
}

/// Returns text as [`shown`] does, but keeps line breaks and tabs.
pub fn shown_lines(text: &str) -> String {
    escaped(text, |c| match c {
        '\n' | '\t' => c.to_string(),
        c => c.escape_default().to_string(),
    })
}

/// Cuts text to `length` bytes, and marks the cut with an ellipsis.
pub fn shorten(text: &mut String, length: usize) {
    if text.len() > length {
        let end = (0..=length).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
        text.push('…');
    }
}

/// Returns the same JSON value with every such character escaped, except for line breaks. JSON
/// itself requires this only of C0.
pub fn json(text: &str) -> String {
    escaped(text, |c| match c {
        '\n' => c.to_string(),
        c => format!("\\u{:04x}", u32::from(c)),
    })
}

/// Reports whether a character is escaped, as the top of this file says.
pub fn is_escaped(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
        )
        || matches!(c, '\u{2066}'..='\u{2069}')
}

fn escaped(text: &str, escape: impl Fn(char) -> String) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match is_escaped(c) {
            true => escaped.push_str(&escape(c)),
            false => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_escaped_and_every_script_stays() {
        let hostile = "a\tb\r\n\x1b[2J\x07\x7f\u{9b}31m\u{202e}\u{2066}\u{200f}\u{2028}é漢🧑‍🚀";
        assert_eq!(
            shown(hostile),
            "a\\tb\\r\\n\\u{1b}[2J\\u{7}\\u{7f}\\u{9b}31m\
             \\u{202e}\\u{2066}\\u{200f}\\u{2028}é漢🧑‍🚀"
        );
        assert_eq!(shown_lines("a\tb\r\nc"), "a\tb\\r\nc");
        assert_eq!(shown(b"\xff\n"), "\u{fffd}\\n");
    }

    #[test]
    fn json_stays_the_same_value() {
        let value = serde_json::json!({"a\u{7f}": "\x1b\u{9b}\u{202e}\n\"é"});
        let text = json(&format!("{value:#}"));
        assert!(text.chars().all(|c| c == '\n' || !is_escaped(c)), "{text}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            value
        );
    }
}
