//! The companions of a feed's events: its manifests and rollups, and how they are delivered next to the events.
//!
//! A companion never delays events, and its failures are its own: they neither park the feed nor slow it down. One
//! companion is under way at a time, next to the uploads of events. A manifest waits until all events before it are
//! delivered, so that it never lists an object that is not there.
//!
//! A companion that the sink did not accept is *set aside*: it is tried again after a wait that grows, in turn with the
//! others that are set aside. Those that come later do not wait for it.
//!
//! Has no clock and does no I/O.

use std::{collections::VecDeque, time::Instant};

use super::{backoff::Backoff, error::SinkError};
use crate::object::{Object, ObjectKind};

/// The place of an object in its feed's order.
pub type Place = u64;

/// Manifests and rollups that are not delivered yet.
#[derive(Default)]
pub struct Companions {
    /// Those that were not tried yet, in the order of their places.
    fresh: VecDeque<(Place, Object)>,
    aside: VecDeque<Aside>,
    under_way: Option<UnderWay>,
    backoff: Backoff,
    /// When the next one that is set aside may be tried.
    resume: Option<Instant>,
}

/// A companion that the sink did not accept.
struct Aside {
    place: Place,
    object: Object,
    failures: u32,
    /// Whether an operator has to act.
    rejected: bool,
}

struct UnderWay {
    place: Place,
    object: Object,
    failures: u32,
    rejected: bool,
}

impl Companions {
    /// Adds one at the end.
    pub fn push(&mut self, place: Place, object: Object) {
        self.fresh.push_back((place, object));
    }

    /// Takes the next one whose upload may begin. `events` is the place of the first event object that is not
    /// delivered.
    pub fn begin(&mut self, events: Option<Place>, now: Instant) -> Option<(Place, Object)> {
        if self.under_way.is_some() {
            return None;
        }
        let may_begin = |(place, object): &(Place, Object)| {
            object.kind == ObjectKind::Rollup || events.is_none_or(|event| event > *place)
        };
        let (place, object, failures, rejected) = if let Some(at) = self.fresh.iter().position(may_begin) {
            let (place, object) = self.fresh.remove(at)?;
            (place, object, 0, false)
        } else if self.resume.is_none_or(|resume| resume <= now) {
            let Aside { place, object, failures, rejected } = self.aside.pop_front()?;
            (place, object, failures, rejected)
        } else {
            return None;
        };
        self.under_way = Some(UnderWay { place, object: object.clone(), failures, rejected });
        Some((place, object))
    }

    /// Records that the one under way is delivered, damaged or missing. Returns whether it had been set aside.
    pub fn succeeded(&mut self) -> bool {
        let was_aside = self.under_way.take().is_some_and(|under_way| under_way.failures > 0);
        if was_aside || self.aside.iter().any(|aside| !aside.rejected) {
            self.retry_now();
            self.backoff.succeeded();
        }
        was_aside
    }

    /// Sets the one under way aside. Returns how often it has failed.
    pub fn failed(&mut self, place: Place, object: Object, error: &SinkError, now: Instant) -> u32 {
        let failures = self.under_way.take().map_or(0, |under_way| under_way.failures).saturating_add(1);
        let rejected = error.parks_feed();
        self.aside.push_back(Aside { place, object, failures, rejected });
        self.resume = Some(now + self.backoff.failed(rejected));
        failures
    }

    /// Puts the one under way back: its upload is abandoned.
    pub fn put_back(&mut self) {
        match self.under_way.take() {
            Some(UnderWay { place, object, failures: 0, .. }) => self.fresh.push_front((place, object)),
            Some(UnderWay { place, object, failures, rejected }) => {
                self.aside.push_front(Aside { place, object, failures, rejected });
            }
            None => {}
        }
    }

    /// Ends the wait of those that are set aside.
    pub fn retry_now(&mut self) {
        self.resume = None;
    }

    /// When the next one that is set aside may be tried; `None` when there is no wait.
    pub fn resume(&self) -> Option<Instant> {
        self.resume.filter(|_| self.under_way.is_none() && !self.aside.is_empty())
    }

    /// Those that are set aside, the one that is tried again included.
    pub fn set_aside(&self) -> usize {
        self.aside.len() + usize::from(self.under_way.as_ref().is_some_and(|under_way| under_way.failures > 0))
    }

    /// Whether a stop has nothing to wait for: what is left needs an operator.
    pub fn is_settled(&self) -> bool {
        self.fresh.is_empty() && self.under_way.is_none() && self.aside.iter().all(|aside| aside.rejected)
    }

    /// Number of all.
    pub fn count(&self) -> usize {
        self.fresh.len() + self.aside.len() + usize::from(self.under_way.is_some())
    }

    /// Place of the oldest, and the time at which it was finished.
    pub fn oldest(&self) -> Option<(Place, u64)> {
        let fresh = self.fresh.iter().map(|(place, object)| (*place, object.finished_at));
        let aside = self.aside.iter().map(|aside| (aside.place, aside.object.finished_at));
        let under_way = self.under_way.iter().map(|under_way| (under_way.place, under_way.object.finished_at));
        fresh.chain(aside).chain(under_way).min()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn object(name: &str, kind: ObjectKind) -> Object {
        Object { key: name.into(), path: name.into(), bytes: 1, kind, summary: None, finished_at: 7 }
    }

    /// Three manifests and a rollup.
    fn four() -> Companions {
        let mut companions = Companions::default();
        for (place, name, kind) in [
            (3, "a", ObjectKind::Manifest),
            (5, "b", ObjectKind::Manifest),
            (6, "r", ObjectKind::Rollup),
            (9, "c", ObjectKind::Manifest),
        ] {
            companions.push(place, object(name, kind));
        }
        companions
    }

    fn begin(companions: &mut Companions, events: Option<Place>, now: Instant) -> Option<String> {
        companions.begin(events, now).map(|(_, object)| object.key)
    }

    #[test]
    fn a_manifest_waits_for_the_events_before_it_and_a_rollup_for_none() {
        let (mut companions, now) = (four(), Instant::now());
        assert_eq!(begin(&mut companions, Some(2), now).as_deref(), Some("r"));
        assert_eq!(begin(&mut companions, None, now), None, "one at a time");
        assert!(!companions.succeeded());
        assert_eq!(begin(&mut companions, Some(2), now), None);
        assert_eq!(begin(&mut companions, Some(4), now).as_deref(), Some("a"));
        companions.succeeded();
        assert_eq!(begin(&mut companions, Some(4), now), None);
        assert_eq!(begin(&mut companions, None, now).as_deref(), Some("b"));
        assert_eq!((companions.count(), companions.oldest()), (2, Some((5, 7))));
    }

    #[test]
    fn one_that_is_rejected_for_ever_blocks_no_later_one_and_is_tried_in_turn() {
        let (mut companions, now) = (four(), Instant::now());
        for failures in 1..5 {
            let (place, a) = companions.begin(None, now + Duration::from_secs(300 * failures)).unwrap();
            assert_eq!(a.key, "a");
            let failed =
                companions.failed(place, a, &SinkError::conflict("taken"), now + Duration::from_secs(300 * failures));
            assert_eq!(u64::from(failed), failures);
            if failures == 1 {
                for later in ["b", "r", "c"] {
                    assert_eq!(begin(&mut companions, None, now).as_deref(), Some(later), "not tried yet");
                    companions.succeeded();
                }
            }
            assert!(companions.resume().is_some(), "later ones that succeed end no wait");
            assert!(companions.is_settled() && companions.set_aside() == 1);
        }
        companions.retry_now();
        assert_eq!(begin(&mut companions, None, now).as_deref(), Some("a"));
        assert_eq!(companions.set_aside(), 1);
        assert!(companions.succeeded());
        assert_eq!((companions.count(), companions.set_aside(), companions.resume()), (0, 0, None));
    }

    #[test]
    fn a_success_ends_the_wait_after_a_failure_that_may_pass() {
        let (mut companions, now) = (four(), Instant::now());
        let (place, a) = companions.begin(None, now).unwrap();
        companions.failed(place, a, &SinkError::retry("reset"), now);
        assert!(!companions.is_settled());
        for expected in ["b", "r", "c", "a"] {
            assert_eq!(begin(&mut companions, None, now).as_deref(), Some(expected));
            companions.succeeded();
        }
        assert!(companions.is_settled());
    }
}
