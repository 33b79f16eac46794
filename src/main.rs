//! The binary `ai-lab-entrypoint`: parses the command line, runs a start or a verb, and
//! exits with its code.

#[cfg(not(target_feature = "crt-static"))]
compile_error!(
    "root must load nothing, so the binary is static: add `-C target-feature=+crt-static` to \
     RUSTFLAGS, or leave RUSTFLAGS to .cargo/config.toml"
);

use std::ffi::OsString;
use std::process::ExitCode;

use ai_lab_entrypoint::boot;
use ai_lab_entrypoint::boot::TerminationLog;
use ai_lab_entrypoint::cli;
use ai_lab_entrypoint::cli::Action;
use ai_lab_entrypoint::commands;
use ai_lab_entrypoint::commands::client;
use ai_lab_entrypoint::commands::client::{Place, Supervisor};
use ai_lab_entrypoint::degradation::Degradation;
use ai_lab_entrypoint::log::logger;
use ai_lab_entrypoint::settings::LogFormat;
use ai_lab_entrypoint::settings::resolve;
use ai_lab_entrypoint::settings::resolve::{CliSettings, Draft};
use ai_lab_entrypoint::supervisor::signals::Signals;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().collect();
    let (typed, command) = match cli::parse(&words) {
        Ok(Action::Start { typed, command }) => (typed, command),
        Ok(Action::Verb { verb, typed }) => return commands::run(&verb, typed),
        Err(error) => return print_usage_error(&words, &error),
    };
    // From here on signals are blocked: none is lost, and none ends the process by itself.
    let signals = match Signals::take_over() {
        Ok(signals) => signals,
        Err(error) => {
            let _ = draft(&typed);
            tracing::error!("signals cannot be received: {error}");
            return ExitCode::FAILURE;
        }
    };
    std::panic::set_hook(Box::new(|info| {
        // Not `eprintln!`, which panics if stderr cannot be written. Not through the log's
        // thread, which would not get to write the line before the exit.
        logger::error_to_stderr(&format!("ai-lab-entrypoint failed, which is a bug: {info}"));
        std::process::exit(1);
    }));
    client::set_process_name();
    let place = Place::of_start();
    let draft = draft_at(&place, &typed);
    match place {
        // A dry run changes nothing.
        Place::Beside(running) if !draft.settings().dry_run => {
            tracing::error!("{}", refusal(&running, &command));
            ExitCode::FAILURE
        }
        place => {
            let below = matches!(place, Place::Below(_));
            ExitCode::from(boot::start(draft, &command, &signals, below))
        }
    }
}

/// Returns why there is no second start beside the running one. Such a start would have other
/// settings, with which it would change the files of the running one.
fn refusal(running: &Supervisor, command: &[OsString]) -> Degradation {
    let (pid, uid) = (running.pid.as_raw_pid(), running.uid);
    let alone = format!(
        "leave ai-lab-entrypoint out: `docker exec --user {uid} CONTAINER COMMAND`; or use a verb, \
         which `--help` lists"
    );
    Degradation::new(
        format!(
            "this container has a start already (process {pid}): another one beside it would \
             change its files, so nothing was done"
        ),
        boot::command_hint(command).unwrap_or(alone),
    )
}

/// Reads the settings and starts the log in the format that they choose. Errors in the
/// settings are logged in that format, too.
fn draft(typed: &CliSettings) -> Draft {
    draft_at(&Place::Alone, typed)
}

/// The same for a start at this place: below another one, it has the settings of that one.
fn draft_at(place: &Place, typed: &CliSettings) -> Draft {
    let as_root = rustix::process::geteuid().is_root();
    let above = match place {
        Place::Below(above) => commands::record_of(above, typed),
        Place::Alone | Place::Beside(_) => None,
    };
    let environment = |name: &str| std::env::var_os(name);
    let draft = resolve::read_below(typed, above.as_ref(), &environment, as_root);
    let log = &draft.settings().log;
    logger::start(log.format, log.level);
    draft
}

/// Prints help, the version, or an error of the command line; returns the exit code. The
/// error of a start is one line of JSON if its log is JSON. That of a verb is text.
fn print_usage_error(words: &[OsString], error: &clap::Error) -> ExitCode {
    let code = cli::exit_code(error);
    if code != 0
        && let Some(typed) = cli::partial_start(words)
    {
        draft(&typed);
        TerminationLog::open().write(&error.to_string(), "");
    }
    match logger::format() {
        LogFormat::Json => tracing::error!("{}", error.to_string().trim_end()),
        // A closed stdout or stderr is no reason for another exit code.
        LogFormat::Text | LogFormat::Classic => _ = error.print(),
    }
    ExitCode::from(code)
}
