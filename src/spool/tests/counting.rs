//! Counting: what happens while the store of counts fails, and where segment numbers continue.

use std::{path::Path, sync::atomic::Ordering};

use super::world::World;
use crate::{
    spool::disk::Disk,
    stats::{SubjectKind, metrics::Lost},
};

#[test]
fn clicks_wait_for_a_store_of_counts_that_fails_and_no_event_is_lost() {
    let mut world = World::new();
    world.counts.fail(u32::MAX);
    for n in 0..20 {
        world.click(0, n % 8);
        world.commit().unwrap();
        world.pack(0b111).unwrap();
        assert!(world.count().is_err());
        while !world.outbox.lock().unwrap().is_empty() {
            world.deliver(false);
        }
    }
    assert!(world.sinks.len() >= 28 && world.counts.links().is_empty());
    // Another process recovers the journal, and its store of counts fails, too.
    world.die();
    world.start().unwrap();
    assert!(world.count().is_err());
    world.deliver_all();
    world.check();
}

#[test]
fn uncounted_clicks_are_given_up_before_they_fill_the_journal() {
    let mut world = World::new();
    world.die();
    world.journal_max_bytes = 64 << 10;
    world.start().unwrap();
    world.counts.fail(u32::MAX);
    for _ in 0..2_000 {
        world.click(0, 1);
        world.commit().unwrap();
        world.pack(1).unwrap();
        let size = world.process.as_ref().unwrap().parts.size.load(Ordering::Relaxed);
        assert!(size <= (64 << 10) / 8 * 7, "{size}");
    }
    world.counts.fail(0);
    world.count().unwrap();
    let stats = &world.process.as_ref().unwrap().metrics.stats;
    let (counted, lost) = (stats.counted.get(), stats.lost(Lost::JournalFull));
    assert_eq!(counted + lost, 2_000);
    assert!(lost > 0 && world.counts.clicks(SubjectKind::Link) == counted, "{counted} counted, {lost} lost");
}

#[test]
fn segment_numbers_do_not_restart_when_the_store_of_counts_cannot_be_read() {
    let mut world = World::new();
    for feeds in [0, 0] {
        world.click(0, feeds);
        world.stop().unwrap();
    }
    assert_eq!(world.counts.links().len(), 2);
    world.die();
    world.counts.fail(1);
    world.start().unwrap();
    world.click(0, 0);
    world.commit().unwrap();
    world.die();
    world.start().unwrap();
    world.deliver_all();
    world.check();
}

#[test]
fn segment_numbers_do_not_restart_when_the_store_of_counts_fails_at_two_starts_within_a_second() {
    let mut world = World::new();
    for _ in 0..2 {
        world.die();
        world.counts.fail(1);
        world.start().unwrap();
        world.click(0, 0);
        world.stop().unwrap();
    }
    world.deliver_all();
    world.check();
}

#[test]
fn segment_numbers_continue_after_the_counted_position() {
    let mut world = World::new();
    world.click(0, 0);
    world.stop().unwrap();
    world.click(0, 0);
    world.commit().unwrap();
    assert_eq!(world.disk.files_below(Path::new("/spool/journal/0000000002.journal")).unwrap().len(), 1);
    world.deliver_all();
    world.check();
}
