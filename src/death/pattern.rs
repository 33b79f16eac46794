//! Patterns for lines of a log: `{}` stands for any text, `{n}` for a number.

/// Returns what a line holds at the places of a pattern, in order; `None`: it does not fit. The
/// pattern may begin and end anywhere in the line; a last `{}` stands for the rest of the line.
pub(super) fn captures<'a>(pattern: &str, line: &'a str) -> Option<Vec<&'a str>> {
    let (first, rest) = split(pattern);
    let mut found = Vec::new();
    let mut line = &line[line.find(first)? + first.len()..];
    let mut rest = rest;
    while let Some((number, after)) = rest {
        let (literal, next) = split(after);
        let end = match (number, literal) {
            (true, _) => line
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(line.len()),
            (false, "") => line.len(),
            (false, literal) => line.find(literal)?,
        };
        if end == 0 {
            return None;
        }
        found.push(&line[..end]);
        line = line[end..].strip_prefix(literal)?;
        rest = next;
    }
    Some(found)
}

/// Splits a pattern at its first place: returns what is before it, whether it is for a number, and
/// what is after it.
fn split(pattern: &str) -> (&str, Option<(bool, &str)>) {
    let Some(at) = pattern.find('{') else {
        return (pattern, None);
    };
    let (before, place) = pattern.split_at(at);
    let rest = match place.strip_prefix("{n}") {
        Some(after) => Some((true, after)),
        None => place.strip_prefix("{}").map(|after| (false, after)),
    };
    match rest {
        Some(_) => (before, rest),
        None => (pattern, None),
    }
}

/// Puts the parts in the places `{0}`, `{1}` … of a sentence.
pub(super) fn fill(sentence: &str, parts: &[String]) -> String {
    let mut pieces = sentence.split('{');
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (place, after) = piece.split_once('}').unwrap_or_default();
        let part = place.parse().ok().and_then(|at: usize| parts.get(at));
        text.push_str(part.map_or("", String::as_str));
        text.push_str(after);
    }
    text
}
