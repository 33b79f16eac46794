//! The verbs on the command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use clap_complete::Shell;

use crate::cli::grammar::{NAME, argument, config_argument, typed};
use crate::settings::Key;
use crate::settings::check::closest;
use crate::settings::entry::Entry;
use crate::settings::resolve::CliSettings;
use crate::settings::table::TABLE;

/// A verb with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    /// Probe the server once; exit 0 or 1.
    Healthcheck,
    /// Show what the container is doing.
    Status {
        /// True if the output is JSON, for programs.
        json: bool,
    },
    /// Restart the server in place.
    Restart,
    /// Show, restore or merge the notebook defaults.
    Notebooks(Notebooks),
    /// Record the checksums of an image's defaults at its build. Needs no settings.
    Seal {
        /// The directory of the defaults.
        directory: PathBuf,
    },
    /// Set, hash or check a password.
    Password(Password),
    /// Show or check the settings.
    Config(Config),
    /// Print the completion script for this shell.
    Completions(Shell),
    /// Print the manual page.
    Man,
}

/// `password …`: the password is asked for at a terminal, else read from standard input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Password {
    /// Set the password.
    Set,
    /// Print the hash of the password.
    Hash,
    /// Check whether the password is the effective one.
    Check,
}

/// `notebooks …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notebooks {
    /// Show the status of each default.
    Status {
        /// True if the output is JSON, for programs.
        json: bool,
    },
    /// Show how the volume's files differ from the image's defaults.
    Diff {
        /// The file to compare; `None`: all files that differ.
        file: Option<PathBuf>,
    },
    /// Restore the image's defaults.
    Restore {
        /// The files to restore; a directory means all files below it.
        files: Vec<PathBuf>,
    },
    /// Merge the image's version of a notebook into the changed one.
    Merge {
        /// The notebook.
        file: PathBuf,
    },
    /// Bring back the kept copies of notebooks that were only run.
    RestoreKept {
        /// The notebooks; a directory means all below it. Empty: all notebooks.
        files: Vec<PathBuf>,
    },
}

/// `config …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Config {
    /// Show the settings of the running start, or those that a start would have.
    Show {
        /// True if the output includes the origin of each setting.
        origin: bool,
    },
    /// Check a settings file.
    Check {
        /// The file to check; `None`: the one that a start would read.
        file: Option<PathBuf>,
    },
}

/// The names of the verbs, in the order of the manual.
pub const NAMES: &[&str] = &[
    "healthcheck",
    "status",
    "restart",
    "notebooks",
    "password",
    "config",
    "completions",
    "man",
];

/// Returns the verb that a word resembles, for a hint if no program has that name.
pub fn similar_verb(word: &str) -> Option<&'static str> {
    closest(NAMES, &|name| strsim::jaro_winkler(name, word))
}

/// Returns the grammar of the verb with this name.
pub fn verb_grammar(name: &str) -> Option<Command> {
    let command = match name {
        "healthcheck" => Command::new("healthcheck").about("Probe the server once"),
        "status" => Command::new("status")
            .about("Show what the container is doing")
            .arg(switch("json", "As JSON, for programs")),
        "restart" => Command::new("restart").about("Restart the server in place"),
        "notebooks" => notebooks(),
        "password" => password(),
        "config" => config(),
        "completions" => completions(),
        "man" => Command::new("man").about("Print the manual page, as for `man -l -`"),
        _ => return None,
    };
    let asks = !matches!(name, "completions" | "man");
    let settings: &[Key] = if asks { &[Key::StateDir] } else { &[] };
    Some(with_settings(command, settings))
}

fn notebooks() -> Command {
    let command = Command::new("notebooks")
        .about("Show the state of the notebook defaults, restore them, and merge newer versions")
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommand(
            Command::new("status")
                .about("Show the status of each default")
                .arg(switch("json", "As JSON, for programs")),
        )
        .subcommand(
            Command::new("diff")
                .about("Show what differs between your notebooks and the defaults, cell by cell")
                .arg(files("FILE").num_args(0..=1)),
        )
        .subcommand(
            Command::new("restore")
                .about("Bring defaults back; yours are kept as NAME.yours.EXT")
                .arg(switch(
                    "kept",
                    "Bring back your copies of notebooks that you ran before an update",
                ))
                .arg(files("FILE").num_args(1..).required_unless_present("kept")),
        )
        .subcommand(
            Command::new("merge")
                .about("Merge the newer version into a notebook that you changed; a copy of yours is kept")
                .arg(files("FILE").required(true)),
        )
        .subcommand(
            Command::new("seal")
                .about("Record the checksums of an image's defaults at its build, for faster starts")
                .arg(files("DIR").required(true)),
        );
    with_settings(
        command.arg(config_argument().global(true)),
        NOTEBOOK_SETTINGS,
    )
}

const NOTEBOOK_SETTINGS: &[Key] = &[
    Key::Notebooks,
    Key::NotebookDefaults,
    Key::UpdateNotebooks,
    Key::DeletedNotebooks,
];

fn password() -> Command {
    Command::new("password")
        .about("Set, hash or check a password: asked for at a terminal, else read from stdin")
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommand(Command::new("set").about("Set the password; the server must restart"))
        .subcommand(
            Command::new("hash").about("Print the hash of a password, for JUPYTER_PASSWORD_HASH"),
        )
        .subcommand(
            Command::new("check").about("Exit 0 if the password is the effective one, 1 if not"),
        )
        .arg(config_argument().global(true))
}

fn config() -> Command {
    Command::new("config")
        .about("Show or check the settings")
        .arg(config_argument().global(true))
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommand(
            Command::new("show")
                .about("Show the settings of the running start, or those that a start would have")
                .arg(switch("origin", "Also show where each value comes from")),
        )
        .subcommand(
            Command::new("check")
                .about("Check a settings file: exit 0, or list all errors and exit 78")
                .arg(files("FILE").num_args(0..=1)),
        )
}

fn completions() -> Command {
    Command::new("completions")
        .about("Print the completion script for a shell")
        .arg(
            Arg::new("SHELL")
                .required(true)
                .value_parser(value_parser!(Shell)),
        )
}

fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .action(ArgAction::SetTrue)
        .help(help)
}

fn files(name: &'static str) -> Arg {
    Arg::new(name).value_parser(ValueParser::path_buf())
}

fn with_settings(command: Command, keys: &[Key]) -> Command {
    let entries = TABLE.iter().filter(|entry| keys.contains(&entry.key));
    entries.fold(command, |command, entry| {
        command.arg(argument(entry).global(true).help_heading("Settings"))
    })
}

/// Parses the words of a verb, of which the first is its name. Returns it and its flags.
///
/// # Errors
/// clap's error: the command line is wrong, or asks for help.
pub fn parse(command: Command, words: &[OsString]) -> Result<(Verb, CliSettings), clap::Error> {
    let known: Vec<String> = command
        .get_arguments()
        .map(|arg| arg.get_id().to_string())
        .collect();
    let name = command.get_name().to_owned();
    let command = command.bin_name(format!("{NAME} {name}"));
    let matches = command.try_get_matches_from(words)?;
    let has = |entry: &Entry| known.iter().any(|flag| flag == entry.flag);
    // The options before the subcommand are among its matches, too.
    let all = matches.subcommand().map_or(&matches, |(_, found)| found);
    Ok((verb(&name, &matches), typed(all, has)))
}

fn verb(name: &str, matches: &ArgMatches) -> Verb {
    let file = |found: &ArgMatches| found.get_one::<PathBuf>("FILE").cloned();
    match (name, matches.subcommand()) {
        ("status", _) => Verb::Status {
            json: matches.get_flag("json"),
        },
        ("restart", _) => Verb::Restart,
        ("notebooks", Some(("diff", found))) => {
            Verb::Notebooks(Notebooks::Diff { file: file(found) })
        }
        ("notebooks", Some(("restore", found))) => {
            let files = found.get_many("FILE").into_iter().flatten();
            let files = files.cloned().collect();
            Verb::Notebooks(match found.get_flag("kept") {
                true => Notebooks::RestoreKept { files },
                false => Notebooks::Restore { files },
            })
        }
        ("notebooks", Some(("merge", found))) => Verb::Notebooks(Notebooks::Merge {
            file: file(found).unwrap_or_default(),
        }),
        ("notebooks", Some(("seal", found))) => Verb::Seal {
            directory: found.get_one("DIR").cloned().unwrap_or_default(),
        },
        ("notebooks", Some((_, found))) => Verb::Notebooks(Notebooks::Status {
            json: found.get_flag("json"),
        }),
        ("password", Some(("set", _))) => Verb::Password(Password::Set),
        ("password", Some(("hash", _))) => Verb::Password(Password::Hash),
        ("password", _) => Verb::Password(Password::Check),
        ("config", Some(("check", found))) => Verb::Config(Config::Check { file: file(found) }),
        ("config", Some((_, found))) => Verb::Config(Config::Show {
            origin: found.get_flag("origin"),
        }),
        ("completions", _) => Verb::Completions(
            *matches.get_one("SHELL").unwrap_or(&Shell::Bash), // invariant: it is required
        ),
        ("man", _) => Verb::Man,
        _ => Verb::Healthcheck,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::settings::value::RawValue;

    fn read(words: &[&str]) -> (Verb, CliSettings) {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        parse(verb_grammar(words[0].to_str().unwrap()).unwrap(), &words).unwrap()
    }

    #[test]
    fn the_grammar_of_every_verb_is_sound() {
        for name in NAMES {
            verb_grammar(name).unwrap().debug_assert();
        }
        assert!(verb_grammar("help").is_none());
    }

    #[test]
    fn a_word_that_is_close_to_a_verb_may_mean_it() {
        for (word, verb) in [
            ("helthcheck", Some("healthcheck")),
            ("staus", Some("status")),
            ("notebook", Some("notebooks")),
            ("status", Some("status")),
            ("bash", None),
            ("python3", None),
            ("", None),
        ] {
            assert_eq!(similar_verb(word), verb, "{word}");
        }
    }

    #[test]
    fn verbs_have_their_words_and_settings_wherever_they_stand() {
        for words in [
            &["notebooks", "--notebooks", "/n", "restore", "a", "b"][..],
            &["notebooks", "restore", "a", "--notebooks=/n", "b"],
        ] {
            let (verb, typed) = read(words);
            let files = vec!["a".into(), "b".into()];
            assert_eq!(verb, Verb::Notebooks(Notebooks::Restore { files }));
            assert_eq!(typed.flags[&Key::Notebooks], RawValue::Text("/n".into()));
        }
        let (verb, _) = read(&["notebooks", "restore", "--kept"]);
        let files = Vec::new();
        assert_eq!(verb, Verb::Notebooks(Notebooks::RestoreKept { files }));
        let (verb, _) = read(&["notebooks", "status", "--json"]);
        assert_eq!(verb, Verb::Notebooks(Notebooks::Status { json: true }));
        let (verb, _) = read(&["notebooks", "diff"]);
        assert_eq!(verb, Verb::Notebooks(Notebooks::Diff { file: None }));
        let (verb, _) = read(&["notebooks", "merge", "a"]);
        assert_eq!(verb, Verb::Notebooks(Notebooks::Merge { file: "a".into() }));
        let (verb, _) = read(&["notebooks", "seal", "/d"]);
        let directory = "/d".into();
        assert_eq!(verb, Verb::Seal { directory });
        let (verb, typed) = read(&["config", "show", "--origin", "--state-dir", "/s"]);
        assert_eq!(verb, Verb::Config(Config::Show { origin: true }));
        assert_eq!(typed.flags[&Key::StateDir], RawValue::Text("/s".into()));
    }
}
