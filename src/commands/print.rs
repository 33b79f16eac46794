//! Prints the output of a verb, and returns its exit code.

use std::io::Write;
use std::process::ExitCode;

use crate::sys::text;

/// Prints a verb's text. Characters that a terminal would obey are escaped, except line breaks
/// and tabs: the text may hold the user's files and names.
pub fn print_text(what: &str) {
    print(text::shown_lines(what).as_bytes());
}

/// Prints a verb's JSON.
pub fn print_json(what: &str) {
    print(format!("{}\n", text::json(what)).as_bytes());
}

/// Prints our own text as it is. A closed stdout is no error.
pub fn print(what: &[u8]) -> ExitCode {
    let _ = std::io::stdout().write_all(what);
    ExitCode::SUCCESS
}

/// Returns the exit code of a verb.
pub fn exit_code(done: bool) -> ExitCode {
    match done {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Writes a line for each problem to stderr.
pub fn print_errors<T: std::fmt::Display>(problems: &[T]) {
    for problem in problems {
        print_error(problem);
    }
}

/// Writes one line to stderr.
pub fn print_error(what: &dyn std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{}", text::shown(&what.to_string()));
}
