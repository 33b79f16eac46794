//! The command `ai-lab-entrypoint`: parse, load settings, run one command, exit with
//! its code.

use std::process::ExitCode;

use ai_lab_entrypoint::boot;
use ai_lab_entrypoint::cli::{self, Action};
use ai_lab_entrypoint::commands::{self, supervisor};
use ai_lab_entrypoint::output::{logging, straight};
use ai_lab_entrypoint::settings::resolve;
use ai_lab_entrypoint::supervisor::signals::Signals;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().collect();
    let (typed, command) = match cli::parse(&words) {
        Ok(Action::Start { typed, command }) => (typed, command),
        Ok(Action::Verb { verb, typed }) => return commands::run(&verb, typed),
        Err(error) => {
            // A closed stdout or stderr is no reason for another exit code.
            let _ = error.print();
            return ExitCode::from(cli::exit_code(&error));
        }
    };
    // From here on no signal is lost, and none ends us by itself.
    let signals = match Signals::take_over() {
        Ok(signals) => signals,
        Err(error) => {
            straight::write(format!("signals cannot be received: {error}\n").as_bytes());
            return ExitCode::FAILURE;
        }
    };
    std::panic::set_hook(Box::new(|info| {
        // Not `eprintln!`: it panics where stderr takes nothing.
        straight::write(format!("ai-lab-entrypoint failed, which is a bug: {info}\n").as_bytes());
        std::process::exit(1);
    }));
    supervisor::take_name();
    let as_root = rustix::process::geteuid().is_root();
    let draft = resolve::read(&typed, &|name| std::env::var_os(name), as_root);
    // Also what is wrong with the settings is told in the format that they ask for.
    let log = &draft.so_far().log;
    logging::start(log.format, log.level);
    ExitCode::from(boot::start(draft, &command, &signals))
}
