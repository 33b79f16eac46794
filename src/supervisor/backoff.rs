//! The restart policy: whether and when a server that ended by itself is started again.

use std::time::Duration;

use crate::settings::Restart;
use crate::supervisor::lifecycle::Ended;

const MIN_WAIT: Duration = Duration::from_secs(1);
const MAX_WAIT: Duration = Duration::from_secs(60);
/// Uptime after which a server counts as healthy: the next wait is [`MIN_WAIT`] again.
const HEALTHY_UPTIME: Duration = Duration::from_secs(600);

/// The restart policy and the next wait.
#[derive(Debug, Clone)]
pub struct Backoff {
    policy: Restart,
    next: Duration,
}

impl Backoff {
    /// Returns a policy that begins with the shortest wait.
    pub fn new(policy: Restart) -> Self {
        Self {
            policy,
            next: MIN_WAIT,
        }
    }

    /// Returns the wait before a server that ended in this way after `uptime` is started again;
    /// `None`: never. Each wait is twice the last, from one second up to a minute.
    pub fn next_wait(&mut self, ended: Ended, uptime: Duration) -> Option<Duration> {
        match self.policy {
            Restart::Never => return None,
            Restart::OnFailure if ended == Ended::Exit(0) => return None,
            Restart::OnFailure | Restart::Always => {}
        }
        if uptime >= HEALTHY_UPTIME {
            self.next = MIN_WAIT;
        }
        let wait = self.next;
        self.next = (wait * 2).min(MAX_WAIT);
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_health_forgives() {
        let mut backoff = Backoff::new(Restart::OnFailure);
        let short = Duration::from_secs(2);
        let waits: Vec<u64> = (0..8)
            .filter_map(|_| backoff.next_wait(Ended::Exit(1), short))
            .map(|wait| wait.as_secs())
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(
            backoff.next_wait(Ended::Signal(9), HEALTHY_UPTIME),
            Some(MIN_WAIT)
        );
    }

    #[test]
    fn the_policy_decides() {
        for (policy, ended, expected) in [
            (Restart::Never, Ended::Exit(1), None),
            (Restart::OnFailure, Ended::Exit(0), None),
            (Restart::OnFailure, Ended::Signal(15), Some(MIN_WAIT)),
            (Restart::Always, Ended::Exit(0), Some(MIN_WAIT)),
        ] {
            assert_eq!(Backoff::new(policy).next_wait(ended, MIN_WAIT), expected);
        }
    }
}
