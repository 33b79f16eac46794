//! Checks whether a text fits a setting, and says what would.

use strsim::jaro_winkler;

use crate::settings::entry::ValueKind;
use crate::settings::own_variables;

/// Checks `text` as a value of this kind. The error is the problem and the remedy.
pub fn check(kind: ValueKind, text: &str) -> Result<(), (String, String)> {
    let Some((problem, mut remedy)) = problem(kind, text) else {
        return Ok(());
    };
    if is_quoted(text) {
        remedy.push_str("; without the quotation marks, which `docker run --env-file` keeps");
    }
    Err((format!("{text:?} {problem}"), remedy))
}

fn problem(kind: ValueKind, text: &str) -> Option<(&'static str, String)> {
    let is_path = matches!(
        kind,
        ValueKind::Path | ValueKind::Paths | ValueKind::Program
    );
    let (problem, remedy) = match kind {
        _ if text.is_empty() => ("is empty", "give a value or leave it out".into()),
        _ if text.contains('\0') => ("contains a NUL byte", "remove it".into()),
        _ if is_path && is_of_windows(text) => (
            "is a path of Windows",
            format!("name a directory or file inside the container; {WITH_GIT_BASH}"),
        ),
        ValueKind::Path | ValueKind::Paths if !text.starts_with('/') => (
            "is not an absolute path",
            format!("write it from the root, such as /{text}"),
        ),
        ValueKind::Variables if !is_variable(text) => (
            "is not the name of an environment variable",
            "give letters, digits and _, such as HTTPS_PROXY".into(),
        ),
        ValueKind::Variables if own_variables::NOT_FOR_HOOKS.contains(&text) => (
            "is not passed on to hooks",
            "remove it: root hooks get fixed values for PATH, HOME, USER, LOGNAME and SHELL, and \
             no password"
                .into(),
        ),
        ValueKind::Program if !text.starts_with('/') && text.contains('/') => (
            "is a relative path",
            "give an absolute path, or a bare name that is looked up in the venv".into(),
        ),
        ValueKind::Port if !text.parse::<u16>().is_ok_and(|port| port > 0) => {
            ("is not a port", "give a number from 1 to 65535".into())
        }
        ValueKind::Mode
            if !is_octal(text, 0o666, |mode| {
                mode & 0o111 == 0 && mode & 0o600 == 0o600
            }) =>
        {
            (
                "is not a mode for notebooks",
                "give three octal digits that let the owner read and write and nobody execute, \
                 such as 644 or 664"
                    .into(),
            )
        }
        ValueKind::Umask if !is_octal(text, 0o777, |mask| mask & 0o700 == 0) => (
            "is not a umask",
            "give three octal digits that leave the owner every right, such as 002 or 077".into(),
        ),
        ValueKind::Seconds
            if !text
                .parse::<f64>()
                .is_ok_and(|s| (0.0..=86_400.0).contains(&s)) =>
        {
            (
                "is not a time in seconds",
                "give a number from 0 to 86400, such as 7 or 1.5".into(),
            )
        }
        ValueKind::Choice(words) if !words.contains(&text) => {
            let hint = closest(words, &|word| jaro_winkler(word, text));
            let hint = hint.map_or(String::new(), |word| format!(" (did you mean {word}?)"));
            let remedy = format!("give one of {}{hint}", words.join(", "));
            ("is not one of the choices", remedy)
        }
        _ => return None,
    };
    Some((problem, remedy))
}

/// What to do where a shell has replaced a path of the container by one of Windows.
pub const WITH_GIT_BASH: &str =
    "Git Bash replaces such paths: write MSYS_NO_PATHCONV=1 before `docker`";

/// Reports whether a text is an absolute path of Windows: `C:/Users`, `C:\Users`.
pub fn is_of_windows(text: &str) -> bool {
    let mut chars = text.chars();
    let drive = chars
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic());
    drive && chars.next() == Some(':') && chars.next().is_some_and(|next| "/\\".contains(next))
}

/// Reports whether a text begins and ends with the same quotation mark.
pub fn is_quoted(text: &str) -> bool {
    let mut chars = text.chars();
    let (first, last) = (chars.next(), chars.next_back());
    first == last && matches!(first, Some('"' | '\''))
}

fn is_octal(text: &str, highest: u32, fits: impl Fn(u32) -> bool) -> bool {
    u32::from_str_radix(text, 8).is_ok_and(|number| number <= highest && fits(number))
}

fn is_variable(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !text.starts_with(|first: char| first.is_ascii_digit()) && text.bytes().all(word)
}

/// Returns the word that is most alike, from 0 to 1; `None`: no word is alike.
pub fn closest<'a>(words: &[&'a str], alike: &dyn Fn(&str) -> f64) -> Option<&'a str> {
    let closest = words.iter().map(|word| (alike(word), *word));
    let closest = closest.max_by(|a, b| a.0.total_cmp(&b.0));
    closest
        .filter(|(score, _)| *score > 0.85)
        .map(|(_, word)| word)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_windows_is_refused_wherever_a_path_is_wanted() {
        for text in ["C:/Program Files/Git/home/jupyter/work", r"c:\Users\me"] {
            for kind in [ValueKind::Path, ValueKind::Paths, ValueKind::Program] {
                let (problem, remedy) = check(kind, text).unwrap_err();
                assert!(problem.ends_with("is a path of Windows"), "{problem}");
                assert!(remedy.contains("MSYS_NO_PATHCONV=1"), "{remedy}");
            }
            assert!(check(ValueKind::Text, text).is_ok());
        }
        for text in ["/C:/x", "work", "C:", "", "1:/x", "ä:/x"] {
            assert!(!is_of_windows(text), "{text}");
        }
    }

    #[test]
    fn a_value_in_quotation_marks_is_told_where_they_come_from() {
        let remedy = |text| check(ValueKind::Port, text).unwrap_err().1;
        for text in ["\"8888\"", "'8888'"] {
            assert!(remedy(text).ends_with("`docker run --env-file` keeps"));
        }
        for text in ["8888\"", "\"", "x", ""] {
            assert!(!remedy(text).contains("env-file"), "{text}");
        }
    }
}
