//! What a click costs after its redirect, on one core, for a mix as edges see it: `cargo bench --bench worker`.
//!
//! The mix is made, not recorded, from a seed: links and visitors by Zipf's law, agents by rough shares (applications
//! with a string for each phone model among them), referrers, languages and queries as they come on shared links, and
//! addresses spread over the 57,000 networks of a made database. Each step is measured alone over the same clicks, then
//! the whole, with everything that a worker remembers. Figures are CPU time of this thread, the least of several rounds;
//! the first round, in which caches fill, is one of its own.

#![allow(clippy::unwrap_used)]

#[path = "worker/mix.rs"]
mod mix;

use std::{
    collections::BTreeMap, fs, hint::black_box, io::Write, net::IpAddr, path::Path, sync::Arc, time::Duration,
};

use clickedge::{
    capture::{Facts, RawClick},
    clock, config,
    enrich::{
        CrawlerStore, GeoStore, Router, Sessions, Shared, Sources,
        agent::{AgentCache, hints::Hints},
        bot::{self, Lists},
        conduct::Conduct,
        geo::Locator,
        language, referrer,
        worker::{Enricher, Wanted},
    },
    quality::{self, Watch},
    stats::{Delta, Referrers, tally::Tally},
    telemetry::metrics::Metrics,
};
use flate2::{Compression, write::GzEncoder};
use ipnet::IpNet;
use mmdb_writer::Writer;
use serde::Serialize;

const CLICKS: usize = 200_000;
const ROUNDS: usize = 7;
/// Events of one object.
const OBJECT: usize = 20_000;

fn main() {
    let raw = mix::clicks(CLICKS, address);
    let clicks: Vec<RawClick<'_>> = raw.iter().map(|(_, bytes)| RawClick::parse(bytes).unwrap()).collect();
    let addresses: Vec<IpAddr> = raw.iter().map(|(address, _)| *address).collect();
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let shared = shared(dir.path());
    println!("{CLICKS} clicks, least of {ROUNDS} rounds (first round)      us a click");
    steps(&clicks, &addresses, &shared);
    let mut whole = Whole { enricher: Enricher::new(&shared), events: Vec::new(), ends: Vec::new() };
    step("enrich and encode", &clicks, &mut whole, Whole::clear, Whole::encode);
    println!("  {} bytes an event", whole.events.len() / CLICKS);
    let mut objects = Objects { events: &whole.events, ends: &whole.ends, written: 0, next: 0 };
    step("gzip, level 3, in objects of 20,000 events", &clicks, &mut objects, Objects::begin, Objects::add);
    println!("  {} bytes an event", objects.written / CLICKS);
    tallies(&clicks, &shared);
}

/// Everything that a worker does but hand the events on.
struct Whole {
    enricher: Enricher,
    events: Vec<u8>,
    ends: Vec<usize>,
}

impl Whole {
    fn clear(&mut self) {
        self.events.clear();
        self.ends.clear();
    }

    fn encode(&mut self, facts: &Facts<'_>) {
        let event = Wanted { tally: false, event: true };
        self.enricher.encode(facts, event, None, &mut self.events).unwrap();
        self.events.push(b'\n');
        self.ends.push(self.events.len());
    }
}

/// The packer's part: an object is compressed when its last event comes.
struct Objects<'a> {
    events: &'a [u8],
    ends: &'a [usize],
    written: usize,
    next: usize,
}

impl Objects<'_> {
    fn begin(&mut self) {
        (self.written, self.next) = (0, 0);
    }

    fn add(&mut self, _: &Facts<'_>) {
        self.next += 1;
        if !self.next.is_multiple_of(OBJECT) {
            return;
        }
        let from = self.next.checked_sub(OBJECT + 1).map_or(0, |before| self.ends[before]);
        let mut encoder = GzEncoder::new(Vec::new(), Compression::new(3));
        encoder.write_all(&self.events[from..self.ends[self.next - 1]]).unwrap();
        self.written += encoder.finish().unwrap().len();
    }
}

/// The steps of a worker that are more than a copy.
fn steps(clicks: &[RawClick<'_>], addresses: &[IpAddr], shared: &Shared) {
    let alone =
        |name: &str, run: &mut dyn FnMut(&Facts<'_>)| step(name, clicks, run, |_| {}, |run, facts| run(facts));
    alone("  read the raw click", &mut |facts| _ = black_box(facts.texts.query.len()));
    let mut agents = AgentCache::new(4_096);
    alone("  agent and bot, with the worker's cache", &mut |facts| {
        let known = agents.facts(facts.texts.user_agent);
        let seen = bot::Evidence { agent: known.bot.as_ref(), facts, network: None, behaviour: false };
        _ = black_box((bot::judge(&seen).is_some(), Hints::of(facts).is_empty()));
    });
    let mut conduct = Conduct::new(Arc::clone(&shared.watch));
    alone("  conduct of the visitor", &mut |facts| _ = black_box(conduct.click(facts).bot));
    alone("  session", &mut |facts| _ = black_box(shared.sessions.click(facts, None).first));
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
            blocked_destination: shared.watch.destinations.block(facts.texts.destination),
            ..facts.evidence()
        };
        _ = black_box(quality::judge(&evidence).reasons.len());
    });
}

/// What counting adds: the packer's fold of the tallies.
fn tallies(clicks: &[RawClick<'_>], shared: &Shared) {
    let mut enricher = Enricher::new(shared);
    let tally = Wanted { tally: true, event: false };
    let texts: Vec<Vec<u8>> = clicks
        .iter()
        .map(|click| {
            let mut text = Vec::new();
            enricher.encode(&click.facts(), tally, None, &mut text).unwrap();
            text
        })
        .collect();
    let mut counted = (Delta::default(), Referrers::default(), 0);
    step(
        "count: fold the tally",
        clicks,
        &mut counted,
        |(delta, _, next)| (*delta, *next) = (Delta::default(), 0),
        |(delta, referrers, next), facts| {
            Tally::parse(&texts[*next]).unwrap().fold(facts.micros, delta, referrers);
            *next += 1;
        },
    );
}

fn shared(dir: &Path) -> Shared {
    let (config, metrics) = (config::Enrich::default(), Arc::new(Metrics::new()));
    let database = dir.join("city.mmdb");
    fs::write(&database, cities()).unwrap();
    Shared {
        sessions: Arc::new(Sessions::open(dir, &config, clock::unix_micros(), &metrics).unwrap()),
        geo: Arc::new(GeoStore::open(Some(&database)).unwrap()),
        sources: Arc::new(Sources::open(&config).unwrap()),
        crawlers: Arc::new(CrawlerStore::open(|| Ok(Lists::default())).unwrap()),
        router: Router::new(&[]),
        pop: "bench".into(),
        watch: Arc::new(Watch::open(&config::Quality::default()).unwrap()),
        counts: true,
        feeds: Vec::new(),
        config,
        metrics,
    }
}

/// An address of the visitor, in one of the made database's networks.
fn address(visitor: u32) -> IpAddr {
    let mut random = fastrand::Rng::with_seed(visitor.into());
    IpAddr::from([random.u8(1..224), random.u8(..), random.u8(..), random.u8(..)])
}

/// A database with a place for each IPv4 network of 16 bits: 4,000 cities in 100 countries, with names in eight
/// languages, as those that are sold have them.
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
    clicks: &[RawClick<'_>],
    state: &mut S,
    begin: impl Fn(&mut S),
    run: impl Fn(&mut S, &Facts<'_>),
) {
    let mut round = || {
        begin(state);
        let began = cpu_time();
        for click in clicks {
            run(state, &click.facts());
        }
        cpu_time().saturating_sub(began)
    };
    let first = round();
    let least = std::iter::repeat_with(round).take(ROUNDS).min().unwrap();
    let micros = |time: Duration| time.as_secs_f64() * 1e6 / clicks.len() as f64;
    println!("{name:<50} {:>10.2} {:>10}", micros(least), format!("({:.2})", micros(first)));
}

/// CPU time of this thread, which the kernel brings up to date every few milliseconds.
fn cpu_time() -> Duration {
    let times = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(times.split(' ').next().unwrap().parse().unwrap())
}
