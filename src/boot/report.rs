//! The report of a start: logs each degradation once, and keeps the duration of each part.

use std::time::{Duration, Instant};

use tracing::warn;

use crate::boot::failure::Failure;
use crate::degradation::Degradation;

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
    pub fn all_degraded(&mut self, degradations: Vec<Degradation>) -> Result<(), Failure> {
        degradations
            .into_iter()
            .try_for_each(|degradation| self.degraded(degradation))
    }

    /// Keeps the duration of a part.
    pub fn add_duration(&mut self, name: &'static str, time: Duration) {
        self.parts.push((name, time));
    }
}
