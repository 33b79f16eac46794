//! The command `ai-lab-entrypoint`: parse, load settings, run one command, exit with
//! its code.

#[cfg(not(target_feature = "crt-static"))]
compile_error!(
    "root must load nothing, so the binary is static: add `-C target-feature=+crt-static` to \
     RUSTFLAGS, or leave RUSTFLAGS to .cargo/config.toml"
);

use std::ffi::OsString;
use std::process::ExitCode;

use ai_lab_entrypoint::boot;
use ai_lab_entrypoint::cli::{self, Action};
use ai_lab_entrypoint::commands::{self, supervisor};
use ai_lab_entrypoint::output::logging;
use ai_lab_entrypoint::settings::LogFormat;
use ai_lab_entrypoint::settings::resolve::{self, Draft, Typed};
use ai_lab_entrypoint::supervisor::signals::Signals;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().collect();
    let (typed, command) = match cli::parse(&words) {
        Ok(Action::Start { typed, command }) => (typed, command),
        Ok(Action::Verb { verb, typed }) => return commands::run(&verb, typed),
        Err(error) => return refused(&words, &error),
    };
    // From here on no signal is lost, and none ends us by itself.
    let signals = match Signals::take_over() {
        Ok(signals) => signals,
        Err(error) => {
            let _ = draft(&typed);
            tracing::error!("signals cannot be received: {error}");
            return ExitCode::FAILURE;
        }
    };
    std::panic::set_hook(Box::new(|info| {
        // Not `eprintln!`: it panics where stderr takes nothing. Nor through the log's
        // thread: it would not come to write it.
        logging::straight(&format!("ai-lab-entrypoint failed, which is a bug: {info}"));
        std::process::exit(1);
    }));
    supervisor::take_name();
    let draft = draft(&typed);
    ExitCode::from(boot::start(draft, &command, &signals))
}

/// Reads the settings and starts the log: also what is wrong with them is told in the
/// format that they ask for.
fn draft(typed: &Typed) -> Draft {
    let as_root = rustix::process::geteuid().is_root();
    let draft = resolve::read(typed, &|name| std::env::var_os(name), as_root);
    let log = &draft.so_far().log;
    logging::start(log.format, log.level);
    draft
}

/// Help and version, or a command line that is wrong. Who reads the log of a start as
/// JSON gets that as one line, too; a verb speaks to whoever typed it.
fn refused(words: &[OsString], error: &clap::Error) -> ExitCode {
    let code = cli::exit_code(error);
    if code != 0
        && let Some(typed) = cli::start_as_far_as_read(words)
    {
        draft(&typed);
    }
    match logging::format() {
        LogFormat::Json => tracing::error!("{}", error.to_string().trim_end()),
        // A closed stdout or stderr is no reason for another exit code.
        LogFormat::Text => _ = error.print(),
    }
    ExitCode::from(code)
}
