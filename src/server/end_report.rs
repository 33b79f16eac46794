//! What the log says when a server ends.

use std::time::Duration;

use tracing::{error, info, warn};

use crate::death::Diagnosis;
use crate::supervisor::lifecycle::Ended;

/// Returns why a server ended that we sent KILL: it was `late`, or a second signal asked for it.
pub(super) fn killed_by_us(late: bool, stop_timeout: Duration) -> Diagnosis {
    match late {
        true => Diagnosis::new(
            format!(
                "the server had not ended {} s after it was asked to, and was killed",
                stop_timeout.as_secs_f32()
            ),
            "Give it more time with --stop-timeout, and the container with `docker stop -t` or, in \
             Kubernetes, terminationGracePeriodSeconds",
        ),
        false => Diagnosis::new(
            "a second signal asked to stop, so the server was killed",
            "Send one signal and wait: then kernels end in order",
        ),
    }
}

/// Logs how the server ended, and why. Returns the same for Kubernetes. `early`: the last words of a
/// server that ended before it was ready; `None`: it was ready, or asked to stop.
pub(super) fn report_end(
    how: Ended,
    early: Option<&str>,
    again: Option<Duration>,
    diagnosis: Option<&Diagnosis>,
) -> String {
    let code = how.code();
    let by = match how {
        Ended::Signal(number) => format!(" (signal {number})"),
        Ended::Exit(_) => String::new(),
    };
    let (early, above) = match early {
        None => ("", ""),
        Some("") => (" before it was ready", "; it has logged nothing"),
        Some(_) => (" before it was ready", "; its last words are above"),
    };
    let mut words = format!("Jupyter server terminated with error code {code}{by}{early}");
    if code != 0 {
        error!("{words}{above}");
    } else {
        info!("the server ended{early}{above}");
    }
    report_restart(again);
    if let Some(diagnosis) = diagnosis {
        error!("The reason: {diagnosis}");
        words = format!("{words}\nThe reason: {diagnosis}");
    }
    words
}

/// Logs when the server is started again; a restart at once has its own line.
pub(super) fn report_restart(again: Option<Duration>) {
    if let Some(wait) = again.filter(|wait| !wait.is_zero()) {
        warn!("the server is started again in {} s", wait.as_secs());
    }
}
