//! What broke, for people: in one line, and as the first page of a rescued server.

use std::fmt;

use crate::death::Diagnosis;
use crate::supervisor::lifecycle::Ended;
use crate::sys::text::shown_lines;

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

    /// Returns the page, in Markdown.
    pub fn page(&self, hub: bool) -> String {
        let cause = shown_lines(&self.cause);
        let remedy = match &self.remedy {
            Some(remedy) => format!("**How to mend it:** {}\n\n", shown_lines(remedy)),
            None => String::new(),
        };
        let log = match self.log.is_empty() {
            true => String::new(),
            false => format!(
                "## The last lines of the server that did not start\n\n{}\n",
                indented(&shown_lines(&self.log))
            ),
        };
        let restart = match hub {
            true => {
                "or choose *File > Hub Control Panel*, stop your server there and start it again"
            }
            false => "or restart the container",
        };
        format!(
            "# Your lab did not start, so this is a rescue\n\n\
             **What broke:** {cause}\n\n\
             {remedy}\
             Nothing of yours was changed or deleted. This JupyterLab runs without your Jupyter \
             configuration, your extensions and the packages that you installed, so that you can \
             mend what broke.\n\n\
             ## What to do\n\n\
             1. Mend it here. The file browser shows all files, hidden ones as well, and opens them \
             in the editor. *File > New > Terminal* opens a terminal, with your own `pip` and \
             `python`.\n\
             2. Then run `ai-lab-entrypoint restart` in the terminal, {restart}. That starts your \
             usual lab.\n\n\
             | If the cause is | then in the terminal |\n\
             |---|---|\n\
             | a full disk | `df -h ~` shows how full it is, `du -xh ~ \\| sort -h \\| tail` what is large |\n\
             | Jupyter's configuration | the files are in `~/.jupyter`; `jupyter --paths` names all places |\n\
             | a package | `pip uninstall NAME`, or `rm -r ~/.local/lib/python3*` for those of your own |\n\n\
             {log}"
        )
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

/// Returns text as a block that Markdown shows as it is, whatever it contains.
fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}
