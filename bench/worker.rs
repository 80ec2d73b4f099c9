//! Cost of a click after its redirect, on one core, for a realistic mix: `cargo bench --features full,jemalloc --bench
//! worker`.
//!
//! The mix is generated from a seed, not recorded: links by Zipf's law, 20,000 visitors, agents by rough shares (among
//! them applications with a string for each phone model), referrers, languages and queries as on shared links, and
//! addresses spread over the 57,000 networks of a generated database. As at an edge, a click is read from a ring into
//! which it was written a moment ago, and events are written in batches. Each step is measured alone over the same
//! clicks, then all together, with all caches of a worker. Figures are CPU time of this thread, the least of several
//! rounds; the first round, in which caches fill, is reported separately. `-- TEXT` measures only the steps with that
//! text in their name.

#![allow(clippy::unwrap_used)]

#[path = "worker/mix.rs"]
mod mix;

use std::{
    collections::BTreeMap, fs, hint::black_box, io::Write, net::IpAddr, path::Path, sync::Arc, time::Duration,
};

use clickedge::{
    click::{EventId, Facts, RawClick, wire::Version},
    config::{self, Format},
    enrich::{Routing, Shared, encoder::Enricher, metrics::EnrichMetrics},
    files::Reloadable,
    object::writer::ObjectWriter,
    quality::{self, velocity::VelocityTracker},
    runtime::clock,
    session::Sessions,
    stats::{Fold, Referrers, metrics::StatsMetrics},
    telemetry::{drops::Drops, metrics::Registry},
    visitor::{
        agent::{AgentCache, DEFAULT_CACHE_ENTRIES, hints::Hints},
        bot,
        geo::{Database, GeoStore, Locator},
        language, referrer,
    },
};
use flate2::{Compression, write::GzEncoder};
use ipnet::IpNet;
use mmdb_writer::Writer;
use nix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// The binary's.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const CLICKS: usize = 200_000;
const ROUNDS: usize = 7;
/// Events of one object.
const OBJECT: usize = 20_000;
/// Text that the packer collects before it compresses.
const COLLECTED_BYTES: usize = 64 * 1024;
/// Clicks that a worker finds in its rings: those of 20 milliseconds at an edge with 10,000 a second.
const WAITING: usize = 200;
/// Size at which a worker hands on a batch.
const BATCH_BYTES: usize = 128 * 1024;

fn main() {
    let raw = mix::clicks(CLICKS, address);
    let addresses: Vec<IpAddr> = raw.iter().map(|(address, _)| *address).collect();
    let clicks: Vec<Vec<u8>> = raw.into_iter().map(|(_, bytes)| bytes).collect();
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let shared = shared(dir.path());
    println!("{CLICKS} clicks, least of {ROUNDS} rounds (first round)      us a click");
    steps(&clicks, &addresses, &shared);
    let mut enricher = Enricher::new(&shared);
    let mut batch = Vec::new();
    let write = |facts: &Facts<'_>, enricher: &mut Enricher, out: &mut Vec<u8>| {
        enricher.encode(facts, false, |_| true, None, out).unwrap();
        out.push(b'\n');
    };
    let mut whole = |facts: &Facts<'_>| {
        if batch.len() >= BATCH_BYTES {
            batch = black_box(Vec::with_capacity(BATCH_BYTES + 8_192));
        }
        write(facts, &mut enricher, &mut batch);
    };
    step("enrich and encode", &clicks, &mut whole, |_| {}, |whole, facts| whole(facts));
    let (mut events, mut ends) = (Vec::new(), Vec::new());
    for click in &clicks {
        write(&RawClick::parse(click, Version::default()).unwrap().facts(), &mut enricher, &mut events);
        ends.push(events.len());
    }
    println!("  {} bytes an event", events.len() / CLICKS);
    gzip(&events, &ends);
    tallies(&clicks, &shared);
}

/// The packer's part: events from the journal, collected, and compressed. By both libraries, and last as objects are
/// written, with their SHA-256.
fn gzip(events: &[u8], ends: &[usize]) {
    let out = || Vec::with_capacity(8 << 20);
    objects(events, ends, "gzip by zlib-ng, level 3", || Collected::new(GzEncoder::new(out(), Compression::new(3))));
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    objects(events, ends, "gzip by ISA-L, its level 1", || {
        Collected::new(isal::write::Encoder::new(out(), isal::CompressionLevel::One, isal::Codec::Gzip))
    });
    objects(events, ends, "object: gzip, level 3, and SHA-256", || {
        let object = ObjectWriter::new(out(), Format::Ndjson, config::Compression::Gzip { level: 3 }).unwrap();
        object.limited_to(1 << 30, Some(0.1))
    });
}

/// An object that is being compressed.
trait Object {
    /// Adds an event, with its line feed.
    fn add(&mut self, event: &[u8]);
    /// Ends the object. Returns its size.
    fn finish(self) -> usize;
}

/// Text that is collected before an encoder gets it.
struct Collected<E> {
    text: Vec<u8>,
    encoder: E,
}

impl<E: Write> Collected<E> {
    fn new(encoder: E) -> Self {
        Self { text: Vec::with_capacity(COLLECTED_BYTES + 8_192), encoder }
    }

    fn collect(&mut self, event: &[u8]) {
        self.text.extend_from_slice(event);
        if self.text.len() >= COLLECTED_BYTES {
            self.encoder.write_all(&self.text).unwrap();
            self.text.clear();
        }
    }
}

impl Object for Collected<GzEncoder<Vec<u8>>> {
    fn add(&mut self, event: &[u8]) {
        self.collect(event);
    }

    fn finish(mut self) -> usize {
        self.encoder.write_all(&self.text).unwrap();
        self.encoder.finish().unwrap().len()
    }
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
impl Object for Collected<isal::write::Encoder<Vec<u8>>> {
    fn add(&mut self, event: &[u8]) {
        self.collect(event);
    }

    fn finish(mut self) -> usize {
        self.encoder.write_all(&self.text).unwrap();
        self.encoder.finish().unwrap().len()
    }
}

impl Object for ObjectWriter<Vec<u8>> {
    fn add(&mut self, event: &[u8]) {
        self.add(EventId::at(1), &event[..event.len() - 1]).unwrap();
        assert!(!self.is_full());
    }

    fn finish(self) -> usize {
        self.finish("key").unwrap().file.len()
    }
}

/// Measures writing all events in objects.
fn objects<O: Object>(events: &[u8], ends: &[usize], name: &str, begin: impl Fn() -> O) {
    if !is_wanted(name) {
        return;
    }
    let (mut bytes, mut journal, mut times) = (0, Vec::new(), Vec::new());
    for _ in 0..=ROUNDS {
        let (mut time, mut from) = (Duration::ZERO, 0);
        bytes = 0;
        for of_object in ends.chunks(OBJECT) {
            let mut object = begin();
            for some in of_object.chunks(WAITING) {
                let until = some[some.len() - 1];
                journal.clear();
                journal.extend_from_slice(&events[from..until]);
                let began = cpu_time();
                let mut start = from;
                for end in some {
                    object.add(&journal[start - from..end - from]);
                    start = *end;
                }
                time += cpu_time().saturating_sub(began);
                from = until;
            }
            let began = cpu_time();
            bytes += object.finish();
            time += cpu_time().saturating_sub(began);
        }
        times.push(time);
    }
    report(name, &times, ends.len());
    println!("  {} bytes an event", bytes / ends.len());
}

/// The steps of a worker, except plain copies.
fn steps(clicks: &[Vec<u8>], addresses: &[IpAddr], shared: &Shared) {
    let alone =
        |name: &str, run: &mut dyn FnMut(&Facts<'_>)| step(name, clicks, run, |_| {}, |run, facts| run(facts));
    alone("  read the raw click", &mut |facts| _ = black_box(facts.texts.query.len()));
    let mut agents = AgentCache::new(DEFAULT_CACHE_ENTRIES);
    alone("  agent and bot, with the worker's cache", &mut |facts| {
        let known = agents.facts(facts.texts.user_agent);
        let seen =
            bot::BotEvidence { signed: None, agent: known.bot.as_ref(), facts, network: None, behaviour: false };
        _ = black_box((bot::classify(&seen).is_some(), Hints::of(facts).is_empty()));
    });
    let mut velocity = VelocityTracker::new(Arc::clone(&shared.quality));
    alone("  velocity of the visitor", &mut |facts| _ = black_box(velocity.click(facts).bot));
    let facts_of: Vec<_> = clicks
        .iter()
        .map(|click| agents.facts(RawClick::parse(click, Version::default()).unwrap().facts().texts.user_agent))
        .collect();
    let mut known = facts_of.iter().cycle();
    alone("  session", &mut |facts| {
        _ = black_box(shared.sessions.click(facts, &known.next().unwrap().digest, None).first);
    });
    let mut locator = Locator::new(Arc::clone(&shared.geo));
    let mut from = addresses.iter().cycle();
    alone("  location", &mut |_| _ = black_box(from.next().and_then(|address| locator.locate(*address)).is_some()));
    alone("  language", &mut |facts| _ = black_box(language::preferred(facts.texts.accept_language).is_some()));
    let places = shared.sources.places.load();
    alone("  referrer", &mut |facts| {
        let referral = referrer::referral(facts.texts.referer, facts.texts.query, "go.brand.com", &places);
        _ = black_box(referral.is_some());
    });
    alone("  quality", &mut |facts| {
        let evidence = quality::Evidence {
            blocked_destination: shared.quality.destinations.block(facts.texts.destination),
            ..facts.evidence(known.next().unwrap().claims)
        };
        _ = black_box(quality::classify(&evidence).reasons.len());
    });
}

/// Cost of counting: the packer's fold of the tallies.
fn tallies(clicks: &[Vec<u8>], shared: &Shared) {
    let mut enricher = Enricher::new(shared);
    let texts: Vec<Vec<u8>> = clicks
        .iter()
        .map(|click| {
            let mut text = Vec::new();
            let click = RawClick::parse(click, Version::default()).unwrap();
            enricher.encode(&click.facts(), true, |_| false, None, &mut text).unwrap();
            text
        })
        .collect();
    let mut counted = (Fold::default(), Referrers::default(), 0);
    step(
        "count: fold the tally",
        clicks,
        &mut counted,
        |(fold, _, next)| (*fold, *next) = (Fold::default(), 0),
        |(fold, referrers, next), facts| {
            fold.add(&texts[*next], facts.micros, referrers);
            *next += 1;
        },
    );
}

fn shared(dir: &Path) -> Shared {
    let (config, registry) = (config::Enrich::default(), Registry::new());
    let database = dir.join("city.mmdb");
    fs::write(&database, cities()).unwrap();
    Shared {
        sessions: Arc::new(Sessions::open(dir, &config, None, clock::unix_micros()).unwrap()),
        geo: geo(&database),
        sources: Arc::default(),
        crawlers: Arc::default(),
        routing: Arc::new(Reloadable::new(Routing::nowhere(&config))),
        pop: "bench".into(),
        quality: Arc::new(quality::State::new(&config::Quality::default()).unwrap()),
        counts: true,
        tap: Arc::default(),
        metrics: Arc::new(EnrichMetrics::new(&registry, Drops::of_clicks(&registry))),
        stats: Arc::new(StatsMetrics::new(&registry)),
    }
}

fn geo(file: &Path) -> Arc<GeoStore> {
    let geo = GeoStore::default();
    geo.publish(Database::read(file).unwrap());
    Arc::new(geo)
}

/// An address of the visitor, in one of the generated networks.
fn address(visitor: u32) -> IpAddr {
    let mut random = fastrand::Rng::with_seed(visitor.into());
    IpAddr::from([random.u8(1..224), random.u8(..), random.u8(..), random.u8(..)])
}

/// A database with a place for each IPv4 network of 16 bits: 4,000 cities in 100 countries, with names in eight
/// languages, as in commercial ones.
fn cities() -> Vec<u8> {
    #[derive(Serialize)]
    struct Record {
        city: Named,
        country: Coded,
        location: Location,
        subdivisions: [Coded; 1],
    }
    #[derive(Serialize)]
    struct Named {
        names: BTreeMap<&'static str, String>,
    }
    #[derive(Serialize)]
    struct Coded {
        iso_code: String,
        names: BTreeMap<&'static str, String>,
    }
    #[derive(Serialize)]
    struct Location {
        latitude: f64,
        longitude: f64,
    }
    let names = |name: &str| -> BTreeMap<&'static str, String> {
        ["de", "en", "es", "fr", "ja", "pt-BR", "ru", "zh-CN"].map(|language| (language, name.to_owned())).into()
    };
    let coded = |code: String| Coded { names: names(&format!("Name of {code}")), iso_code: code };
    let mut random = fastrand::Rng::with_seed(7);
    let mut writer = Writer::builder("made-City").description(&[("en", "Made for a benchmark")]).build();
    for network in 0..223 * 256_u32 {
        let city = random.u32(..4_000);
        let (country, letters) = (city % 100, b"ABCDEFGHIJ");
        let code = [letters[country as usize / 10], letters[country as usize % 10]].map(char::from);
        let record = Record {
            city: Named { names: names(&format!("City {city}")) },
            country: coded(code.into_iter().collect()),
            location: Location { latitude: f64::from(city) / 50.0, longitude: f64::from(city) / 25.0 },
            subdivisions: [coded(format!("R{}", city % 16))],
        };
        let [high, low] = [(network >> 8) as u8 + 1, network as u8];
        writer.insert(format!("{high}.{low}.0.0/16").parse::<IpNet>().unwrap(), &record).unwrap();
    }
    writer.to_bytes().unwrap()
}

/// Measures a step over all clicks.
fn step<S: ?Sized>(
    name: &str,
    clicks: &[Vec<u8>],
    state: &mut S,
    begin: impl Fn(&mut S),
    run: impl Fn(&mut S, &Facts<'_>),
) {
    if !is_wanted(name) {
        return;
    }
    let (mut ring, mut places) = (Vec::new(), Vec::new());
    let round = || {
        begin(state);
        let mut time = Duration::ZERO;
        for some in clicks.chunks(WAITING) {
            ring.clear();
            places.clear();
            for click in some {
                places.push(ring.len()..ring.len() + click.len());
                ring.extend_from_slice(click);
            }
            let began = cpu_time();
            for place in &places {
                run(state, &RawClick::parse(&ring[place.clone()], Version::default()).unwrap().facts());
            }
            time += cpu_time().saturating_sub(began);
        }
        time
    };
    let times: Vec<Duration> = std::iter::repeat_with(round).take(ROUNDS + 1).collect();
    report(name, &times, clicks.len());
}

fn is_wanted(name: &str) -> bool {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    wanted.is_empty() || wanted.iter().any(|text| name.contains(text))
}

/// The least of all rounds but the first, and the first.
fn report(name: &str, times: &[Duration], clicks: usize) {
    let micros = |time: &Duration| time.as_secs_f64() * 1e6 / clicks as f64;
    let (first, others) = times.split_first().unwrap();
    println!("{name:<50} {:>10.2} {:>10}", micros(others.iter().min().unwrap()), format!("({:.2})", micros(first)));
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}
