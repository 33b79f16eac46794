//! The variables that a hook writes for the server's environment.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use crate::hooks::error::HookError;
use crate::settings::own_variables::{HOOK_FILE_ENV as VARIABLE, own_environment};
use crate::sys::regular_file;

/// The longest file that a hook may write, in KiB.
const MAX_KIB: u64 = 64;

/// Variables that a hook wrote: names and values.
pub type Variables = Vec<(OsString, OsString)>;

/// Reads the open file of a hook, not its path, which may lead to another file by now.
pub(super) fn read(hook: &Path, file: &fs::File) -> Result<Variables, HookError> {
    let text = regular_file::read_limited(file, MAX_KIB);
    let text =
        text.map_err(|error| HookError::unsupervised(hook, format_args!("${VARIABLE}: {error}")))?;
    parse(&text).map_err(|(line, problem)| {
        let what = format!("wrote line {line} of ${VARIABLE}, which {problem}");
        HookError::of(hook, what)
    })
}

/// Parses lines `KEY=VALUE`, which may end as in Windows. Empty lines and lines that begin with `#`
/// are skipped.
///
/// # Errors
/// The number of the first invalid line, counted from 1, and what is wrong with it.
pub fn parse(text: &[u8]) -> Result<Variables, (usize, &'static str)> {
    let lines = text.split(|byte| *byte == b'\n');
    let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let lines = lines.enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with(b"#"));
    lines
        .map(|(index, line)| {
            let wrong = |problem| Err((index + 1, problem));
            let Some(at) = line.iter().position(|byte| *byte == b'=') else {
                return wrong("is not KEY=VALUE");
            };
            let (name, value) = (&line[..at], &line[at + 1..]);
            let word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
            if name.is_empty() || name[0].is_ascii_digit() || !name.iter().all(word) {
                return wrong("does not begin with the name of a variable and =");
            }
            if value.contains(&0) {
                return wrong("contains a NUL byte");
            }
            let name = OsString::from_vec(name.to_vec());
            if name == VARIABLE || own_environment().any(|own| name == own) {
                return wrong(
                    "sets a variable of the entrypoint, which the server never gets: remove it",
                );
            }
            Ok((name, OsString::from_vec(value.to_vec())))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_a_hook_writes_becomes_variables() {
        let text = b"A=1\r\n\r\n\n# a comment\nB_2=x=y \xff\nC=";
        let expected: Variables = vec![
            ("A".into(), "1".into()),
            ("B_2".into(), OsString::from_vec(b"x=y \xff".to_vec())),
            ("C".into(), "".into()),
        ];
        assert_eq!(parse(text), Ok(expected));
        for (text, line, word) in [
            ("A=1\nexport B=2", 2, "name"),
            ("A", 1, "KEY=VALUE"),
            ("=x", 1, "name"),
            ("1A=x", 1, "name"),
            ("A=\0", 1, "NUL"),
            ("JUPYTER_PASSWORD=x", 1, "of the entrypoint"),
            ("AI_LAB_ENV=x", 1, "of the entrypoint"),
        ] {
            let (at, problem) = parse(text.as_bytes()).unwrap_err();
            assert_eq!(at, line, "{text}");
            assert!(problem.contains(word), "{text}: {problem}");
        }
    }
}
