//! Our own log on stderr: one line for each message, in Jupyter's format, as JSON, or as the
//! predecessor wrote it.
//!
//! ```text
//! [I 2026-11-21 01:25:22.123 ai-lab] proxy.sh: set
//! {"time":"2026-11-21T01:25:22.123Z","level":"info","logger":"ai-lab","message":"proxy.sh: set"}
//! 2026-11-21 01:25:22 INFO    entrypoint.py: proxy.sh: set
//! ```
//!
//! Times are UTC. Lines go to stderr without a queue until a [`Sink`] takes over. Either way, a
//! stalled reader blocks nothing for long.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::sync::{Mutex, OnceLock};

use time::OffsetDateTime;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry;

use crate::log::sink::Sink;
use crate::log::stderr;
use crate::settings::LogFormat;
use crate::sys::env::variable;
use crate::sys::lock;
use crate::sys::text;

/// Why a console loses lines.
const SLOW_READER: &str = "its reader was too slow or stood still";

static STYLE: OnceLock<Style> = OnceLock::new();
static SINK: Mutex<Option<Sink>> = Mutex::new(None);

#[derive(Debug, Clone, Copy)]
struct Style {
    format: LogFormat,
    colour: bool,
}

const PLAIN: Style = Style {
    format: LogFormat::Text,
    colour: false,
};

/// Starts the log. Only the first call has an effect.
pub fn start(format: LogFormat, level: Level) {
    let no_colour = variable("NO_COLOR").is_some();
    let colour = io::stderr().is_terminal() && !no_colour;
    if STYLE.set(Style { format, colour }).is_ok() {
        let layer = LogLayer.with_filter(LevelFilter::from_level(level));
        // Fails only if a subscriber is already set, and the first call counts.
        let _ = tracing::subscriber::set_global_default(registry().with(layer));
    }
}

/// Sends all later lines through `sink`; `None`: writes them to stderr without a sink.
pub fn set_sink(sink: Option<Sink>) {
    *lock(&SINK) = sink;
}

/// Prints text for a person as it is: several lines without the head of a log line. In JSON it is
/// one message.
pub fn print_text(said: &str) {
    match style().format {
        LogFormat::Text => {
            let lines = text::shown_lines(said);
            emit(format!("{}\n", with_bold_urls(style(), &lines)));
        }
        LogFormat::Json => emit(line(style(), Level::INFO, said)),
        // One message of several lines: only the first has a head.
        LogFormat::Classic => {
            let head = line(style(), Level::INFO, "");
            let lines = text::shown_lines(said.trim_start_matches('\n'));
            emit(format!("{}{lines}\n", head.trim_end_matches('\n')));
        }
    }
}

/// Makes the URL of each line bold on a terminal.
fn with_bold_urls(style: Style, lines: &str) -> String {
    let bold = |line: &str| match line.find("http").filter(|_| style.colour) {
        Some(at) => format!("{}\x1b[1m{}\x1b[0m", &line[..at], &line[at..]),
        None => line.to_owned(),
    };
    lines.split('\n').map(bold).collect::<Vec<_>>().join("\n")
}

/// Logs an error to stderr without any [`Sink`].
pub fn error_to_stderr(message: &str) {
    stderr::write(line(style(), Level::ERROR, message).as_bytes(), losses);
}

/// Returns the line that reports how many lines were lost on the console.
pub fn losses(lost: u64) -> Vec<u8> {
    loss_notice(style(), lost, SLOW_READER)
}

/// Logs the number of lost lines of the server's stdout and returns no bytes: stdout is for the server's output.
pub fn losses_of_stdout(lost: u64) -> Vec<u8> {
    let lost = lost_lines(lost, "on stdout", SLOW_READER);
    emit(line(style(), Level::WARN, &lost));
    Vec::new()
}

/// Returns the number of lost lines in the logfile, as a line without colour.
pub fn losses_of_logfile(lost: u64) -> Vec<u8> {
    loss_notice(PLAIN, lost, "the disk was full or too slow")
}

fn loss_notice(style: Style, lost: u64, cause: &str) -> Vec<u8> {
    line(style, Level::WARN, &lost_lines(lost, "here", cause)).into_bytes()
}

fn lost_lines(lost: u64, place: &str, cause: &str) -> String {
    format!("{lost} lines of the log found no room {place}: {cause}")
}

/// Returns the format of the log; text before [`start`].
pub fn format() -> LogFormat {
    style().format
}

fn style() -> Style {
    STYLE.get().copied().unwrap_or(PLAIN)
}

fn emit(line: String) {
    match &*lock(&SINK) {
        Some(sink) => sink.offer(line.into_bytes()),
        None => stderr::write(line.as_bytes(), losses),
    }
}

struct LogLayer;

impl<S: Subscriber> Layer<S> for LogLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut message = Message::default();
        event.record(&mut message);
        emit(line(style(), *event.metadata().level(), &message.0));
    }
}

#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a String cannot fail.
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

fn line(style: Style, level: Level, message: &str) -> String {
    let now = OffsetDateTime::now_utc();
    let date = format!(
        "{}-{:02}-{:02}",
        now.year(),
        u8::from(now.month()),
        now.day()
    );
    let seconds = format!("{:02}:{:02}:{:02}", now.hour(), now.minute(), now.second());
    let time = format!("{seconds}.{:03}", now.millisecond());
    match style.format {
        LogFormat::Text => {
            let (letter, colour) = match level {
                Level::ERROR => ('E', "31"),
                Level::WARN => ('W', "33"),
                Level::INFO => ('I', "32"),
                Level::DEBUG => ('D', "34"),
                Level::TRACE => ('T', "35"),
            };
            let head = format!("[{letter} {date} {time} ai-lab]");
            // A file name may hold a line break or an escape sequence; a log line must not.
            let message = text::shown(message);
            if style.colour {
                format!("\x1b[{colour}m{head}\x1b[0m {message}\n")
            } else {
                format!("{head} {message}\n")
            }
        }
        LogFormat::Json => {
            let object = serde_json::json!({
                "time": format!("{date}T{time}Z"),
                "level": level.as_str().to_ascii_lowercase(),
                "logger": "ai-lab",
                "message": message,
            });
            format!("{}\n", text::json(&object.to_string()))
        }
        LogFormat::Classic => {
            let level = match level {
                Level::WARN => "WARNING",
                level => level.as_str(),
            };
            // Python's exception, which watchers look for.
            let exception = match message.starts_with("No rw permissions for group in ") {
                true => "PermissionError: ",
                false => "",
            };
            let message = text::shown(message);
            format!("{date} {seconds} {level:<7} entrypoint.py: {exception}{message}\n")
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_whatever_is_in_it() {
        let text = line(PLAIN, Level::WARN, "a\nb\x1b[31m é");
        assert!(text.starts_with("[W 2"), "{text}");
        assert!(text.ends_with(" ai-lab] a\\nb\\u{1b}[31m é\n"), "{text}");
    }

    #[test]
    fn json_is_one_object_a_line() {
        let style = Style {
            format: LogFormat::Json,
            ..PLAIN
        };
        let text = line(style, Level::INFO, "a\n\"b\"");
        let object: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(object["message"], "a\n\"b\"");
        assert_eq!(object["level"], "info");
        assert_eq!(object["logger"], "ai-lab");
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn a_classic_line_is_that_of_the_predecessor() {
        let style = Style {
            format: LogFormat::Classic,
            colour: true,
        };
        let text = line(style, Level::WARN, "a\nb");
        let (time, rest) = text.split_at("2026-11-21 01:25:22".len());
        assert_eq!(time.matches(['-', ' ', ':']).count(), 5, "{text}");
        assert_eq!(rest, " WARNING entrypoint.py: a\\nb\n");
        let refused = "No rw permissions for group in -rw------- /var/run/docker.sock.";
        let text = line(style, Level::INFO, refused);
        let expected = format!(" INFO    entrypoint.py: PermissionError: {refused}\n");
        assert!(text.ends_with(&expected), "{text}");
    }

    #[test]
    fn colour_is_only_in_the_head() {
        let style = Style {
            colour: true,
            ..PLAIN
        };
        let text = line(style, Level::ERROR, "message");
        assert!(text.starts_with("\x1b[31m[E "), "{text}");
        assert!(text.ends_with("]\x1b[0m message\n"), "{text}");
    }
}
