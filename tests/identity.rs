//! The identity of a spool: what an edge delivers collides with nothing, not even with an edge of the same name, and a
//! loader that remembers the last key it has read misses nothing in the layout `sequence`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use clickedge::object::manifest::Manifest;
use serde_json::Value;

use crate::common::{
    Edge, Stopped, TIMEOUT,
    cli::clickedge,
    clicks::{assert_exactly_once, click, click_with, noise, of_feed, wait_until_delivered},
    clock::Clock,
    events_of, objects_below,
    s3::{Fault, S3},
};

fn identity(dir: &Path) -> String {
    fs::read_to_string(dir.join("spool/identity")).unwrap().trim_end().to_owned()
}

/// Starts the edge again with an empty spool.
fn rebuild(stopped: Stopped) -> Edge {
    fs::remove_dir_all(stopped.dir().join("spool")).unwrap();
    stopped.restart()
}

#[test]
fn a_rebuilt_edge_collides_with_nothing_that_it_has_delivered_before() {
    let s3 = S3::start();
    let builder = Edge::builder();
    let local = builder.bucket("local");
    let edge = builder
        .feed_into("local", &["*"], &format!("manifest_secs = 1\nsink.dir.path = '{}'", local.display()))
        .feed_into("cloud", &["*"], &format!("manifest_secs = 1\n{}", s3.sink_toml("clicks", "prefix = \"brand\"")))
        .start();
    let mut clicks = click(&edge, "before", 7);
    let delivered = |edge: &Edge, events: usize| {
        for feed in ["local", "cloud"] {
            wait_until_delivered(edge, feed, events);
            edge.wait_until("manifests are delivered", |edge| edge.metric(&of_feed("outbox_objects", feed)) == 0);
        }
    };
    delivered(&edge, 7);
    edge.wait_until("manifests are finished and delivered", |edge| edge.log().matches("_manifest/").count() >= 4);
    let first = identity(edge.dir());
    let edge = rebuild(edge.stop());
    let second = identity(edge.dir());
    assert_ne!(first, second);
    assert!(
        clickedge(&["spool", "ls", "--config", edge.dir().join("clickedge.toml").to_str().unwrap()])
            .ok()
            .contains(&second)
    );

    clicks.extend(click(&edge, "after", 5));
    delivered(&edge, 5);
    edge.wait_until("the former spool is seen", |edge| {
        let log = edge.log();
        log.matches("another spool has delivered under the name of this edge").count() >= 2 && log.contains(&first)
    });
    for feed in ["local", "cloud"] {
        assert_eq!(edge.metric(&of_feed("feed_parked", feed)), 0);
    }
    let stopped = edge.stop();
    for root in [local, s3.bucket("clicks").join("brand")] {
        assert_exactly_once(&crate::common::events_below(&root), &clicks);
        let said = clickedge(&["feed", "verify", root.to_str().unwrap()]).ok();
        assert!(said.contains(&format!("-test-{first} ")) && said.contains(&format!("-test-{second} ")), "{said}");
        assert!(said.contains("\nproven: 12 events in "), "{said}");
    }
    assert!(stopped.status.success());
}

#[test]
fn a_spool_that_lost_its_identity_takes_it_from_its_keys() {
    let edge = Edge::builder().feed("all", &["*"]).start();
    let mut clicks = click(&edge, "a", 3);
    wait_until_delivered(&edge, "all", 3);
    let stopped = edge.stop();
    let before = identity(stopped.dir());
    fs::remove_file(stopped.dir().join("spool/identity")).unwrap();
    let edge = stopped.restart();
    assert_eq!(identity(edge.dir()), before);
    clicks.extend(click(&edge, "b", 3));
    wait_until_delivered(&edge, "all", 3);
    let stopped = edge.stop();
    let bucket = stopped.dir().join("bucket/all");
    assert_exactly_once(&crate::common::events_below(&bucket), &clicks);
    clickedge(&["feed", "verify", bucket.to_str().unwrap()]).ok();
}

#[test]
fn two_edges_of_one_name_in_one_prefix_lose_nothing_and_are_reported() {
    let s3 = S3::start();
    let sink = format!("manifest_secs = 1\n{}", s3.sink_toml("clicks", ""));
    let one = Edge::builder().feed_into("all", &["*"], &sink).start();
    let mut clicks = click(&one, "one", 5);
    wait_until_delivered(&one, "all", 5);
    one.wait_until("a manifest is delivered", |_| s3.puts().iter().any(|put| put.path.contains("/_manifest/")));
    let two = Edge::builder().feed_into("all", &["*"], &sink).start();
    two.wait_until("the other one is seen", |two| {
        two.log().contains(&format!("\"others\":\"{}\"", identity(one.dir())))
    });
    for round in 0..3 {
        clicks.extend(click(&one, &format!("one-{round}"), 4));
        clicks.extend(click(&two, &format!("two-{round}"), 4));
        wait_until_delivered(&one, "all", 5 + 4 * (round + 1));
        wait_until_delivered(&two, "all", 4 * (round + 1));
    }
    assert!(!one.log().contains("another spool has delivered"), "{}", one.log());
    for edge in [one, two] {
        assert!(edge.stop().status.success());
    }
    assert_exactly_once(&s3.events("clicks"), &clicks);
    let said = clickedge(&["feed", "verify", s3.bucket("clicks").to_str().unwrap()]).ok();
    assert!(said.contains("\nproven: 29 events in "), "{said}");
}

/// Reads what is new below a prefix, and remembers the last key of each folder.
#[derive(Default)]
struct Loader {
    last: BTreeMap<String, String>,
    events: Vec<Value>,
}

impl Loader {
    fn load(&mut self, root: &Path) {
        for folder in fs::read_dir(root).into_iter().flatten() {
            let folder = folder.unwrap();
            let name = folder.file_name().into_string().unwrap();
            if name.starts_with(['_', '.']) {
                continue;
            }
            let entries = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
            let keys: BTreeSet<_> = entries.map(|name| name.into_string().unwrap()).collect();
            let last = self.last.entry(name).or_default();
            for key in keys.iter().filter(|key| key.ends_with(".ndjson.gz") && *key > last) {
                self.events.extend(events_of(&fs::read(folder.path().join(key)).unwrap()));
            }
            *last = keys
                .into_iter()
                .filter(|key| key.ends_with(".ndjson.gz"))
                .chain([std::mem::take(last)])
                .max()
                .unwrap();
        }
    }

    fn load_all(&mut self, root: &Path, events: usize) {
        let until = Instant::now() + TIMEOUT;
        while self.events.len() < events {
            assert!(Instant::now() < until, "{} of {events} events are there", self.events.len());
            self.load(root);
            thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn a_loader_that_remembers_the_last_key_of_a_sequence_reads_every_event() {
    let s3 = S3::start();
    let sink = format!("layout = \"sequence\"\nmanifest_secs = 1\nmax_bytes = 4096\n{}", s3.sink_toml("clicks", ""));
    let root = s3.bucket("clicks");
    let (mut loader, mut clicks) = (Loader::default(), Vec::new());
    let one = Edge::builder().feed_into("all", &["*"], &sink).start();
    clicks.extend(click_with(&one, "one", 40, noise));
    loader.load_all(&root, 5);
    // The store fails in between: what is behind waits.
    let two = Edge::builder().feed_into("all", &["*"], &sink).start();
    for round in 0..3 {
        s3.set(Fault::Broken);
        clicks.extend(click_with(&one, &format!("one-{round}"), 20, noise));
        clicks.extend(click_with(&two, &format!("two-{round}"), 20, noise));
        loader.load(&root);
        thread::sleep(Duration::from_millis(300));
        s3.set(Fault::LostAnswer);
        thread::sleep(Duration::from_millis(200));
        s3.set(Fault::Healthy);
        loader.load_all(&root, clicks.len() - 20);
    }
    loader.load_all(&root, clicks.len());
    two.stop();
    // An edge that is rebuilt begins another folder; the kill leaves it to the next start to deliver.
    let one = rebuild(one.stop());
    clicks.extend(click_with(&one, "rebuilt", 20, noise));
    let one = one.kill().restart();
    loader.load_all(&root, clicks.len());
    one.stop();
    loader.load(&root);
    assert_exactly_once(&loader.events, &clicks);
    assert_eq!(loader.last.len(), 3, "{:?}", loader.last);
    for (folder, last) in &loader.last {
        let objects = fs::read_dir(root.join(folder)).unwrap().count();
        assert!(last.starts_with(&format!("{objects:012}.")), "{folder} ends with {last} after {objects} objects");
    }
    let said = clickedge(&["feed", "verify", root.to_str().unwrap()]).ok();
    assert!(said.contains(&format!("\nproven: {} events in ", clicks.len())), "{said}");
}

/// Both generations of a spool's state.
fn states(spool: &Path) -> [PathBuf; 2] {
    ["state", "state.previous"].map(|name| spool.join(name))
}

/// Leaves nothing of a file but its first half.
fn halve(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

#[test]
fn two_sequences_use_no_key_twice_and_keep_their_chains_whatever_happens_to_the_state() {
    type Damage = fn(&Path);
    let damages: [(bool, Damage); 6] = [
        (true, |spool| halve(&spool.join("state"))),
        (false, |_| {}),
        (true, |spool| states(spool).map(fs::remove_file).into_iter().for_each(Result::unwrap)),
        (false, |spool| {
            let [current, previous] = states(spool);
            halve(&current);
            halve(&previous);
        }),
        (true, |spool| fs::write(spool.join("state"), "").unwrap()),
        // Nothing says which numbers were used: the spool gets another identity.
        (false, |spool| {
            states(spool).map(fs::remove_file).into_iter().for_each(Result::unwrap);
            fs::remove_dir_all(spool.join("records")).unwrap();
        }),
    ];
    let s3 = S3::start();
    let builder = Edge::builder();
    let roots = [builder.bucket("local"), s3.bucket("clicks")];
    let more = "layout = \"sequence\"\nmanifest_secs = 1\nmax_bytes = 4096";
    let mut edge = builder
        .feed_into("local", &["*"], &format!("{more}\nsink.dir.path = '{}'", roots[0].display()))
        .feed_into("cloud", &["*"], &format!("{more}\n{}", s3.sink_toml("clicks", "")))
        .start();
    let (mut clicks, mut spools) = (Vec::new(), BTreeSet::new());
    let mut known: BTreeMap<PathBuf, Vec<u8>> = BTreeMap::new();
    let mut look = || {
        for path in roots.iter().flat_map(|root| objects_below(root)) {
            let bytes = fs::read(&path).unwrap();
            let before = known.entry(path.clone()).or_insert_with(|| bytes.clone());
            assert!(*before == bytes, "{} was used again", path.display());
        }
    };
    for (round, (kill, damage)) in damages.into_iter().enumerate() {
        spools.insert(identity(edge.dir()));
        assert_eq!(spools.len(), 1);
        clicks.extend(click_with(&edge, &format!("round-{round}"), 20, noise));
        let objects = |edge: &Edge| edge.metric(&of_feed("events_spooled_total", "local")) > 0;
        edge.wait_until("objects are made", objects);
        let stopped = if kill { edge.kill() } else { edge.stop() };
        damage(&stopped.dir().join("spool"));
        look();
        edge = stopped.restart();
    }
    spools.insert(identity(edge.dir()));
    clicks.extend(click_with(&edge, "last", 20, noise));
    let stopped = edge.stop();
    assert!(stopped.status.success());
    look();
    assert_eq!(spools.len(), 2);
    for (root, feed) in roots.iter().zip(["local", "cloud"]) {
        assert_exactly_once(&crate::common::events_below(root), &clicks);
        let said = clickedge(&["feed", "verify", root.to_str().unwrap()]).ok();
        assert!(said.contains(&format!("\nproven: {} events in ", clicks.len())), "{said}");
        assert!(spools.iter().all(|spool| said.contains(&format!("{feed}-test-{spool} "))), "{said}");
    }
}

/// The manifests below a folder, by number.
fn manifests(dir: &Path) -> Vec<Manifest> {
    let mut found = Vec::new();
    for path in fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            found.extend(manifests(&path));
        } else if !name.starts_with('.') {
            found.push(Manifest::parse(&fs::read(path).unwrap()).unwrap());
        }
    }
    found.sort_by_key(|manifest| manifest.number);
    found
}

#[test]
fn an_edge_that_gets_another_name_closes_its_hours_under_the_former_one() {
    let builder = Edge::builder();
    let root = builder.bucket("all");
    let Some(clock) = Clock::new(builder.dir()) else { return };
    clock.set(-7_200);
    let sink = format!("manifest_secs = 1\nsink.dir.path = '{}'", root.display());
    let edge = clock.start(builder.feed_into("all", &["*"], &sink));
    let mut clicks = click(&edge, "former", 5);
    let closed = |pop: &str| -> Vec<bool> {
        let of_pop = manifests(&root.join("_manifest")).into_iter().filter(|manifest| manifest.pop == pop);
        of_pop.map(|manifest| manifest.closed).collect()
    };
    edge.wait_until("a manifest is there", |_| !closed("test").is_empty());
    assert!(!closed("test").contains(&true), "the hour lasts");
    let stopped = edge.stop();
    // Two hours later; that the clock jumped is not what is tested here.
    clock.set(0);
    fs::remove_file(stopped.dir().join("spool/time")).unwrap();
    stopped.reconfigure(|config| config.replace("pop = \"test\"", "pop = \"renamed\""));
    let edge = clock.restart(stopped);
    clicks.extend(click(&edge, "renamed", 5));
    edge.wait_until("both names have manifests", |_| {
        closed("test").last() == Some(&true) && closed("renamed").last() == Some(&false)
    });
    let _stopped = edge.stop();
    assert_exactly_once(&crate::common::events_below(&root), &clicks);
    let said = clickedge(&["feed", "verify", root.to_str().unwrap()]).ok();
    assert!(said.contains("all-test-") && said.contains("all-renamed-"), "{said}");
    assert!(said.contains("\nproven: 10 events in "), "{said}");
}

#[test]
fn a_late_hour_comes_last_in_a_sequence() {
    let builder = Edge::builder();
    let root = builder.bucket("all");
    let Some(clock) = Clock::new(builder.dir()) else { return };
    let sink = format!("layout = \"sequence\"\nmanifest_secs = 1\nsink.dir.path = '{}'", root.display());
    let edge = clock.start(builder.feed_into("all", &["*"], &sink));
    let (mut loader, mut clicks) = (Loader::default(), Vec::new());
    for (round, offset) in [0, -3_600, 0, -7_200].into_iter().enumerate() {
        clock.set_under(&edge, offset);
        clicks.extend(click(&edge, &format!("round-{round}"), 5));
        loader.load_all(&root, clicks.len());
    }
    let _stopped = edge.stop();
    assert_exactly_once(&loader.events, &clicks);
    let hours: BTreeSet<_> =
        loader.events.iter().map(|event| event["timestamp"].as_str().unwrap()[..13].to_owned()).collect();
    assert!(hours.len() >= 3, "{hours:?}");
    let said = clickedge(&["feed", "verify", root.to_str().unwrap()]).ok();
    assert!(said.contains("\nproven: 20 events in "), "{said}");
}
