//! Durability: clicks, commits, rounds, counts, deliveries, crashes, losses of power and failing disks in any order.
//! Afterwards every click is where it must be, and counted once.

use std::{io, path::Path};

use proptest::prelude::*;

use super::{
    model_disk::Fault,
    world::{RINGS, StateDamage, World},
};
use crate::{
    object::ObjectKind,
    runtime::retry::RetryUntil,
    spool::{disk::Disk, pack::pending::Remainders},
};

const KINDS: [io::ErrorKind; 3] =
    [io::ErrorKind::StorageFull, io::ErrorKind::ReadOnlyFilesystem, io::ErrorKind::Other];

#[derive(Clone, Debug)]
enum Action {
    /// A click that goes to these feeds, or is only counted.
    Click {
        ring: u64,
        feeds: u8,
    },
    /// The workers read the rings and the journal commits.
    Commit,
    /// The packer makes a round with these feeds, and packs all that waits or leaves what is too little.
    Pack {
        feeds: u8,
        all: bool,
    },
    /// The packer counts.
    Count,
    /// The store of counts fails this many times.
    FailToCount {
        times: u32,
    },
    /// An object is delivered, and removed from the outbox unless the process forgets.
    Deliver {
        forget: bool,
    },
    /// The process dies, now or after this many more operations of the disk.
    Die {
        after: u32,
    },
    Stop,
    /// The feeds of a set are configured from now on, those that were not and those that were no more.
    Change {
        feeds: u8,
    },
    /// The process dies, and the disk fails while the next one starts.
    DieAndFail {
        after: u32,
        kind: u8,
    },
    /// Files of the state are damaged when the process dies next.
    DamageState {
        damage: StateDamage,
    },
    /// The power fails.
    LosePower {
        luck: u64,
    },
    /// The disk fails.
    Fail {
        after: u32,
        kind: u8,
        times: u32,
    },
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        8 => (0..RINGS, 0_u8..8).prop_map(|(ring, feeds)| Action::Click { ring, feeds }),
        4 => Just(Action::Commit),
        4 => (1_u8..8, any::<bool>()).prop_map(|(feeds, all)| Action::Pack { feeds, all }),
        3 => Just(Action::Count),
        1 => (1_u32..4).prop_map(|times| Action::FailToCount { times }),
        3 => any::<bool>().prop_map(|forget| Action::Deliver { forget }),
        2 => (0_u32..40).prop_map(|after| Action::Die { after }),
        1 => Just(Action::Stop),
        2 => (0_u8..8).prop_map(|feeds| Action::Change { feeds }),
        1 => (0_u32..60, 0_u8..4).prop_map(|(after, kind)| Action::DieAndFail { after, kind }),
        2 => (1_u8..4, 0..StateDamage::WAYS, 0_usize..2_000)
            .prop_map(|(files, how, at)| Action::DamageState { damage: StateDamage { files, how, at } }),
        1 => any::<u64>().prop_map(|luck| Action::LosePower { luck }),
        1 => (0_u32..25, 0_u8..3, 1_u32..4).prop_map(|(after, kind, times)| Action::Fail { after, kind, times }),
    ];
    proptest::collection::vec(action, 1..60)
}

impl World {
    fn act(&mut self, action: &Action) {
        let result = match *action {
            Action::Click { ring, feeds } => return self.click(ring, feeds),
            Action::Deliver { forget } => return self.deliver(forget),
            Action::Commit => self.commit(),
            Action::Stop => self.stop(),
            Action::Change { feeds } => self.change(feeds),
            Action::Pack { feeds, all: true } => self.pack(feeds),
            Action::Pack { feeds, all: false } => self.pack_or_leave(feeds, Remainders::Stay),
            Action::Count => {
                let counted = self.count();
                // It continues, unless the store failed because the process died.
                counted.or_else(|_| self.disk.touch())
            }
            Action::FailToCount { times } => return self.counts.fail(times),
            Action::DieAndFail { after, kind } => {
                self.die();
                let fault = if kind == 3 { Fault::Dies } else { Fault::Fails(KINDS[usize::from(kind)], 1) };
                self.disk.plan(after, fault, RetryUntil::default());
                self.restart();
                return self.disk.heal();
            }
            Action::DamageState { damage } => {
                self.state_damage = Some(damage);
                return;
            }
            Action::Die { after: 0 } => Err(io::Error::other("dead")),
            Action::Die { after } => return self.plan(after, Fault::Dies),
            Action::Fail { after, kind, times } => {
                return self.plan(after, Fault::Fails(KINDS[usize::from(kind)], times));
            }
            Action::LosePower { luck } => {
                self.lose_power(luck);
                return self.restart();
            }
        };
        if result.is_err() {
            self.die();
            self.restart();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn every_click_arrives_exactly_once_whatever_fails(actions in actions()) {
        let mut world = World::new();
        for action in &actions {
            world.act(action);
        }
        world.deliver_all();
        world.check();
    }

    #[test]
    fn damage_to_any_byte_of_the_journal_does_not_stop_the_rest(
        clicks in proptest::collection::vec((0..RINGS, 1_u8..8), 1..40),
        file in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        damage in 0_u8..4,
        bit in 0_u8..8,
    ) {
        let mut world = World::new();
        for (n, (ring, feeds)) in clicks.iter().enumerate() {
            world.click(*ring, *feeds);
            if n % 5 == 0 {
                world.commit().unwrap();
            }
            if n % 17 == 0 {
                world.pack(1).unwrap();
            }
            if n % 11 == 0 {
                world.pack_or_leave(2, Remainders::Stay).unwrap();
            }
            if n % 13 == 0 {
                world.count().unwrap();
            }
        }
        world.commit().unwrap();
        world.die();
        let files = world.disk.files();
        let journal: Vec<_> = files.iter().filter(|(path, _)| path.starts_with("/spool/journal")).collect();
        prop_assume!(!journal.is_empty());
        let (path, bytes) = file.get(&journal);
        let at = at.index(bytes.len());
        world.disk.scribble(path, |bytes| match damage {
            0 => bytes[at] ^= 1 << bit,
            1 => bytes.truncate(at),
            2 => drop(bytes.drain(at..(at + 13).min(bytes.len()))),
            _ => bytes.splice(at..at, *b"\xff\x43\x45\xf2 nonsense").for_each(drop),
        });
        world.excused = world.owed.iter().map(|(id, _)| *id).collect();
        world.scribbled = true;
        world.start().unwrap();
        world.deliver_all();
        world.check();
    }
}

#[test]
fn a_damaged_frame_loses_one_event_and_is_copied_into_quarantine() {
    let mut world = World::new();
    for _ in 0..10 {
        world.click(0, 1);
    }
    world.commit().unwrap();
    world.die();
    let (path, bytes) = world.disk.files().into_iter().find(|(path, _)| path.starts_with("/spool/journal")).unwrap();
    let victim = memchr::memmem::find(&bytes, b"\"n\":4}").unwrap();
    world.disk.scribble(&path, |bytes| bytes[victim] ^= 1);
    world.excused.insert(world.owed[4].0);
    world.scribbled = true;
    world.start().unwrap();
    world.deliver_all();
    world.check();
    let kept =
        world.disk.files().into_iter().find(|(path, _)| path.starts_with("/spool/quarantine/journal")).unwrap();
    assert!(memchr::memmem::find(&kept.1, world.owed[4].0.to_string().as_bytes()).is_some());
    let all: usize =
        world.sinks.iter().filter(|((_, key), _)| ObjectKind::of(key) == Some(ObjectKind::Events)).count();
    assert!(all >= 1);
}

#[test]
fn a_segment_is_freed_when_all_feeds_have_packed_it() {
    let mut world = World::new();
    world.click(0, 0b111);
    world.commit().unwrap();
    world.pack(0b011).unwrap();
    let segments = |world: &World| world.disk.files_below(Path::new("/spool/journal")).unwrap().len();
    assert_eq!(segments(&world), 1);
    world.die();
    world.start().unwrap();
    world.click(0, 0b111);
    world.commit().unwrap();
    assert_eq!(segments(&world), 2);
    world.pack(0b111).unwrap();
    assert_eq!(segments(&world), 2, "the clicks are not counted");
    world.count().unwrap();
    assert_eq!(segments(&world), 1, "only the open one is left");
    world.deliver_all();
    world.check();
}

#[test]
fn a_segment_without_events_that_could_not_be_removed_at_first_is_no_sign_of_a_loss() {
    let mut world = World::new();
    for action in [
        // Its first sync fails, and so does its removal.
        Action::Fail { after: 4, kind: 0, times: 2 },
        Action::Click { ring: 0, feeds: 2 },
        Action::Commit,
        Action::Pack { feeds: 7, all: true },
        Action::Fail { after: 1, kind: 0, times: 1 },
        Action::Click { ring: 0, feeds: 0 },
        Action::Commit,
        Action::Count,
    ] {
        world.act(&action);
    }
    world.deliver_all();
    world.check();
}
