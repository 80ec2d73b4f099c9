//! A model of one spool and all around it. Its threads are replaced by calls, so that every test decides their order.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sha2::{Digest, Sha256};

use super::{
    model_count_store::ModelCountStore,
    model_disk::{Fault, ModelDisk},
};
use crate::{
    capture::RingPosition,
    click::EventId,
    config::{self, Compression},
    enrich::{Batch, frame::Origin},
    event::{Rendering, Shape},
    object::{
        Object, ObjectKind,
        digest::hex,
        manifest::{Manifest, Previous},
        reader::summarize_stream,
    },
    spool::{
        FeedChange, FeedSpec, Outbox, SpoolBuilder, builder::SpoolParts, disk::Disk, metrics::SpoolMetrics,
        pack::pending::Remainders,
    },
    stats::{metrics::StatsMetrics, tally::Tally},
    telemetry::metrics::Registry,
};

const FEEDS: [&str; 3] = ["brand", "small", "both"];

/// Least bytes of an event and its line feed.
const EVENT_BYTES: u64 = 50;

pub const RINGS: u64 = 2;

/// A ring of clicks. It outlives the process, but not a loss of power.
#[derive(Default)]
pub struct Ring {
    pub clicks: Vec<(EventId, u8)>,
    /// Position up to which clicks are released.
    pub released: u64,
    /// Position up to which the process has read.
    pub read: u64,
    /// Position up to which clicks were lost with the power.
    pub lost: u64,
}

/// One spool, and all around it: rings, disk, store of counts, sinks.
pub struct World {
    pub disk: ModelDisk,
    pub counts: ModelCountStore,
    /// Bytes of the journal were changed.
    pub scribbled: bool,
    pub journal_max_bytes: u64,
    /// The name of the edge.
    pub pop: &'static str,
    pub rings: HashMap<u64, Ring>,
    pub released: Arc<Mutex<HashMap<u64, u64>>>,
    pub outbox: Arc<Mutex<Vec<(usize, Object)>>>,
    /// The content of the sinks, by feed and key. No object is overwritten.
    pub sinks: BTreeMap<(String, String), Vec<u8>>,
    /// Clicks that must arrive, by feed: durable, or in a ring.
    pub owed: Vec<(EventId, u8)>,
    /// Clicks that may have been lost with the power.
    pub excused: BTreeSet<EventId>,
    pub process: Option<Process>,
    /// What happens to the files of the state when the process dies next.
    pub state_damage: Option<StateDamage>,
    /// Which of the feeds are configured.
    pub configured: u8,
    /// Paths of fields that the feeds leave out.
    pub omit: Vec<String>,
    /// A click whose event is no JSON.
    pub malformed: Option<EventId>,
    pub time: u64,
    pub epoch: u64,
}

/// The parts of a spool that its threads would run.
pub struct Process {
    pub metrics: Arc<SpoolMetrics>,
    pub parts: SpoolParts,
    pub outbox: Arc<Outbox>,
    /// The feeds by number, as positions in [`FEEDS`].
    numbers: Arc<Mutex<Vec<usize>>>,
}

/// Damage to files of the state.
#[derive(Clone, Copy, Debug)]
pub struct StateDamage {
    /// Bit 0: the current generation; bit 1: the one before.
    pub files: u8,
    pub how: u8,
    pub at: usize,
}

impl StateDamage {
    /// Number of ways to damage a file.
    pub const WAYS: u8 = 5;

    fn apply(self, disk: &ModelDisk) {
        for (bit, name) in ["/spool/state", "/spool/state.previous"].into_iter().enumerate() {
            let path = Path::new(name);
            if self.files >> bit & 1 == 0 || !disk.files().iter().any(|(found, _)| found == path) {
                continue;
            }
            match self.how {
                0 => disk.remove(path).unwrap(),
                how => disk.scribble(path, |bytes| {
                    let at = self.at % bytes.len().max(1);
                    match how {
                        1 => bytes.truncate(at),
                        2 => bytes.clear(),
                        3 => bytes.fill(0),
                        _ => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (self.at % 8)),
                    }
                }),
            }
        }
    }
}

pub fn spool_metrics() -> Arc<SpoolMetrics> {
    let registry = Registry::new();
    Arc::new(SpoolMetrics::new(&registry, Arc::new(StatsMetrics::new(&registry))))
}

fn specs(configured: u8, pop: &str, metrics: &SpoolMetrics, omit: &[String]) -> Vec<FeedSpec> {
    let spec = |feed| {
        let name: &str = FEEDS[feed];
        let mut spec = FeedSpec::unconfigured(name, pop, crate::spool::feed::Recipe::default(), metrics.feed(name));
        spec.configured = true;
        spec.rendering = Rendering::new(Shape::Click, omit);
        // The manifest of a round lists the objects of the round before.
        spec.manifest_every = (name == "brand").then_some(Duration::ZERO);
        if name == "small" {
            // Three events are a whole object. Fewer are never old enough.
            (spec.compression, spec.max_bytes, spec.min_bytes) = (Compression::None, 3 * EVENT_BYTES, EVENT_BYTES);
            (spec.max_age, spec.hold_back) = (Duration::MAX, Duration::MAX);
            spec.layout = config::feeds::Layout::Sequence;
        }
        spec
    };
    feeds_of(configured).map(spec).collect()
}

/// Feeds of a set.
fn feeds_of(set: u8) -> impl Iterator<Item = usize> {
    (0..FEEDS.len()).filter(move |feed| set >> feed & 1 == 1)
}

impl World {
    pub fn new() -> Self {
        let disk = ModelDisk::default();
        let mut world = Self {
            counts: ModelCountStore::on(&disk),
            disk,
            scribbled: false,
            journal_max_bytes: 4 << 30,
            pop: "test",
            rings: HashMap::new(),
            released: Arc::default(),
            outbox: Arc::default(),
            sinks: BTreeMap::new(),
            owed: Vec::new(),
            excused: BTreeSet::new(),
            process: None,
            state_damage: None,
            configured: 0b111,
            omit: Vec::new(),
            malformed: None,
            time: 1_795_424_400_000_000,
            epoch: 0,
        };
        world.start().unwrap();
        world
    }

    pub fn start(&mut self) -> io::Result<()> {
        let metrics = spool_metrics();
        let lock = File::open("/dev/null").unwrap();
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let (dir, journal_max_bytes) = (PathBuf::from("/spool"), self.journal_max_bytes);
        let config = config::Spool { dir, journal_max_bytes, retain_secs: 0, ..config::Spool::default() };
        let builder = SpoolBuilder::new(
            &config,
            self.pop,
            specs(self.configured, self.pop, &metrics, &self.omit),
            Arc::clone(&metrics),
        );
        let recovered = builder.counts(Some(Box::new(self.counts.clone()))).recover(disk, lock)?;
        assert!(self.scribbled || metrics.journal_lost.get() == 0, "no segment was changed");
        for (number, ring) in &mut self.rings {
            let known = recovered.ring_positions().get(number).copied().unwrap_or_default();
            ring.released = known.max(ring.released);
            ring.read = ring.released;
        }
        let outbox = recovered.outbox();
        let waiting = Arc::new(Mutex::new(Vec::new()));
        for feed in feeds_of(self.configured) {
            waiting.lock().unwrap().extend(outbox.waiting(FEEDS[feed])?.into_iter().map(|object| (feed, object)));
        }
        let names = recovered.feed_names();
        let known = names.iter().map(|name| FEEDS.iter().position(|feed| feed == name).unwrap());
        let numbers = Arc::new(Mutex::new(known.collect::<Vec<_>>()));
        self.outbox = Arc::clone(&waiting);
        let released: Arc<Mutex<HashMap<u64, u64>>> = Arc::default();
        self.released = Arc::clone(&released);
        let release = move |position: RingPosition| _ = released.lock().unwrap().insert(position.ring, position.end);
        let feeds = Arc::clone(&numbers);
        let finished =
            move |number: usize, object| waiting.lock().unwrap().push((feeds.lock().unwrap()[number], object));
        let parts = recovered.assemble(Box::new(release), Box::new(finished));
        self.process = Some(Process { metrics, parts, outbox, numbers });
        Ok(())
    }

    pub fn click(&mut self, ring: u64, feeds: u8) {
        // Some clicks come in the next hour.
        self.time += if self.time.is_multiple_of(7) { 3_600_000_000 } else { 1 };
        let (id, feeds) = (EventId::at(self.time), feeds & self.configured);
        self.rings.entry(self.epoch * RINGS + ring).or_default().clicks.push((id, feeds));
        self.owed.push((id, feeds));
    }

    /// The workers read the rings, and the journal commits.
    pub fn commit(&mut self) -> io::Result<()> {
        self.read();
        let Some(process) = &mut self.process else { return Ok(()) };
        let result = process.parts.journal.commit();
        self.take();
        result
    }

    /// The feeds change to those of a set. Clicks before that are routed by those of now.
    pub fn change(&mut self, configured: u8) -> io::Result<()> {
        self.read();
        let Some(process) = &mut self.process else { return Ok(()) };
        let mut numbers = process.numbers.lock().unwrap();
        let new: Vec<_> = feeds_of(configured).filter(|feed| !numbers.contains(feed)).collect();
        numbers.extend(new);
        let number = |feed: usize| numbers.iter().position(|known| *known == feed).unwrap() as u16;
        let added: Vec<usize> = feeds_of(configured & !self.configured).collect();
        let specs = specs(configured & !self.configured, self.pop, &process.metrics, &self.omit);
        let applied = Arc::new(AtomicBool::new(false));
        let done = Arc::clone(&applied);
        let change = FeedChange {
            names: numbers.iter().map(|feed| FEEDS[*feed].to_owned()).collect(),
            specs: added.iter().map(|feed| number(*feed)).zip(specs).collect(),
            removed: feeds_of(self.configured & !configured).map(number).collect(),
            applied: Box::new(move || done.store(true, Ordering::Relaxed)),
        };
        drop(numbers);
        let result = process.parts.journal.change(change);
        let outbox = Arc::clone(&process.outbox);
        self.take();
        result?;
        if !applied.load(Ordering::Relaxed) {
            return Err(io::Error::other("the disk does not take the change"));
        }
        self.configured = configured;
        let mut waiting = self.outbox.lock().unwrap();
        waiting.retain(|(feed, _)| !added.contains(feed));
        for feed in added {
            waiting.extend(outbox.waiting(FEEDS[feed])?.into_iter().map(|object| (feed, object)));
        }
        Ok(())
    }

    /// The workers read the rings.
    fn read(&mut self) {
        let Some(process) = &mut self.process else { return };
        let numbers = process.numbers.lock().unwrap();
        let number_of = |feed: usize| numbers.iter().position(|known| *known == feed).unwrap() as u16;
        let mut batch = Batch::default();
        for (number, ring) in &mut self.rings {
            for at in ring.read.max(ring.lost)..ring.clicks.len() as u64 {
                let (id, feeds) = ring.clicks[at as usize];
                let position = RingPosition { ring: *number, end: at + 1 };
                let begun = batch.begin(3);
                let slashtag = id.to_string();
                Tally { domain: "go.brand.com", slashtag: &slashtag, ..Tally::default() }.encode(&mut batch.frames);
                let event = batch.frames.len();
                if feeds > 0 {
                    let end = if self.malformed == Some(id) { "" } else { "}" };
                    batch.frames.extend_from_slice(format!("{{\"id\":\"{id}\",\"n\":{at}{end}").as_bytes());
                }
                let feeds: Vec<u16> = feeds_of(feeds).map(number_of).collect();
                batch.end(begun, event, &Origin { ring_position: position, micros: micros(id), id }, &feeds);
                batch.read(position);
                ring.read = at + 1;
            }
        }
        drop(numbers);
        process.parts.journal.add(batch);
    }

    /// What the journal has released and passed on is taken.
    fn take(&mut self) {
        let Some(process) = &mut self.process else { return };
        for (ring, end) in self.released.lock().unwrap().drain() {
            if let Some(ring) = self.rings.get_mut(&ring) {
                ring.released = end;
            }
        }
        while let Ok(news) = process.parts.from_journal.try_recv() {
            process.parts.packer.take(news);
        }
    }

    /// A clean stop: all events are packed, and no segment is left.
    pub fn stop(&mut self) -> io::Result<()> {
        self.commit()?;
        self.pack(0xff)?;
        // Clicks that cannot be counted wait for the next start.
        let _ = self.count();
        if let Some(process) = &mut self.process {
            process.parts.packer.free(u64::MAX);
        }
        self.die();
        self.restart();
        Ok(())
    }

    /// The packer makes a round with all that waits for these feeds.
    pub fn pack(&mut self, feeds: u8) -> io::Result<()> {
        self.pack_or_leave(feeds, Remainders::Pack)
    }

    /// The packer makes a round with these feeds. What is too little for an object may stay.
    pub fn pack_or_leave(&mut self, feeds: u8, remainders: Remainders) -> io::Result<()> {
        let Some(process) = &mut self.process else { return Ok(()) };
        let due: Vec<u16> =
            process.parts.packer.waiting().into_iter().filter(|feed| feeds >> feed & 1 == 1).collect();
        let result = process.parts.packer.pack(&due, remainders);
        if result.is_ok() {
            process.parts.packer.free_unneeded();
        }
        result
    }

    pub fn count(&mut self) -> io::Result<()> {
        let Some(process) = &mut self.process else { return Ok(()) };
        process.parts.packer.count_all();
        process.parts.packer.free_unneeded();
        if process.parts.packer.uncounted() == 0 {
            Ok(())
        } else {
            Err(io::Error::other("the store of counts fails"))
        }
    }

    pub fn deliver(&mut self, forget: bool) {
        let Some(process) = &self.process else { return };
        let mut waiting = self.outbox.lock().unwrap();
        let Some(at) = waiting.iter().position(|(feed, _)| self.configured >> feed & 1 == 1) else { return };
        let (feed, object) = waiting.remove(at);
        drop(waiting);
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

    pub fn die(&mut self) {
        self.process = None;
        self.disk.heal();
        if let Some(damage) = self.state_damage.take() {
            damage.apply(&self.disk);
        }
        for ring in self.rings.values_mut() {
            ring.read = ring.released;
        }
    }

    pub fn lose_power(&mut self, luck: u64) {
        self.die();
        self.disk.lose_power(&mut fastrand::Rng::with_seed(luck));
        for ring in self.rings.values_mut() {
            // Rings are memory. Released clicks must be on the disk.
            for (id, _) in &ring.clicks[ring.released as usize..] {
                self.excused.insert(*id);
            }
            ring.lost = ring.clicks.len() as u64;
        }
        // The next process has new rings.
        self.epoch += 1;
    }

    pub fn plan(&self, after: u32, fault: Fault) {
        if let Some(process) = &self.process {
            self.disk.plan(after, fault, process.parts.retry.clone());
        }
    }

    pub fn restart(&mut self) {
        while self.start().is_err() {
            self.die();
        }
    }

    /// Nothing fails any more, and all feeds are configured: all clicks arrive.
    pub fn deliver_all(&mut self) {
        self.configured = 0b111;
        self.disk.heal();
        self.counts.fail(0);
        if self.process.is_none() {
            self.start().unwrap();
        }
        self.commit().unwrap();
        self.pack(0xff).unwrap();
        // Objects that were sent and not removed are sent again after the next start.
        self.die();
        self.start().unwrap();
        // What a process with a dead disk has left is packed first, and listed in the round after.
        self.pack(0xff).unwrap();
        self.pack(0xff).unwrap();
        self.count().unwrap();
        while !self.outbox.lock().unwrap().is_empty() {
            self.deliver(false);
        }
    }

    /// Checks that every click is where it must be, and counted once.
    pub fn check(&self) {
        let mut arrived: BTreeMap<(usize, String), u32> = BTreeMap::new();
        let mut listed: BTreeMap<String, u64> = BTreeMap::new();
        let mut objects: BTreeMap<String, u64> = BTreeMap::new();
        for ((feed, key), body) in &self.sinks {
            if ObjectKind::of(key) == Some(ObjectKind::Manifest) {
                let manifest = Manifest::parse(body).unwrap();
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
        let mut counted = self.counts.links();
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
        assert!(arrived.is_empty(), "no such click: {arrived:?}");
        assert!(counted.is_empty(), "no such click: {counted:?}");
        assert_eq!(listed, objects, "the manifests list every object");
        self.check_chain();
    }

    /// Checks that every manifest names the one before it, and that the hour of the last one is closed.
    fn check_chain(&self) {
        let manifests = self.sinks.iter().filter(|((_, key), _)| ObjectKind::of(key) == Some(ObjectKind::Manifest));
        let mut manifests: Vec<_> =
            manifests.map(|((_, key), body)| (key, body, Manifest::parse(body).unwrap())).collect();
        manifests.sort_by_key(|(_, _, manifest)| manifest.number);
        let mut before: Option<Previous> = None;
        let mut closed = BTreeMap::new();
        for (number, (key, body, manifest)) in (1..).zip(&manifests) {
            assert_eq!((manifest.number, &manifest.previous), (number, &before), "{key}");
            before = Some(Previous { key: (*key).clone(), sha256: hex(&Sha256::digest(body)) });
            closed.insert(manifest.hour, manifest.closed);
        }
        assert!(
            closed.values().all(|closed| *closed),
            "hours are over, and the last manifest of each says so: {closed:?}"
        );
        let spools: BTreeSet<_> = manifests.iter().map(|(_, _, manifest)| &manifest.spool).collect();
        assert!(spools.len() <= 1, "one spool has one identity: {spools:?}");
    }
}

fn micros(id: EventId) -> u64 {
    let bytes = id.as_bytes();
    let millis = bytes[..6].iter().fold(0_u64, |millis, byte| millis << 8 | u64::from(*byte));
    millis * 1_000
}
