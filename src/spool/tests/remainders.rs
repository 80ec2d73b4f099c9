//! Events that are too few for an object stay in the journal: of feed 1, of which three make a whole object.

use std::path::Path;

use super::world::World;
use crate::{
    object::ObjectKind,
    spool::{disk::Disk, pack::pending::Remainders, state::State},
};

const FEED: u8 = 0b010;
const HOUR: u64 = 3_600_000_000;

impl World {
    /// Clicks of one hour, for the feed.
    fn clicks(&mut self, hour: u64, count: u64) {
        for _ in 0..count {
            // The time that the next click adds an hour to is left out.
            self.time = hour * HOUR + self.time % HOUR + 1;
            self.time += u64::from(self.time.is_multiple_of(7));
            self.click(0, FEED);
        }
        self.commit().unwrap();
    }

    /// Makes a round of what is enough. Returns the events of each object that waits.
    fn objects(&mut self) -> Vec<u64> {
        self.pack_or_leave(FEED, Remainders::Stay).unwrap();
        let waiting = self.outbox.lock().unwrap();
        let events = waiting.iter().filter(|(_, object)| object.kind == ObjectKind::Events);
        events.map(|(_, object)| object.summary.as_ref().map_or(0, |summary| summary.events)).collect()
    }

    fn rounds(&self) -> u64 {
        State::load(&self.disk, Path::new("/spool")).unwrap().round
    }

    fn files_in_build(&self) -> usize {
        self.disk.files_below(Path::new("/spool/build")).unwrap().len()
    }
}

fn hour(world: &World) -> u64 {
    world.time / HOUR + 1
}

#[test]
fn whole_objects_are_made_and_the_rest_stays_until_it_is_enough() {
    let mut world = World::new();
    let hour = hour(&world);
    world.clicks(hour, 7);
    assert_eq!(world.objects(), [3, 3]);
    let rounds = world.rounds();
    assert_eq!((world.objects(), world.files_in_build()), (vec![3, 3], 0));
    assert_eq!(world.rounds(), rounds, "nothing is committed when nothing is made");
    world.clicks(hour, 1);
    assert_eq!(world.objects(), [3, 3]);
    world.clicks(hour, 1);
    assert_eq!(world.objects(), [3, 3, 3]);
    world.deliver_all();
    world.check();
}

#[test]
fn what_stayed_is_there_for_the_next_process_and_keeps_its_segment() {
    let mut world = World::new();
    let hour = hour(&world);
    world.clicks(hour, 4);
    assert_eq!(world.objects(), [3]);
    world.die();
    world.start().unwrap();
    world.clicks(hour, 1);
    let segments = |world: &mut World| {
        world.count().unwrap();
        world.disk.files_below(Path::new("/spool/journal")).unwrap().len()
    };
    assert_eq!((world.objects(), segments(&mut world)), (vec![3], 2));
    world.clicks(hour, 1);
    assert_eq!((world.objects(), segments(&mut world)), (vec![3, 3], 1), "only the open one is left");
    world.deliver_all();
    world.check();
}

#[test]
fn the_rest_of_an_hour_waits_until_the_next_hour_has_a_whole_object() {
    let mut world = World::new();
    let hour = hour(&world);
    world.clicks(hour, 4);
    world.clicks(hour + 1, 2);
    assert_eq!(world.objects(), [3]);
    assert_eq!(world.objects(), [3], "the later hour waits, too");
    world.clicks(hour + 1, 2);
    assert_eq!(world.objects(), [3, 1, 3]);
    world.deliver_all();
    world.check();
}

#[test]
fn a_rest_that_has_events_of_another_hour_before_it_makes_a_small_object() {
    let mut world = World::new();
    let hour = hour(&world);
    world.clicks(hour, 2);
    world.clicks(hour + 1, 1);
    world.clicks(hour, 2);
    // What stays must be the end of the feed's events.
    assert_eq!(world.objects(), [3, 1, 1]);
    world.deliver_all();
    world.check();
}
