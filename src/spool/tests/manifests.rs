//! When manifests are due, and which of them close their hour.

use std::time::{Duration, Instant};

use super::world::{World, spool_metrics};
use crate::{
    object::{Maker, ObjectKind, manifest::Manifest},
    runtime::{Hour, clock},
    spool::{
        FeedSpec,
        pack::schedule::Schedule,
        record::{LATE, Record},
    },
};

const MAKER: Maker<'_> = Maker { feed: "brand", pop: "test", spool: "k3j9x0ab" };

fn feeds() -> [FeedSpec; 1] {
    let mut spec =
        FeedSpec::unconfigured("brand", "test", crate::spool::feed::Recipe::default(), spool_metrics().feed("brand"));
    spec.manifest_every = Some(Duration::from_secs(3_600));
    [spec]
}

fn object(hour: Hour, seq: u64) -> Record {
    let key = MAKER.sequence_key(seq, "json");
    Record { feed: "brand".into(), hour, key, seq, ..Record::default() }
}

fn manifest(hour: Hour, number: u64, closed: bool) -> Record {
    let key = MAKER.manifest_key(hour, 1, number);
    Record { feed: "brand".into(), hour, key, manifest: Some(number as u32), closed, ..Record::default() }
}

#[test]
fn an_hour_is_closed_when_it_is_over_also_without_new_objects() {
    let (feeds, now) = (feeds(), Instant::now());
    let current = Hour::of_micros(clock::unix_micros());
    let past = Hour::of_micros((current.since_epoch() - 60) * 3_600_000_000);
    let mut schedule = Schedule::default();
    // The records of the hours of a feed's last object and last manifest are kept.
    schedule.note(0, &object(current, 9), now);
    schedule.note(0, &manifest(current, 9, true), now);
    let due = |schedule: &Schedule, later: Duration| schedule.manifests.any_due(&feeds, &|_, _| false, now + later);
    let is_open = |schedule: &Schedule| schedule.old(&feeds, current).is_empty();

    schedule.note(0, &object(past, 1), now);
    assert!(!due(&schedule, Duration::ZERO) && due(&schedule, LATE), "late objects are collected for a while");
    schedule.note(0, &manifest(past, 1, false), now);
    assert!(due(&schedule, Duration::ZERO) && is_open(&schedule), "it is not closed yet");
    schedule.note(0, &manifest(past, 2, true), now);
    assert!(!due(&schedule, 9 * LATE) && !is_open(&schedule));
    schedule.note(0, &object(past, 2), now);
    assert!(!due(&schedule, Duration::ZERO) && due(&schedule, LATE) && is_open(&schedule), "it came late");
    schedule.note(0, &manifest(past, 3, true), now);
    assert!(!due(&schedule, 9 * LATE) && !is_open(&schedule));

    schedule.note(0, &object(current, 3), now);
    assert!(!due(&schedule, LATE) && due(&schedule, Duration::from_secs(3_600)));
    schedule.note(0, &manifest(current, 4, false), now);
    assert!(!due(&schedule, 9 * LATE), "the hour lasts");
    let last: Vec<_> = schedule.manifests.last().map(|(_, last)| last.number()).collect();
    assert_eq!(last, [Some(9)]);
}

#[test]
fn an_hour_is_closed_under_the_name_that_its_objects_have_when_the_edge_has_another_since() {
    let mut world = World::new();
    for pop in ["test", "renamed", "again"] {
        world.pop = pop;
        world.die();
        world.start().unwrap();
        world.click(0, 1);
        world.commit().unwrap();
        // No manifest lists the object yet: the next round does.
        world.pack(1).unwrap();
    }
    world.deliver_all();
    world.check();
    let manifests = world.sinks.iter().filter(|((_, key), _)| ObjectKind::of(key) == Some(ObjectKind::Manifest));
    let manifests: Vec<_> = manifests.map(|(_, body)| Manifest::parse(body).unwrap()).collect();
    for pop in ["test", "renamed", "again"] {
        let closed = manifests.iter().any(|manifest| manifest.pop == pop && manifest.closed && manifest.events == 1);
        assert!(closed, "{pop}: {manifests:#?}");
    }
}

#[test]
fn the_manifest_of_an_hour_that_lasts_is_open_and_the_chain_survives_a_kill() {
    let mut world = World::new();
    world.time = clock::unix_micros() / 7_000_000 * 7_000_000 + 1;
    for round in 0..3 {
        world.click(0, 1);
        world.commit().unwrap();
        world.pack(1).unwrap();
        // A round lists what was made before it.
        world.pack(1).unwrap();
        while !world.outbox.lock().unwrap().is_empty() {
            world.deliver(round == 1);
        }
        world.die();
        world.start().unwrap();
    }
    let manifests = world.sinks.iter().filter(|((_, key), _)| ObjectKind::of(key) == Some(ObjectKind::Manifest));
    let manifests: Vec<_> = manifests.map(|(_, body)| Manifest::parse(body).unwrap()).collect();
    let numbers: Vec<_> = manifests.iter().map(|manifest| (manifest.number, manifest.closed)).collect();
    assert_eq!(numbers, [(1, false), (2, false), (3, false)]);
    let before: Vec<_> =
        manifests.iter().map(|manifest| manifest.previous.as_ref().map(|previous| &previous.key)).collect();
    assert_eq!(before, [None, Some(&manifests[0].key()), Some(&manifests[1].key())]);
}
