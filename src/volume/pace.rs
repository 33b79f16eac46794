//! The pace of a loop over the entries of a volume, which asks now and then whether to stop.

use std::time::{Duration, Instant};

use crate::volume::{REPORT_EVERY, VolumeError};

/// A loop with slow steps (a cold disk, a network) also asks after this time.
const MAX_INTERVAL: Duration = Duration::from_millis(100);

/// Number of steps between two readings of the clock.
const CLOCK_EVERY: u64 = 16;

/// Counts the steps of a loop.
pub(super) struct Pace {
    steps: u64,
    asked: Instant,
}

impl Pace {
    pub fn new() -> Self {
        Self {
            steps: 0,
            asked: Instant::now(),
        }
    }

    /// Counts a step and reports whether it is time to ask.
    pub fn is_due(&mut self) -> bool {
        self.steps += 1;
        let slow =
            || self.steps.is_multiple_of(CLOCK_EVERY) && self.asked.elapsed() >= MAX_INTERVAL;
        let due = self.steps >= REPORT_EVERY || slow();
        if due {
            *self = Self::new();
        }
        due
    }

    /// Counts a step, and asks `stop` when it is time.
    ///
    /// # Errors
    /// `stop` returned true.
    pub fn step(&mut self, stop: &dyn Fn() -> bool) -> Result<(), VolumeError> {
        match self.is_due() && stop() {
            true => Err(VolumeError::Stopped),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_steps_or_a_long_time_make_it_due() {
        let mut pace = Pace::new();
        let due = |pace: &mut Pace, steps: u64| (0..steps).filter(|_| pace.is_due()).count();
        assert_eq!(due(&mut pace, 10 * REPORT_EVERY), 10);
        pace.asked = Instant::now()
            .checked_sub(MAX_INTERVAL)
            .unwrap_or(pace.asked);
        assert_eq!(due(&mut pace, CLOCK_EVERY), 1);
    }
}
