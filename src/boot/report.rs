//! What a start tells: each degradation once, each part of its time.

use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::Failure;
use crate::degradation::Degradation;
use crate::volume::Progress;

/// What was told so far.
#[derive(Debug)]
pub struct Report {
    strict: bool,
    /// When the start began.
    pub start: Instant,
    /// What it spent its time on.
    pub parts: Vec<(&'static str, Duration)>,
    /// What is not as asked.
    pub degradations: Vec<Degradation>,
}

impl Report {
    /// Nothing so far. `strict`: any degradation is fatal.
    pub fn new(strict: bool) -> Self {
        Self {
            strict,
            start: Instant::now(),
            parts: Vec::new(),
            degradations: Vec::new(),
        }
    }

    /// Logs and remembers something that could not be done as asked.
    ///
    /// # Errors
    /// Under `--warning-as-error`.
    pub fn degraded(&mut self, degradation: Degradation) -> Result<(), Failure> {
        if self.strict {
            return Err(Failure::Preparation(format!(
                "{degradation} (--warning-as-error makes this the end)"
            )));
        }
        warn!("{degradation}");
        self.degradations.push(degradation);
        Ok(())
    }

    /// Several of them.
    ///
    /// # Errors
    /// Under `--warning-as-error`.
    pub fn all_degraded(&mut self, degradations: Vec<Degradation>) -> Result<(), Failure> {
        degradations
            .into_iter()
            .try_for_each(|degradation| self.degraded(degradation))
    }

    /// Remembers how long a part took.
    pub fn took(&mut self, name: &'static str, time: Duration) {
        self.parts.push((name, time));
    }
}

/// Tells every five seconds how far a long piece of work is.
pub fn progress(what: &str) -> impl FnMut(Progress) {
    const PAUSE: Duration = Duration::from_secs(5);
    let mut last = Instant::now();
    move |Progress { done, total }| {
        if last.elapsed() >= PAUSE {
            last = Instant::now();
            match total {
                Some(total) => info!("{what}: {done} of {total}"),
                None => info!("{what}: {done} so far"),
            }
        }
    }
}
