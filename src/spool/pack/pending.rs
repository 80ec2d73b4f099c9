//! What waits in the journal for one feed, and when objects are made of it.
//!
//! An object is made of the waiting events of an hour when
//! - they are enough for `max_bytes`: it is whole;
//! - they are enough for `min_bytes`, and the oldest has waited for `max_age_secs`;
//! - the oldest has waited for `hold_back_secs`, however few they are;
//! - all must be packed, because the spool stops or the journal is nearly full.
//!
//! This holds for each object, those at the end of a round included: events that are too few stay in the journal. A
//! feed is packed up to one position, so what stays is the end of its events, and later hours wait with it. They do not
//! wait when one of them has enough for a whole object, or has waited for `hold_back_secs`: then the rest of the hour
//! before makes a small one. So does one that lies between events of another hour.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{
    runtime::{Hour, clock},
    spool::{feed::FeedSpec, journal::Run, state::Position},
};

/// Assumed ratio of compression of a feed until its first object. Too low delays an object, too high builds one for
/// nothing.
const FIRST_RATIO: f64 = 0.1;

/// Share of `max_bytes` from which on an object is whole.
const WHOLE: f64 = 0.9;

/// Share of `min_bytes` that events must be estimated to have. Estimates that are too high build objects for nothing.
const ENOUGH: f64 = 1.05;

/// What becomes of events that are too few for an object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Remainders {
    /// They stay in the journal.
    Stay,
    /// They make a small object.
    Pack,
}

/// What waits in the journal for one feed.
pub struct Pending {
    /// By the hour of the clicks.
    pub hours: BTreeMap<Hour, Waiting>,
    /// Compressed bytes for each byte in the journal, in the last round.
    pub ratio: f64,
    /// Compressed bytes for each byte of text, in the last object that was large enough to say.
    pub text_ratio: Option<f64>,
}

/// The events of an hour that wait.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// In the order of the journal, at least one.
    pub runs: Vec<Run>,
    pub events: u64,
    pub bytes: u64,
    /// When the oldest began to wait.
    pub since: Instant,
}

impl Default for Pending {
    fn default() -> Self {
        Self { hours: BTreeMap::new(), ratio: FIRST_RATIO, text_ratio: None }
    }
}

impl Pending {
    /// Takes note of events. True if they are a run of their own.
    pub fn note(&mut self, run: Run, loose: bool) -> bool {
        let begin = || Waiting { runs: Vec::new(), events: 0, bytes: 0, since: clock::monotonic() };
        self.hours.entry(run.hour).or_insert_with(begin).note(run, loose)
    }

    /// Whether objects are to be made.
    pub fn is_due(&self, spec: &FeedSpec, now: Instant) -> bool {
        let first = self.hours.values().next();
        first.is_some_and(|waiting| self.is_enough(waiting, spec, now))
            || self.hours.values().any(|waiting| self.cannot_wait(waiting, spec, now))
    }

    /// Whether later hours than this one cannot wait for the rest of it.
    pub fn is_pushed(&self, hour: Hour, spec: &FeedSpec, now: Instant) -> bool {
        self.hours.range(hour..).skip(1).any(|(_, waiting)| self.cannot_wait(waiting, spec, now))
    }

    /// Whether the events from this position on can stay: those of this hour, all of the later hours, and none of the
    /// earlier ones.
    pub fn can_end_at(&self, position: Position, hour: Hour) -> bool {
        let before = |run: &Run| (run.segment, run.end) <= position;
        let after = |run: &Run| (run.segment, run.start) >= position;
        self.hours.iter().all(|(other, waiting)| match other.cmp(&hour) {
            std::cmp::Ordering::Less => waiting.runs.last().is_none_or(before),
            std::cmp::Ordering::Equal => true,
            std::cmp::Ordering::Greater => waiting.runs.first().is_none_or(after),
        })
    }

    /// All events that wait.
    pub fn events(&self) -> u64 {
        self.hours.values().map(|waiting| waiting.events).sum()
    }

    /// The first segment that has events that wait.
    pub fn first_segment(&self) -> Option<u64> {
        self.hours.values().filter_map(|waiting| waiting.runs.first()).map(|run| run.segment).min()
    }

    fn is_enough(&self, waiting: &Waiting, spec: &FeedSpec, now: Instant) -> bool {
        let old = now.duration_since(waiting.since) >= spec.max_age;
        self.cannot_wait(waiting, spec, now) || old && self.estimate(waiting) >= spec.min_bytes as f64 * ENOUGH
    }

    fn cannot_wait(&self, waiting: &Waiting, spec: &FeedSpec, now: Instant) -> bool {
        self.estimate(waiting) >= spec.max_bytes as f64 || now.duration_since(waiting.since) >= spec.hold_back
    }

    fn estimate(&self, waiting: &Waiting) -> f64 {
        waiting.bytes as f64 * self.ratio
    }
}

impl Waiting {
    /// Takes note of events that follow. True if they are a run of their own.
    pub fn note(&mut self, run: Run, loose: bool) -> bool {
        self.events += run.events;
        self.bytes += run.end - run.start;
        let is_new = self.runs.last_mut().is_none_or(|last| !last.extend(&run, loose));
        if is_new {
            self.runs.push(run);
        }
        is_new
    }

    /// The position of the oldest event.
    pub fn begin(&self) -> Position {
        self.runs.first().map_or((0, 0), |run| (run.segment, run.start))
    }
}

/// Whether an object is made, given its size and the age of its oldest event.
pub fn is_made(spec: &FeedSpec, bytes: u64, age: Duration) -> bool {
    bytes as f64 >= spec.max_bytes as f64 * WHOLE
        || age >= spec.hold_back
        || age >= spec.max_age && bytes >= spec.min_bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::tests::world::spool_metrics;

    /// Events wait for 60 seconds, few of them for 300. Few are less than 10,000 bytes, many are 50,000.
    fn spec() -> FeedSpec {
        let mut spec = FeedSpec::unconfigured(
            "brand",
            "test",
            crate::spool::feed::Recipe::default(),
            spool_metrics().feed("brand"),
        );
        (spec.max_age, spec.hold_back) = (Duration::from_secs(60), Duration::from_secs(300));
        (spec.min_bytes, spec.max_bytes) = (10_000, 50_000);
        spec
    }

    fn hour(n: u64) -> Hour {
        Hour::of_micros((495_000 + n) * 3_600_000_000)
    }

    /// Hours with so many compressed bytes, one after the other, each at its age in seconds.
    fn waiting(hours: &[(u64, u64)]) -> (Pending, Instant) {
        let (start, mut pending) = (Instant::now(), Pending { ratio: 1.0, ..Pending::default() });
        let (now, mut at) = (start + Duration::from_secs(3_600), 0);
        for (n, (bytes, age)) in (0..).zip(hours) {
            pending.note(Run { segment: 1, start: at, end: at + bytes, hour: hour(n), events: 1 }, false);
            at += bytes;
            pending.hours.get_mut(&hour(n)).unwrap().since = start + Duration::from_secs(3_600 - age);
        }
        (pending, now)
    }

    #[test]
    fn a_feed_is_due_when_its_first_hour_has_enough_or_a_later_one_cannot_wait() {
        for (hours, due) in [
            (&[][..], false),
            (&[(9_000, 299)], false),
            (&[(9_000, 300)], true),
            (&[(11_000, 59)], false),
            (&[(11_000, 60)], true),
            (&[(49_000, 1)], false),
            (&[(50_000, 1)], true),
            // The rest of an hour is waited for.
            (&[(9_000, 200), (40_000, 199)], false),
            (&[(9_000, 200), (50_000, 199)], true),
            (&[(9_000, 20), (9_000, 300)], true),
            (&[(11_000, 60), (1, 1)], true),
        ] {
            let (pending, now) = waiting(hours);
            assert_eq!(pending.is_due(&spec(), now), due, "{hours:?}");
        }
    }

    #[test]
    fn an_object_is_made_when_it_is_whole_or_old_enough_for_its_size() {
        for (bytes, age, made) in [
            (44_999, 59, false),
            (45_000, 0, true),
            (10_000, 60, true),
            (9_999, 60, false),
            (9_999, 299, false),
            (1, 300, true),
        ] {
            assert_eq!(is_made(&spec(), bytes, Duration::from_secs(age)), made, "{bytes} bytes after {age} s");
        }
    }

    #[test]
    fn the_rest_of_an_hour_is_pushed_by_a_later_hour_that_cannot_wait() {
        for (later, pushed) in [((49_000, 299), false), ((50_000, 1), true), ((1, 300), true)] {
            let (pending, now) = waiting(&[(9_000, 200), later]);
            assert_eq!(pending.is_pushed(hour(0), &spec(), now), pushed, "{later:?}");
            assert!(!pending.is_pushed(hour(1), &spec(), now));
        }
    }

    #[test]
    fn events_stay_only_if_no_packed_event_lies_behind_them() {
        let (mut pending, _) = waiting(&[(100, 1), (100, 1), (100, 1)]);
        assert!(pending.can_end_at((1, 50), hour(0)) && pending.can_end_at((1, 150), hour(1)));
        // A late click of the first hour.
        pending.note(Run { segment: 1, start: 300, end: 310, hour: hour(0), events: 1 }, false);
        assert!(!pending.can_end_at((1, 150), hour(1)), "it would be packed, and lies behind");
        assert!(!pending.can_end_at((1, 300), hour(0)), "later hours would stay, and lie before");
        assert!(pending.can_end_at((1, 50), hour(0)));
    }
}
