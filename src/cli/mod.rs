//! The command line: flags from the settings table, the verbs, and COMMAND.
//!
//! A word is a verb only as the very first word. Options come before COMMAND. After `--` or any
//! option the first word is COMMAND, and everything after COMMAND belongs to it.

pub mod printed;
pub mod verbs;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint};

use crate::settings::entry::{Entry, ValueKind};
use crate::settings::resolve::CliSettings;
use crate::settings::table::TABLE;
use crate::settings::value::RawValue;
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

/// Returns the version. Builds for images and releases add the commit and its date.
fn version() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let commit = option_env!("AI_LAB_COMMIT").filter(|commit| !commit.is_empty());
    commit.map_or_else(|| version.into(), |commit| format!("{version} ({commit})"))
}

const NAME: &str = "ai-lab-entrypoint";

const ABOUT: &str = "First process of an AI Lab container";
const LONG_ABOUT: &str = "First process of an AI Lab container: prepares the notebooks volume, \
gives the user access to the Docker socket, drops root for good, sets Jupyter's password, starts \
the server and stays as PID 1.";

/// The headings and texts after the options, in `--help` and in the manual.
const AFTER: &[(&str, &str)] = &[
    (
        "Verbs",
        "\
As the very first word; each has its own --help.
  healthcheck  Probe the server once: exit 0 if it is healthy, 1 if not
  status       Show what the container is doing
  restart      Restart the server in place
  notebooks    Show, restore and merge the notebook defaults: status, diff, restore, merge;
               for people who build images: seal
  password     Set, hash or check a password: set, hash, check
  config       Show or check the settings: show, check
  completions  Print the completion script for a shell: bash, zsh, fish and others
  man          Print the manual page",
    ),
    (
        "Command",
        "\
Without COMMAND, the configured server starts. jupyterhub-singleuser, jupyter-lab,
jupyter lab and jupyter server start that server with those arguments. Any other command
runs as the user.",
    ),
    (
        "Exit status",
        "\
The server's own; 128+n if signal n ended it; 126 or 127 if it could not be executed or
found; 2 for a wrong command line; 78 for settings that do not validate; 1 when
preparation failed.",
    ),
    (
        "Examples",
        "  docker run -p 127.0.0.1:49494:49494 -v ai-lab:/home/jupyter/notebooks ai-lab
  docker run --env JUPYTER_PASSWORD=secret -p 127.0.0.1:49494:49494 ai-lab
  docker run -it ai-lab bash",
    ),
];

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
        Some(command) => verbs::parse(command, &words[1..]),
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

/// Replaces clap's tip for an unknown option, to put it behind `--`: there it would be COMMAND.
fn with_tip(mut error: clap::Error) -> clap::Error {
    if error.kind() == ErrorKind::UnknownArgument
        && let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg)
    {
        let is_trait = option.contains('.');
        let tip = format!("an option of Jupyter comes after the server: 'jupyter-lab {option}'");
        let tip = ContextValue::StyledStrs(vec![tip.into()]);
        error.insert(ContextKind::Suggested, tip);
        if is_trait {
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

/// Returns the settings on the command line. `has`: reports whether the grammar has a setting.
fn typed(matches: &ArgMatches, has: impl Fn(&Entry) -> bool) -> CliSettings {
    let entries = TABLE.iter().filter(|entry| has(entry));
    CliSettings {
        flags: entries
            .filter_map(|entry| Some((entry.key, written(entry, matches)?)))
            .collect(),
        // Not every verb has this option.
        config: matches
            .try_get_one::<PathBuf>("config")
            .ok()
            .flatten()
            .cloned(),
    }
}

fn written(entry: &Entry, matches: &ArgMatches) -> Option<RawValue> {
    match entry.kind {
        ValueKind::Switch => matches
            .get_flag(entry.flag)
            .then_some(RawValue::Switch(true)),
        kind if kind.is_list() => matches
            .get_many::<String>(entry.flag)
            .map(|items| RawValue::List(items.cloned().collect())),
        _ => matches
            .get_one::<String>(entry.flag)
            .map(|text| RawValue::Text(text.clone())),
    }
}

/// Returns the grammar of a start.
pub fn start_command() -> Command {
    let after = AFTER
        .iter()
        .map(|(heading, text)| format!("{heading}:\n{text}"));
    let after = after.collect::<Vec<_>>().join("\n\n");
    let command = Command::new(NAME)
        .version(version())
        .about(ABOUT)
        .long_about(LONG_ABOUT)
        .after_help(after)
        .override_usage(
            "ai-lab-entrypoint [OPTIONS] [--] [COMMAND [ARGS]...]\n       \
             ai-lab-entrypoint healthcheck | status | restart\n       \
             ai-lab-entrypoint notebooks status | diff [FILE] | restore FILE... | merge FILE | seal DIR\n       \
             ai-lab-entrypoint password set | hash | check\n       \
             ai-lab-entrypoint config show [--origin] | check [FILE]\n       \
             ai-lab-entrypoint completions SHELL | man",
        )
        .args_override_self(true)
        .next_line_help(true)
        .arg(config_argument())
        .arg(
            Arg::new("COMMAND")
                .num_args(0..)
                .trailing_var_arg(true)
                .value_parser(ValueParser::os_string())
                .hide(true),
        );
    TABLE
        .iter()
        .fold(command, |command, entry| command.arg(argument(entry)))
}

fn config_argument() -> Arg {
    Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(ValueParser::path_buf())
        .help(
            "Settings file [env: AI_LAB_CONFIG] [default: /etc/ai-lab/entrypoint.toml, absent is \
             fine]",
        )
}

fn argument(entry: &'static Entry) -> Arg {
    let mut notes = String::new();
    if let ValueKind::Choice(words) = entry.kind {
        notes.push_str(&format!(" [{}]", words.join("|")));
    }
    if let Some(default) = entry.default {
        notes.push_str(&format!(" [default: {default}]"));
    }
    if let Some(name) = entry.env {
        notes.push_str(&format!(" [env: {name}]"));
    }
    if let Some(key) = entry.toml {
        notes.push_str(&format!(" [toml: {key}]"));
    }
    let argument = Arg::new(entry.flag)
        .long(entry.flag)
        .value_hint(match entry.kind {
            ValueKind::Path | ValueKind::Paths | ValueKind::Program => ValueHint::AnyPath,
            _ => ValueHint::Unknown,
        })
        .help(format!("{}{notes}", entry.help))
        .help_heading(entry.heading);
    match entry.kind {
        ValueKind::Switch => argument.action(ArgAction::SetTrue),
        ValueKind::Texts => argument
            .action(ArgAction::Append)
            .allow_hyphen_values(true)
            .value_name(entry.value_name),
        kind if kind.is_list() => argument
            .action(ArgAction::Append)
            .allow_negative_numbers(true)
            .value_name(entry.value_name),
        // Negative numbers pass here: settings::resolve checks ranges and says what would be right.
        _ => argument
            .action(ArgAction::Set)
            .allow_negative_numbers(true)
            .value_name(entry.value_name),
    }
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
