//! The pace of a feed's uploads: how many at a time, and how long after a failure.
//!
//! The state belongs to the feed, not to an object: when one upload succeeds, all continue. Uploads have a *round*,
//! which a failure ends. The uploads of one round meet the store in one condition, so their failures count once, and
//! only an upload that began after a failure can show that the failure is over. After a failure one upload begins, as a
//! probe, and the others follow when it has succeeded.
//!
//! Has no clock and does no I/O.

use std::time::Instant;

use super::{
    backoff::{Backoff, Budget},
    error::SinkError,
    limit::Limit,
};

/// A feed's pace.
pub struct Pace {
    limit: Limit,
    budget: Budget,
    backoff: Backoff,
    parked: bool,
    resume: Option<Instant>,
    round: u64,
    /// Whether an upload of this round has begun.
    probing: bool,
}

impl Pace {
    /// A feed that may have `most` uploads under way.
    pub fn new(most: usize, now: Instant) -> Self {
        Self {
            limit: Limit::new(most),
            budget: Budget::new(now),
            backoff: Backoff::default(),
            parked: false,
            resume: None,
            round: 0,
            probing: false,
        }
    }

    /// Uploads that may be under way.
    pub fn limit(&self) -> usize {
        self.limit.now()
    }

    /// Whether the feed is parked until an operator acts.
    pub fn is_parked(&self) -> bool {
        self.parked
    }

    /// Whether the last upload that counts has failed.
    pub fn is_failing(&self) -> bool {
        self.backoff.failures() > 0
    }

    /// Ends the wait after a failure.
    pub fn retry_now(&mut self) {
        self.resume = None;
    }

    /// End of the wait after a failure.
    pub fn resume(&self) -> Option<Instant> {
        self.resume
    }

    /// Begins an upload if one may begin while others are `under_way`. Returns its round.
    pub fn begin(&mut self, under_way: usize, now: Instant) -> Option<u64> {
        let waits = self.resume.is_some_and(|resume| now < resume);
        let probed = self.backoff.failures() > 0 && self.probing;
        if waits || probed || under_way >= self.limit.now() {
            return None;
        }
        self.resume = None;
        self.probing = true;
        Some(self.round)
    }

    /// Records that an upload was acknowledged. Returns whether this ends an outage.
    pub fn succeeded(&mut self, round: u64) -> bool {
        self.budget.succeeded();
        self.limit.succeeded(round);
        if round < self.round {
            return false;
        }
        let recovered = self.backoff.failures() > 0;
        self.backoff.succeeded();
        self.parked = false;
        self.resume = None;
        recovered
    }

    /// Records that an upload has ended without a result from the sink: its object was missing or damaged.
    pub fn ended(&mut self, round: u64) {
        if round == self.round {
            self.probing = false;
        }
    }

    /// Records that an upload failed. Returns the failures since the last success; 0 when this one counts together
    /// with another.
    pub fn failed(&mut self, round: u64, error: &SinkError, now: Instant) -> u32 {
        let parks = error.parks_feed();
        let counts = round == self.round || (parks && !self.parked);
        if counts {
            self.round += 1;
            self.probing = false;
        }
        if error.details().progressed {
            // A sink that fails now and then is not down, however many parts an object has.
            self.budget.succeeded();
            self.backoff.succeeded();
        }
        if matches!(error, SinkError::SlowDown(_)) {
            self.limit.slow_down(round, self.round);
        }
        // The rare probes of a parked feed need no budget.
        let mut wait = (!parks && !self.budget.take(now)).then(Backoff::longest);
        if counts {
            self.parked = parks;
            let least = self.backoff.failed(parks);
            wait = Some(wait.unwrap_or_default().max(least));
        }
        if let Some(asked) = error.details().retry_after {
            wait = Some(wait.unwrap_or_default().max(asked));
        }
        if let Some(wait) = wait {
            let resume = now + wait;
            self.resume = Some(self.resume.map_or(resume, |already| already.max(resume)));
        }
        if counts { self.backoff.failures() } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::deliver::error::Details;

    fn retry() -> SinkError {
        SinkError::retry("reset")
    }

    fn slow_down() -> SinkError {
        SinkError::slow_down("503")
    }

    fn rejected() -> SinkError {
        SinkError::rejected("403")
    }

    fn second(now: Instant, n: u64) -> Instant {
        now + Duration::from_secs(n)
    }

    /// A pace whose limit has grown to `most`.
    fn grown(most: usize, now: Instant) -> Pace {
        let mut pace = Pace::new(most, now);
        for _ in 0..100 {
            pace.succeeded(0);
        }
        assert_eq!(pace.limit(), most);
        pace
    }

    #[test]
    fn after_a_failure_one_upload_probes_and_its_success_resumes_all() {
        let now = Instant::now();
        let mut pace = grown(4, now);
        let rounds: Vec<_> = (0..5).map_while(|under_way| pace.begin(under_way, now)).collect();
        assert_eq!(rounds, [0; 4], "four at a time");
        for _ in 0..3 {
            pace.failed(0, &retry(), now);
        }
        assert!(!pace.succeeded(0), "it began before the failure");
        assert!(pace.resume().is_some_and(|resume| resume <= now + Duration::from_millis(500)));

        let now = second(now, 1);
        let probe = pace.begin(0, now).unwrap();
        assert_eq!(pace.begin(1, now), None, "one probe");
        pace.failed(probe, &retry(), now);
        let now = second(now, 1);
        let probe = pace.begin(0, now).unwrap();
        assert!(pace.succeeded(probe));
        assert_eq!((pace.begin(0, now), pace.begin(1, now)), (Some(probe), Some(probe)));
    }

    #[test]
    fn failures_of_one_round_count_once() {
        let now = Instant::now();
        let mut pace = grown(4, now);
        let failures: Vec<_> = (0..4).map(|_| pace.failed(0, &slow_down(), now)).collect();
        assert_eq!(failures, [1, 0, 0, 0]);
        assert_eq!(pace.limit(), 2);
        pace.failed(1, &slow_down(), now);
        assert_eq!(pace.limit(), 1);
    }

    #[test]
    fn a_plain_failure_does_not_hide_a_request_to_slow_down() {
        let now = Instant::now();
        let mut pace = grown(4, now);
        pace.failed(0, &retry(), now);
        assert_eq!(pace.limit(), 4);
        pace.failed(0, &slow_down(), now);
        assert_eq!(pace.limit(), 2);
    }

    #[test]
    fn a_parked_feed_probes_rarely_and_only_a_probe_resumes_it() {
        let now = Instant::now();
        let mut pace = grown(4, now);
        assert_eq!((pace.failed(0, &retry(), now), pace.is_parked()), (1, false));
        assert_eq!((pace.failed(0, &rejected(), now), pace.is_parked()), (2, true), "also after another failure");
        assert_eq!((pace.failed(0, &rejected(), now), pace.is_parked()), (0, true), "once");
        pace.succeeded(0);
        assert!(pace.is_parked());
        for _ in 0..100 {
            let now = pace.resume().unwrap();
            let probe = pace.begin(0, now).unwrap();
            assert_eq!(pace.begin(1, now), None);
            pace.failed(probe, &rejected(), now);
            assert!(pace.resume().unwrap() <= second(now, 300));
        }
        let probe = pace.begin(0, pace.resume().unwrap()).unwrap();
        assert!(pace.succeeded(probe) && !pace.is_parked() && pace.resume().is_none());
    }

    #[test]
    fn a_request_to_retry_ends_the_wait_and_sends_one_probe() {
        let now = Instant::now();
        let mut pace = grown(4, now);
        pace.failed(0, &rejected(), now);
        pace.resume = Some(second(now, 300));
        assert_eq!(pace.begin(0, now), None);
        pace.retry_now();
        let probe = pace.begin(0, now).unwrap();
        assert_eq!((pace.begin(1, now), pace.is_parked()), (None, true));
        pace.failed(probe, &rejected(), now);
        assert!(pace.is_failing() && pace.resume().is_some(), "it waits again");
    }

    #[test]
    fn the_time_that_the_sink_asks_for_is_waited_at_least() {
        let now = Instant::now();
        let mut pace = grown(4, now);
        let asked = Duration::from_secs(1_800);
        let details = Details { retry_after: Some(asked), ..Details::new("429") };
        pace.failed(0, &SinkError::slow_down(details), now);
        assert_eq!(pace.resume(), Some(now + asked));
        pace.failed(0, &retry(), now);
        assert_eq!((pace.resume(), pace.begin(0, second(now, 1_799))), (Some(now + asked), None), "not shortened");
        assert!(pace.begin(0, now + asked).is_some());
    }

    #[test]
    fn a_failure_after_some_progress_is_the_first_in_a_row() {
        let start = Instant::now();
        let mut pace = grown(4, start);
        for n in 1..100 {
            let now = second(start, n);
            let round = pace.begin(0, now).unwrap();
            assert_eq!(pace.failed(round, &retry().with_progress(true), now), 1);
            assert!(pace.resume().unwrap() <= now + Duration::from_millis(500));
        }
    }

    #[test]
    fn with_an_empty_budget_a_retry_waits_long() {
        let now = Instant::now();
        let waits = (0..100).map(|_| {
            let mut pace = Pace::new(1, now);
            for _ in 0..10 {
                assert!(pace.budget.take(now));
            }
            pace.failed(0, &retry(), now);
            pace.resume().unwrap() - now
        });
        assert!(waits.max().unwrap() > Duration::from_secs(10), "a first failure would wait half a second");
    }

    #[test]
    fn a_damaged_object_does_not_end_the_probing() {
        let now = Instant::now();
        let mut pace = grown(4, now);
        pace.failed(0, &retry(), now);
        let now = second(now, 1);
        let probe = pace.begin(0, now).unwrap();
        pace.ended(probe);
        assert_eq!(pace.begin(0, now), Some(probe));
        assert_eq!(pace.begin(1, now), None);
    }
}
