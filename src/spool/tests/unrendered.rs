//! Events that cannot be rendered as their feed asks for them: none is delivered, none is lost.

use std::path::Path;

use super::world::World;
use crate::spool::pack::pending::Remainders;

/// A world whose feeds leave something out, with this many clicks of one feed in the journal. The event of one click is
/// no JSON.
fn world(clicks: u64, malformed: usize, feeds: u8) -> World {
    let mut world = World::new();
    world.omit = vec!["client.location".to_owned()];
    world.die();
    world.start().unwrap();
    // All are of one hour.
    world.time += 1 + (7 - world.time % 7);
    for _ in 0..clicks {
        world.click(0, feeds);
    }
    let id = world.owed[malformed].0;
    world.malformed = Some(id);
    world.excused.insert(id);
    // It is counted, although it does not arrive.
    world.scribbled = true;
    world.commit().unwrap();
    world
}

/// The event is in quarantine, is counted, and was not delivered; all others were.
fn assert_set_aside(mut world: World, feed: &str) {
    let id = world.malformed.unwrap().to_string();
    let dropped = world.process.as_ref().unwrap().metrics.feed(feed).dropped.total();
    assert_eq!(dropped, 1);
    let path = format!("/spool/quarantine/{feed}/_unrendered/{id}.json");
    let kept = world.disk.files().into_iter().find(|(file, _)| file == Path::new(&path)).unwrap().1;
    assert!(kept.starts_with(format!("{{\"id\":\"{id}\"").as_bytes()));
    world.deliver_all();
    world.check();
    for content in world.sinks.values() {
        assert_eq!(memchr::memmem::find(content, id.as_bytes()), None);
    }
}

#[test]
fn an_event_that_cannot_be_rendered_goes_to_quarantine_and_not_to_its_feed() {
    for (clicks, malformed) in [(5, 0), (5, 2), (5, 4), (1, 0)] {
        let mut world = world(clicks, malformed, 0b001);
        world.pack(0b001).unwrap();
        assert_set_aside(world, "brand");
    }
}

#[test]
fn it_is_counted_once_where_the_events_after_it_stay_in_the_journal() {
    let mut world = world(5, 1, 0b010);
    world.pack_or_leave(0b010, Remainders::Stay).unwrap();
    assert_eq!(world.outbox.lock().unwrap().len(), 1, "three of the four others are an object");
    assert_set_aside(world, "small");
}
