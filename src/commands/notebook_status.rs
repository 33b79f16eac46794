//! `notebooks status`: the state of each default, for people and for programs.

use std::io::IsTerminal;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use serde_json::json;

use crate::commands::context::VerbContext;
use crate::commands::error::VerbError;
use crate::commands::print::{print, print_errors, print_json};
use crate::sys::env::variable;
use crate::sys::text::shown;
use crate::volume;
use crate::volume::{Action, Decision, Defaults, DefaultsStatus};

/// Returns the state of one default: a word for programs, and a text and a colour for people.
fn labels(decision: Decision) -> (&'static str, &'static str, &'static str) {
    const GREEN: &str = "32";
    const YELLOW: &str = "33";
    const CYAN: &str = "36";
    const RED: &str = "31";
    match decision {
        Decision::Adopt | Decision::Current => ("current", "current", GREEN),
        Decision::Kept => ("changed", "changed by you", YELLOW),
        Decision::Beside => (
            "changed",
            "changed by you; the new one comes beside it at the next start",
            YELLOW,
        ),
        Decision::Run => ("run", "only run by you", GREEN),
        Decision::ReplaceRun => (
            "run",
            "only run by you; the newer one comes at the next start, your copy is kept",
            CYAN,
        ),
        Decision::Replace => ("outdated", "the newer one comes at the next start", CYAN),
        Decision::Left => ("outdated", "of another version, stays as it is", CYAN),
        Decision::Install => ("missing", "missing, comes at the next start", CYAN),
        Decision::Deleted => ("deleted", "deleted by you, stays away", YELLOW),
        Decision::Gone => ("gone", "no longer a default, stays", YELLOW),
        Decision::InTheWay => ("blocked", "something else is in its place", RED),
    }
}

/// Prints the state of each default.
///
/// # Errors
/// The notebooks cannot be read.
pub(super) fn run(
    setting: &VerbContext,
    defaults: &Defaults,
    json: bool,
) -> Result<ExitCode, VerbError> {
    let status = volume::defaults_status(&setting.dropped, defaults)?;
    if json {
        print_json(&format!("{:#}", as_json(defaults, &status)));
    } else {
        let colour = std::io::stdout().is_terminal() && variable("NO_COLOR").is_none();
        // All names in it are escaped already, and the colour codes must not be.
        print(as_text(defaults, &status, colour).as_bytes());
    }
    print_errors(&status.degradations);
    Ok(ExitCode::SUCCESS)
}

fn as_json(defaults: &Defaults, status: &DefaultsStatus) -> serde_json::Value {
    let DefaultsStatus {
        installed, files, ..
    } = status;
    let file = |action: &Action| {
        let mergeable = status.newer.get(&action.path) == Some(&true);
        let state = labels(action.decision).0;
        json!({"path": action.shown(), "state": state, "mergeable": mergeable})
    };
    json!({
        "notebooks": defaults.volume.display().to_string(),
        "image": defaults.image_version,
        "installed": installed,
        "files": files.iter().map(file).collect::<Vec<_>>(),
    })
}

fn as_text(defaults: &Defaults, status: &DefaultsStatus, colour: bool) -> String {
    let version = |version: &Option<String>| version.as_ref().map_or("no version".into(), shown);
    let mut text = format!(
        "{}: defaults of {}, last brought in by {}\n",
        shown(defaults.volume.as_os_str().as_bytes()),
        version(&defaults.image_version),
        version(&status.installed),
    );
    let names: Vec<String> = status.files.iter().map(Action::shown).collect();
    let width = names.iter().map(|name| name.chars().count()).max();
    for (action, name) in status.files.iter().zip(&names) {
        let (_, mut what, code) = labels(action.decision);
        what = match status.newer.get(&action.path) {
            Some(true) => "changed by you; `notebooks merge` brings the newer version in",
            Some(false) => "changed by you; `notebooks diff` shows the newer version",
            None => what,
        };
        let (on, off) = match colour {
            true => (format!("\x1b[{code}m"), "\x1b[0m"),
            false => (String::new(), ""),
        };
        let width = width.unwrap_or(0);
        text.push_str(&format!("  {name:width$}  {on}{what}{off}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::settings::{DeletedNotebooks, UpdateNotebooks};

    #[test]
    fn the_status_is_aligned_and_coloured_only_where_it_may_be() {
        let defaults = Defaults {
            source: "/d".into(),
            volume: "/n".into(),
            image_version: Some("1.1.0".into()),
            update: UpdateNotebooks::Unmodified,
            deleted: DeletedNotebooks::Restore,
            mode: 0o644,
        };
        let action = |path: &str, decision| Action {
            path: path.into(),
            decision,
        };
        let status = DefaultsStatus {
            newer: BTreeMap::from([(b"longer.ipynb".to_vec(), true)]),
            degradations: Vec::new(),
            news: false,
            installed: Some("1.0.0".into()),
            files: vec![
                action("a.ipynb", Decision::Current),
                action("longer.ipynb", Decision::Kept),
            ],
        };
        let expected = "\
/n: defaults of 1.1.0, last brought in by 1.0.0
  a.ipynb       current
  longer.ipynb  changed by you; `notebooks merge` brings the newer version in
";
        assert_eq!(as_text(&defaults, &status, false), expected);
        assert!(as_text(&defaults, &status, true).contains("\x1b[33mchanged by you; "));
        let json = as_json(&defaults, &status);
        assert_eq!(
            json["files"][1],
            json!({"path": "longer.ipynb", "state": "changed", "mergeable": true})
        );
        assert_eq!(json["installed"], "1.0.0");
    }
}
