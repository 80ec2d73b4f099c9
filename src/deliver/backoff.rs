//! The wait of a feed after a failure, and the number of its retries.
//!
//! Waits have full jitter, so that many feeds do not return in step. A budget bounds retries as a whole: without it, a
//! store that accepts one upload and fails the next would receive everything twice, for as long as its outage lasts.

use std::time::{Duration, Instant};

/// Ceiling of the first wait.
const FIRST: Duration = Duration::from_millis(500);

/// Ceiling of every wait after a failure that a retry may overcome.
const LONGEST: Duration = Duration::from_secs(60);

/// Ceiling while the feed is parked: a probe now and then shows whether an operator has fixed the cause.
const LONGEST_PARKED: Duration = Duration::from_secs(300);

/// Retries that a feed can accumulate.
const BUDGET: f64 = 10.0;

/// Time in which a feed earns a retry without any success.
const EARNED: Duration = Duration::from_secs(10);

/// Failures in a row.
#[derive(Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Counts a failure and returns the wait: a random time up to a ceiling that doubles with each failure.
    pub fn failed(&mut self, parked: bool) -> Duration {
        let ceiling = FIRST.saturating_mul(1 << self.failures.min(16));
        let ceiling = ceiling.min(if parked { LONGEST_PARKED } else { LONGEST });
        self.failures = self.failures.saturating_add(1);
        jitter(ceiling)
    }

    /// The wait when the budget for retries is empty.
    pub fn longest() -> Duration {
        jitter(LONGEST)
    }

    /// Failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Resets the count of failures.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }
}

fn jitter(ceiling: Duration) -> Duration {
    ceiling.mul_f64(fastrand::f64())
}

/// The retries that a feed has left. Each success adds one, and so do every ten seconds.
pub struct Budget {
    tokens: f64,
    since: Instant,
}

impl Budget {
    /// A full budget.
    pub fn new(now: Instant) -> Self {
        Self { tokens: BUDGET, since: now }
    }

    /// Takes a retry, if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        let earned = now.saturating_duration_since(self.since).as_secs_f64() / EARNED.as_secs_f64();
        self.tokens = (self.tokens + earned).min(BUDGET);
        self.since = now;
        let enough = self.tokens >= 1.0;
        if enough {
            self.tokens -= 1.0;
        }
        enough
    }

    /// Records a success.
    pub fn succeeded(&mut self) {
        self.tokens = (self.tokens + 1.0).min(BUDGET);
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

    #[test]
    fn ten_retries_accumulate_and_more_must_be_earned() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        let taken = |budget: &mut Budget, now| (0..100).take_while(|_| budget.take(now)).count();
        assert_eq!(taken(&mut budget, start), 10);
        budget.succeeded();
        budget.succeeded();
        assert_eq!(taken(&mut budget, start), 2);
        assert_eq!(taken(&mut budget, start + Duration::from_millis(9_990)), 0);
        assert_eq!(taken(&mut budget, start + Duration::from_millis(30_010)), 3);
        assert_eq!(taken(&mut budget, start + Duration::from_secs(86_400)), 10, "not more than can accumulate");
    }
}
