//! The state: whatever happens to its files, a start rebuilds it, and nothing is delivered twice or lost.

use std::{fs, path::Path};

use super::world::{StateDamage, World};
use crate::{
    runtime::{Hour, clock},
    spool::{
        disk::{Disk, RealDisk},
        record::Records,
        state::{
            FeedState, Generations, State,
            rebuild::{rebuild, set_aside},
        },
    },
};

/// A world after some rounds, with events that are packed and delivered, packed, and only in the journal.
fn busy() -> World {
    let mut world = World::new();
    for n in 0..12 {
        world.click(0, 1 + n % 7);
        world.commit().unwrap();
        world.pack(1 << (n % 3)).unwrap();
        world.deliver(n % 2 == 0);
    }
    world.click(1, 0b111);
    world.commit().unwrap();
    world
}

/// Copies the files of a world to a real disk.
fn copied(world: &World) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, bytes) in world.disk.files() {
        let path = dir.path().join(path.strip_prefix("/spool").unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    dir
}

/// Without what feeds ask for, which records do not have.
fn restored(dir: &Path) -> State {
    let disk = RealDisk::new(dir).unwrap();
    let records = Records::open(&disk, dir).unwrap();
    let mut state = rebuild(&disk, dir, &records, Generations::read(&disk, dir).newest.as_ref()).unwrap().state;
    state.feeds.values_mut().for_each(|feed| feed.recipe = None);
    state
}

#[test]
fn a_state_with_any_byte_flipped_or_cut_at_any_length_is_rebuilt_from_the_generation_before_and_from_records() {
    let dir = copied(&busy());
    let expected = restored(dir.path());
    assert!(expected.round > 9 && expected.feeds.len() == 3 && !expected.objects.is_empty());
    let [current, previous] = ["state", "state.previous"].map(|name| dir.path().join(name));
    for with_previous in [true, false] {
        if !with_previous {
            fs::remove_file(&previous).unwrap();
        }
        let whole = fs::read(&current).unwrap();
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << (at % 8);
            fs::write(&current, flipped).unwrap();
            assert_eq!(restored(dir.path()), expected, "byte {at}");
            fs::write(&current, &whole[..at]).unwrap();
            assert_eq!(restored(dir.path()), expected, "{at} bytes");
        }
        fs::write(&current, vec![0; whole.len()]).unwrap();
        assert_eq!(restored(dir.path()), expected);
        fs::remove_file(&current).unwrap();
        assert_eq!(restored(dir.path()), expected);
        fs::write(&current, whole).unwrap();
    }
}

#[test]
fn the_newest_generation_counts_and_both_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let disk = RealDisk::new(dir.path()).unwrap();
    let mut state = State::default();
    for round in 1..4 {
        state.round = round;
        state
            .feeds
            .insert("brand".into(), FeedState { packed: (round, 81_920), seq: round + 1, ..FeedState::default() });
        state.commit(&disk, dir.path()).unwrap();
    }
    let [current, previous] = ["state", "state.previous"].map(|name| dir.path().join(name));
    let found = Generations::read(&disk, dir.path());
    assert!(found.newest.as_ref() == Some(&state) && found.is_current && found.damaged.is_empty());
    // A commit that ended between its renames.
    fs::rename(&current, &previous).unwrap();
    let found = Generations::read(&disk, dir.path());
    assert!(found.newest.as_ref() == Some(&state) && !found.is_current);
    fs::write(&current, "{}").unwrap();
    let found = Generations::read(&disk, dir.path());
    assert_eq!((found.newest, found.damaged[0].0.clone()), (Some(state), current.clone()));
    for number in 1..3 {
        fs::write(&current, "{}").unwrap();
        let aside = set_aside(&disk, dir.path(), &current).unwrap();
        assert_eq!(aside, dir.path().join(format!("quarantine/state/state-{number}")));
    }
}

#[test]
fn every_damage_of_the_state_is_repaired_by_the_start_and_costs_and_doubles_nothing() {
    for files in 1..4 {
        for how in 0..StateDamage::WAYS {
            let mut world = busy();
            world.state_damage = Some(StateDamage { files, how, at: 41 });
            world.die();
            world.start().unwrap();
            let metrics = &world.process.as_ref().unwrap().metrics;
            let damaged = if how == 0 { 0 } else { u64::from(files.count_ones()) };
            assert_eq!(metrics.state_damaged.get(), damaged, "files {files}, way {how}");
            let aside = world.disk.files_below(Path::new("/spool/quarantine/state")).unwrap();
            assert_eq!(aside.len() as u64, damaged);
            assert!(metrics.feeds().iter().all(|(_, feed)| feed.doubtful.get() == 0));
            // What was repaired is on the disk again.
            assert!(Generations::read(&world.disk, Path::new("/spool")).is_current);
            world.deliver_all();
            world.check();
        }
    }
}

#[test]
fn a_round_whose_records_were_cut_by_a_crash_is_packed_again_when_its_state_is_lost() {
    for after in 0..60 {
        let mut world = busy();
        // Objects of two hours: the records of a round are in two files.
        world.time += 3_600_000_000;
        world.click(0, 0b111);
        world.commit().unwrap();
        world.plan(after, super::model_disk::Fault::Dies);
        let _ = world.pack(0b111);
        world.state_damage = Some(StateDamage { files: 1, how: 0, at: 0 });
        world.die();
        world.start().unwrap();
        world.deliver_all();
        world.check();
    }
}

#[test]
fn records_of_the_last_object_of_each_feed_are_never_forgotten() {
    let mut world = World::new();
    // Long ago, so that all hours are old.
    world.time = clock::unix_micros() - 96 * 3_600_000_000;
    for feeds in [0b111, 0b110, 0b100] {
        world.time += 3_600_000_000;
        world.click(0, feeds);
        world.commit().unwrap();
        world.pack(0b111).unwrap();
        while !world.outbox.lock().unwrap().is_empty() {
            world.deliver(false);
        }
    }
    let hours = |world: &World| -> Vec<Hour> {
        let records = Records::open(&world.disk, Path::new("/spool")).unwrap();
        records.hours(&world.disk).unwrap().into_iter().collect()
    };
    world.time += 3_600_000_000;
    world.click(0, 0b010);
    world.commit().unwrap();
    world.pack(0b111).unwrap();
    assert_eq!(hours(&world).len(), 4);
    world.process.as_mut().unwrap().parts.packer.forget_old_hours();
    // The second hour held the last object of no feed.
    assert_eq!(hours(&world).len(), 3, "{:?}", hours(&world));
    world.state_damage = Some(StateDamage { files: 3, how: 0, at: 0 });
    world.die();
    world.start().unwrap();
    world.deliver_all();
    world.check();
}

#[test]
fn without_state_and_records_the_edge_starts_counts_what_may_be_doubled_and_uses_no_number_twice() {
    let mut world = busy();
    world.state_damage = Some(StateDamage { files: 3, how: 2, at: 0 });
    world.die();
    for file in world.disk.files_below(Path::new("/spool/records")).unwrap() {
        world.disk.remove(&file.path).unwrap();
    }
    world.start().unwrap();
    let process = world.process.as_ref().unwrap();
    for (feed, metrics) in process.metrics.feeds() {
        let (doubtful, recovered) = (metrics.doubtful.get(), metrics.recovered.get());
        assert!(doubtful == recovered && doubtful > 0, "{feed}: {doubtful} of {recovered}");
    }
    let before = world.sinks.len();
    // The world panics when a key comes again with other bytes.
    world.commit().unwrap();
    world.pack(0b111).unwrap();
    while !world.outbox.lock().unwrap().is_empty() {
        world.deliver(false);
    }
    assert!(world.sinks.len() > before);
}

#[test]
fn a_spool_without_rounds_is_not_suspected_of_anything() {
    let mut world = World::new();
    world.click(0, 0b111);
    world.commit().unwrap();
    world.die();
    world.start().unwrap();
    let metrics = &world.process.as_ref().unwrap().metrics;
    assert!(metrics.feeds().iter().all(|(_, feed)| feed.doubtful.get() == 0 && feed.recovered.get() == 1));
    world.deliver_all();
    world.check();
}

#[test]
fn new_events_are_not_taken_for_packed_ones_when_the_journal_is_emptied() {
    let mut world = busy();
    world.pack(0b111).unwrap();
    world.count().unwrap();
    world.die();
    for file in world.disk.files_below(Path::new("/spool/journal")).unwrap() {
        world.disk.remove(&file.path).unwrap();
    }
    world.scribbled = true;
    world.state_damage = Some(StateDamage { files: 3, how: 0, at: 0 });
    world.die();
    world.start().unwrap();
    for n in 0..5 {
        world.click(0, 1 + n);
        world.commit().unwrap();
    }
    world.deliver_all();
    world.check();
}
