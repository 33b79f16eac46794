//! The end of a server's log: which of its lines can say why the server ended.

/// The line with which Python begins a traceback.
const TRACEBACK: &str = "Traceback (most recent call last):";

/// The lines with which Python joins the tracebacks of one error.
pub(super) const CHAINED: [&str; 2] = [
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
];

/// The beginnings of Python's messages about errors that end no program.
const HARMLESS: [&str; 2] = ["Exception ignored ", "Exception in thread "];

/// The names of the programs that are servers, as Python names them in a traceback.
const SERVERS: [&str; 6] = [
    "jupyter-lab",
    "jupyter-labhub",
    "jupyterhub-singleuser",
    "jupyter-server",
    "jupyter-notebook",
    "jupyter-nbclassic",
];

/// Returns a log without the escape sequences that colour it, as with `FORCE_COLOR`.
pub(super) fn without_colours(log: &str) -> String {
    let mut parts = log.split("\x1b[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let end = part.find(|c| ('@'..='~').contains(&c));
        text + end.map_or("", |end| &part[end + 1..])
    })
}

/// Returns the lines of a log without the errors that end no program, and their tracebacks.
pub(super) fn lines(log: &str) -> Vec<&str> {
    let all: Vec<&str> = log.lines().map(str::trim_end).collect();
    let (mut rest, mut kept) = (&all[..], Vec::new());
    while let [line, after @ ..] = rest {
        rest = after;
        match is_harmless(line) {
            true => rest = after_error(rest),
            false => kept.push(*line),
        }
    }
    kept
}

fn is_harmless(line: &str) -> bool {
    HARMLESS.iter().any(|begin| line.starts_with(begin))
}

/// Returns the lines after an error and all errors that Python joined to it. It may have no
/// traceback.
fn after_error<'a, 'b>(mut lines: &'a [&'b str]) -> &'a [&'b str] {
    loop {
        lines = without_first(lines, |line| line == TRACEBACK);
        while let [frame, rest @ ..] = lines
            && frame.starts_with(' ')
        {
            lines = rest;
        }
        lines = without_first(lines, is_error);
        // The error's text may have more lines.
        let begins = |line: &&str| {
            *line == TRACEBACK
                || CHAINED.contains(line)
                || is_harmless(line)
                || level(line).is_some()
        };
        match lines.iter().position(begins) {
            Some(at) if CHAINED.contains(&lines[at]) => {
                lines = without_first(&lines[at + 1..], str::is_empty);
            }
            _ => return lines,
        }
    }
}

fn without_first<'a, 'b>(lines: &'a [&'b str], is_it: impl Fn(&str) -> bool) -> &'a [&'b str] {
    match lines {
        [first, rest @ ..] if is_it(first) => rest,
        all => all,
    }
}

/// Reports whether a line has the form of an error: `package.Error: text`, or its name alone.
fn is_error(line: &str) -> bool {
    let name = line.split(": ").next().unwrap_or_default();
    let name = name.strip_suffix(':').unwrap_or(name);
    !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_alphanumeric() || "._".contains(c))
}

/// Reports whether a log ends with the traceback of the error that ended a server. Python prints it
/// from the first line of the program on, and the server logs nothing after it.
pub(super) fn ends_with_servers_traceback(lines: &[&str]) -> bool {
    let Some(at) = lines.iter().rposition(|line| *line == TRACEBACK) else {
        return false;
    };
    let program = lines.get(at + 1).unwrap_or(&"");
    let is_server = SERVERS.iter().any(|name| {
        program.starts_with("  File \"") && program.contains(&format!("/bin/{name}\", line "))
    });
    is_server && !lines[at..].iter().any(|line| level(line).is_some())
}

/// Returns the index of the line above the last traceback, which introduces it; 0: there is no
/// traceback. What is above did not end the server. Of tracebacks that Python joined, the first
/// counts.
pub(super) fn begin_of_last_traceback(lines: &[&str]) -> usize {
    let begins = |line: &&str| line.ends_with(TRACEBACK);
    let mut end = lines.len();
    while let Some(at) = lines[..end].iter().rposition(begins) {
        let above = lines[..at].iter().rfind(|line| !line.is_empty());
        if !above.is_some_and(|line| CHAINED.contains(&line.trim_start())) {
            return at.saturating_sub(1);
        }
        end = at;
    }
    0
}

/// Returns the index of the first line that may show why the server ended: the last message if it is
/// an error, otherwise the line after it. The server went on after everything above. Jupyter
/// indents all lines of a message but the first, and describes an error at the level D after it.
pub(super) fn begin_of_end(lines: &[&str]) -> usize {
    let counts = |line: &&str| level(line).is_some_and(|level| level != "D");
    let Some(at) = lines.iter().rposition(counts) else {
        return 0;
    };
    if matches!(level(lines[at]), Some("E" | "C")) {
        return at;
    }
    let more = lines[at + 1..].iter();
    let more = more.take_while(|line| line.is_empty() || line.starts_with(' '));
    at + 1 + more.count()
}

/// Returns the level of a line that begins a message of Jupyter's: `[I 2026-01-31 12:00:00.000
/// ServerApp] …`.
fn level(line: &str) -> Option<&str> {
    let (level, rest) = line.strip_prefix('[')?.split_once(' ')?;
    let is_message = matches!(level, "D" | "I" | "W" | "E" | "C")
        && rest.starts_with(|c: char| c.is_ascii_digit());
    is_message.then_some(level)
}
