//! The same cases under this program, tini and dumb-init, side by side:
//! `cargo test --test compliance` prints the tables.
//!
//! What we do is asserted against the specification; where tini does it right, tini is
//! asserted to do the same, so that behaviour is compared, not assumed. Where others
//! are known to fail, the table shows it.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

#[path = "compliance/ends.rs"]
mod ends;
#[path = "compliance/signals.rs"]
mod signals;
#[path = "compliance/streams.rs"]
mod streams;
#[path = "compliance/terminal.rs"]
mod terminal;

use std::fmt::Write as _;
use std::io::Write as _;

use support::{Image, Start};

/// The first process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Init {
    Ours,
    Tini,
    DumbInit,
}

impl Init {
    const ALL: [Self; 3] = [Self::Ours, Self::Tini, Self::DumbInit];

    /// As PID 1 of a namespace, with this command.
    pub fn start(self, image: &Image, command: &[&str]) -> Start {
        Start::wrapped(self.program()).args(self.words(image, command))
    }

    /// The same, with a terminal: PID 1 leads its session, as in a container.
    pub fn in_session(self, image: &Image, command: &[&str]) -> Start {
        Start::wrapped("setsid")
            .args(["--ctty", self.program()])
            .args(self.words(image, command))
    }

    pub fn program(self) -> &'static str {
        match self {
            Self::Ours => support::PROGRAM,
            Self::Tini => "tini",
            Self::DumbInit => "dumb-init",
        }
    }

    /// What follows the program's name.
    pub fn words(self, image: &Image, command: &[&str]) -> Vec<String> {
        let options = match self {
            Self::Ours => image.options(),
            Self::Tini | Self::DumbInit => Vec::new(),
        };
        let rest = std::iter::once("--").chain(command.iter().copied());
        options.into_iter().chain(rest.map(str::to_owned)).collect()
    }
}

/// What is known about tini in a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tini {
    /// It does it right.
    Same,
    /// It does not, or something else; the table shows what.
    Shown,
}

struct Row {
    case: String,
    expected: String,
    tini: Tini,
    outcomes: [String; 3],
}

/// Cases side by side.
pub struct Table {
    title: &'static str,
    rows: Vec<Row>,
}

impl Table {
    pub fn new(title: &'static str) -> Self {
        Self {
            title,
            rows: Vec::new(),
        }
    }

    /// Runs one case under each.
    pub fn case(&mut self, case: &str, tini: Tini, expected: &str, run: impl Fn(Init) -> String) {
        self.rows.push(Row {
            case: case.into(),
            expected: expected.into(),
            tini,
            outcomes: Init::ALL.map(run),
        });
    }

    /// Prints the table and judges it.
    pub fn judge(self) {
        let mut text = format!("\n{:<44}", self.title);
        for name in ["ai-lab-entrypoint", "tini", "dumb-init"] {
            let _ = write!(text, " | {name:<28}");
        }
        text.push('\n');
        for row in &self.rows {
            let _ = write!(text, "{:<44}", row.case);
            for outcome in &row.outcomes {
                let _ = write!(text, " | {outcome:<28}");
            }
            text.push('\n');
        }
        // Not `print!`, which the test runner would keep to itself.
        std::io::stdout().write_all(text.as_bytes()).unwrap();
        for row in self.rows {
            let [ours, tini, _] = &row.outcomes;
            assert_eq!(*ours, row.expected, "{}: ours", row.case);
            if row.tini == Tini::Same {
                assert_eq!(*tini, row.expected, "{}: tini", row.case);
            }
        }
    }
}
