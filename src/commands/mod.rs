//! The verbs, most of which ask a running supervisor: through `docker exec`, in a terminal,
//! or by Docker's HEALTHCHECK.

pub mod client;
pub mod config;
mod context;
pub mod diff;
mod error;
pub mod healthcheck;
mod notebook_status;
pub mod notebooks;
pub mod password;
mod print;
pub mod restart;
pub mod status;

use std::process::ExitCode;

use crate::boot::failure::EX_CONFIG;
use crate::cli::verbs::Config;
use crate::cli::{Verb, printed};
use crate::commands::context::RunningSupervisor;
pub use crate::commands::context::record_of;
use crate::commands::error::VerbError;
use crate::commands::print::{print, print_error};
use crate::settings::SettingsError;
use crate::settings::resolve::CliSettings;

/// Runs a verb; returns its exit code.
pub fn run(verb: &Verb, typed: CliSettings) -> ExitCode {
    let done = match verb {
        Verb::Healthcheck => {
            RunningSupervisor::new(&typed).and_then(|asked| healthcheck::run(&asked))
        }
        Verb::Status { json } => {
            RunningSupervisor::new(&typed).and_then(|asked| status::run(&asked, *json))
        }
        Verb::Restart => RunningSupervisor::new(&typed).and_then(|asked| restart::run(&asked)),
        Verb::Notebooks(what) => notebooks::run(what, typed),
        Verb::Seal { directory } => notebooks::seal(directory),
        Verb::Password(what) => password::run(*what, typed),
        Verb::Config(Config::Show { origin }) => config::show(*origin, typed),
        Verb::Config(Config::Check { file }) => config::check(file.as_deref(), typed),
        Verb::Completions(shell) => Ok(print(printed::completions(*shell).as_bytes())),
        Verb::Man => Ok(print(&printed::manual())),
    };
    done.unwrap_or_else(|error| match error {
        VerbError::Settings(SettingsError(wrong)) => {
            for wrong in wrong {
                print_error(&format!("settings: {wrong}"));
            }
            ExitCode::from(EX_CONFIG)
        }
        VerbError::Other(text) => {
            print_error(&text);
            ExitCode::FAILURE
        }
    })
}
