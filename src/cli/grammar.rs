//! The grammar of a start: the options, from the table of settings, and the help around them.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint};

use crate::settings::entry::{Entry, ValueKind};
use crate::settings::resolve::CliSettings;
use crate::settings::table::TABLE;
use crate::settings::value::{Origin, RawValue, SettingError};

/// Returns the version. Builds for images and releases add the commit and its date.
fn version() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let commit = option_env!("AI_LAB_COMMIT").filter(|commit| !commit.is_empty());
    commit.map_or_else(|| version.into(), |commit| format!("{version} ({commit})"))
}

pub(super) const NAME: &str = "ai-lab-entrypoint";

const ABOUT: &str = "First process of an AI Lab container";
const LONG_ABOUT: &str = "First process of an AI Lab container: prepares the notebooks volume, \
gives the user access to the Docker socket, drops root for good, sets Jupyter's password, starts \
the server and stays as PID 1.";

/// The headings and texts after the options, in `--help` and in the manual.
pub(super) const AFTER: &[(&str, &str)] = &[
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

/// Returns the settings on the command line. `has`: reports whether the grammar has a setting.
pub(super) fn typed(matches: &ArgMatches, has: impl Fn(&Entry) -> bool) -> CliSettings {
    let mut typed = CliSettings::default();
    // Not every verb has this option.
    let config = matches.try_get_one::<OsString>("config").ok().flatten();
    match config {
        Some(config) if config.is_empty() => {
            let (problem, remedy) = ("\"\" is empty", "give a value or leave it out");
            let origin = Origin::Flag("config");
            let empty = SettingError::new("config", origin, problem, remedy);
            typed.errors.push(empty);
        }
        config => typed.config = config.map(PathBuf::from),
    }
    for entry in TABLE.iter().filter(|entry| has(entry)) {
        match written(entry, matches) {
            Ok(Some(value)) => drop(typed.flags.insert(entry.key, value)),
            Ok(None) => {}
            Err(NotUtf8) => {
                let origin = Origin::Flag(entry.flag);
                typed
                    .errors
                    .push(SettingError::not_utf8(entry.name(), &origin));
            }
        }
    }
    typed
}

struct NotUtf8;

fn written(entry: &Entry, matches: &ArgMatches) -> Result<Option<RawValue>, NotUtf8> {
    if entry.kind == ValueKind::Switch {
        let on = matches.get_flag(entry.flag);
        return Ok(on.then_some(RawValue::Switch(true)));
    }
    let Some(words) = matches.get_many::<OsString>(entry.flag) else {
        return Ok(None);
    };
    let text = |word: &OsString| word.to_str().map(str::to_owned).ok_or(NotUtf8);
    let mut items = words.map(text).collect::<Result<Vec<_>, _>>()?;
    Ok(match entry.kind.is_list() {
        true => Some(RawValue::List(items)),
        false => items.pop().map(RawValue::Text),
    })
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
    TABLE.iter().fold(command, |command, entry| {
        match entry.section {
            Some(heading) => command.next_help_heading(heading),
            None => command,
        }
        .arg(argument(entry))
    })
}

pub(super) fn config_argument() -> Arg {
    Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(ValueParser::os_string())
        .value_hint(ValueHint::AnyPath)
        .help(
            "Settings file [env: AI_LAB_CONFIG] [default: /etc/ai-lab/entrypoint.toml, absent is \
             fine]",
        )
}

pub(super) fn argument(entry: &'static Entry) -> Arg {
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
        .help(format!("{}{notes}", entry.help));
    if entry.kind == ValueKind::Switch {
        return argument.action(ArgAction::SetTrue);
    }
    // settings::resolve checks the values, so that a wrong one has the same exit code wherever it
    // came from.
    let argument = argument.value_parser(ValueParser::os_string());
    match entry.kind {
        ValueKind::Texts => argument
            .action(ArgAction::Append)
            .allow_hyphen_values(true)
            .value_name(entry.value_name),
        kind if kind.is_list() => argument
            .action(ArgAction::Append)
            .allow_negative_numbers(true)
            .value_name(entry.value_name),
        _ => argument
            .action(ArgAction::Set)
            .allow_negative_numbers(true)
            .value_name(entry.value_name),
    }
}
