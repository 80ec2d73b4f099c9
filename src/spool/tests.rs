//! The spool as a model: clicks, commits, rounds, counts, deliveries, deaths, losses of power and failing disks in any
//! order; afterwards each click is where it must be, and counted once.

mod model_book;
mod model_disk;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use model_book::ModelBook;
use model_disk::{Fault, ModelDisk};
use proptest::prelude::*;

use super::{Assembled, FeedSpec, Opened, disk::Disk, metrics::SpoolMetrics};
use crate::{
    capture::RingPosition,
    click::EventId,
    config,
    enrich::Batch,
    object::{Object, ObjectKind, reader::summarize_stream},
    runtime::retry::RetryUntil,
    stats::{
        self,
        metrics::{Lost, StatsMetrics},
        tally::Tally,
    },
    telemetry::metrics::Registry,
};

const FEEDS: [&str; 3] = ["brand", "small", "both"];
const RINGS: u64 = 2;
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
    /// The packer makes a round with these feeds.
    Pack {
        feeds: u8,
    },
    /// The packer counts.
    Count,
    /// The book fails so many times.
    FailToCount {
        times: u32,
    },
    /// An object is delivered, and taken out of the outbox unless the process forgets.
    Deliver {
        forget: bool,
    },
    /// The process dies, after so many more operations of the disk, or now.
    Die {
        after: u32,
    },
    Stop,
    /// The process dies, and the next one meets this while it starts.
    DieAndFail {
        after: u32,
        kind: u8,
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
        3 => (1_u8..8).prop_map(|feeds| Action::Pack { feeds }),
        3 => Just(Action::Count),
        1 => (1_u32..4).prop_map(|times| Action::FailToCount { times }),
        3 => any::<bool>().prop_map(|forget| Action::Deliver { forget }),
        2 => (0_u32..40).prop_map(|after| Action::Die { after }),
        1 => Just(Action::Stop),
        1 => (0_u32..60, 0_u8..4).prop_map(|(after, kind)| Action::DieAndFail { after, kind }),
        1 => any::<u64>().prop_map(|luck| Action::LosePower { luck }),
        1 => (0_u32..25, 0_u8..3, 1_u32..4).prop_map(|(after, kind, times)| Action::Fail { after, kind, times }),
    ];
    proptest::collection::vec(action, 1..60)
}

/// A ring as the redirect fills it: it outlives the process, not the power.
#[derive(Default)]
struct Ring {
    clicks: Vec<(EventId, u8)>,
    /// What is let go of.
    released: u64,
    /// What the process has read.
    read: u64,
    /// Where it begins: what was lost with the power counts no more.
    lost: u64,
}

/// Everything, in and around one spool.
struct World {
    disk: ModelDisk,
    book: ModelBook,
    /// Somebody has changed bytes of the journal.
    scribbled: bool,
    journal_max_bytes: u64,
    rings: HashMap<u64, Ring>,
    released: Arc<Mutex<HashMap<u64, u64>>>,
    outbox: Arc<Mutex<Vec<(usize, Object)>>>,
    /// The sinks: feed and key, and what lies there. Nothing is overwritten.
    sinks: BTreeMap<(String, String), Vec<u8>>,
    /// Clicks that must arrive, by feed: durable, or in a ring.
    owed: Vec<(EventId, u8)>,
    /// Clicks that may have been lost with the power.
    excused: BTreeSet<EventId>,
    process: Option<Process>,
    time: u64,
    epoch: u64,
}

struct Process {
    metrics: Arc<SpoolMetrics>,
    parts: Assembled,
    outbox: Arc<super::Outbox>,
}

fn spool_metrics() -> Arc<SpoolMetrics> {
    let registry = Registry::new();
    Arc::new(SpoolMetrics::new(&registry, Arc::new(StatsMetrics::new(&registry))))
}

fn specs(metrics: &SpoolMetrics) -> Vec<FeedSpec> {
    let spec = |name: &&str| {
        let mut spec = FeedSpec::forgotten(name, "test", metrics.feed(name));
        spec.configured = true;
        // A round's manifest lists what the round before has made.
        spec.manifest_every = (*name == "brand").then_some(std::time::Duration::ZERO);
        spec
    };
    FEEDS.iter().map(spec).collect()
}

impl World {
    fn new() -> Self {
        let disk = ModelDisk::default();
        let mut world = Self {
            book: ModelBook::on(&disk),
            disk,
            scribbled: false,
            journal_max_bytes: 4 << 30,
            rings: HashMap::new(),
            released: Arc::default(),
            outbox: Arc::default(),
            sinks: BTreeMap::new(),
            owed: Vec::new(),
            excused: BTreeSet::new(),
            process: None,
            time: 1_795_424_400_000_000,
            epoch: 0,
        };
        world.start().unwrap();
        world
    }

    fn start(&mut self) -> io::Result<()> {
        let metrics = spool_metrics();
        let lock = File::open("/dev/null").unwrap();
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let (dir, journal_max_bytes) = (PathBuf::from("/spool"), self.journal_max_bytes);
        let config = config::Spool { dir, journal_max_bytes, retain_secs: 0, ..config::Spool::default() };
        let (specs, book) = (specs(&metrics), Box::new(self.book.clone()));
        let opened = Opened::recover(&config, "test", specs, Some(book), Arc::clone(&metrics), disk, lock)?;
        for (number, ring) in &mut self.rings {
            let known = opened.known().get(number).copied().unwrap_or_default();
            ring.released = known.max(ring.released);
            ring.read = ring.released;
        }
        let outbox = opened.outbox();
        let waiting = Arc::new(Mutex::new(Vec::new()));
        for (number, feed) in FEEDS.iter().enumerate() {
            waiting.lock().unwrap().extend(outbox.waiting(feed)?.into_iter().map(|object| (number, object)));
        }
        self.outbox = Arc::clone(&waiting);
        let released: Arc<Mutex<HashMap<u64, u64>>> = Arc::default();
        self.released = Arc::clone(&released);
        let release = move |position: RingPosition| _ = released.lock().unwrap().insert(position.ring, position.end);
        let finished = move |feed, object| waiting.lock().unwrap().push((feed, object));
        let parts = opened.assemble(Box::new(release), Box::new(finished));
        self.process = Some(Process { metrics, parts, outbox });
        Ok(())
    }

    fn click(&mut self, ring: u64, feeds: u8) {
        // Some clicks come in the next hour.
        self.time += if self.time.is_multiple_of(7) { 3_600_000_000 } else { 1 };
        let id = EventId::at(self.time);
        self.rings.entry(self.epoch * RINGS + ring).or_default().clicks.push((id, feeds));
        self.owed.push((id, feeds));
    }

    /// What a worker and the journal do.
    fn commit(&mut self) -> io::Result<()> {
        let Some(process) = &mut self.process else { return Ok(()) };
        let mut batch = Batch::default();
        for (number, ring) in &mut self.rings {
            for at in ring.read.max(ring.lost)..ring.clicks.len() as u64 {
                let (id, feeds) = ring.clicks[at as usize];
                let position = RingPosition { ring: *number, end: at + 1 };
                let start = batch.text.len();
                let slashtag = id.to_string();
                Tally { domain: "go.brand.com", slashtag: &slashtag, ..Tally::default() }.encode(&mut batch.text);
                let event = batch.text.len();
                if feeds > 0 {
                    batch.text.extend_from_slice(format!("{{\"id\":\"{id}\",\"n\":{at}}}").as_bytes());
                }
                let feeds: Vec<u16> = (0..3).filter(|feed| feeds >> feed & 1 == 1).collect();
                batch.add(id, micros(id), position, (start, event), &feeds);
                batch.read(position);
                ring.read = at + 1;
            }
        }
        process.parts.journal.add(&batch);
        let result = process.parts.journal.commit();
        for (ring, end) in self.released.lock().unwrap().drain() {
            if let Some(ring) = self.rings.get_mut(&ring) {
                ring.released = end;
            }
        }
        while let Ok(synced) = process.parts.from_journal.try_recv() {
            process.parts.packer.take(synced);
        }
        result
    }

    /// A clean stop: everything is packed, and no segment is left.
    fn stop(&mut self) -> io::Result<()> {
        self.commit()?;
        self.pack(0xff)?;
        // What could not be counted waits for the next start.
        let _ = self.count();
        if let Some(process) = &mut self.process {
            process.parts.packer.free(u64::MAX);
        }
        self.die();
        self.restart();
        Ok(())
    }

    fn pack(&mut self, feeds: u8) -> io::Result<()> {
        let Some(process) = &mut self.process else { return Ok(()) };
        let due: Vec<u16> =
            process.parts.packer.waiting().into_iter().filter(|feed| feeds >> feed & 1 == 1).collect();
        let result = process.parts.packer.pack(&due);
        if result.is_ok() {
            process.parts.packer.free_unneeded();
        }
        result
    }

    fn count(&mut self) -> io::Result<()> {
        let Some(process) = &mut self.process else { return Ok(()) };
        process.parts.packer.count_all();
        process.parts.packer.free_unneeded();
        if process.parts.packer.uncounted() == 0 { Ok(()) } else { Err(io::Error::other("the book fails")) }
    }

    fn deliver(&mut self, forget: bool) {
        let Some(process) = &self.process else { return };
        if self.outbox.lock().unwrap().is_empty() {
            return;
        }
        let (feed, object) = self.outbox.lock().unwrap().remove(0);
        let Ok(body) = self.disk.read(&object.path) else { return };
        let place = (FEEDS[feed].to_owned(), object.key.clone());
        let there = self.sinks.entry(place).or_insert_with(|| body.clone());
        assert!(*there == body, "{} is sent again with the same bytes", object.key);
        if let Some(summary) = &object.summary {
            let read = summarize_stream(&body[..], &object.key, |_, _| {}).unwrap();
            assert_eq!(read.sha256, summary.sha256);
            if object.kind == ObjectKind::Events {
                assert_eq!(&read, summary);
            }
        }
        if !forget {
            let _ = process.outbox.remove(&object);
        }
    }

    fn die(&mut self) {
        self.process = None;
        self.disk.heal();
        for ring in self.rings.values_mut() {
            ring.read = ring.released;
        }
    }

    fn lose_power(&mut self, luck: u64) {
        self.die();
        self.disk.lose_power(&mut fastrand::Rng::with_seed(luck));
        for ring in self.rings.values_mut() {
            // Rings are memory. What was let go of must be on the disk.
            for (id, _) in &ring.clicks[ring.released as usize..] {
                self.excused.insert(*id);
            }
            ring.lost = ring.clicks.len() as u64;
        }
        // The next process has rings of its own, and finds none.
        self.epoch += 1;
    }

    fn act(&mut self, action: &Action) {
        let result = match *action {
            Action::Click { ring, feeds } => return self.click(ring, feeds),
            Action::Deliver { forget } => return self.deliver(forget),
            Action::Commit => self.commit(),
            Action::Stop => self.stop(),
            Action::Pack { feeds } => self.pack(feeds),
            Action::Count => {
                let counted = self.count();
                // It goes on, unless it was death that let the book fail.
                counted.or_else(|_| self.disk.touch())
            }
            Action::FailToCount { times } => return self.book.fail(times),
            Action::DieAndFail { after, kind } => {
                self.die();
                let fault = if kind == 3 { Fault::Dies } else { Fault::Fails(KINDS[usize::from(kind)], 1) };
                self.disk.plan(after, fault, RetryUntil::default());
                self.restart();
                return self.disk.heal();
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

    fn plan(&self, after: u32, fault: Fault) {
        if let Some(process) = &self.process {
            self.disk.plan(after, fault, process.parts.retry.clone());
        }
    }

    fn restart(&mut self) {
        while self.start().is_err() {
            self.die();
        }
    }

    /// Nothing goes wrong any more: everything arrives.
    fn settle(&mut self) {
        self.disk.heal();
        self.book.fail(0);
        if self.process.is_none() {
            self.start().unwrap();
        }
        self.commit().unwrap();
        self.pack(0xff).unwrap();
        // What was sent and not taken out comes again at the next start.
        self.die();
        self.start().unwrap();
        self.pack(0xff).unwrap();
        self.count().unwrap();
        while !self.outbox.lock().unwrap().is_empty() {
            self.deliver(false);
        }
    }

    /// The judge.
    fn judge(&self) {
        let mut arrived: BTreeMap<(usize, String), u32> = BTreeMap::new();
        let mut listed: BTreeMap<String, u64> = BTreeMap::new();
        let mut objects: BTreeMap<String, u64> = BTreeMap::new();
        for ((feed, key), body) in &self.sinks {
            if ObjectKind::of(key) == Some(ObjectKind::Manifest) {
                let manifest = crate::object::manifest::Manifest::parse(body).unwrap();
                listed.extend(manifest.objects.into_iter().map(|entry| (entry.key, entry.events)));
                continue;
            }
            let number = FEEDS.iter().position(|name| name == feed).unwrap();
            let summary = summarize_stream(&body[..], key, |id, _| {
                *arrived.entry((number, id.to_owned())).or_default() += 1;
            });
            if feed == "brand" {
                objects.insert(key.clone(), summary.unwrap().events);
            }
        }
        let mut counted = self.book.links();
        for (id, feeds) in &self.owed {
            let times = counted.remove(&id.to_string()).unwrap_or_default();
            match arrived.iter().find(|((_, arrived), _)| *arrived == id.to_string()) {
                _ if self.scribbled && self.excused.contains(id) => {
                    assert!(times <= 1, "{id} is counted {times} times");
                }
                None if self.excused.contains(id) => assert!(times <= u64::from(*feeds == 0), "{id} is only counted"),
                _ => assert_eq!(times, 1, "{id} is counted as often as it arrived"),
            }
            for feed in (0..3).filter(|feed| feeds >> feed & 1 == 1) {
                match arrived.remove(&(feed, id.to_string())) {
                    Some(1) => {}
                    Some(times) => panic!("{id} arrived {times} times in {}", FEEDS[feed]),
                    None => assert!(self.excused.contains(id), "{id} is lost to {}", FEEDS[feed]),
                }
            }
        }
        assert!(arrived.is_empty(), "nobody clicked {arrived:?}");
        assert!(counted.is_empty(), "nobody clicked {counted:?}");
        assert_eq!(listed, objects, "the manifests list every object");
    }
}

fn micros(id: EventId) -> u64 {
    let bytes = id.as_bytes();
    let millis = bytes[..6].iter().fold(0_u64, |millis, byte| millis << 8 | u64::from(*byte));
    millis * 1_000
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn every_click_arrives_exactly_once_whatever_fails(actions in actions()) {
        let mut world = World::new();
        for action in &actions {
            world.act(action);
        }
        world.settle();
        world.judge();
    }

    #[test]
    fn any_byte_of_a_spool_may_be_damaged_and_the_rest_arrives(
        clicks in proptest::collection::vec((0..RINGS, 1_u8..8), 1..40),
        file in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        surgery in 0_u8..4,
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
        world.disk.scribble(path, |bytes| match surgery {
            0 => bytes[at] ^= 1 << bit,
            1 => bytes.truncate(at),
            2 => drop(bytes.drain(at..(at + 13).min(bytes.len()))),
            _ => bytes.splice(at..at, *b"\xff\x43\x45\xf2 nonsense").for_each(drop),
        });
        world.excused = world.owed.iter().map(|(id, _)| *id).collect();
        world.scribbled = true;
        world.start().unwrap();
        world.settle();
        world.judge();
    }
}

#[test]
fn a_damaged_frame_costs_one_event_and_is_kept_aside() {
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
    world.settle();
    world.judge();
    let kept =
        world.disk.files().into_iter().find(|(path, _)| path.starts_with("/spool/quarantine/journal")).unwrap();
    assert!(memchr::memmem::find(&kept.1, world.owed[4].0.to_string().as_bytes()).is_some());
    let all: usize =
        world.sinks.iter().filter(|((_, key), _)| ObjectKind::of(key) == Some(ObjectKind::Events)).count();
    assert!(all >= 1);
}

#[test]
fn segments_are_freed_when_every_feed_has_its_part() {
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
    world.settle();
    world.judge();
}

#[test]
fn counts_wait_for_a_book_that_fails_and_cost_no_event() {
    let mut world = World::new();
    world.book.fail(u32::MAX);
    for n in 0..20 {
        world.click(0, n % 8);
        world.commit().unwrap();
        world.pack(0b111).unwrap();
        assert!(world.count().is_err());
        while !world.outbox.lock().unwrap().is_empty() {
            world.deliver(false);
        }
    }
    assert!(world.sinks.len() >= 28 && world.book.links().is_empty());
    // Another process finds the journal, and meets the same book.
    world.die();
    world.start().unwrap();
    assert!(world.count().is_err());
    world.settle();
    world.judge();
}

#[test]
fn counts_are_given_up_before_they_fill_the_journal() {
    let mut world = World::new();
    world.die();
    world.journal_max_bytes = 64 << 10;
    world.start().unwrap();
    world.book.fail(u32::MAX);
    for _ in 0..2_000 {
        world.click(0, 1);
        world.commit().unwrap();
        world.pack(1).unwrap();
        let size = world.process.as_ref().unwrap().parts.size.load(std::sync::atomic::Ordering::Relaxed);
        assert!(size <= (64 << 10) / 8 * 7, "{size}");
    }
    world.book.fail(0);
    world.count().unwrap();
    let stats = &world.process.as_ref().unwrap().metrics.stats;
    let (counted, lost) = (stats.counted.get(), stats.lost(Lost::JournalFull));
    assert_eq!(counted + lost, 2_000);
    assert!(lost > 0 && world.book.clicks(stats::Kind::Link) == counted, "{counted} counted, {lost} lost");
}

#[test]
fn numbers_do_not_begin_anew_behind_a_book_that_cannot_be_asked() {
    let mut world = World::new();
    for feeds in [0, 0] {
        world.click(0, feeds);
        world.stop().unwrap();
    }
    assert_eq!(world.book.links().len(), 2);
    world.die();
    world.book.fail(1);
    world.start().unwrap();
    world.click(0, 0);
    world.commit().unwrap();
    world.die();
    world.start().unwrap();
    world.settle();
    world.judge();
}

#[test]
fn numbers_go_on_behind_what_is_counted() {
    let mut world = World::new();
    world.click(0, 0);
    world.stop().unwrap();
    world.click(0, 0);
    world.commit().unwrap();
    assert_eq!(world.disk.files_below(Path::new("/spool/journal/0000000002.journal")).unwrap().len(), 1);
    world.settle();
    world.judge();
}
