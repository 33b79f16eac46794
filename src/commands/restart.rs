//! `restart`: asks the supervisor to restart the server in place.

use std::process::ExitCode;

use rustix::process::Signal;

use crate::commands::context::RunningSupervisor;
use crate::commands::error::VerbError;
use crate::commands::print::print_text;
use crate::commands::status;
use crate::state::{Mode, Phase};
use crate::sys;

/// Sends SIGHUP, which means restart if a process sends it.
///
/// # Errors
/// There is no server, a stop has begun, or the supervisor may not be signalled.
pub fn run(asked: &RunningSupervisor) -> Result<ExitCode, VerbError> {
    if matches!(asked.state.mode, Mode::Command | Mode::Idle) {
        let mode = status::mode_name(asked.state.mode);
        return Err(no_server(&format!("the container runs {mode}")));
    }
    if asked.state.phase == Phase::Stopping {
        return Err(no_server("everything is being stopped"));
    }
    let pid = asked.supervisor.pid.as_raw_pid();
    sys::kill(pid, Signal::HUP.as_raw()).map_err(|error| {
        let text = format!("the supervisor (process {pid}) cannot be signalled: {error}");
        VerbError::Other(text)
    })?;
    print_text(
        "the server is being restarted; `ai-lab-entrypoint status` shows when it is ready\n",
    );
    Ok(ExitCode::SUCCESS)
}

fn no_server(why: &str) -> VerbError {
    VerbError::Other(format!("there is no server to restart: {why}"))
}
