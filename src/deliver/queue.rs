//! The queue of a feed: its objects in order, waiting or under way.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

pub use super::companions::Place;

use super::{companions::Companions, error::SinkError};
use crate::object::Object;

/// The objects of a feed that are not delivered yet.
#[derive(Default)]
pub struct Queue {
    /// Objects of events, in order of their places.
    waiting: VecDeque<(Place, Object)>,
    under_way: BTreeMap<Place, Object>,
    companions: Companions,
    next: Place,
}

impl Queue {
    /// Adds an object at the end.
    pub fn push(&mut self, object: Object) {
        if object.kind.is_companion() {
            self.companions.push(self.next, object);
        } else {
            self.waiting.push_back((self.next, object));
        }
        self.next += 1;
    }

    /// Whether there are events whose upload may begin.
    pub fn ready(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes the first events whose upload may begin.
    pub fn begin(&mut self) -> Option<(Place, Object)> {
        let (place, object) = self.waiting.pop_front()?;
        self.under_way.insert(place, object.clone());
        Some((place, object))
    }

    /// Takes the next manifest or rollup whose upload may begin.
    pub fn begin_companion(&mut self, now: Instant) -> Option<(Place, Object)> {
        let waiting = self.waiting.front().map(|(place, _)| *place);
        let under_way = self.under_way.first_key_value().map(|(place, _)| *place);
        self.companions.begin(waiting.into_iter().chain(under_way).min(), now)
    }

    /// Puts events whose upload has failed back into their place.
    pub fn put_back(&mut self, place: Place, object: Object) {
        self.under_way.remove(&place);
        let at = self.waiting.partition_point(|(other, _)| *other < place);
        self.waiting.insert(at, (place, object));
    }

    /// Puts everything that is under way back into its place: those uploads are abandoned.
    pub fn put_back_all(&mut self) {
        for (place, object) in std::mem::take(&mut self.under_way) {
            self.put_back(place, object);
        }
        self.companions.put_back();
    }

    /// The objects of events that wait.
    pub fn waiting_mut(&mut self) -> impl Iterator<Item = &mut Object> {
        self.waiting.iter_mut().map(|(_, object)| object)
    }

    /// Sets a manifest or rollup whose upload has failed aside. Returns how often it has failed.
    pub fn set_aside(&mut self, place: Place, object: Object, error: &SinkError, now: Instant) -> u32 {
        self.companions.failed(place, object, error, now)
    }

    /// Removes events that are delivered, damaged or missing.
    pub fn remove(&mut self, place: Place) {
        self.under_way.remove(&place);
    }

    /// Manifests and rollups.
    pub fn companions(&self) -> &Companions {
        &self.companions
    }

    /// Manifests and rollups.
    pub fn companions_mut(&mut self) -> &mut Companions {
        &mut self.companions
    }

    /// Objects of events that are under way.
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Objects that wait or are under way.
    pub fn len(&self) -> usize {
        self.waiting.len() + self.under_way.len() + self.companions.count()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether no events wait or are under way.
    pub fn has_no_events(&self) -> bool {
        self.waiting.is_empty() && self.under_way.is_empty()
    }

    /// Whether nothing is left that a stop has to wait for.
    pub fn is_settled(&self) -> bool {
        self.has_no_events() && self.companions.is_settled()
    }

    /// Time at which the oldest object was finished.
    pub fn oldest(&self) -> Option<u64> {
        let waiting = self.waiting.front().map(|(place, object)| (*place, object.finished_at));
        let under_way = self.under_way.first_key_value().map(|(place, object)| (*place, object.finished_at));
        waiting.into_iter().chain(under_way).chain(self.companions.oldest()).min().map(|(_, at)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::ObjectKind;

    fn object(name: &str, kind: ObjectKind) -> Object {
        Object { key: name.into(), path: name.into(), bytes: 1, kind, summary: None, finished_at: 7 }
    }

    fn names(queue: &mut Queue) -> Vec<String> {
        std::iter::from_fn(|| queue.begin()).map(|(_, object)| object.key).collect()
    }

    #[test]
    fn a_failed_object_returns_to_its_place() {
        let mut queue = Queue::default();
        for name in ["a", "b", "c", "d"] {
            queue.push(object(name, ObjectKind::Events));
        }
        let (first, a) = queue.begin().unwrap();
        let (second, b) = queue.begin().unwrap();
        assert_eq!((queue.under_way(), queue.len(), queue.oldest()), (2, 4, Some(7)));
        queue.put_back(second, b);
        queue.put_back(first, a);
        assert_eq!(names(&mut queue), ["a", "b", "c", "d"]);
        for place in 0..4 {
            queue.remove(place);
        }
        assert!(queue.is_settled() && queue.oldest().is_none());
    }

    #[test]
    fn what_is_abandoned_returns_to_its_place() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for (name, kind) in [
            ("r", ObjectKind::Rollup),
            ("a", ObjectKind::Events),
            ("b", ObjectKind::Events),
            ("c", ObjectKind::Events),
            ("s", ObjectKind::Rollup),
        ] {
            queue.push(object(name, kind));
        }
        assert_eq!(queue.begin_companion(now).unwrap().1.key, "r");
        let (first, a) = queue.begin().unwrap();
        queue.begin().unwrap();
        queue.put_back(first, a);
        queue.put_back_all();
        assert_eq!((queue.len(), queue.under_way()), (5, 0));
        assert_eq!(names(&mut queue), ["a", "b", "c"]);
        assert_eq!(queue.begin_companion(now).unwrap().1.key, "r");
    }

    #[test]
    fn a_manifest_waits_for_all_events_before_it_and_no_events_wait_for_it() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for (name, kind) in [
            ("a", ObjectKind::Events),
            ("b", ObjectKind::Events),
            ("m", ObjectKind::Manifest),
            ("c", ObjectKind::Events),
            ("r", ObjectKind::Replay),
        ] {
            queue.push(object(name, kind));
        }
        let (first, _) = queue.begin().unwrap();
        let (second, b) = queue.begin().unwrap();
        assert!(queue.begin_companion(now).is_none(), "two are under way");
        queue.remove(first);
        queue.put_back(second, b);
        assert!(queue.begin_companion(now).is_none(), "one waits");
        assert_eq!(names(&mut queue), ["b", "c", "r"]);
        assert!(queue.begin_companion(now).is_none(), "it is under way again");
        queue.remove(second);
        let (place, m) = queue.begin_companion(now).unwrap();
        assert_eq!(m.key, "m");
        queue.set_aside(place, m, &SinkError::rejected("no access"), now);
        for place in 0..5 {
            queue.remove(place);
        }
        assert!(queue.is_settled() && queue.len() == 1, "it stays, and a stop does not wait for it");
    }
}
