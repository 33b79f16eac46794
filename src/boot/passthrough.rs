//! The observer of a command or of nothing. It keeps the state and logs why the command could
//! not be started. A command prints everything else itself.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Pid;
use tokio::sync::Notify;
use tracing::error;

use crate::cli::verbs;
use crate::death::memory::KillCounter;
use crate::server::program::named_server;
use crate::settings::check;
use crate::state::{Phase, StatePublisher};
use crate::supervisor::interpreter::{WINDOWS_LINES, failed_by_windows_lines};
use crate::supervisor::lifecycle::Ended;
use crate::supervisor::spawn;
use crate::supervisor::spawn::SpawnError;
use crate::supervisor::{Main, Observer};
use crate::sys;

/// An observer of a command, or of nothing.
pub struct CommandObserver {
    state_writer: StatePublisher,
    /// Counts the processes that Linux kills for their memory, once the command runs.
    memory: Option<KillCounter>,
    /// A guess at the command that was meant; `None`: there is none.
    hint: Option<String>,
    /// The command's file, if it was found.
    file: Option<PathBuf>,
}

impl CommandObserver {
    /// Returns an observer of `main`, which logs `hint` if the command is not found.
    pub fn new(told: StatePublisher, main: &Main, hint: Option<String>) -> Self {
        let file = match main {
            Main::Command(program) => spawn::resolve_program(program).ok(),
            Main::Server(_) | Main::Idle => None,
        };
        Self {
            state_writer: told,
            memory: None,
            hint,
            file,
        }
    }
}

/// Returns a hint for a command that is not found and looks like a verb, an init system or a path of
/// Windows.
pub fn command_hint(command: &[OsString]) -> Option<String> {
    let word = command.first()?.to_str()?;
    if check::is_of_windows(word) {
        return Some(check::WITH_GIT_BASH.into());
    }
    let name = Path::new(word).file_name()?.to_str()?;
    if ["catatonit", "dumb-init", "tini"].contains(&name) {
        return Some(format!(
            "this image needs no {name}: leave it and its options out, and name what it is to start"
        ));
    }
    match word {
        "help" | "version" => return Some(format!("did you mean the option `--{word}`?")),
        _ if word.starts_with('-') => {
            return Some("options come before `--`, which a command follows".into());
        }
        _ => {}
    }
    let verb = verbs::similar_verb(word)?;
    Some(match verb == word {
        true => format!("`{verb}` is a verb only as the very first word"),
        false => format!("did you mean the verb `{verb}`?"),
    })
}

/// Words that may come before the program in a part of a shell's line.
const BEFORE: [&str; 16] = [
    "ash", "bash", "dash", "env", "exec", "nice", "nohup", "run", "sh", "stdbuf", "then", "time",
    "timeout", "tini", "uv", "xvfb-run",
];

/// Reports whether a command that is no server itself most likely starts one of Jupyter's: in the line of
/// a shell, or after `env` and the like.
pub fn names_a_server(command: &[OsString]) -> bool {
    let line = command.join(OsStr::new(" "));
    let line = line.to_string_lossy();
    let mut parts = line.split(['&', ';', '|', '\n', '(', ')']);
    parts.any(|part| {
        let is_before = |word: &&str| {
            let sets = word.contains('=') || word.starts_with(|c: char| c == '-' || c.is_numeric());
            sets || BEFORE.contains(word)
        };
        let words = part.split_whitespace().skip_while(is_before);
        named_server(&words.map(OsString::from).collect::<Vec<_>>()).is_some()
    })
}

impl Observer for CommandObserver {
    fn started(&mut self, pid: Pid, _: Option<(OwnedFd, OwnedFd)>, _: bool) {
        self.memory = KillCounter::of_container();
        let kills = self.memory.as_ref().map(|memory| memory.kills().clone());
        self.state_writer.update(|state| {
            state.main_pid = Some(pid.as_raw_pid());
            state.memory = kills;
        });
        sys::release_memory();
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn stopping(&mut self, _: bool, _: &Arc<Notify>) {
        self.state_writer
            .update(|state| state.enter(Phase::Stopping));
    }

    fn ended(&mut self, how: Ended, _: Option<Duration>) {
        // A shell or a main process of workers survives, and fails.
        let memory = self.memory.as_mut().filter(|_| how.code() != 0);
        if let Some(kills) = memory.and_then(KillCounter::report_new) {
            error!("{kills}");
        }
        if let (Ended::Exit(code), Some(file)) = (how, &self.file)
            && failed_by_windows_lines(file, code)
        {
            error!("the command failed with exit code {code}, and {WINDOWS_LINES}");
        }
        self.state_writer.update(|state| {
            state.main_pid = None;
            state.last_exit = Some(how.code());
            state.enter(Phase::Stopping);
        });
    }

    fn failed(&mut self, error: &SpawnError, _: Option<Duration>) {
        match &self.hint {
            Some(hint) if error.not_found => error!("{error}; {hint}"),
            _ => error!("{error}"),
        }
        self.state_writer
            .update(|state| state.enter(Phase::Stopping));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_in_the_line_of_a_shell_is_found() {
        for (command, expected) in [
            (
                &["bash", "-c", "pip install -r x && jupyter lab --ip=::"][..],
                true,
            ),
            (&["sh", "-c", "exec jupyter-lab"], true),
            (&["sh", "-c", "cd /work; (python -m notebook)"], true),
            (&["env", "X=1", "jupyter", "server"], true),
            (&["tini", "--", "jupyter-notebook"], true),
            (&["bash", "-lc", "X=1 timeout 9h uv run jupyter-lab"], true),
            (&["which", "jupyter-lab"], false),
            (
                &["sh", "-c", "pkill -f jupyter-lab; echo jupyter lab"],
                false,
            ),
            (&["pip", "show", "jupyter-server"], false),
            (
                &["bash", "-c", "pip install jupyter-server jupyterlab"],
                false,
            ),
            (
                &["bash", "-c", "x && exec ai-lab-entrypoint jupyter-lab"],
                false,
            ),
            (&["bash", "-c", "jupyter nbconvert x.ipynb"], false),
            (&["jupyter", "lab", "--version"], false),
            (&["bash"], false),
        ] {
            let words: Vec<OsString> = command.iter().map(OsString::from).collect();
            assert_eq!(names_a_server(&words), expected, "{command:?}");
        }
    }
}
