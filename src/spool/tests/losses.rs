//! Segments that are emptied, cut or removed: what they held is known from their successors, or from the note on the
//! last one.

use std::path::PathBuf;

use super::world::World;
use crate::spool::disk::Disk;

/// A world that died with three segments of 5, 4 and 3 events, and their paths.
fn three_segments() -> (World, Vec<PathBuf>) {
    let mut world = World::new();
    for clicks in [5, 4, 3] {
        for _ in 0..clicks {
            world.click(0, 0b111);
        }
        world.commit().unwrap();
        world.die();
        if clicks > 3 {
            world.start().unwrap();
        }
    }
    let files = world.disk.files().into_iter().map(|(path, _)| path);
    let segments: Vec<_> = files.filter(|path| path.starts_with("/spool/journal")).collect();
    assert_eq!(segments.len(), 3);
    (world, segments)
}

/// The damaged bytes and events that a start finds. Twice: a process that dies before it writes changes nothing.
fn found(world: &mut World) -> (u64, u64) {
    world.scribbled = true;
    world.excused = world.owed.iter().map(|(id, _)| *id).collect();
    let mut found = [(0, 0); 2];
    for found in &mut found {
        world.start().unwrap();
        let metrics = &world.process.as_ref().unwrap().metrics;
        *found = (metrics.journal_damaged.get(), metrics.journal_lost.get());
        world.die();
    }
    assert_eq!(found[0], found[1]);
    world.start().unwrap();
    // What is not lost arrives.
    world.deliver_all();
    world.check();
    found[0]
}

#[test]
fn an_emptied_segment_is_counted_with_all_its_bytes_and_events() {
    for (at, events) in [5, 4, 3].into_iter().enumerate() {
        let (mut world, segments) = three_segments();
        let mut bytes = 0;
        world.disk.scribble(&segments[at], |segment| {
            bytes = segment.len() as u64;
            segment.clear();
        });
        assert_eq!(found(&mut world), (bytes, events), "segment {at}");
    }
}

#[test]
fn a_segment_that_is_cut_is_counted_with_what_it_lost() {
    for (at, events) in [5, 4, 3].into_iter().enumerate() {
        let (mut world, segments) = three_segments();
        let mut bytes = 0;
        world.disk.scribble(&segments[at], |segment| {
            bytes = segment.len() as u64;
            segment.truncate(segment.len() - 1);
        });
        let (damaged, lost) = found(&mut world);
        assert!(lost == 1 && damaged > 1 && damaged < bytes / events, "segment {at}: {damaged} bytes, {lost} events");
    }
}

#[test]
fn a_removed_segment_is_counted_unless_the_packer_has_removed_it() {
    for (at, events) in [(1, 4), (2, 3)] {
        let (mut world, segments) = three_segments();
        world.disk.remove(&segments[at]).unwrap();
        assert_eq!(found(&mut world).1, events, "segment {at}");
    }
    let (mut world, segments) = three_segments();
    for segment in &segments {
        world.disk.remove(segment).unwrap();
    }
    assert_eq!(found(&mut world).1, 3, "of the others nothing is known");
    // A clean stop leaves no segment, and nothing is missing.
    let mut world = World::new();
    world.click(0, 0b111);
    world.stop().unwrap();
    world.die();
    world.start().unwrap();
    assert_eq!(world.process.as_ref().unwrap().metrics.journal_lost.get(), 0);
}

#[test]
fn a_flipped_byte_counts_as_one_event() {
    let (mut world, segments) = three_segments();
    world.disk.scribble(&segments[1], |segment| {
        let at = memchr::memmem::rfind(segment, b"\"n\":").unwrap();
        segment[at] ^= 1;
    });
    let (damaged, lost) = found(&mut world);
    assert!(lost == 1 && damaged > 0);
}
