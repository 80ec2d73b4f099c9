//! Cost of the store of counts: commits of clicks on popular and on ever new links, queries on millions of rows, and
//! the size on disk. `cargo bench --features full --bench counts -- [HOURS]`
#![allow(clippy::unwrap_used)]

use std::{
    hint::black_box,
    path::Path,
    time::{Duration, Instant},
};

use clickedge::{
    runtime::Hour,
    stats::{
        Counts, Delta, Key, SubjectKind,
        store::{Order, Retention, Scope, Snapshot, Step, Store},
    },
};

const LINKS: f64 = 1e7;
const DOMAINS: u64 = 1_000;
const START: u64 = 490_000;
const LIMIT: Duration = Duration::from_secs(600);

fn main() {
    let hours: u64 = std::env::args().find_map(|word| word.parse().ok()).unwrap_or(48);
    let dir = tempfile::tempdir_in(std::env::var("BENCH_DIR").unwrap_or_else(|_| "target".into())).unwrap();
    let mut random = fastrand::Rng::with_seed(7);

    let file = dir.path().join("zipf.sqlite");
    let mut store = Store::open(&file).unwrap();
    println!("popular links (Zipf over 10 M), 20,000 clicks a commit:");
    fill(&mut store, 20, |n| clicks(&mut random, START + n / 10, 20_000, true));
    drop(store);
    let file = dir.path().join("distinct.sqlite");
    let mut store = Store::open(&file).unwrap();
    println!("a new link with every click, 20,000 clicks a commit:");
    fill(&mut store, 20, |n| clicks(&mut random, START + n / 10, 20_000, false));
    drop(store);

    let file = dir.path().join("large.sqlite");
    let mut store = Store::open(&file).unwrap();
    println!("{hours} hours of 5 commits of 40,000 clicks on popular links each:");
    fill(&mut store, hours * 5, |n| clicks(&mut random, START + n / 5, 40_000, true));
    let mut reader = store.reader().unwrap();
    let snapshot = reader.snapshot(LIMIT).unwrap();
    let rows = Rows::of(&file);
    println!("  {} rows, {:.0} bytes each", rows.count, rows.bytes as f64 / rows.count as f64);
    queries(&snapshot, hours);
    drop(snapshot);
    let before = Instant::now();
    black_box(store.reader().unwrap().snapshot(LIMIT).unwrap().counted().unwrap());
    println!("  open a reader                        {:>9.2} ms", millis(before));

    let before = Instant::now();
    let mut steps = 0;
    let mut longest = Duration::ZERO;
    loop {
        let step = Instant::now();
        let later = Hour::of_micros((START / 24 + 6) * 24 * 3_600_000_000);
        if !store.retain(Retention { hours_days: 3, days: 400 }, later).unwrap() {
            break;
        }
        longest = longest.max(step.elapsed());
        steps += 1;
    }
    let mean = millis(before) / f64::from(steps.max(1));
    println!("  sum hours into days: {steps} steps, {mean:.1} ms each, the longest {} ms", longest.as_millis());
    let before = Instant::now();
    rusqlite::Connection::open(&file).unwrap().query_row("PRAGMA quick_check", [], |_| Ok(())).unwrap();
    println!("  PRAGMA quick_check                   {:>9.2} ms", millis(before));
}

fn fill(store: &mut Store, commits: u64, mut delta: impl FnMut(u64) -> Delta) {
    let (mut spent, mut rows, mut longest) = (Duration::ZERO, 0, Duration::ZERO);
    for n in 0..commits {
        let delta = delta(n);
        let before = Instant::now();
        store.commit(&delta, (1, n)).unwrap();
        spent += before.elapsed();
        longest = longest.max(before.elapsed());
        rows += delta.len();
    }
    let (rate, mean) = (rows as f64 / spent.as_secs_f64(), spent.as_secs_f64() * 1e3 / commits as f64);
    println!(
        "  {rows} upserts in {commits} commits: {rate:.0} a second, {mean:.0} ms a commit, the longest {} ms",
        longest.as_millis()
    );
}

/// Clicks of an hour, counted as the workers do.
fn clicks(random: &mut fastrand::Rng, hour: u64, count: u64, popular: bool) -> Delta {
    let mut delta = Delta::default();
    for n in 0..count {
        let link = if popular { LINKS.powf(random.f64()) as u64 } else { random.u64(..) };
        let domain = format!("go.brand-{}.example", link % DOMAINS);
        let workspace = format!("{:032x}", link % DOMAINS);
        let mut add = |kind, scope: &str, name: &str| {
            let at = hour * 3_600_000_000 + n;
            let counts = Counts { clicks: 1, humans: 1, bots: 0, sessions: n % 2, first: at, last: at };
            let key = Key { kind, scope: scope.into(), name: name.into() };
            delta.entry((Hour::of_micros(at), key)).or_default().add(&counts);
        };
        add(SubjectKind::Link, &domain, &format!("s{:x}", link / DOMAINS));
        add(SubjectKind::Domain, &workspace, &domain);
        add(SubjectKind::Workspace, &workspace, "");
        add(SubjectKind::Creator, &workspace, &format!("{:032x}", link % 7));
        add(SubjectKind::Country, &workspace, ["de", "fr", "us", "br", "in"][random.usize(..5)]);
        add(SubjectKind::Referrer, &workspace, ["", "", "www.facebook.com", "www.google.com"][random.usize(..4)]);
        add(SubjectKind::Device, &workspace, ["smartphone", "pc", "tablet"][random.usize(..3)]);
        add(SubjectKind::Browser, &workspace, ["chrome", "safari", "firefox"][random.usize(..3)]);
        add(SubjectKind::Os, &workspace, ["android", "ios", "windows"][random.usize(..3)]);
    }
    delta
}

fn queries(snapshot: &Snapshot<'_>, hours: u64) {
    let (all, last) = (snapshot.cover(START..START + hours), snapshot.cover(START + hours - 1..START + hours));
    let domain = "go.brand-1.example";
    let workspace = format!("{:032x}", 1);
    let link = Scope::Link { domain, names: ["s0", "s0"] };
    let time = |name: &str, query: &dyn Fn() -> usize| {
        let before = Instant::now();
        let rows = query();
        println!("  {name:<36} {:>9.2} ms, {rows} rows", millis(before));
    };
    time("link: totals", &|| snapshot.totals(link, &all).map(|_| 1).unwrap());
    time("link: series", &|| snapshot.series(link, &all, Step::Hour).unwrap().len());
    time("domain: totals", &|| snapshot.totals(Scope::Domain(domain), &all).map(|_| 1).unwrap());
    time("workspace: series", &|| snapshot.series(Scope::Workspace(&workspace), &all, Step::Day).unwrap().len());
    let links = Scope::All(SubjectKind::Link, domain);
    time("domain: top 10 links", &|| snapshot.top(links, &all, Order::Clicks, 10).unwrap().len());
    time("domain: top 10 links, an hour", &|| snapshot.top(links, &last, Order::Clicks, 10).unwrap().len());
    time("workspace: top 10 links", &|| {
        snapshot.top_links_of(&workspace, &all, Order::Clicks, 10, &|_, _| None).unwrap().len()
    });
    let countries = Scope::All(SubjectKind::Country, &workspace);
    time("workspace: top 10 countries", &|| snapshot.top(countries, &all, Order::Clicks, 10).unwrap().len());
    time("unknown workspace", &|| usize::from(snapshot.knows(Scope::Workspace("unknown")).unwrap()));
}

struct Rows {
    count: u64,
    bytes: u64,
}

impl Rows {
    fn of(file: &Path) -> Self {
        let connection = rusqlite::Connection::open(file).unwrap();
        let count: i64 = connection.query_row("SELECT COUNT(*) FROM hours", [], |row| row.get(0)).unwrap();
        let pages: i64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
        Self { count: count as u64, bytes: pages as u64 * 4_096 }
    }
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}
