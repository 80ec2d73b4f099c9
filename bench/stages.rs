//! Cost of each stage for one click, on one core: `cargo bench --features full`.
//!
//! Absolute times mean little on a shared machine; compare figures of one run.

#![allow(clippy::unwrap_used, clippy::format_push_string, clippy::format_collect)]

use std::{collections::HashMap, hint::black_box, io::Write, path::Path, sync::Arc};

use clickedge::{
    capture::{Capture, Pushed},
    catalog::{Catalog, CatalogStore, source},
    click::{
        ClientAddr, EventId, Facts, Flags, Protocol, RawClick, Texts,
        wire::{self, Version},
    },
    config,
    enrich::{Routing, Shared, encoder::Enricher, metrics::EnrichMetrics},
    files::Reloadable,
    link::key::Host,
    quality,
    redirect::{
        Decision, Head,
        decide::{Step, Untraced, look_up},
    },
    runtime::clock,
    session::Sessions,
    stats::{Fold, Referrers, metrics::StatsMetrics},
    telemetry::{drops::Drops, metrics::Registry},
    visitor::{
        agent::{
            self,
            hints::{Hints, overlay},
        },
        bot,
        geo::{Database, GeoStore},
        language,
        network::Networks,
        privacy::Policies,
        referrer,
    },
};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use crossbeam_queue::ArrayQueue;
use flate2::{Compression, write::GzEncoder};
use pingora::http::RequestHeader;
use woothee::parser::Parser;

const AGENT: &[u8] =
    b"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Mobile Safari/537.36";
/// What humans send, one of each kind.
const MIX: [&str; 6] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_3_2 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.3.1 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (Linux; Android 14; SM-S918B Build/UP1A.231005.007; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/131.0.6778.81 Mobile Safari/537.36 [FB_IAB/FB4A;FBAV/491.0.0.54.74;]",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/22B83 Instagram 360.0.0.27.86 (iPhone15,3; iOS 18_1; en_GB; scale=3.00; 1290x2796; 670000000)",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:133.0) Gecko/20100101 Firefox/133.0",
];
/// The most expensive pieces known: each repeated until a header is full.
const HOSTILE: [&str; 8] = [
    "a",
    "- ",
    "Mozilla/5.0 (Windows Phone; ",
    "iPhone; like Mac OS ",
    "BB10 Version/1 ",
    "FB_IAB/FBAN/Orca SmartTV Linux ",
    "Safari Version Android Chrom ",
    "crawle spide DoCoMo KDDI- UP.Browser ",
];
const LINKS: usize = 100_000;
/// Clicks of one round through a ring.
const CLICKS: u64 = 500;

fn catalog() -> Catalog {
    let mut text = String::new();
    for n in 0..LINKS {
        text += &format!(
            r#"{{"id":"{n:032x}","slashtag":"tag-{n:06x}","destination":"https://www.example.com/landing/{n}?utm_source=link","createdAt":"2026-03-01T09:30:00.000Z","domain":{{"id":"d-1","fullName":"go.brand.com"}},"creator":{{"id":"u-{c}","fullName":"Ana Lima"}},"workspace":{{"id":"w-{c}","name":"Marketing"}},"tags":[{{"id":"t-{c}","name":"Print"}}],"forwardParameters":true}}"#,
            c = n % 100
        );
        text.push('\n');
    }
    source::load(text.as_bytes(), &config::Catalog::default()).unwrap().0
}

fn request(target: &str) -> RequestHeader {
    let mut header = RequestHeader::build("GET", target.as_bytes(), None).unwrap();
    for (name, value) in [
        ("Host", "go.brand.com"),
        ("User-Agent", std::str::from_utf8(AGENT).unwrap()),
        ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        ("Accept-Language", "en-US,en;q=0.9,de;q=0.7"),
        ("Accept-Encoding", "gzip, deflate, br, zstd"),
        ("Referer", "https://l.facebook.com/"),
        ("Sec-Fetch-Dest", "document"),
        ("Sec-Fetch-Mode", "navigate"),
    ] {
        header.append_header(name, value).unwrap();
    }
    header
}

fn facts(visitor: u32) -> Facts<'static> {
    let micros = clock::unix_micros();
    Facts {
        id: EventId::at(micros),
        micros,
        client: ClientAddr::from_ip((0x7f00_0000 | visitor & 0xff_ffff).to_be_bytes().into()),
        status: 302,
        protocol: Protocol::Http11,
        flags: Flags::default(),
        texts: Texts {
            user_agent: AGENT,
            referer: b"https://l.facebook.com/",
            accept_language: b"en-US,en;q=0.9,de;q=0.7",
            hint_brands: br#""Chromium";v="126", "Google Chrome";v="126", "Not.A/Brand";v="24""#,
            hint_platform: br#""Android""#,
            hint_platform_version: b"",
            hint_form_factors: b"",
            requested_with: b"",
            query: b"utm_term=poster",
            path: b"/tag-00002a",
            destination: b"https://www.example.com/landing/42?utm_source=link&utm_term=poster",
            link_id: b"0000000000000000000000000000002a",
            slashtag: b"tag-00002a",
            created_at: b"2026-03-01T09:30:00.000Z",
            workspace: b"w-42",
            host: b"go.brand.com",
            creator_json: br#"{"id":"u-42","name":"Ana Lima","workspace":{"id":"w-42","name":"Marketing"}}"#,
            domain_json: br#"{"id":"d-1","raw":"go.brand.com","zone":"com.brand.go"}"#,
            tags_json: br#"[{"id":"t-42","name":"Print"}]"#,
            scripts_json: b"",
            ..Texts::default()
        },
    }
}

fn read(header: &RequestHeader) -> Head<'_> {
    Head::read(&header.method, header.raw_path(), header.version, &header.headers)
}

fn geo(file: &Path) -> Arc<GeoStore> {
    let geo = GeoStore::default();
    geo.publish(Database::read(file).unwrap());
    Arc::new(geo)
}

fn state(config: &config::Quality) -> Arc<quality::State> {
    Arc::new(quality::State::new(config).unwrap())
}

fn enricher(dir: &Path) -> Enricher {
    let geoip = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/demo/geoip.mmdb");
    let (config, registry) = (config::Enrich::default(), Registry::new());
    let sessions = Sessions::open(dir, &config, None, clock::unix_micros()).unwrap();
    Enricher::new(&Shared {
        sessions: Arc::new(sessions),
        geo: geo(&geoip),
        counts: true,
        tap: Arc::default(),
        sources: Arc::default(),
        crawlers: Arc::default(),
        routing: Arc::new(Reloadable::new(Routing::nowhere(&config))),
        pop: "bench".into(),
        metrics: Arc::new(EnrichMetrics::new(&registry, Drops::of_clicks(&registry))),
        stats: Arc::new(StatsMetrics::new(&registry)),
        quality: state(&config::Quality::default()),
    })
}

/// How long the location is to which a link without a policy leads.
fn length(step: Step<'_>) -> usize {
    match step {
        Step::Decided(Decision::Click(target)) => target.location.len(),
        _ => unreachable!(),
    }
}

fn redirect(c: &mut Criterion) {
    let store = CatalogStore::of(catalog(), &config::Catalog::default());
    let mut group = c.benchmark_group("redirect");
    group.throughput(Throughput::Elements(1));
    let headers: Vec<_> = (0..1_000).map(|n| request(&format!("/tag-{:06x}", n * 97 % LINKS))).collect();
    let mut next = headers.iter().cycle();
    group.bench_function("read request", |b| b.iter(|| black_box(read(next.next().unwrap())).path.len()));
    group.bench_function("decide", |b| {
        b.iter(|| {
            let request = read(next.next().unwrap());
            length(look_up(&store.load(), &request, &mut Untraced))
        });
    });
    let forwarded = request("/tag-00002a?utm_source=mail&utm_term=poster");
    group.bench_function("decide, query forwarded", |b| {
        b.iter(|| length(look_up(&store.load(), &read(&forwarded), &mut Untraced)));
    });
    let catalog = store.load();
    let host = Host::parse(b"go.brand.com").unwrap();
    group.bench_function("look up", |b| b.iter(|| catalog.find(&host, next.next().unwrap().raw_path()).is_ok()));
    group.finish();
}

/// The alternative without shared memory, which does not survive a crash: a box for each click, in a queue.
struct Wiped(Box<[u8]>);

impl Wiped {
    fn encode(facts: &Facts<'_>) -> Self {
        Self(encode(facts).into_boxed_slice())
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0[wire::ADDRESS]);
    }
}

fn encode(facts: &Facts<'_>) -> Vec<u8> {
    let mut bytes = vec![0; wire::encoded_len(facts)];
    wire::encode_into(facts, &mut bytes);
    bytes
}

fn capture(c: &mut Criterion) {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let config = config::Capture { dir: dir.path().join("rings"), ring_bytes: 4 << 20 };
    let (capture, mut inlets) = Capture::open(&config, 1, 1, &HashMap::new()).unwrap();
    let (inlet, acks) = (&mut inlets[0], capture.acks());
    let drain = |inlet: &mut clickedge::capture::Inlet| {
        let mut last = None;
        while let Some((click, position)) = inlet.pop() {
            black_box(click);
            last = Some(position);
        }
        if let Some(position) = last {
            acks.ack(position);
        }
    };
    let queue = ArrayQueue::<Wiped>::new(1_024);
    let facts = facts(1);
    let mut group = c.benchmark_group("capture");
    group.throughput(Throughput::Elements(CLICKS));
    // A worker empties the ring from time to time; a batch is what it finds after a sleep under load.
    group.bench_function("ring: push", |b| {
        b.iter_batched(
            || drain(inlet),
            |()| (0..CLICKS).for_each(|_| assert_eq!(capture.push(black_box(&facts)), Pushed::Captured)),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("queue of boxes: push", |b| {
        b.iter_batched(
            || while queue.pop().is_some() {},
            |()| (0..CLICKS).for_each(|_| assert!(queue.push(Wiped::encode(black_box(&facts))).is_ok())),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("ring: push, pop, release", |b| {
        b.iter(|| {
            (0..CLICKS).for_each(|_| assert_eq!(capture.push(black_box(&facts)), Pushed::Captured));
            drain(inlet);
        });
    });
    group.bench_function("queue of boxes: push, pop, drop", |b| {
        b.iter(|| {
            (0..CLICKS).for_each(|_| assert!(queue.push(Wiped::encode(black_box(&facts))).is_ok()));
            while let Some(click) = queue.pop() {
                black_box(click.0.len());
            }
        });
    });
    group.finish();
}

fn enrich(c: &mut Criterion) {
    let mut group = c.benchmark_group("enrich");
    group.throughput(Throughput::Elements(1));
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut enricher = enricher(dir.path());
    let mut text = Vec::with_capacity(1 << 20);
    let mut visitor = 0_u32;
    let clicks: Vec<_> = (0..1_000).map(|n| encode(&facts(n * 7))).collect();
    for (name, tally, event) in
        [("raw click to JSON", false, true), ("raw click to a tally", true, false), ("raw click to both", true, true)]
    {
        group.bench_function(name, |b| {
            b.iter(|| {
                if text.len() > 900_000 {
                    text.clear();
                }
                visitor = (visitor + 1) % 1_000;
                let click = RawClick::parse(&clicks[visitor as usize], Version::default()).unwrap();
                enricher.encode(&click.facts(), tally, |_| event, None, &mut text).unwrap()
            });
        });
    }
    let bare: Vec<_> = (0..1_000)
        .map(|n| {
            let mut facts = facts(n * 7);
            (facts.texts.hint_brands, facts.texts.hint_platform) = (b"", b"");
            encode(&facts)
        })
        .collect();
    group.bench_function("raw click to JSON, no hints", |b| {
        b.iter(|| {
            if text.len() > 900_000 {
                text.clear();
            }
            visitor = (visitor + 1) % 1_000;
            let click = RawClick::parse(&bare[visitor as usize], Version::default()).unwrap();
            enricher.encode(&click.facts(), false, |_| true, None, &mut text).unwrap();
        });
    });
    let agent_text = std::str::from_utf8(AGENT).unwrap();
    group.bench_function("agent, not cached", |b| b.iter(|| agent::parse(black_box(agent_text)).bot.is_none()));
    let mut humans = MIX.iter().cycle();
    group.bench_function("agent, not cached: what humans send", |b| {
        b.iter(|| agent::parse(black_box(humans.next().unwrap())).bot.is_none());
    });
    for piece in HOSTILE {
        let long = piece.repeat(wire::MAX_HEADER / piece.len());
        group.bench_function(format!("agent, not cached: 2 kB of {piece:?}"), |b| {
            b.iter(|| agent::parse(black_box(&long)).bot.is_none());
        });
    }
    let long = HOSTILE[2].repeat(bot::MAX_AGENT_BYTES / HOSTILE[2].len());
    group.bench_function("woothee alone, 1 kB of the third", |b| {
        b.iter(|| Parser::new().parse(black_box(&long)).is_some());
    });
    let frozen = agent::parse(agent_text);
    let hints = Hints::of(&facts(1));
    group.bench_function("hints, not cached", |b| b.iter(|| overlay(black_box(&frozen), &hints).device.is_some()));
    let evidence = quality::Evidence {
        path: b"/tag-00002a",
        query: b"utm_term=poster",
        referer: b"https://l.facebook.com/",
        agent: quality::Claims::read(AGENT),
        ..quality::Evidence::default()
    };
    group.bench_function("quality", |b| b.iter(|| quality::classify(black_box(&evidence)).reasons.len()));
    bench_sources(&mut group);
    let none = referrer::Places::default();
    group.bench_function("referrer", |b| {
        b.iter(|| referrer::referral(black_box(b"https://l.facebook.com/"), b"", "go.brand.com", &none).is_some());
    });
    group.finish();
}

/// The packer's work on each tally: links that were clicked before, and new ones.
fn count(c: &mut Criterion) {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut enricher = enricher(dir.path());
    let mut group = c.benchmark_group("count");
    group.throughput(Throughput::Elements(1));
    for (name, links) in [("fold, 1,000 links", 1_000_u32), ("fold, 100,000 links", 100_000)] {
        let slashtags: Vec<String> = (0..links).map(|n| format!("tag-{n:06x}")).collect();
        let tallies: Vec<Vec<u8>> = (0..links)
            .map(|n| {
                let mut facts = facts(n);
                facts.texts.slashtag = slashtags[n as usize].as_bytes();
                let mut tally = Vec::new();
                enricher.encode(&facts, true, |_| false, None, &mut tally).unwrap();
                tally
            })
            .collect();
        let (mut fold, mut referrers) = (Fold::default(), Referrers::default());
        let (mut next, micros) = (0, clock::unix_micros());
        group.bench_function(name, |b| {
            b.iter(|| {
                // As in the packer: a part ends, and the next begins empty.
                if next == tallies.len() {
                    (next, fold) = (0, Fold::default());
                }
                fold.add(black_box(&tallies[next]), micros, &mut referrers);
                next += 1;
            });
        });
    }
    group.finish();
}

/// Cost of the operator's lists.
fn bench_sources<M: criterion::measurement::Measurement>(group: &mut criterion::BenchmarkGroup<'_, M>) {
    const NETWORKS: u32 = 100_000;
    let dir = tempfile::tempdir().unwrap();
    let [hosting, socials] = ["hosting.txt", "Socials.yml"].map(|name| dir.path().join(name));
    // Every other /24 from 16.0.0.0 on.
    let list: String =
        (0..NETWORKS).map(|n| format!("{}/24\n", std::net::Ipv4Addr::from((1 << 28) + n * 512))).collect();
    std::fs::write(&hosting, list).unwrap();
    std::fs::write(&socials, (0..500).map(|n| format!("p{n}: [p{n}.example]\n")).collect::<String>()).unwrap();
    let enrich = config::Enrich {
        hosting_networks_file: Some(hosting),
        socials_file: Some(socials),
        ..config::Enrich::default()
    };
    let networks = Networks::read(&enrich).unwrap();
    let mut address = 1_u32 << 28;
    group.bench_function("network, of 100,000", |b| {
        b.iter(|| {
            address = (1 << 28) | (address.wrapping_mul(1_664_525).wrapping_add(1_013_904_223) & 0x03ff_ffff);
            networks.of(black_box(address.to_be_bytes().into())).is_some()
        });
    });
    let places = referrer::Places::read(&enrich).unwrap();
    group.bench_function("referrer, with 500 places", |b| {
        b.iter(|| referrer::referral(black_box(b"https://l.facebook.com/"), b"", "go.brand.com", &places).is_some());
    });
    group.bench_function("referrer, by its mark", |b| {
        b.iter(|| referrer::referral(b"", black_box(b"utm_term=poster&fbclid=1"), "go.brand.com", &places).is_some());
    });
    group.bench_function("language", |b| {
        b.iter(|| language::preferred(black_box(b"en-US,en;q=0.9,de;q=0.7")).is_some());
    });
    let policies = Policies::new(&enrich);
    group.bench_function("policy, no exceptions", |b| b.iter(|| policies.of(black_box(b"w-42")).honour_opt_out));
}

fn gzip(c: &mut Criterion) {
    const EVENTS: u32 = 1_000;
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut enricher = enricher(dir.path());
    let mut text = Vec::new();
    for n in 0..EVENTS {
        enricher.encode(&facts(n * 7), false, |_| true, None, &mut text).unwrap();
        text.push(b'\n');
    }
    let mut group = c.benchmark_group("gzip");
    group.throughput(Throughput::Elements(EVENTS.into()));
    group.bench_function("zlib-ng, level 3", |b| {
        b.iter_batched(
            || GzEncoder::new(Vec::new(), Compression::new(3)),
            |mut encoder| {
                encoder.write_all(&text).unwrap();
                encoder.finish().unwrap().len()
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, redirect, capture, enrich, count, gzip);
criterion_main!(benches);
