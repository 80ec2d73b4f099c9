//! Counts: whatever kills the process, and whatever happens to their file, they equal the delivered events.
//!
//! `COUNTS_CLICKS` sets the number of clicks; the long form is in `tests/README.md`.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fs::{self, File},
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::unix::process::ExitStatusExt,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use clickedge::{
    object::reader::summarize_stream,
    runtime::Hour,
    stats::{
        Counts, StatsHandle, SubjectKind,
        store::{Reader, Scope},
    },
};
use memchr::memmem;
use serde::Deserialize;
use serde_json::json;

use crate::common::{Builder, CHROME, Edge, Stopped, TIMEOUT, clicks::Visitor, link, objects_below};

const LINKS: usize = 500;
const WORKSPACES: usize = 7;
const VISITORS: usize = 4;
/// Clicks that are sent in one go.
const BURST: usize = 16;
/// Between two of them, so that the workers keep up and no ring overflows.
const PAUSE: Duration = Duration::from_millis(8);
const DOMAINS: [&str; 2] = ["go.brand.com", "links.example.org"];
const AGENTS: [&str; 5] = [
    CHROME,
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "curl/8.9.1",
];
const NETWORKS: [[u8; 3]; 4] = [[192, 0, 2], [198, 51, 100], [203, 0, 113], [10, 9, 8]];

/// An edge with links of several workspaces, and one feed of all clicks.
fn builder() -> Builder {
    let mut builder = Edge::builder();
    for n in 0..LINKS {
        let mut link = link(DOMAINS[n % 2], &format!("l-{n}"), "https://www.example.com/");
        link["workspace"] = json!({"id": format!("w-{}", n % WORKSPACES), "name": "W"});
        link["creator"] =
            if n % 11 == 0 { json!({"fullName": "Editor"}) } else { json!({"id": format!("u-{}", n % 13)}) };
        link["tags"] = (0..n % 4).map(|t| json!({"id": format!("t-{}", (n + t) % 17), "name": "T"})).collect();
        builder = builder.link(link);
    }
    let geoip = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/demo/geoip.mmdb");
    builder
        .section(&format!(
            "[client_address]\ntrusted_proxies = [\"127.0.0.0/8\"]\n[enrich]\nworkers = 2\ngeoip_file = '{}'",
            geoip.display()
        ))
        .capture("ring_bytes = 134217728")
        .feed("all", &["*"])
}

/// Visitors that click through all deaths of the edge.
struct Load<'a> {
    address: SocketAddr,
    stop: &'a AtomicBool,
    sent: &'a AtomicU64,
    answered: &'a AtomicU64,
    most: u64,
}

impl Load<'_> {
    fn visit(&self, seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed);
        while !self.is_over() {
            let Ok(mut stream) = TcpStream::connect(self.address) else {
                thread::sleep(Duration::from_millis(3));
                continue;
            };
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(TIMEOUT)).unwrap();
            while !self.is_over() && self.burst(&mut stream, &mut random) {
                thread::sleep(PAUSE);
            }
        }
    }

    fn is_over(&self) -> bool {
        self.stop.load(Relaxed) || self.answered.load(Relaxed) >= self.most
    }

    /// Sends clicks and reads their answers. False when the connection is gone.
    fn burst(&self, stream: &mut TcpStream, random: &mut fastrand::Rng) -> bool {
        let requests: String = (0..BURST).map(|_| request(random)).collect();
        self.sent.fetch_add(BURST as u64, Relaxed);
        if stream.write_all(requests.as_bytes()).is_err() {
            return false;
        }
        let (mut read, mut buffer, mut seen) = (Vec::new(), [0; 16 << 10], 0);
        while seen < BURST {
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(n) => read.extend_from_slice(&buffer[..n]),
            }
            seen = memmem::find_iter(&read, b"\r\n\r\n").count();
        }
        self.answered.fetch_add(seen as u64, Relaxed);
        assert_eq!(memmem::find_iter(&read, b"HTTP/1.1 ").count(), memmem::find_iter(&read, b"HTTP/1.1 302").count());
        seen == BURST
    }
}

/// A few links are hot, as everywhere.
fn request(random: &mut fastrand::Rng) -> String {
    let n = (random.f64().powi(4) * LINKS as f64) as usize;
    let [a, b, c] = NETWORKS[random.usize(..NETWORKS.len())];
    let client = Ipv4Addr::new(a, b, c, random.u8(1..60));
    let referer = match random.u8(..4) {
        0 => String::new(),
        1 => "Referer: https://www.google.com/\r\n".into(),
        2 => format!("Referer: https://www.site-{}.example/page\r\n", random.u8(..60)),
        _ => "Referer: https://l.facebook.com/\r\n".into(),
    };
    let opted_out = if random.u8(..10) == 0 { "Sec-GPC: 1\r\n" } else { "" };
    format!(
        "GET /l-{n} HTTP/1.1\r\nHost: {}\r\nUser-Agent: {}\r\nX-Forwarded-For: {client}\r\n{referer}{opted_out}\r\n",
        DOMAINS[n % 2],
        AGENTS[random.usize(..AGENTS.len())],
    )
}

#[derive(Deserialize)]
struct Event {
    timestamp: String,
    client: Client,
    referral: Option<Referral>,
    route: Route,
}

#[derive(Deserialize)]
struct Client {
    location: Option<Location>,
    agent: Agent,
    session: Option<Session>,
}

#[derive(Deserialize)]
struct Location {
    country: Option<String>,
}

#[derive(Deserialize)]
struct Agent {
    r#type: String,
    browser: Option<Named>,
    os: Option<Named>,
    device: Option<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct Session {
    first: bool,
}

#[derive(Deserialize)]
struct Referral {
    hostname: String,
}

#[derive(Deserialize)]
struct Route {
    slashtag: String,
    creator: Option<Creator>,
    domain: Domain,
    tags: Option<Vec<Tag>>,
}

#[derive(Deserialize)]
struct Tag {
    id: String,
}

#[derive(Deserialize)]
struct Creator {
    id: Option<String>,
    workspace: Workspace,
}

#[derive(Deserialize)]
struct Workspace {
    id: String,
}

#[derive(Deserialize)]
struct Domain {
    raw: String,
}

type Expected = HashMap<(u64, SubjectKind, String, String), Counts>;

/// The counts by the delivered events, read one by one, and the number of these events.
fn expected(bucket: &Path) -> (Expected, u64) {
    let mut expected = Expected::new();
    let mut ids = HashSet::new();
    for path in objects_below(bucket) {
        let name = path.file_name().unwrap().to_str().unwrap();
        summarize_stream(File::open(&path).unwrap(), name, |id, text| {
            assert!(ids.insert(uuid::Uuid::parse_str(id).unwrap()), "{id} is delivered twice");
            count(&serde_json::from_slice(text).unwrap(), &mut expected);
        })
        .unwrap();
    }
    (expected, ids.len() as u64)
}

fn count(event: &Event, expected: &mut Expected) {
    let Event { timestamp, client, referral, route } = event;
    let micros = timestamp.parse::<jiff::Timestamp>().unwrap().as_microsecond() as u64;
    let creator = route.creator.as_ref().unwrap();
    let workspace = creator.workspace.id.as_str();
    let human = client.agent.r#type == "human";
    let one = Counts {
        clicks: 1,
        humans: human.into(),
        bots: (!human).into(),
        sessions: client.session.as_ref().is_some_and(|session| session.first).into(),
        first: micros,
        last: micros,
    };
    let name = |named: &Option<Named>| named.as_ref().map_or(String::new(), |named| named.name.clone());
    let mut add = |kind, scope: &str, name: String| {
        expected.entry((micros / 3_600_000_000, kind, scope.to_owned(), name)).or_default().add(&one);
    };
    add(SubjectKind::Link, &route.domain.raw, route.slashtag.clone());
    add(SubjectKind::Domain, workspace, route.domain.raw.clone());
    add(SubjectKind::Workspace, workspace, String::new());
    for tag in route.tags.iter().flatten() {
        add(SubjectKind::Tag, workspace, tag.id.clone());
    }
    if let Some(id) = &creator.id {
        add(SubjectKind::Creator, workspace, id.clone());
    }
    let country = client.location.as_ref().and_then(|location| location.country.clone());
    add(SubjectKind::Country, workspace, country.unwrap_or_default());
    add(
        SubjectKind::Referrer,
        workspace,
        referral.as_ref().map_or(String::new(), |referral| referral.hostname.clone()),
    );
    add(SubjectKind::Device, workspace, name(&client.agent.device));
    add(SubjectKind::Browser, workspace, name(&client.agent.browser));
    add(SubjectKind::Os, workspace, name(&client.agent.os));
}

/// Everything that the store has of these hours.
fn counted(stopped: &Stopped, hours: &BTreeSet<u64>) -> Expected {
    let mut reader = counts(stopped);
    let snapshot = reader.snapshot(TIMEOUT).unwrap();
    let mut counted = Expected::new();
    for (hour, kind) in hours.iter().flat_map(|hour| SubjectKind::ALL.map(|kind| (*hour, kind))) {
        let see = |scope: &str, name: &str, counts: &Counts| {
            counted.insert((hour, kind, scope.to_owned(), name.to_owned()), *counts);
            Ok(())
        };
        snapshot.each(Hour::of_micros(hour * 3_600_000_000), kind, None, see).unwrap();
    }
    counted
}

fn counts(stopped: &Stopped) -> Reader {
    StatsHandle::new(&stopped.dir().join("spool")).reader().unwrap()
}

/// The counts in the store are those of the delivered events, for every key. Returns the number of events.
#[track_caller]
fn assert_counts_are_exact(stopped: &Stopped) -> u64 {
    let (expected, events) = expected(&stopped.dir().join("bucket/all"));
    let counted = counted(stopped, &expected.keys().map(|(hour, ..)| *hour).collect());
    let mut kinds: BTreeMap<SubjectKind, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for ((at, kind, scope, name), counts) in &expected {
        let found = counted.get(&(*at, *kind, scope.clone(), name.clone()));
        if found != Some(counts) {
            wrong.push(format!("{kind:?} {scope} {name:?}: {found:?} instead of {counts:?}"));
        }
        *kinds.entry(*kind).or_default() += 1;
    }
    assert!(
        wrong.is_empty(),
        "{} of {} keys are wrong: {:#?}",
        wrong.len(),
        expected.len(),
        &wrong[..wrong.len().min(5)]
    );
    assert_eq!(counted.len(), expected.len(), "nothing else is counted");
    assert_eq!(kinds.len(), 10, "every kind was counted: {kinds:?}");
    println!("  {events} events in {} keys, as counted: {kinds:?}", expected.len());
    events
}

/// Waits until everything is delivered and counted.
#[track_caller]
fn settle(edge: &Edge) {
    let (mut best, mut until) = (i64::MAX, Instant::now() + TIMEOUT);
    loop {
        let metric = |name: &str| edge.metric(&format!("clickedge_{name}"));
        let dropped = ["ring_full", "too_large", "damaged", "no_feed", "worker_failed"];
        let dropped = dropped.map(|reason| metric(&format!("clicks_dropped_total{{reason=\"{reason}\"}}")));
        // Clicks in the rings, and those that a worker has taken out and not accounted for yet.
        let on_the_way = metric("clicks_answered_total") + metric("clicks_recovered_total")
            - metric("clicks_enriched_total")
            - dropped.iter().sum::<i64>();
        let left = on_the_way.max(0) + metric("events_pending{feed=\"all\"}") + metric("stats_pending");
        if left == 0 {
            return;
        }
        if left < best {
            (best, until) = (left, Instant::now() + TIMEOUT);
        }
        assert!(Instant::now() < until, "{left} do not come to rest\n{}", edge.log());
        thread::sleep(Duration::from_millis(50));
    }
}

/// Starts it with a trap, and waits until it has died there.
#[track_caller]
fn die_at(stopped: Stopped, trap: &str) -> Stopped {
    let mut edge = stopped.spawn(&[("CLICKEDGE_DIE_AT", trap)]);
    let until = Instant::now() + TIMEOUT;
    while !edge.has_ended() {
        assert!(Instant::now() < until, "it never came to {trap}\n{}", edge.log());
        thread::sleep(Duration::from_millis(5));
    }
    let stopped = edge.wait();
    assert_eq!(stopped.status.signal(), Some(9), "{trap}\n{}", stopped.log());
    stopped
}

#[test]
fn an_edge_reports_its_counts_also_after_a_restart() {
    let edge = Edge::builder().feed("all", &["*"]).start();
    let ask = |edge: &Edge, path: &str| -> serde_json::Value {
        serde_json::from_str(&edge.admin(&format!("/v1/stats/{path}")).body).unwrap()
    };
    for n in 0..5 {
        assert_eq!(edge.get("go.brand.com", &format!("/spring?{n}")).status, 302);
    }
    settle(&edge);
    let link = ask(&edge, "links/go.brand.com/spring");
    assert_eq!(link["totals"]["clicks"], 5, "{link}");
    assert_eq!(link["totals"]["humans"].as_u64().unwrap() + link["totals"]["bots"].as_u64().unwrap(), 5, "{link}");
    let edge = edge.stop().restart();
    assert_eq!(edge.get("go.brand.com", "/spring").status, 302);
    settle(&edge);
    assert_eq!(ask(&edge, "domains/go.brand.com")["totals"]["clicks"], 6);
    let top = ask(&edge, "workspaces/w-1?by=tags");
    assert_eq!((&top["top"][0]["id"], &top["top"][0]["clicks"]), (&json!("t-1"), &json!(6)), "{top}");
    // Nothing is clicked any more: what the answer holds gets no older.
    let until = ask(&edge, "workspaces/w-1")["countedUntil"].clone();
    edge.wait_until("the answer stays fresh", |edge| ask(edge, "workspaces/w-1")["countedUntil"] != until);
}

#[test]
fn counts_equal_the_delivered_events_whatever_kills_it() {
    let clicks: u64 = std::env::var("COUNTS_CLICKS").map_or(8_000, |clicks| clicks.parse().unwrap());
    let (stop, sent, answered) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let edge = builder().start();
    let since = Instant::now();
    let load = Load { address: edge.address, stop: &stop, sent: &sent, answered: &answered, most: clicks };
    let stopped = thread::scope(|scope| {
        for seed in 0..VISITORS as u64 {
            let load = &load;
            scope.spawn(move || load.visit(seed));
        }
        let wait_for = |share: u64| {
            let (mut last, mut until) = (0, Instant::now() + TIMEOUT);
            while load.answered.load(Relaxed) < clicks * share / 100 {
                if load.answered.load(Relaxed) > last {
                    (last, until) = (load.answered.load(Relaxed), Instant::now() + TIMEOUT);
                }
                assert!(Instant::now() < until, "no process answers any more");
                thread::sleep(Duration::from_millis(2));
            }
        };
        wait_for(20);
        let stopped = edge.kill();
        // What the first process left is counted at once, so the first of these dies during the recovery.
        let stopped = die_at(stopped, "counting:1");
        let stopped = die_at(stopped, "counted:1");
        let edge = stopped.restart();
        wait_for(60);
        let edge = edge.kill().restart();
        wait_for(75);
        let edge = edge.stop().restart();
        wait_for(100);
        stop.store(true, Relaxed);
        settle(&edge);
        let peak = fs::read_to_string(format!("/proc/{}/status", edge.pid())).unwrap();
        let peak = peak.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default().to_owned();
        println!(
            "{} clicks sent, {} answered in {:?}; {peak}",
            sent.load(Relaxed),
            answered.load(Relaxed),
            since.elapsed()
        );
        edge.stop()
    });
    assert!(stopped.status.success(), "{}", stopped.log());
    let size = fs::metadata(stopped.dir().join("spool").join("stats.sqlite")).unwrap().len();
    println!("  {size} bytes of counts");
    let events = assert_counts_are_exact(&stopped);
    assert!(events >= answered.into_inner() && events <= sent.into_inner());
    assert_eq!(objects_below(&stopped.dir().join("spool/journal")).len(), 0);
}

#[test]
fn events_are_delivered_while_counts_cannot_be_written_and_are_counted_later() {
    let edge = builder().start();
    let stopped = edge.stop();
    let file = stopped.dir().join("spool").join("stats.sqlite");
    let kept = file.with_extension("kept");
    fs::rename(&file, &kept).unwrap();
    fs::create_dir(&file).unwrap();
    let edge = stopped.restart();
    clicks_on(&edge, 30);
    edge.wait_until("delivered", |edge| edge.metric("clickedge_events_delivered_total{feed=\"all\"}") == 30);
    assert_eq!(edge.metric("clickedge_stats_failing"), 1);
    assert_eq!(edge.metric("clickedge_stats_pending"), 30);
    fs::remove_dir(&file).unwrap();
    fs::rename(&kept, &file).unwrap();
    edge.wait_until("counted", |edge| edge.metric("clickedge_stats_counted_total") == 30);
    assert_eq!(edge.metric("clickedge_stats_failing"), 0);
    let stopped = edge.stop();
    assert_eq!(total(&stopped), 30);
}

#[test]
fn a_damaged_file_of_counts_is_moved_aside_and_costs_no_event() {
    let edge = builder().start();
    clicks_on(&edge, 20);
    let stopped = edge.stop();
    assert_eq!(total(&stopped), 20);
    let spool = stopped.dir().join("spool");
    fs::write(spool.join("stats.sqlite"), vec![0x5a; 16_384]).unwrap();
    let edge = stopped.restart();
    clicks_on(&edge, 10);
    let stopped = edge.stop();
    assert!(stopped.log().contains("damaged counts moved aside"), "{}", stopped.log());
    assert_eq!(fs::read(spool.join("stats.damaged-1")).unwrap(), vec![0x5a; 16_384]);
    assert_eq!((stopped.events("all").len(), total(&stopped)), (30, 10));
}

#[test]
fn counts_from_before_counting_was_switched_off_and_on_again_stay() {
    let edge = builder().start();
    clicks_on(&edge, 10);
    let mut stopped = edge.kill();
    for (from, to, clicks) in [("", "false", 5), ("enabled = false", "true", 7)] {
        stopped.reconfigure(|config| match from {
            "" => config.replace("[[feeds]]", "[stats]\nenabled = false\n[[feeds]]"),
            from => config.replace(from, &format!("enabled = {to}")),
        });
        let edge = stopped.restart();
        clicks_on(&edge, clicks);
        stopped = edge.stop();
    }
    // Those of the first process wait in the journal until a process that counts finds them, or one that does not
    // frees it.
    assert_eq!(stopped.events("all").len(), 22);
    let counted = total(&stopped);
    assert!((7..=17).contains(&counted), "{counted}");
}

fn clicks_on(edge: &Edge, count: usize) {
    let mut visitor = Visitor::connect(edge.address);
    for n in 0..count {
        assert!(visitor.click(&format!("{n}"), ""), "{}", edge.log());
    }
}

/// Clicks on the link that every test edge has.
fn total(stopped: &Stopped) -> u64 {
    let link = Scope::Link { domain: "go.brand.com", names: ["spring", "spring"] };
    let mut reader = counts(stopped);
    let snapshot = reader.snapshot(TIMEOUT).unwrap();
    snapshot.totals(link, &snapshot.cover(0..u64::MAX >> 16)).unwrap().clicks
}
