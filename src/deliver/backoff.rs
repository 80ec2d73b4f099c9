//! How long a feed waits after a failure: full jitter, so that many feeds do not come back in step.

use std::time::Duration;

/// Ceiling of the first wait.
const FIRST: Duration = Duration::from_millis(500);

/// Ceiling of every wait after a failure that time may mend.
const LONGEST: Duration = Duration::from_secs(60);

/// Ceiling while the sink refuses: somebody must mend it, and a probe now and then tells when they have.
const LONGEST_REFUSED: Duration = Duration::from_secs(300);

/// Failures in a row.
#[derive(Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Counts a failure and tells how long to wait: anything up to a ceiling that doubles with each failure.
    pub fn failed(&mut self, refused: bool) -> Duration {
        let ceiling = FIRST.saturating_mul(1 << self.failures.min(16));
        let ceiling = ceiling.min(if refused { LONGEST_REFUSED } else { LONGEST });
        self.failures = self.failures.saturating_add(1);
        ceiling.mul_f64(fastrand::f64())
    }

    /// Failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Forgets the failures.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_ceiling_and_are_spread() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..200).map(|_| backoff.failed(false)).collect();
        assert!(waits[0] <= FIRST);
        assert!(waits.iter().all(|wait| *wait <= LONGEST));
        let late = &waits[20..];
        assert!(late.iter().any(|wait| *wait < LONGEST / 4) && late.iter().any(|wait| *wait > LONGEST * 3 / 4));
        backoff.succeeded();
        assert!(backoff.failed(true) <= FIRST);
    }
}
