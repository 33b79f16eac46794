//! The end of a dry run: the plan is printed where a start would start its program.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::Write;

use tracing::error;

use crate::boot::changes::Section;
use crate::boot::context::Start;
use crate::boot::failure::Ending;
use crate::boot::passthrough::command_hint;
use crate::server::program::Launch;
use crate::settings::saved;
use crate::state::Mode;
use crate::supervisor::spawn;
use crate::supervisor::spawn::Program;
use crate::sys::env::Environment;

/// Prints the plan of a dry run and returns its end; `None`: this is a start, which goes on.
pub fn end(
    start: &mut Start<'_>,
    environment: &Environment,
    program: Option<&Program>,
) -> Option<Ending> {
    start.changes.plan()?;
    add_variables(start, environment);
    add_program(start, program);
    let plan = start.changes.plan()?;
    // A closed stdout is no error.
    let _ = std::io::stdout().write_all(plan.as_bytes());
    Some(
        program
            .map_or(0, |program| exit_code(start, program))
            .into(),
    )
}

/// Adds the variables that differ from those of this process. Only values that we set are shown.
fn add_variables(start: &mut Start<'_>, environment: &Environment) {
    let before: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
    let after: BTreeMap<&OsStr, &OsStr> = environment.iter().collect();
    let mut add = |line| start.changes.planned(Section::VARIABLES, || line);
    for (name, value) in &after {
        if before.get(*name).is_none_or(|known| known != value) {
            let (name, value) = (name.to_string_lossy(), value.to_string_lossy());
            add(format!("set {name}={value}"));
        }
    }
    for name in before.keys() {
        if !after.contains_key(name.as_os_str()) {
            add(format!("remove {}", name.to_string_lossy()));
        }
    }
}

fn add_program(start: &mut Start<'_>, program: Option<&Program>) {
    let section = match start.mode() {
        Mode::Lab | Mode::Hub => Section::SERVER,
        Mode::Command => Section::COMMAND,
        Mode::Idle => Section::IDLE,
    };
    let mut lines = Vec::new();
    if let Some(program) = program {
        let directory = program.directory.iter();
        lines.extend(directory.map(|directory| format!("in {}", directory.display())));
        let umask = program.umask.iter();
        lines.extend(umask.map(|umask| format!("with umask {umask:03o}")));
        let words = std::iter::once(&program.name).chain(&program.args);
        let words = saved::mask_secrets(words.map(|word| word.to_string_lossy()));
        let words: Vec<String> = words.into_iter().map(quoted).collect();
        lines.push(words.join(" "));
    }
    start.changes.open(section);
    for line in lines {
        start.changes.planned(section, || line);
    }
}

/// Returns a word as a shell would take it, with quotes if it needs them.
fn quoted(text: String) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Returns the exit code of a start whose program cannot be started, and logs why; 0: it can.
fn exit_code(start: &Start<'_>, program: &Program) -> i32 {
    let mut program = program.clone();
    // A directory that is handed over first can be entered then.
    program.directory = program
        .directory
        .filter(|directory| !start.changes.is_writable(directory));
    let checked = match start.launch {
        Launch::Server(_) => spawn::check_server(&program),
        _ => spawn::check_command(&program),
    };
    let Err(wrong) = checked else {
        return 0;
    };
    match command_hint(start.command()).filter(|_| wrong.code == 127) {
        Some(hint) => error!("{wrong}; {hint}"),
        None => error!("{wrong}"),
    }
    wrong.code
}
