//! The end of a start: a failure before anything is started, or the exit code and the log lines after
//! the server or command has ended.

use tracing::{error, info};

use crate::settings::SettingsError;

/// Exit code for invalid settings (`EX_CONFIG` of sysexits.h).
pub const EX_CONFIG: u8 = 78;

/// Why a start ends before its server or command is started.
#[derive(Debug)]
pub enum Failure {
    /// Settings are invalid: exit code 78.
    Settings(SettingsError),
    /// The preparation failed: exit code 1. The text says what failed, why, and what to do.
    Preparation(String),
    /// A signal asked to stop: exit code 128 plus its number.
    Stopped {
        /// The number of the signal.
        signal: i32,
    },
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Preparation(causes(&error))
    }
}

/// Returns an error and its causes as one sentence.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// The end of a start that ran a server, a command or nothing.
pub struct Ending {
    /// The exit code.
    pub code: i32,
    /// Why the server failed; empty: it did not, or a command was run, which has its own words.
    pub words: String,
    /// The last lines of the server's log.
    pub log: String,
}

impl From<i32> for Ending {
    fn from(code: i32) -> Self {
        Self {
            code,
            words: String::new(),
            log: String::new(),
        }
    }
}

/// Logs why a start failed.
pub fn report(failure: Failure) -> Ending {
    let (code, lines) = match failure {
        Failure::Settings(errors) => {
            let line = |wrong| format!("settings: {wrong}");
            (EX_CONFIG.into(), errors.0.iter().map(line).collect())
        }
        Failure::Preparation(reason) => (1, vec![reason]),
        Failure::Stopped { signal } => {
            info!("stopped by signal {signal} before anything was started");
            (128 + signal, Vec::new())
        }
    };
    lines.iter().for_each(|line| error!("{line}"));
    Ending {
        words: lines.join("\n"),
        ..code.into()
    }
}
