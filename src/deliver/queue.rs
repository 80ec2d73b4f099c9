//! The queue of a feed: its objects in order, waiting or under way.

use std::collections::{BTreeMap, VecDeque};

use crate::object::{Object, ObjectKind};

/// The place of an object in its feed's order.
pub type Place = u64;

/// The objects of a feed that are not delivered yet.
#[derive(Default)]
pub struct Queue {
    /// In order of their places.
    waiting: VecDeque<(Place, Object)>,
    /// Time at which each object was finished.
    under_way: BTreeMap<Place, u64>,
    next: Place,
}

impl Queue {
    /// Adds an object at the end.
    pub fn push(&mut self, object: Object) {
        self.waiting.push_back((self.next, object));
        self.next += 1;
    }

    /// Whether there is an object whose upload may begin. A manifest waits until all objects before it are done, and
    /// the objects after it wait with it.
    pub fn ready(&self) -> bool {
        self.waiting.front().is_some_and(|(place, object)| {
            object.kind != ObjectKind::Manifest || self.under_way.range(..place).next().is_none()
        })
    }

    /// Takes the first object whose upload may begin.
    pub fn begin(&mut self) -> Option<(Place, Object)> {
        if !self.ready() {
            return None;
        }
        let (place, object) = self.waiting.pop_front()?;
        self.under_way.insert(place, object.finished_at);
        Some((place, object))
    }

    /// Puts an object whose upload has failed back into its place.
    pub fn put_back(&mut self, place: Place, object: Object) {
        self.under_way.remove(&place);
        let at = self.waiting.partition_point(|(other, _)| *other < place);
        self.waiting.insert(at, (place, object));
    }

    /// Removes an object that is delivered, damaged or missing.
    pub fn remove(&mut self, place: Place) {
        self.under_way.remove(&place);
    }

    /// Objects that are under way.
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Objects that wait or are under way.
    pub fn len(&self) -> usize {
        self.waiting.len() + self.under_way.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Time at which the oldest object was finished.
    pub fn oldest(&self) -> Option<u64> {
        let waiting = self.waiting.front().map(|(place, object)| (*place, object.finished_at));
        let under_way = self.under_way.first_key_value().map(|(place, at)| (*place, *at));
        waiting.into_iter().chain(under_way).min().map(|(_, at)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(queue.is_empty() && queue.oldest().is_none());
    }

    #[test]
    fn a_manifest_and_the_objects_after_it_wait_for_everything_before_it() {
        let mut queue = Queue::default();
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
        assert!(!queue.ready());
        queue.remove(first);
        queue.put_back(second, b);
        assert_eq!(names(&mut queue), ["b"]);
        queue.remove(second);
        // No object waits for the manifest itself, and a failed manifest does not wait for the objects after it.
        let (place, m) = queue.begin().unwrap();
        assert_eq!(names(&mut queue), ["c", "r"]);
        queue.put_back(place, m);
        assert_eq!(names(&mut queue), ["m"]);
    }
}
