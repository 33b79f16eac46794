//! The same cases under this program, tini, dumb-init and catatonit, side by side:
//! `cargo test --test process compliance::` prints the tables.
//!
//! What we do is asserted against the specification; who else does it right is asserted
//! to do the same, so that behaviour is compared, not assumed. Where others are known to
//! do something else, the table shows what.

mod ends;
mod signals;
mod streams;
mod terminal;

use std::fmt::Write as _;
use std::io::Write as _;

use crate::support::{Image, Start};

/// The first process.
#[allow(clippy::enum_variant_names, reason = "dumb-init's name")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Init {
    Ours,
    Tini,
    DumbInit,
    Catatonit,
}

use Init::{Catatonit, DumbInit, Ours, Tini};

impl Init {
    const ALL: [Self; 4] = [Ours, Tini, DumbInit, Catatonit];

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
            Self::Ours => crate::support::PROGRAM,
            Self::Tini => "tini",
            Self::DumbInit => "dumb-init",
            Self::Catatonit => "catatonit",
        }
    }

    /// What follows the program's name.
    pub fn words(self, image: &Image, command: &[&str]) -> Vec<String> {
        let options = match self {
            Self::Ours => image.options(),
            _ => Vec::new(),
        };
        let rest = std::iter::once("--").chain(command.iter().copied());
        options.into_iter().chain(rest.map(str::to_owned)).collect()
    }
}

struct Row {
    case: String,
    expected: String,
    right: &'static [Init],
    outcomes: [String; 4],
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

    /// Runs one case under each; `right`: who else does what is expected of us.
    pub fn case(
        &mut self,
        case: &str,
        right: &'static [Init],
        expected: &str,
        run: impl Fn(Init) -> String,
    ) {
        self.rows.push(Row {
            case: case.into(),
            expected: expected.into(),
            right,
            outcomes: Init::ALL.map(run),
        });
    }

    /// Prints the table and judges it.
    pub fn judge(self) {
        let mut text = format!("\n{:<44}", self.title);
        for name in ["ai-lab-entrypoint", "tini", "dumb-init", "catatonit"] {
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
            for (init, outcome) in Init::ALL.iter().zip(&row.outcomes) {
                if *init == Ours || row.right.contains(init) {
                    assert_eq!(*outcome, row.expected, "{}: {init:?}", row.case);
                }
            }
        }
    }
}
