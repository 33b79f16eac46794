//! What a hook wrote for the environment: each line is a variable that execve(2) takes, or
//! all of it is refused with the line.

use std::os::unix::ffi::OsStrExt;

use ai_lab_entrypoint::hooks::variables::parse;

pub fn holds(text: &[u8]) {
    match parse(text) {
        Err((line, problem)) => {
            let lines = text.split(|byte| *byte == b'\n').count();
            assert!((1..=lines).contains(&line) && !problem.is_empty());
        }
        Ok(variables) => {
            // Written again, they are the lines that say something.
            let written = variables.iter().map(|(name, value)| {
                assert!(!name.is_empty() && name != "AI_LAB_ENV");
                assert!(!value.as_bytes().contains(&0));
                [name.as_bytes(), b"=", value.as_bytes()].concat()
            });
            let lines = text.split(|byte| *byte == b'\n');
            let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
            let lines = lines.filter(|line| !matches!(line.first(), None | Some(b'#')));
            assert!(written.eq(lines));
        }
    }
}
