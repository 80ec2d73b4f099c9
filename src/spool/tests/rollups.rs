//! Rollups as the packer makes them, from a store of counts that the test fills in place of the aggregator.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use serde_json::Value;
use tempfile::TempDir;

use super::world::spool_metrics;
use crate::{
    capture::RingPosition,
    click::EventId,
    config,
    enrich::{Batch, frame::Origin},
    object::{Object, ObjectKind},
    runtime::{Hour, clock},
    spool::{
        FeedSpec, SpoolBuilder,
        builder::SpoolParts,
        disk::{Disk, RealDisk},
        journal::News,
        metrics::SpoolMetrics,
        pack::{pending::Remainders, source::RollupSource},
        state::Position,
    },
    stats::{Counts, Delta, Key, StatsHandle, SubjectKind, rollup::Workspaces, store::Store},
};

const FEEDS: [&str; 2] = ["brand", "all"];

/// An edge whose clicks are counted when the test says so.
struct World {
    dir: TempDir,
    parts: SpoolParts,
    store: Store,
    /// Clicks that are in the journal and not counted.
    uncounted: Delta,
    known: Position,
    ring: u64,
    waiting: Arc<Mutex<Vec<(usize, Object)>>>,
}

fn specs(metrics: &SpoolMetrics) -> Vec<FeedSpec> {
    let spec = |name: &&str| {
        let mut spec =
            FeedSpec::unconfigured(name, "test", crate::spool::feed::Recipe::default(), metrics.feed(name));
        spec.configured = true;
        let workspaces = if *name == "brand" { "w-1" } else { "*" };
        spec.rollups = Some(Workspaces::new(&[workspaces.into()]));
        spec
    };
    FEEDS.iter().map(spec).collect()
}

fn start(dir: &Path, waiting: &Arc<Mutex<Vec<(usize, Object)>>>) -> SpoolParts {
    let metrics = spool_metrics();
    let config = config::Spool { dir: dir.into(), retain_secs: 0, ..config::Spool::default() };
    let disk = Arc::new(RealDisk::new(dir).unwrap());
    let lock = File::open("/dev/null").unwrap();
    let builder = SpoolBuilder::new(&config, "test", specs(&metrics), metrics);
    let mut recovered = builder.recover(disk, lock).unwrap();
    recovered.rollups_from(RollupSource::new(StatsHandle::new(dir), Arc::new(|_, _| None)).without_delays());
    let waiting = Arc::clone(waiting);
    let finished = move |feed, object| waiting.lock().unwrap().push((feed, object));
    recovered.assemble(Box::new(|_| {}), Box::new(finished))
}

/// The hour this long ago. From 2 on, it is over.
fn hours_ago(hours: u64) -> Hour {
    Hour::of_micros(clock::unix_micros() - hours * 3_600_000_000)
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(StatsHandle::new(dir.path()).file()).unwrap();
        store.mark_complete().unwrap();
        let waiting = Arc::default();
        let parts = start(dir.path(), &waiting);
        Self { dir, parts, store, uncounted: Delta::default(), known: (0, 0), ring: 0, waiting }
    }

    /// A click on a link of `w-1`, for both feeds, reaches the journal.
    fn click(&mut self, hour: Hour, slashtag: &str) {
        self.ring += 1;
        let micros = hour.since_epoch() * 3_600_000_000 + self.ring;
        let (id, position) = (EventId::at(micros), RingPosition { ring: 1, end: self.ring });
        let mut batch = Batch::default();
        let begun = batch.begin(2);
        let event = batch.frames.len();
        batch.frames.extend_from_slice(format!("{{\"id\":\"{id}\"}}").as_bytes());
        batch.end(begun, event, &Origin { ring_position: position, micros, id }, &[0, 1]);
        batch.read(position);
        self.parts.journal.add(batch);
        self.parts.journal.commit().unwrap();
        while let Ok(news) = self.parts.from_journal.try_recv() {
            if let News::Synced(synced) = &news {
                self.known = (synced.span.segment, synced.span.end);
            }
            self.parts.packer.take(news);
        }
        let counts = Counts { clicks: 1, humans: 1, bots: 0, sessions: 1, first: micros, last: micros };
        for (kind, scope, name) in
            [(SubjectKind::Link, "go.brand.com", slashtag), (SubjectKind::Domain, "w-1", "go.brand.com")]
        {
            let key = Key { kind, scope: scope.into(), name: name.into() };
            self.uncounted.entry((hour, key)).or_default().add(&counts);
        }
    }

    fn count(&mut self) {
        self.store.commit(&std::mem::take(&mut self.uncounted), self.known).unwrap();
    }

    fn pack(&mut self) -> io::Result<()> {
        let due = self.parts.packer.waiting();
        self.parts.packer.pack(&due, Remainders::Pack)
    }

    /// The process ends, after a finished round or not, and another one starts.
    fn restart(&mut self) {
        self.parts = start(self.dir.path(), &self.waiting);
        self.ring += 1_000;
    }

    /// Clicks by rollup and slashtag, in all rollups that wait for delivery.
    fn rollups(&self, feed: &str) -> BTreeMap<String, BTreeMap<String, u64>> {
        let outbox = self.dir.path().join("outbox").join(feed);
        let disk = RealDisk::new(self.dir.path()).unwrap();
        let files = disk.files_below(&outbox).unwrap();
        let key = |path: &PathBuf| path.strip_prefix(&outbox).unwrap().to_str().unwrap().to_owned();
        let files = files.into_iter().filter(|file| ObjectKind::of(&key(&file.path)) == Some(ObjectKind::Rollup));
        let clicks = |path: &Path| {
            let mut text = String::new();
            let file = File::open(path).unwrap();
            io::Read::read_to_string(&mut flate2::read::GzDecoder::new(file), &mut text).unwrap();
            let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            let links = lines.filter(|line| line["kind"] == "link");
            links
                .map(|line| (line["slashtag"].as_str().unwrap().to_owned(), line["clicks"].as_u64().unwrap()))
                .collect()
        };
        files.map(|file| (key(&file.path).rsplit_once('-').unwrap().1.to_owned(), clicks(&file.path))).collect()
    }
}

fn expected(rollups: &[(&str, &[(&str, u64)])]) -> BTreeMap<String, BTreeMap<String, u64>> {
    let links =
        |links: &[(&str, u64)]| links.iter().map(|(slashtag, clicks)| ((*slashtag).to_owned(), *clicks)).collect();
    rollups.iter().map(|(version, of)| (format!("{version}.ndjson.gz"), links(of))).collect()
}

#[test]
fn a_rollup_follows_when_all_packed_events_are_counted_and_again_when_clicks_come_late() {
    let mut world = World::new();
    let hour = hours_ago(3);
    world.click(hour, "spring");
    world.click(hour, "spring");
    world.pack().unwrap();
    world.pack().unwrap();
    assert_eq!(world.rollups("brand"), expected(&[]), "nothing is counted");

    world.count();
    world.pack().unwrap();
    world.pack().unwrap();
    let first = ("v1", &[("spring", 2)][..]);
    assert_eq!(world.rollups("brand"), expected(&[first]));
    assert_eq!(world.rollups("all"), expected(&[first]));

    // Counted before it is packed: the rollup waits for the object, and includes the click.
    world.click(hour, "late");
    world.count();
    world.pack().unwrap();
    world.pack().unwrap();
    let second = ("v2", &[("late", 1), ("spring", 2)][..]);
    assert_eq!(world.rollups("brand"), expected(&[first, second]));

    // Packed in a round in which a rollup without it is due.
    world.click(hour, "a");
    world.pack().unwrap();
    world.count();
    world.click(hour, "b");
    world.pack().unwrap();
    assert_eq!(world.rollups("brand"), expected(&[first, second]));
    world.count();
    world.pack().unwrap();
    let third = ("v3", &[("a", 1), ("b", 1), ("late", 1), ("spring", 2)][..]);
    assert_eq!(world.rollups("brand"), expected(&[first, second, third]));
    let keys = world.waiting.lock().unwrap().iter().filter(|(_, object)| object.kind == ObjectKind::Rollup).count();
    assert_eq!(keys, 6, "each was passed to delivery once");
}

#[test]
fn versions_continue_after_a_restart_and_a_due_rollup_stays_due() {
    let mut world = World::new();
    let hour = hours_ago(2);
    world.click(hour, "spring");
    world.count();
    world.pack().unwrap();
    world.pack().unwrap();
    world.click(hour, "late");
    world.pack().unwrap();
    world.restart();
    world.count();
    world.pack().unwrap();
    let versions = expected(&[("v1", &[("spring", 1)]), ("v2", &[("late", 1), ("spring", 1)])]);
    assert_eq!(world.rollups("brand"), versions);
    world.restart();
    world.pack().unwrap();
    assert_eq!(world.rollups("brand"), versions, "nothing is due");
}

#[test]
fn an_hour_gets_no_rollup_while_it_lasts_or_when_it_is_long_over_or_older_than_the_store() {
    let mut world = World::new();
    for hour in [hours_ago(0), hours_ago(50)] {
        world.click(hour, "spring");
    }
    world.count();
    world.pack().unwrap();
    world.pack().unwrap();
    assert_eq!(world.rollups("all"), expected(&[]));

    // A new store lacks earlier counts.
    let file = StatsHandle::new(world.dir.path()).file().to_owned();
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", file.display()));
    }
    world.store = Store::open(&file).unwrap();
    world.click(hours_ago(3), "spring");
    world.count();
    world.pack().unwrap();
    world.pack().unwrap();
    assert_eq!(world.rollups("all"), expected(&[]));
}

#[test]
fn objects_do_not_wait_for_a_store_that_fails() {
    let mut world = World::new();
    world.click(hours_ago(3), "spring");
    world.count();
    world.pack().unwrap();
    std::fs::write(StatsHandle::new(world.dir.path()).file(), "damaged".repeat(99)).unwrap();
    world.click(hours_ago(3), "spring");
    world.pack().unwrap();
    let events = world.waiting.lock().unwrap().iter().filter(|(_, object)| object.kind == ObjectKind::Events).count();
    assert_eq!((events, world.rollups("all").len()), (4, 0));
    let left = std::fs::read_dir(world.dir.path().join("build")).unwrap().count();
    assert_eq!(left, 0, "no unknown file is left");
}
