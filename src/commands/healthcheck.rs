//! `healthcheck`: one probe, one line, exit 0 or 1.

use std::process::ExitCode;
use std::time::Duration;

use crate::commands::context::RunningSupervisor;
use crate::commands::error::VerbError;
use crate::commands::print::{exit_code, print_text};
use crate::server::probe::{Target, Url, probe};
use crate::state::{Mode, Phase, State};
use crate::sys::text::shown;

/// The time limit for the server's answer.
const LIMIT: Duration = Duration::from_secs(3);

/// Checks the health once and prints the result.
///
/// # Errors
/// The runtime for the probe could not be made.
pub fn run(asked: &RunningSupervisor) -> Result<ExitCode, VerbError> {
    let health = match decide_health(&asked.state) {
        HealthDecision::Decided(health) => health,
        HealthDecision::AskServer(target) => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| {
                    VerbError::Other(format!("the probe could not be started: {error}"))
                })?;
            let answers = runtime.block_on(probe(&target, LIMIT));
            answers.map(|()| format!("{target} answers"))
        }
    };
    let healthy = health.is_ok();
    let word = if healthy { "healthy" } else { "unhealthy" };
    let text = health.unwrap_or_else(|problem| problem);
    print_text(&format!("{word}: {}\n", shown(&text)));
    Ok(exit_code(healthy))
}

#[derive(Debug, PartialEq, Eq)]
enum HealthDecision {
    /// The state alone decides; `Err`: unhealthy.
    Decided(Result<String, String>),
    /// The server has to be asked.
    AskServer(Target),
}

fn decide_health(state: &State) -> HealthDecision {
    let target = state.probe.as_deref().and_then(Url::parse).and_then(|url| {
        Some(Target {
            endpoint: url.endpoints.into_iter().next()?,
            tls: url.tls,
            path: url.path,
        })
    });
    HealthDecision::Decided(match (state.mode, state.phase, target) {
        (_, Phase::Stopping, _) => Err("everything is being stopped".into()),
        (_, Phase::Restarting, _) => Err("the server is being started again".into()),
        (Mode::Command, ..) => Ok("the command runs".into()),
        (Mode::Idle, ..) => Ok("there is no server to ask".into()),
        (_, Phase::Starting, _) => Err("the server is starting".into()),
        (_, Phase::Ready, Some(target)) => return HealthDecision::AskServer(target),
        (_, Phase::Ready, None) => Err(
            "the state file has no URL to probe; `ai-lab-entrypoint restart` writes it again"
                .into(),
        ),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_a_ready_server_is_asked() {
        let state = |mode, phase, probe: Option<&str>| {
            let mut state = State::new(mode, Vec::new(), Vec::new());
            state.phase = phase;
            state.probe = probe.map(str::to_owned);
            state
        };
        let url = "http://127.0.0.1:1/x/api";
        for (mode, phase, healthy) in [
            (Mode::Lab, Phase::Starting, false),
            (Mode::Hub, Phase::Restarting, false),
            (Mode::Lab, Phase::Stopping, false),
            (Mode::Command, Phase::Stopping, false),
            (Mode::Command, Phase::Ready, true),
            (Mode::Idle, Phase::Ready, true),
        ] {
            match decide_health(&state(mode, phase, Some(url))) {
                HealthDecision::Decided(health) => {
                    assert_eq!(health.is_ok(), healthy, "{mode:?}")
                }
                HealthDecision::AskServer(_) => panic!("{mode:?} {phase:?} is asked"),
            }
        }
        match decide_health(&state(Mode::Hub, Phase::Ready, Some(url))) {
            HealthDecision::AskServer(target) => assert_eq!(target.to_string(), url),
            HealthDecision::Decided(health) => panic!("{health:?}"),
        }
    }
}
