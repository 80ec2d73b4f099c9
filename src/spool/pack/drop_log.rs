//! Log lines about dropped events: for each feed and reason one a minute at most, with the number since the last one.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Time between two lines of a feed and a reason.
const EVERY: Duration = Duration::from_secs(60);

/// What was dropped and not logged yet.
#[derive(Default)]
pub(super) struct DropLog(BTreeMap<(u16, &'static str), Tally>);

#[derive(Default)]
struct Tally {
    events: u64,
    logged: Option<Instant>,
}

/// What a line reports.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Drop {
    /// Number of the feed.
    pub feed: u16,
    /// As in the metric.
    pub reason: &'static str,
    /// Events since the last line.
    pub events: u64,
}

impl DropLog {
    /// Takes note of events that were dropped.
    pub fn add(&mut self, feed: u16, reason: &'static str, events: u64) {
        self.0.entry((feed, reason)).or_default().events += events;
    }

    /// What is to be logged now.
    pub fn due(&mut self, now: Instant) -> Vec<Drop> {
        self.take(|tally| tally.logged.is_none_or(|at| now.saturating_duration_since(at) >= EVERY), now)
    }

    /// Everything that was not logged yet.
    pub fn rest(&mut self) -> Vec<Drop> {
        self.take(|_| true, Instant::now())
    }

    fn take(&mut self, is_due: impl Fn(&Tally) -> bool, now: Instant) -> Vec<Drop> {
        let due = self.0.iter_mut().filter(|(_, tally)| tally.events > 0 && is_due(tally));
        let drop = |(&(feed, reason), tally): (&_, &mut Tally)| {
            tally.logged = Some(now);
            Drop { feed, reason, events: std::mem::take(&mut tally.events) }
        };
        due.map(drop).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_and_a_reason_have_a_line_a_minute_with_all_that_was_dropped_since_the_last() {
        let (mut log, start) = (DropLog::default(), Instant::now());
        log.add(0, "spool_quota", 5);
        assert_eq!(log.due(start), [Drop { feed: 0, reason: "spool_quota", events: 5 }]);
        log.add(0, "spool_quota", 7);
        log.add(0, "damaged", 1);
        log.add(1, "spool_quota", 2);
        let others =
            [Drop { feed: 0, reason: "damaged", events: 1 }, Drop { feed: 1, reason: "spool_quota", events: 2 }];
        assert_eq!(log.due(start), others);
        log.add(0, "spool_quota", 3);
        assert_eq!(log.due(start + EVERY / 2), []);
        assert_eq!(log.due(start + EVERY), [Drop { feed: 0, reason: "spool_quota", events: 10 }]);
        log.add(0, "spool_quota", 1);
        assert_eq!(log.rest(), [Drop { feed: 0, reason: "spool_quota", events: 1 }]);
        assert_eq!(log.rest(), []);
    }
}
