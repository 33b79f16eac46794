//! What broke, for people: in one line, and as the first page of a rescued server.

use std::fmt;

use crate::death::Diagnosis;
use crate::supervisor::lifecycle::Ended;
use crate::sys::text::{shown, shown_lines};

/// The reason for a rescue, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// What broke.
    pub cause: String,
    /// How to mend it; `None`: not known.
    pub remedy: Option<String>,
    /// The last lines of the log of the server that failed; empty: there are none.
    pub log: String,
}

impl Broken {
    /// Returns a reason that says everything itself.
    pub fn new(cause: String) -> Self {
        Self {
            cause,
            remedy: None,
            log: String::new(),
        }
    }

    /// Returns the reason after a server that ended early; `log`: its last lines.
    pub fn ended(how: Ended, diagnosis: Option<Diagnosis>, log: String) -> Self {
        let code = how.code();
        let unknown = || format!("the server ended with code {code} before it was ready");
        let (cause, remedy) = diagnosis.map(|known| (known.cause, known.remedy)).unzip();
        Self {
            cause: cause.unwrap_or_else(unknown),
            remedy,
            log,
        }
    }

    /// Returns the first page of the rescue, in Markdown.
    pub fn page(&self, hub: bool) -> String {
        let restart = match hub {
            true => "choose *File > Hub Control Panel*, stop your server there and start it again",
            false => "restart the container",
        };
        let mut page = String::new();
        for line in include_str!("page.md").lines() {
            match (line, &self.remedy) {
                ("CAUSE", _) => page += &format!("**What broke:** {}\n", escaped(&self.cause)),
                ("REMEDY", Some(remedy)) => {
                    page += &format!("\n**How to mend it:** {}\n", escaped(remedy));
                }
                ("LOG", _) if !self.log.is_empty() => {
                    page += "\n## The last lines of the server that did not start\n\n";
                    page += &indented(&self.log);
                }
                ("REMEDY" | "LOG", _) => {}
                (line, _) => {
                    page += &line.replace("RESTART", restart);
                    page.push('\n');
                }
            }
        }
        page
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)?;
        match &self.remedy {
            Some(remedy) => write!(f, ". {remedy}."),
            None => Ok(()),
        }
    }
}

/// Returns text on one line that Markdown shows as it is.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in shown(text).chars() {
        if c.is_ascii_punctuation() {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// Returns text as a block that Markdown shows as it is, whatever it contains.
fn indented(text: &str) -> String {
    let lines = shown_lines(text);
    lines.lines().map(|line| format!("    {line}\n")).collect()
}
