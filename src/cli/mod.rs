//! The command line: flags from the settings table, the verbs, and COMMAND.
//!
//! A word is a verb only as the very first word. Options come before COMMAND. After `--` or any
//! option the first word is COMMAND, and everything after COMMAND belongs to it.

pub mod grammar;
pub mod printed;
pub mod verbs;

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::settings::resolve::CliSettings;
use grammar::{start_command, typed};
pub use verbs::Verb;

/// The action that a command line requests.
#[derive(Debug)]
pub enum Action {
    /// Start: prepare the container and run the server or COMMAND.
    Start {
        /// The flags.
        typed: CliSettings,
        /// COMMAND and its arguments; empty: none.
        command: Vec<OsString>,
    },
    /// A verb, used through `docker exec` or in a terminal.
    Verb {
        /// The verb and its arguments.
        verb: Verb,
        /// Its flags.
        typed: CliSettings,
    },
}

/// Parses a command line; the first word is the program's name.
///
/// # Errors
/// clap's error: the command line is wrong, or asks for help or the version.
pub fn parse(words: &[OsString]) -> Result<Action, clap::Error> {
    match words
        .get(1)
        .and_then(|word| word.to_str())
        .and_then(verbs::verb_grammar)
    {
        Some(command) => {
            let (verb, typed) = verbs::parse(command, &words[1..])?;
            Ok(Action::Verb { verb, typed })
        }
        None => start(words),
    }
}

fn start(words: &[OsString]) -> Result<Action, clap::Error> {
    let matches = start_command().try_get_matches_from(words);
    let matches = matches.map_err(with_tip)?;
    let command = matches
        .get_many::<OsString>("COMMAND")
        .map(|words| words.cloned().collect())
        .unwrap_or_default();
    let typed = typed(&matches, |_| true);
    Ok(Action::Start { typed, command })
}

/// Options of `docker run` that people write behind the image, and that are none of ours or Jupyter's.
const OF_DOCKER: [&str; 34] = [
    "-d",
    "-e",
    "-i",
    "-m",
    "-p",
    "-t",
    "-u",
    "-v",
    "-w",
    "--add-host",
    "--cap-add",
    "--cpus",
    "--detach",
    "--env",
    "--env-file",
    "--gpus",
    "--hostname",
    "--init",
    "--label",
    "--memory",
    "--mount",
    "--name",
    "--net",
    "--network",
    "--privileged",
    "--publish",
    "--pull",
    "--read-only",
    "--rm",
    "--security-opt",
    "--shm-size",
    "--tmpfs",
    "--ulimit",
    "--volume",
];

/// Replaces clap's tip for an unknown option, to put it behind `--`: there it would be COMMAND.
fn with_tip(mut error: clap::Error) -> clap::Error {
    if error.kind() == ErrorKind::UnknownArgument
        && let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg)
    {
        let of_docker = OF_DOCKER.contains(&option.as_str());
        let is_other = of_docker || option.contains('.');
        let tip = match of_docker {
            true => {
                format!("an option of Docker comes before the image: 'docker run {option} … IMAGE'")
            }
            false => format!("an option of Jupyter comes after the server: 'jupyter-lab {option}'"),
        };
        let tip = ContextValue::StyledStrs(vec![tip.into()]);
        error.insert(ContextKind::Suggested, tip);
        if is_other {
            error.remove(ContextKind::SuggestedArg);
        }
    }
    error
}

/// Returns the flags of a start before the word that does not fit; `None`: the first word is a
/// verb.
pub fn partial_start(words: &[OsString]) -> Option<CliSettings> {
    let first = words.get(1).and_then(|word| word.to_str());
    if first.and_then(verbs::verb_grammar).is_some() {
        return None;
    }
    let matches = start_command().ignore_errors(true);
    let matches = matches.try_get_matches_from(words).ok()?;
    Some(typed(&matches, |_| true))
}

/// Returns the exit code for a refused command line: 0 for help and version, 2 otherwise.
pub fn exit_code(error: &clap::Error) -> u8 {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => 0,
        _ => 2,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::settings::Key;
    use crate::settings::entry::ValueKind;
    use crate::settings::table::TABLE;
    use crate::settings::value::RawValue;

    fn parsed(words: &[&str]) -> Result<Action, clap::Error> {
        let words: Vec<OsString> = std::iter::once("ai-lab-entrypoint")
            .chain(words.iter().copied())
            .map(OsString::from)
            .collect();
        parse(&words)
    }

    fn command(words: &[&str]) -> Vec<String> {
        match parsed(words).unwrap() {
            Action::Start { command, .. } => command
                .iter()
                .map(|word| word.to_str().unwrap().to_owned())
                .collect(),
            Action::Verb { .. } => panic!("{words:?} is a verb"),
        }
    }

    #[test]
    fn the_grammar_is_sound() {
        start_command().debug_assert();
    }

    #[test]
    fn everything_after_command_belongs_to_it() {
        for (typed, expected) in [
            (vec!["ls", "-l"], vec!["ls", "-l"]),
            (
                vec!["--port", "1", "ls", "--port", "2"],
                vec!["ls", "--port", "2"],
            ),
            (vec!["--", "--port", "2"], vec!["--port", "2"]),
            (vec!["ls", "--", "-l"], vec!["ls", "--", "-l"]),
            (vec!["ls", "-l", "--", "-l"], vec!["ls", "-l", "--", "-l"]),
            (vec!["--", "ls", "--", "-l"], vec!["ls", "--", "-l"]),
            (vec!["--", "--", "x"], vec!["--", "x"]),
            (vec!["--port=1"], vec![]),
            (vec!["--port", "1", "--"], vec![]),
            (vec!["env", "--help"], vec!["env", "--help"]),
            (vec!["env", "--version"], vec!["env", "--version"]),
            (vec!["help"], vec!["help"]),
        ] {
            assert_eq!(command(&typed), expected, "{typed:?}");
        }
    }

    #[test]
    fn a_verb_is_one_only_as_the_very_first_word() {
        assert!(matches!(
            parsed(&["healthcheck"]).unwrap(),
            Action::Verb {
                verb: Verb::Healthcheck,
                ..
            }
        ));
        assert_eq!(command(&["--", "healthcheck"]), ["healthcheck"]);
        assert_eq!(command(&["--port", "1", "status"]), ["status"]);
    }

    #[test]
    fn an_unknown_option_before_command_is_an_error() {
        for words in [
            &["--prot", "1"][..],
            &["-x"],
            &["healthcheck", "now"],
            &["notebooks"],
            &["notebooks", "restore"],
            &["notebooks", "status", "--port", "1"],
            &["config", "shwo"],
            &["--port"],
        ] {
            assert_eq!(exit_code(&parsed(words).unwrap_err()), 2, "{words:?}");
        }
        assert_eq!(exit_code(&parsed(&["--help"]).unwrap_err()), 0);
    }

    #[test]
    fn a_negative_number_is_a_value_and_any_other_dash_an_option() {
        for entry in TABLE {
            if entry.kind == ValueKind::Switch {
                continue;
            }
            for value in ["-1", "-0.5"] {
                let words = [&format!("--{}", entry.flag), value, "ls", "-1"];
                assert_eq!(command(&words), ["ls", "-1"], "{words:?}");
            }
            if entry.kind != ValueKind::Texts {
                let error = parsed(&[&format!("--{}", entry.flag), "-x"]).unwrap_err();
                assert_eq!(exit_code(&error), 2, "{}", entry.flag);
            }
        }
        assert_eq!(exit_code(&parsed(&["-1"]).unwrap_err()), 2);
    }

    #[test]
    fn the_last_of_a_repeated_flag_wins_and_lists_add_up() {
        let Action::Start { typed, .. } = parsed(&[
            "--port",
            "1",
            "--port=2",
            "--jupyter-arg",
            "--a",
            "--jupyter-arg=--b",
        ])
        .unwrap() else {
            panic!("not a start")
        };
        assert_eq!(typed.flags[&Key::Port], RawValue::Text("2".into()));
        assert_eq!(
            typed.flags[&Key::JupyterArg],
            RawValue::List(vec!["--a".into(), "--b".into()])
        );
    }
}
