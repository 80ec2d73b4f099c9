//! When a feed's next upload may begin: how many at a time, how long after a failure.
//!
//! All of it belongs to the feed, and nothing to an object: when one upload succeeds, everything goes on. Uploads have
//! a *round*, which a failure ends. The uploads of one round share one store in one condition, so their failures count
//! once, and only an upload that began after a failure tells whether it has been mended. After a failure one upload
//! begins, as a probe, and the others follow when it has succeeded.
//!
//! No clock and no I/O in here.

use std::time::Instant;

use super::{
    backoff::{Backoff, Budget},
    limit::Limit,
};

/// What became worse.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Trouble {
    /// Time may mend it.
    Failed,
    /// The same, and the store asks to slow down.
    Busy,
    /// Somebody must mend it: the feed is parked.
    Refused,
}

/// What a failure led to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Setback {
    /// Failures since the last success; 0 when this one counts with another.
    pub failures: u32,
    /// The feed is parked, and was not before.
    pub newly_parked: bool,
}

/// A feed's pace.
pub struct Pace {
    limit: Limit,
    budget: Budget,
    backoff: Backoff,
    parked: bool,
    resume: Option<Instant>,
    round: u64,
    /// An upload of this round is under way, or was.
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

    /// Whether somebody must mend the sink.
    pub fn parked(&self) -> bool {
        self.parked
    }

    /// When the wait after a failure ends.
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

    /// Notes that an upload was acknowledged. True when this ends a trouble.
    pub fn succeeded(&mut self, round: u64) -> bool {
        self.budget.succeeded();
        self.limit.succeeded(round);
        if round < self.round {
            return false;
        }
        let mended = self.backoff.failures() > 0;
        self.backoff.succeeded();
        self.parked = false;
        self.resume = None;
        mended
    }

    /// Notes that an upload is over which tells nothing of the sink: its object was gone, or damaged.
    pub fn ended(&mut self, round: u64) {
        if round == self.round {
            self.probing = false;
        }
    }

    /// Notes that an upload failed.
    pub fn failed(&mut self, round: u64, trouble: Trouble, now: Instant) -> Setback {
        let refused = trouble == Trouble::Refused;
        let newly_parked = refused && !self.parked;
        let counts = round == self.round || newly_parked;
        if counts {
            self.round += 1;
            self.probing = false;
        }
        if trouble == Trouble::Busy {
            self.limit.slow_down(round, self.round);
        }
        // A probe now and then costs nobody anything.
        let mut wait = (!refused && !self.budget.take(now)).then(Backoff::longest);
        if counts {
            self.parked = refused;
            let least = self.backoff.failed(refused);
            wait = Some(wait.unwrap_or_default().max(least));
        }
        if let Some(wait) = wait {
            let resume = now + wait;
            self.resume = Some(self.resume.map_or(resume, |already| already.max(resume)));
        }
        Setback { failures: if counts { self.backoff.failures() } else { 0 }, newly_parked }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

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
    fn after_a_failure_one_upload_probes_and_its_success_lets_all_go_on() {
        let now = Instant::now();
        let mut pace = grown(4, now);
        let rounds: Vec<_> = (0..5).map_while(|under_way| pace.begin(under_way, now)).collect();
        assert_eq!(rounds, [0; 4], "four at a time");
        for _ in 0..3 {
            pace.failed(0, Trouble::Failed, now);
        }
        assert!(!pace.succeeded(0), "it began before the failure");
        assert!(pace.resume().is_some_and(|resume| resume <= now + Duration::from_millis(500)));

        let now = second(now, 1);
        let probe = pace.begin(0, now).unwrap();
        assert_eq!(pace.begin(1, now), None, "one probe");
        pace.failed(probe, Trouble::Failed, now);
        let now = second(now, 1);
        let probe = pace.begin(0, now).unwrap();
        assert!(pace.succeeded(probe));
        assert_eq!((pace.begin(0, now), pace.begin(1, now)), (Some(probe), Some(probe)));
    }

    #[test]
    fn failures_of_one_round_count_once() {
        let now = Instant::now();
        let mut pace = grown(4, now);
        let failures: Vec<_> = (0..4).map(|_| pace.failed(0, Trouble::Busy, now).failures).collect();
        assert_eq!(failures, [1, 0, 0, 0]);
        assert_eq!(pace.limit(), 2);
        pace.failed(1, Trouble::Busy, now);
        assert_eq!(pace.limit(), 1);
    }

    #[test]
    fn a_plain_failure_does_not_hide_that_the_store_asks_to_slow_down() {
        let now = Instant::now();
        let mut pace = grown(4, now);
        pace.failed(0, Trouble::Failed, now);
        assert_eq!(pace.limit(), 4);
        pace.failed(0, Trouble::Busy, now);
        assert_eq!(pace.limit(), 2);
    }

    #[test]
    fn a_parked_feed_probes_rarely_and_only_a_probe_unparks_it() {
        let now = Instant::now();
        let mut pace = grown(4, now);
        assert!(!pace.failed(0, Trouble::Failed, now).newly_parked);
        assert!(pace.failed(0, Trouble::Refused, now).newly_parked, "whatever came first");
        assert!(!pace.failed(0, Trouble::Refused, now).newly_parked, "once");
        pace.succeeded(0);
        assert!(pace.parked());
        for _ in 0..100 {
            let now = pace.resume().unwrap();
            let probe = pace.begin(0, now).unwrap();
            assert_eq!(pace.begin(1, now), None);
            pace.failed(probe, Trouble::Refused, now);
            assert!(pace.resume().unwrap() <= second(now, 300));
        }
        let probe = pace.begin(0, pace.resume().unwrap()).unwrap();
        assert!(pace.succeeded(probe) && !pace.parked() && pace.resume().is_none());
    }

    #[test]
    fn without_a_budget_a_retry_waits_long() {
        let now = Instant::now();
        let waits = (0..100).map(|_| {
            let mut pace = Pace::new(1, now);
            for _ in 0..10 {
                assert!(pace.budget.take(now));
            }
            pace.failed(0, Trouble::Failed, now);
            pace.resume().unwrap() - now
        });
        assert!(waits.max().unwrap() > Duration::from_secs(10), "a first failure would wait half a second");
    }

    #[test]
    fn a_damaged_object_does_not_end_the_probing() {
        let now = Instant::now();
        let mut pace = grown(4, now);
        pace.failed(0, Trouble::Failed, now);
        let now = second(now, 1);
        let probe = pace.begin(0, now).unwrap();
        pace.ended(probe);
        assert_eq!(pace.begin(0, now), Some(probe));
        assert_eq!(pace.begin(1, now), None);
    }
}
