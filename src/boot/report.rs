//! The report of a start: logs each degradation once, and keeps the duration of each part.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::boot::failure::Failure;
use crate::degradation::Degradation;
use crate::log::{logger, stderr};
use crate::settings::LogFormat;
use crate::volume::Progress;

/// The durations and degradations of a start so far.
#[derive(Debug)]
pub struct Report {
    strict: bool,
    /// When the start began.
    pub start: Instant,
    /// Name and duration of each part so far.
    pub parts: Vec<(&'static str, Duration)>,
    /// All degradations so far.
    pub degradations: Vec<Degradation>,
}

impl Report {
    /// Returns an empty report. `strict`: any degradation is fatal.
    pub fn new(strict: bool) -> Self {
        Self {
            strict,
            start: Instant::now(),
            parts: Vec::new(),
            degradations: Vec::new(),
        }
    }

    /// Logs and keeps a degradation.
    ///
    /// # Errors
    /// Any degradation under `--warning-as-error`.
    pub fn degraded(&mut self, degradation: Degradation) -> Result<(), Failure> {
        if self.strict {
            return Err(Failure::Preparation(format!(
                "{degradation} (--warning-as-error makes this the end)"
            )));
        }
        self.degraded_by_user(degradation);
        Ok(())
    }

    /// Logs and keeps a degradation that the user could have caused. It is never fatal: the user
    /// could end every later start with it.
    pub fn degraded_by_user(&mut self, degradation: Degradation) {
        // The password is applied again after a hook that changed Jupyter's configuration.
        if !self.degradations.contains(&degradation) {
            warn!("{degradation}");
            self.degradations.push(degradation);
        }
    }

    /// Logs and keeps several degradations.
    ///
    /// # Errors
    /// Any degradation under `--warning-as-error`.
    pub fn all_degraded(
        &mut self,
        degradations: impl IntoIterator<Item = Degradation>,
    ) -> Result<(), Failure> {
        degradations
            .into_iter()
            .try_for_each(|degradation| self.degraded(degradation))
    }

    /// Keeps the duration of a part.
    pub fn add_duration(&mut self, name: &'static str, time: Duration) {
        self.parts.push((name, time));
    }
}

/// Returns a function that shows the progress of long work: as a bar on a terminal, as a log line
/// every five seconds elsewhere. Drop it before anything else is logged.
pub fn progress(what: &'static str) -> impl FnMut(Progress) {
    const REDRAW_INTERVAL: Duration = Duration::from_millis(200);
    const LOG_INTERVAL: Duration = Duration::from_secs(5);
    let on_terminal = std::io::stderr().is_terminal() && logger::format() == LogFormat::Text;
    let mut bar = on_terminal.then(Bar::default);
    let mut last = Instant::now();
    move |progress| {
        if last.elapsed()
            < if on_terminal {
                REDRAW_INTERVAL
            } else {
                LOG_INTERVAL
            }
        {
            return;
        }
        last = Instant::now();
        let done = progress.done;
        match (&mut bar, progress.total) {
            (Some(bar), _) => bar.draw(what, progress),
            (None, Some(total)) => info!("{what}: {done} of {total}"),
            (None, None) => info!("{what}: {done} so far"),
        }
    }
}

/// A progress bar: one line of a terminal, overwritten each time and erased on drop.
#[derive(Default)]
struct Bar {
    shown: bool,
}

impl Bar {
    const WIDTH: u64 = 24;

    fn draw(&mut self, what: &str, Progress { done, total }: Progress) {
        self.shown = true;
        let line = match total {
            Some(total) => {
                let full = Self::WIDTH * done.min(total) / total.max(1);
                let bar: String = (0..Self::WIDTH)
                    .map(|at| if at < full { '#' } else { '.' })
                    .collect();
                format!("{what} [{bar}] {done} of {total}")
            }
            None => format!("{what}: {done} so far"),
        };
        stderr::draw(format!("\r\x1b[K{line}").as_bytes());
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if self.shown {
            stderr::draw(b"\r\x1b[K");
        }
    }
}
