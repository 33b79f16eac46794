//! `status`: shows the state of the container, for people or as JSON.

use std::process::ExitCode;

use crate::commands::context::RunningSupervisor;
use crate::commands::error::VerbError;
use crate::commands::print::{print_json, print_text};
use crate::death::memory;
use crate::state;
use crate::state::{Mode, Phase, State};
use crate::sys::text::shown;

/// Prints the state.
///
/// # Errors
/// The state cannot be written as JSON.
pub fn run(asked: &RunningSupervisor, json: bool) -> Result<ExitCode, VerbError> {
    let mut state = asked.state.clone();
    // Version 1 of control groups does not tell the supervisor at once.
    let known = state.memory.take();
    state.memory = known.map(|known| memory::current(state.pid, &known));
    if json {
        print_json(&serde_json::to_string_pretty(&state)?);
    } else {
        print_text(&state_text(&state, state::now(), small_shared_memory()));
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the state in words; `now` is in milliseconds since 1970.
pub fn state_text(state: &State, now: u64, small_shared_memory: Option<String>) -> String {
    let phase = match state.phase {
        Phase::Starting => "starting",
        Phase::Ready => "ready",
        Phase::Restarting => "restarting",
        Phase::Stopping => "stopping",
    };
    let since = age(now.saturating_sub(state.since) / 1000);
    let mut rows = vec![
        ("phase", format!("{phase}, for {since}")),
        ("runs", program_title(state)),
        ("supervisor", format!("process {}", state.pid)),
    ];
    if let Some(pid) = state.main_pid {
        rows.push(("main process", format!("process {pid}")));
    }
    if let Some(probe) = &state.probe {
        rows.push(("health check", probe.clone()));
    }
    if let Some(code) = state.last_exit {
        let times = state.restarts;
        rows.push((
            "restarts",
            format!("{times}, the last exit code was {code}"),
        ));
    }
    if let Some(reason) = &state.last_reason {
        rows.push(("reason", reason.to_string()));
    }
    if let Some(broken) = &state.rescue {
        rows.push(("rescue", broken.clone()));
    }
    if let Some(kills) = state.memory.as_ref().filter(|kills| kills.killed > 0) {
        rows.push((
            "memory",
            format!("{} (remedy: {})", kills.text(kills.killed), kills.remedy()),
        ));
    }
    if !state.boot.is_empty() {
        let parts = state
            .boot
            .iter()
            .map(|(name, ms)| format!("{name} {ms} ms"));
        rows.push(("start", parts.collect::<Vec<_>>().join(", ")));
    }
    if let Some(small) = small_shared_memory {
        rows.push(("shared memory", small));
    }
    for degradation in &state.degradations {
        rows.push(("warning", degradation.to_string()));
    }
    if state.degradations_left_out > 0 {
        let more = format!(
            "and {} more, which are in the log",
            state.degradations_left_out
        );
        rows.push(("warning", more));
    }
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.iter()
        .map(|(name, value)| format!("{name:width$}  {}\n", shown(value)))
        .collect()
}

/// Returns what to know of a /dev/shm of Docker's default size. Libraries that share tensors or
/// tables between processes fill it, and end with a bus error.
fn small_shared_memory() -> Option<String> {
    const DOCKERS: u64 = 64 << 20;
    let system = rustix::fs::statvfs("/dev/shm").ok()?;
    let size = system.f_blocks.saturating_mul(system.f_frsize);
    // No size is no limit.
    (1..=DOCKERS).contains(&size).then(|| {
        format!(
            "{} MB in /dev/shm, little for workers of PyTorch and the like (remedy: `docker run \
             --shm-size 1g`; in Kubernetes, an emptyDir in memory there)",
            size >> 20
        )
    })
}

fn program_title(state: &State) -> String {
    match (&state.server, state.mode) {
        (Some(server), Mode::Lab) => server.clone(),
        (_, mode) => mode_name(mode).into(),
    }
}

/// Returns the name of a mode for a sentence.
pub fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Lab => "JupyterLab",
        Mode::Hub => "a single-user server of JupyterHub",
        Mode::Command => "a command",
        Mode::Idle => "nothing",
    }
}

fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::degradation::Degradation;

    #[test]
    fn the_state_in_words() {
        let mut state = State::new(
            Mode::Lab,
            vec![("claim".into(), 3), ("server".into(), 640)],
            vec![Degradation::new("a is b", "do c")],
        );
        state.pid = 1;
        state.main_pid = Some(7);
        state.since = 1_000;
        state.phase = Phase::Ready;
        state.probe = Some("http://127.0.0.1:1/api".into());
        let expected = "\
phase         ready, for 2 h 3 min
runs          JupyterLab
supervisor    process 1
main process  process 7
health check  http://127.0.0.1:1/api
start         claim 3 ms, server 640 ms
warning       a is b (remedy: do c)
";
        assert_eq!(
            state_text(&state, 1_000 + (2 * 3600 + 3 * 60 + 4) * 1000, None),
            expected
        );
    }
}
