//! `password`: sets, hashes or checks a password from a terminal or from standard input.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, raise};
use rustix::process::getpid;
use rustix::termios::{InputModes, LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::cli::verbs::Password;
use crate::commands::context::VerbContext;
use crate::commands::error::VerbError;
use crate::commands::print::{print_error, print_text};
use crate::commands::restart;
use crate::identity::current;
use crate::jupyter_config::location::{CONFIG_PATH, ConfigInputs, LAB_CONFIG_NAME};
use crate::jupyter_config::{CommandLine, ConfigLocation};
use crate::password;
use crate::password::{Outcome, Secret, Wanted, hash, source};
use crate::server::prefix;
use crate::settings::Settings;
use crate::settings::resolve::CliSettings;
use crate::state::Mode;
use crate::sys::effects::Effects;
use crate::sys::env::with_first;
use crate::sys::lock;
use crate::sys::proc;

/// Runs one of the `password` verbs.
///
/// # Errors
/// The text that was typed cannot be a password, or it cannot be set.
pub fn run(what: Password, typed: CliSettings) -> Result<ExitCode, VerbError> {
    if what == Password::Hash {
        // Hashing needs no rights and no settings.
        let hash = hash::make(&read("Password: ", true)?).map_err(password::PasswordError::Hash)?;
        print_text(&format!("{hash}\n"));
        return Ok(ExitCode::SUCCESS);
    }
    let setting = VerbContext::find(typed)?;
    let mode = setting.running.as_ref().map(|asked| asked.state.mode);
    if mode == Some(Mode::Hub) {
        let text = "this is a single-user server of JupyterHub, which has its own login: there is \
                    no password";
        return Err(VerbError::Other(text.into()));
    }
    let place = config_location(&setting);
    let running = setting.running.as_ref().map(|asked| &asked.state);
    let kept = running.and_then(|state| state.password.as_ref());
    if kept.is_some_and(|kept| kept.on_the_line) {
        print_error(
            &"the server's arguments name a password or a configuration file, which overrides the \
              password that is set here: remove that argument",
        );
    }
    if what == Password::Set {
        return set(&setting, &place);
    }
    match password::check_password(&place, &read("Password: ", false)?) {
        Ok(true) => {
            print_text("this is the effective password\n");
            return Ok(ExitCode::SUCCESS);
        }
        Ok(false) => print_text("this is not the effective password\n"),
        Err(why) => print_error(&format!(
            "only the server can tell whether this is the effective password, because of {why}"
        )),
    }
    Ok(ExitCode::FAILURE)
}

fn set(setting: &VerbContext, place: &ConfigLocation) -> Result<ExitCode, VerbError> {
    let secret = read("New password: ", true)?;
    let wanted = Wanted::Forced(secret);
    let applied = password::apply(&setting.dropped, place, &wanted, Effects::Make)?;
    if applied.outcome == Outcome::Unchanged {
        print_text("this is already the password\n");
        return Ok(ExitCode::SUCCESS);
    }
    // Only the user knows this password, so it must survive a power failure. If the flush
    // fails, the password is set all the same.
    for path in [place.file(), place.directory().to_owned()] {
        let _ = File::open(path).and_then(|file| file.sync_all());
    }
    print_text("the password is set\n");
    if applied.variable.is_some() {
        print_error(
            &"another file of Jupyter's configuration sets a password, too, which overrides this \
              one: remove it there, or start the container with JUPYTER_PASSWORD",
        );
    }
    let Some(asked) = &setting.running else {
        return Ok(ExitCode::SUCCESS);
    };
    if asked
        .state
        .password
        .as_ref()
        .is_some_and(|kept| kept.forced)
    {
        print_error(
            &"the container is started with a password of its own, which its next start sets \
              again: change it there (JUPYTER_PASSWORD, JUPYTER_PASSWORD_FILE, \
              JUPYTER_PASSWORD_HASH or --password-file)",
        );
    }
    if asked.state.mode != Mode::Lab {
        return Ok(ExitCode::SUCCESS);
    }
    if agreed("It takes effect when the server restarts, which ends all kernels. Restart? [y/N] ") {
        return restart::run(asked);
    }
    print_text("it takes effect with `ai-lab-entrypoint restart`\n");
    Ok(ExitCode::SUCCESS)
}

/// Asks a question; returns true if a person at a terminal says yes.
fn agreed(question: &str) -> bool {
    if !io::stdin().is_terminal() {
        return false;
    }
    let mut answer = String::new();
    let _ = io::stderr().write_all(question.as_bytes());
    let _ = io::stdin().lock().read_line(&mut answer);
    matches!(answer.trim(), "y" | "Y" | "yes")
}

/// Reads a password: without echo at a terminal, twice if it is a `new` one; otherwise all
/// of standard input.
fn read(prompt: &str, new: bool) -> Result<Secret, VerbError> {
    if !io::stdin().is_terminal() {
        return Ok(source::from_input(io::stdin().lock())?);
    }
    let unreadable = |error| VerbError::Other(format!("the terminal cannot be read: {error}"));
    let silent = Silent::start().map_err(unreadable)?;
    let ask = |prompt: &str| silent.ask(prompt).map_err(unreadable);
    let typed = ask(prompt)?;
    if new && typed != ask("Repeat the password: ")? {
        let text = "the two passwords differ: nothing was changed";
        return Err(VerbError::Other(text.into()));
    }
    Ok(source::from_input(typed.as_slice())?)
}

/// The longest line that a terminal gives, in bytes (termios(3)); what is longer is cut to it.
const MAX_LINE: usize = 4095;

/// A terminal without echo; dropping it restores the echo. The echo is off before the prompt, so
/// that text that is typed or pasted at once does not show. After Ctrl-C the shell goes on with the
/// terminal, so a signal restores the echo first. After that nothing turns it off again: the main
/// thread only reads.
struct Silent {
    terminal: File,
    before: Termios,
    mask: SigSet,
    /// True once the echo is restored for good.
    over: Arc<Mutex<bool>>,
}

impl Silent {
    fn start() -> io::Result<Self> {
        let terminal = File::options().read(true).write(true).open("/dev/tty")?;
        let before = tcgetattr(&terminal)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        let lines = LocalModes::ICANON | LocalModes::ISIG | LocalModes::ECHONL;
        silent.local_modes.insert(lines);
        silent.input_modes.insert(InputModes::ICRNL);
        use Signal::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
        let signals: SigSet = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP]
            .into_iter()
            .collect();
        let mask = signals.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        let started = Self {
            terminal,
            before,
            mask,
            over: Arc::default(),
        };
        let (terminal, before) = (started.terminal.try_clone()?, started.before.clone());
        tcsetattr(&terminal, OptionalActions::Now, &silent)?;
        let over = started.over.clone();
        let watch = move || {
            while let Ok(signal) = signals.wait() {
                let over = lock(&over);
                let echo = |modes| match *over {
                    true => Ok(()),
                    false => tcsetattr(&terminal, OptionalActions::Now, modes),
                };
                let _ = echo(&before);
                let _ = signals.thread_unblock();
                let _ = raise(signal);
                // The default action does not end PID 1 (`docker stop` of `password hash`).
                if getpid().is_init() && signal != SIGTSTP {
                    std::process::exit(128 + signal as i32);
                }
                // The signal is ignored, or we were stopped and continue.
                let _ = signals.thread_block();
                let _ = echo(&silent);
            }
        };
        // The thread ends with the process. With the mask restored, signals go to the main thread.
        std::thread::Builder::new().spawn(watch)?;
        Ok(started)
    }

    /// Asks for a line, and returns it without its end.
    fn ask(&self, prompt: &str) -> io::Result<Vec<u8>> {
        let mut terminal = &self.terminal;
        terminal.write_all(prompt.as_bytes())?;
        let mut line = Vec::new();
        // A terminal gives one line at a time, so the buffer never holds the next one.
        if BufReader::new(terminal).read_until(b'\n', &mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.pop_if(|last| *last == b'\n');
        if line.len() >= MAX_LINE {
            return Err(io::Error::other("it is longer than 4 KiB"));
        }
        Ok(line)
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        let mut over = lock(&self.over);
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
        *over = true;
        let _ = self.mask.thread_set_mask();
    }
}

/// Returns the config locations of the running server, or of one that is started now.
fn config_location(setting: &VerbContext) -> ConfigLocation {
    let running = setting.running.as_ref().map(|asked| &asked.state);
    let kept = running.and_then(|state| state.password.as_ref());
    let venv = setting.settings.server.venv.as_deref();
    ConfigLocation::resolve(&ConfigInputs {
        environment: &|name| match (name, kept) {
            ("JUPYTER_CONFIG_DIR", Some(kept)) => Some(kept.directory.clone().into()),
            (CONFIG_PATH, Some(kept)) => kept.config_path.clone().map(Into::into),
            _ => std::env::var_os(name),
        },
        home: &home(&setting.settings),
        venv,
        prefix: prefix(setting),
        owns_venv: venv.is_some_and(|venv| {
            use std::os::unix::fs::MetadataExt;
            std::fs::metadata(venv).is_ok_and(|data| data.uid() == current().uid)
        }),
        working_dir: working_directory(setting).as_deref(),
        line: auth_arguments(setting),
        own_config_name: LAB_CONFIG_NAME.into(),
        password_dir: None,
    })
}

/// Returns the environment of the Python that runs the server; `None`: none runs, or unknown.
fn prefix(setting: &VerbContext) -> Option<PathBuf> {
    let arguments = server_line(setting)?;
    let python = arguments.split(|byte| *byte == 0).next()?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    // A verb's own PATH does not have the venv.
    let path = match &setting.settings.server.venv {
        Some(venv) => with_first(&venv.join("bin"), &path),
        None => path,
    };
    prefix::of_program(OsStr::from_bytes(python), &path)
}

/// Returns the directory in which the running server works, or the next one will.
fn working_directory(setting: &VerbContext) -> Option<PathBuf> {
    let running = setting.running.as_ref();
    let running = running.and_then(|asked| asked.state.main_pid);
    let real = running.and_then(|pid| std::fs::read_link(format!("/proc/{pid}/cwd")).ok());
    real.or_else(|| setting.settings.root_dir().map(Path::to_owned))
}

/// Returns the settings about authentication in the arguments of the running server, or of the
/// next one. The record holds no password, so `/proc` is read.
fn auth_arguments(setting: &VerbContext) -> CommandLine {
    let line = match server_line(setting) {
        Some(arguments) => {
            CommandLine::of(arguments.split(|byte| *byte == 0).map(OsStr::from_bytes))
        }
        None => CommandLine::of(setting.settings.server.args.iter().map(OsStr::new)),
    };
    let mut running = setting.running.iter();
    CommandLine {
        is_unknown: running.any(|asked| asked.state.mode == Mode::Command),
        ..line
    }
}

/// Returns the command line of the running server, with NUL bytes between its words.
fn server_line(setting: &VerbContext) -> Option<Vec<u8>> {
    let pid = setting.running.as_ref()?.state.main_pid?;
    proc::read(pid, "cmdline")
}

fn home(settings: &Settings) -> PathBuf {
    let user = settings.user.as_ref();
    let named = user.and_then(|user| user.home.clone());
    named.unwrap_or_else(|| current().home)
}
