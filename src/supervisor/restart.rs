//! The restart policy: whether and when a server that ended by itself is started again.

use std::time::Duration;

use super::stop::Ended;
use crate::settings::Restart;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
/// Uptime after which a server counts as healthy: the next wait is [`FIRST`] again.
const HEALTHY: Duration = Duration::from_secs(600);

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
            next: FIRST,
        }
    }

    /// Returns the wait before a server that ended in this way after `uptime` is started again;
    /// `None`: never. Each wait is twice the last, from one second up to a minute.
    pub fn after(&mut self, ended: Ended, uptime: Duration) -> Option<Duration> {
        match self.policy {
            Restart::Never => return None,
            Restart::OnFailure if ended == Ended::Exit(0) => return None,
            Restart::OnFailure | Restart::Always => {}
        }
        if uptime >= HEALTHY {
            self.next = FIRST;
        }
        let wait = self.next;
        self.next = (wait * 2).min(LONGEST);
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
            .filter_map(|_| backoff.after(Ended::Exit(1), short))
            .map(|wait| wait.as_secs())
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff.after(Ended::Signal(9), HEALTHY), Some(FIRST));
    }

    #[test]
    fn the_policy_decides() {
        for (policy, ended, expected) in [
            (Restart::Never, Ended::Exit(1), None),
            (Restart::OnFailure, Ended::Exit(0), None),
            (Restart::OnFailure, Ended::Signal(15), Some(FIRST)),
            (Restart::Always, Ended::Exit(0), Some(FIRST)),
        ] {
            assert_eq!(Backoff::new(policy).after(ended, FIRST), expected);
        }
    }
}
