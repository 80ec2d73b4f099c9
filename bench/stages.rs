//! What each stage costs for one click, on one core: `cargo bench`.
//!
//! Absolute times mean little on a shared machine; compare figures of one run.

#![allow(clippy::unwrap_used, clippy::format_push_string)]

use std::{collections::HashMap, hint::black_box, io::Write, path::Path, sync::Arc};

use clickedge::{
    capture::{Capture, ClientAddr, EventId, Facts, Flags, Pushed, RawClick, Texts, raw},
    catalog::{Catalog, CatalogStore, key::Host, source},
    clock, config,
    enrich::{CrawlerStore, GeoStore, Router, Shared, agent, bot::Lists, quality, referrer, worker::Enricher},
    redirect::{Decision, Request, decide},
    telemetry::metrics::Metrics,
};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use crossbeam::queue::ArrayQueue;
use flate2::{Compression, write::GzEncoder};
use pingora::http::RequestHeader;

const AGENT: &[u8] =
    b"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Mobile Safari/537.36";
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
            tags_json: br#"{"t-42":{"value":"Print"}}"#,
            scripts_json: b"",
        },
    }
}

fn enricher() -> Enricher {
    let geoip = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/demo/geoip.mmdb");
    Enricher::new(&Shared {
        geo: Arc::new(GeoStore::open(Some(&geoip)).unwrap()),
        crawlers: Arc::new(CrawlerStore::open(|| Ok(Lists::default())).unwrap()),
        router: Router::new(&[]),
        pop: "bench".into(),
        config: config::Enrich::default(),
        metrics: Arc::new(Metrics::new()),
        feeds: Vec::new(),
    })
}

fn redirect(c: &mut Criterion) {
    let store = CatalogStore::of(catalog(), &config::Catalog::default());
    let mut group = c.benchmark_group("redirect");
    group.throughput(Throughput::Elements(1));
    let headers: Vec<_> = (0..1_000).map(|n| request(&format!("/tag-{:06x}", n * 97 % LINKS))).collect();
    let mut next = headers.iter().cycle();
    group.bench_function("read request", |b| b.iter(|| black_box(Request::read(next.next().unwrap())).path.len()));
    group.bench_function("decide", |b| {
        b.iter(|| {
            let request = Request::read(next.next().unwrap());
            match decide(&store.load(), &request) {
                Decision::Redirect { location, .. } => location.len(),
                _ => unreachable!(),
            }
        });
    });
    let forwarded = request("/tag-00002a?utm_source=mail&utm_term=poster");
    group.bench_function("decide, query forwarded", |b| {
        b.iter(|| match decide(&store.load(), &Request::read(&forwarded)) {
            Decision::Redirect { location, .. } => location.len(),
            _ => unreachable!(),
        });
    });
    let catalog = store.load();
    let host = Host::parse(b"go.brand.com").unwrap();
    group.bench_function("look up", |b| b.iter(|| catalog.find(&host, next.next().unwrap().raw_path()).is_ok()));
    group.finish();
}

/// The way that needs no shared memory and does not survive a crash: a box for each click, in a queue.
struct Wiped(Box<[u8]>);

impl Wiped {
    fn encode(facts: &Facts<'_>) -> Self {
        Self(encode(facts).into_boxed_slice())
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0[raw::ADDRESS]);
    }
}

fn encode(facts: &Facts<'_>) -> Vec<u8> {
    let mut bytes = vec![0; raw::encoded_len(facts)];
    raw::encode_into(facts, &mut bytes);
    bytes
}

fn capture(c: &mut Criterion) {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let config = config::Capture { dir: dir.path().into(), ring_bytes: 4 << 20 };
    let (capture, mut inlets) = Capture::open(&config, 1, 1, &HashMap::new()).unwrap();
    let (inlet, receipts) = (&mut inlets[0], capture.receipts());
    let drain = |inlet: &mut clickedge::capture::Inlet| {
        let mut last = None;
        while let Some((click, mark)) = inlet.pop() {
            black_box(click);
            last = Some(mark);
        }
        if let Some(mark) = last {
            receipts.release(mark);
        }
    };
    let queue = ArrayQueue::<Wiped>::new(1_024);
    let facts = facts(1);
    let mut group = c.benchmark_group("capture");
    group.throughput(Throughput::Elements(CLICKS));
    // A worker empties the ring now and then; a batch is what one finds after a nap under load.
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
    let mut enricher = enricher();
    let mut text = Vec::with_capacity(1 << 20);
    let mut visitor = 0_u32;
    let clicks: Vec<_> = (0..1_000).map(|n| encode(&facts(n * 7))).collect();
    group.bench_function("raw click to JSON", |b| {
        b.iter(|| {
            if text.len() > 900_000 {
                text.clear();
            }
            visitor = (visitor + 1) % 1_000;
            let click = RawClick::parse(&clicks[visitor as usize]).unwrap();
            enricher.encode(&click.facts(), &mut text).unwrap();
        });
    });
    let agent_text = std::str::from_utf8(AGENT).unwrap();
    group.bench_function("agent, not cached", |b| b.iter(|| agent::parse(black_box(agent_text)).bot.is_none()));
    let evidence = quality::Evidence {
        path: b"/tag-00002a",
        query: b"utm_term=poster",
        referer: b"https://l.facebook.com/",
        agent: AGENT,
    };
    group.bench_function("quality", |b| b.iter(|| quality::judge(black_box(&evidence)).reasons.len()));
    group.bench_function("referrer", |b| {
        b.iter(|| referrer::referral(black_box(b"https://l.facebook.com/"), b"", "go.brand.com").is_some());
    });
    group.finish();
}

fn gzip(c: &mut Criterion) {
    const EVENTS: u32 = 1_000;
    let mut enricher = enricher();
    let mut text = Vec::new();
    for n in 0..EVENTS {
        enricher.encode(&facts(n * 7), &mut text).unwrap();
        text.push(b'\n');
    }
    let mut group = c.benchmark_group("gzip");
    group.throughput(Throughput::Elements(EVENTS.into()));
    group.bench_function("level 3", |b| {
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

criterion_group!(benches, redirect, capture, enrich, gzip);
criterion_main!(benches);
