//! The proof: an edge is led through everything that can happen to it, with an address of its own for each thing, and
//! then everything that it has left, said, written or handed to the kernel is searched for all of them.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use super::{
    canary::{Cast, TRUSTED},
    forms::Within,
    handshakes,
    search::{Evidence, Find, Search, assert_none, files_below},
    trace::{Tracer, without_naming},
    visits::Visits,
};
use crate::common::{
    Builder, Edge, Stopped,
    cli::{clickedge, spool},
    clicks::{Visitor, of_feed},
    connect,
    disk::SmallDisk,
    free_address, link,
    s3::{Fault, S3},
    tls,
};
use crate::links_api::{STATE, with_tokens};

/// Room of the spool's disk.
const KIB: usize = 64 << 10;

/// An edge that has a reason to speak everywhere: both kinds of listeners and sinks, an upstream that is not there, a
/// log of everything, changes of links, and files of any kind where they are searched. Returns the token for changes,
/// too.
fn builder(s3: &S3, tracer: Option<&Tracer>, tls: SocketAddr, upstream: SocketAddr) -> (Builder, String) {
    let (builder, tokens) = with_tokens(Edge::builder().catalog(STATE));
    let (certificate, _) = tls::certificate(builder.dir(), "edge", &["go.brand.com"]);
    let geoip = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/demo/geoip.mmdb");
    let links = ["off", "over"].map(|slashtag| link("go.brand.com", slashtag, "https://www.example.com/"));
    let [mut off, mut over] = links;
    off["status"] = "disabled".into();
    over["status"] = "expired".into();
    let through = through(&builder, tracer);
    let builder = builder
        .link(off)
        .link(over)
        .feed("local", &["*"])
        .feed_into("bucket", &["*"], &s3.sink_toml("clicks", ""))
        .capture("ring_bytes = 1048576")
        .spool("journal_max_bytes = 16777216\nretain_secs = 3600\n")
        .section(&format!("[[listeners]]\naddress = \"{tls}\"\n{certificate}"))
        .section(&format!("[client_address]\ntrusted_proxies = [\"{TRUSTED}\"]"))
        .section(&format!("[upstream]\naddress = \"{upstream}\""))
        // Few visitors: the whole table is searched after each stop.
        .section(&format!("[enrich]\nworkers = 2\nsession_visitors = 2000\ngeoip_file = '{}'", geoip.display()))
        .section("[redirect]\nkeepalive_secs = 1\n[shutdown]\ndrain_secs = 1")
        .through(&through);
    (builder, tokens.all)
}

/// Files for a moment go where they are searched, and the kernel is listened to.
pub fn through(builder: &Builder, tracer: Option<&Tracer>) -> Vec<String> {
    let temporary = builder.dir().join("tmp");
    fs::create_dir_all(&temporary).unwrap();
    // With every line of libraries, of which there is otherwise one a minute and place.
    let mut words = vec!["env".into(), "CLICKEDGE_LOG_ALL=1".into(), format!("TMPDIR={}", temporary.display())];
    words.extend(tracer.map(Tracer::command).unwrap_or_default());
    words
}

/// A tracer of system calls, if that is possible here.
pub fn tracer() -> Option<Tracer> {
    Tracer::new().inspect_err(|why| eprintln!("skipped: what is written is not searched: {why}")).ok()
}

/// Four bytes of an address are met by chance in checksums and random ids, once in some tens of runs. What leaks finds
/// the same thing that was done again in a second run; chance does not.
#[test]
fn no_client_address_is_left_anywhere() {
    let mut finds = finds_of_a_run();
    if !finds.is_empty() && finds.iter().all(|find| find.within == Within::Plain) {
        eprintln!("perhaps by chance, so once more: {}", finds[0]);
        let again = finds_of_a_run();
        finds.retain(|find| again.iter().any(|other| other.canary.used_for == find.canary.used_for));
    }
    assert_none(&finds);
}

/// What is found after everything was done once.
fn finds_of_a_run() -> Vec<Find> {
    let tracer = tracer();
    let s3 = S3::start();
    s3.set(Fault::Unavailable);
    let (address, upstream) = (free_address(), free_address());
    let (builder, token) = builder(&s3, tracer.as_ref(), address, upstream);
    let disk = SmallDisk::mount(&builder.dir().join("spool"), KIB)
        .inspect_err(|why| eprintln!("skipped: full rings, as no small disk can be mounted here: {why}"))
        .ok();
    let (mut cast, mut evidence) = (Cast::default(), Evidence::default());

    // A worker that panics, while the store is down.
    let edge = builder.env("CLICKEDGE_PANIC_AT", "enriched:7").start();
    let mut processes = vec![edge.pid()];
    let mut visits = Visits::new("store down", &edge, &mut cast, &mut evidence);
    visits.all();
    handshakes::all(&mut visits, address);
    reload(&edge);
    settle(&edge, &["local"]);
    assert_eq!(edge.metric("clickedge_clicks_dropped_total{reason=\"worker_failed\"}"), 1);
    ask(&edge, &token, &mut cast, &mut evidence);
    evidence.add_folder("while the store is down", edge.dir());

    s3.set(Fault::Forbidden("clicks".into()));
    let mut visits = Visits::new("store rejects", &edge, &mut cast, &mut evidence);
    visits.clicks("click", 2);
    hang_up_upstream(&mut visits, upstream);
    if let Some(disk) = &disk {
        overflow(&edge, &mut cast, &mut evidence, disk);
    }
    settle(&edge, &["local"]);
    ask(&edge, &token, &mut cast, &mut evidence);

    // A stop, with a client that has said half of what it wants.
    let mut half = connect(Some(cast.client("open at the stop")), edge.address).unwrap();
    half.write_all(b"GET /spring HTTP/1.1\r\nHost: go.b").unwrap();
    let stopped = edge.stop();
    assert!(stopped.status.success(), "{}", stopped.status);
    drop(half);
    evidence.add_folder("after a stop", stopped.dir());
    assert_wiped(&stopped, &mut evidence);

    // A death with clicks in the rings, another during the recovery, and a journal that is damaged.
    stopped.reconfigure(|config| config.replace("[telemetry]\n", "[telemetry]\nlog_format = \"pretty\"\n"));
    let edge = stopped.restart_with(&[("CLICKEDGE_DIE_AT", "enriched:3")]);
    processes.push(edge.pid());
    Visits::new("killed", &edge, &mut cast, &mut evidence).clicks("click", 3);
    let stopped = edge.wait();
    evidence.add_folder("after a kill", stopped.dir());
    let mut in_flight = Evidence::default();
    in_flight.add_folder("rings after a kill", stopped.rings());
    let edge = stopped.spawn(&[("CLICKEDGE_DIE_AT", "sealed")]);
    processes.push(edge.pid());
    let stopped = edge.wait();
    evidence.add_folder("after another kill", stopped.dir());
    flip_a_byte(&stopped.dir().join("spool/journal"));

    s3.set(Fault::Healthy);
    let edge = stopped.restart();
    processes.push(edge.pid());
    assert!(!files_below(&edge.dir().join("spool/quarantine")).is_empty(), "the damage is set aside\n{}", edge.log());
    let mut visits = Visits::new("store healthy", &edge, &mut cast, &mut evidence);
    visits.all();
    handshakes::all(&mut visits, address);
    settle(&edge, &["local", "bucket"]);
    ask(&edge, &token, &mut cast, &mut evidence);
    look_into_the_spool(edge.dir(), &mut evidence);
    settle(&edge, &["local", "bucket"]);
    let stopped = edge.stop();
    assert!(stopped.status.success(), "{}", stopped.status);
    evidence.add_folder("in the end", stopped.dir());
    evidence.add_folder("bucket", &s3.root());
    evidence.add("headers of uploads", format!("{:?}", s3.puts()));
    assert_wiped(&stopped, &mut evidence);
    assert!(!s3.objects("clicks").is_empty());
    assert!(
        !stopped.log().contains("library log lines suppressed"),
        "the log left lines out, which cannot be searched"
    );

    let search = Search::new(cast.all());
    if let Some(tracer) = &tracer {
        let trace = tracer.read(&processes);
        trace.assert_all_is_seen(&[stopped.dir()], stopped.rings());
        trace.add_to(&mut evidence, &[address, s3.address()], "elsewhere.example");
    }
    println!("{} canaries, {} forms, {} bytes", cast.all().len(), search.forms(), evidence.bytes());
    // Otherwise the search would prove nothing.
    let found = search.run(&in_flight);
    assert!(found.iter().any(|find| find.canary.used_for.starts_with("killed")), "the rings held addresses");
    search.run(&evidence)
}

/// Waits until nothing is under way to these feeds.
fn settle(edge: &Edge, feeds: &[&str]) {
    edge.wait_until("the rings are empty", |edge| edge.metric("clickedge_ring_clicks") == 0);
    for feed in feeds {
        edge.wait_until(&format!("{feed} is delivered"), |edge| edge.metric(&of_feed("events_pending", feed)) == 0);
    }
}

/// A catalog that is rejected, and one that is not.
fn reload(edge: &Edge) {
    let good = fs::read(edge.dir().join("links.ndjson")).unwrap();
    for (catalog, result) in [(&b"no catalog\n"[..], "failed"), (&good, "ok")] {
        fs::write(edge.dir().join("links.ndjson"), catalog).unwrap();
        let reloads = format!("clickedge_reloads_total{{result=\"{result}\",what=\"catalog\"}}");
        edge.signal("HUP");
        edge.wait_until("a reload", |edge| edge.metric(&reloads) == 1);
    }
}

/// Everything that the admin listener answers, to any client.
fn ask(edge: &Edge, token: &str, cast: &mut Cast, evidence: &mut Evidence) {
    let mut visits = Visits::new("admin", edge, cast, evidence);
    for line in ["GET /metrics", "GET /readyz", "GET /livez", "GET /nothing", "POST /metrics", "HEAD /metrics", "NO"]
    {
        let (from, claimed) = (visits.client(line), visits.cast.v4(line, "claimed"));
        let request = format!("{line} HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {claimed}\r\n\r\n");
        visits.say(line, from, edge.admin, request.as_bytes());
    }
    change(&mut visits, token);
}

/// Changes of links, and attempts at them.
fn change(visits: &mut Visits<'_>, token: &str) {
    let new = link("go.brand.com", "new", "https://www.example.com/new").to_string();
    let batch = format!("{new}\n{{\n");
    let path = "/v1/links/go.brand.com/new";
    for (line, token, body, status) in [
        (format!("PUT {path}"), "unknown", &*new, 401),
        (format!("PUT {path}"), token, "{", 400),
        (format!("PUT {path}"), token, &new, 201),
        (format!("GET {path}"), token, "", 200),
        (format!("DELETE {path}"), token, "", 204),
        (format!("DELETE {path}"), token, "", 404),
        ("POST /v1/links:batch".into(), token, &batch, 200),
        (format!("DELETE {path}"), token, "", 204),
        ("GET /v1/links?domain=go.brand.com".into(), token, "", 200),
        ("GET /v1/links?domain=go.brand.com&after=x".into(), token, "", 400),
    ] {
        let (from, claimed) = (visits.client(&line), visits.cast.v4(&line, "claimed"));
        let request = format!(
            "{line} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nX-Forwarded-For: {claimed}\r\n\
             Forwarded: for={claimed}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let answer = visits.say(&line, from, visits.edge.admin, request.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {answer}");
        visits.reported();
    }
}

/// An upstream that takes the request and hangs up. It learns who the client is, in the headers for that, and nowhere
/// else.
fn hang_up_upstream(visits: &mut Visits<'_>, upstream: SocketAddr) {
    let listener = TcpListener::bind(upstream).unwrap();
    let done = AtomicBool::new(false);
    let heard = thread::scope(|scope| {
        let listening = scope.spawn(|| {
            let mut heard = Vec::new();
            for stream in listener.incoming() {
                if done.load(Ordering::Acquire) {
                    break;
                }
                let mut some = [0; 4_096];
                let count = stream.unwrap().read(&mut some).unwrap();
                heard.extend_from_slice(&some[..count]);
            }
            heard
        });
        for line in ["GET /", "POST /"] {
            let from = visits.client("upstream hangs up");
            let request = format!("{line} HTTP/1.1\r\nHost: elsewhere.example\r\nContent-Length: 0\r\n\r\n");
            let mut stream = connect(Some(from), visits.edge.address).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let answer = visits.hear("upstream hangs up", &mut stream);
            assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
            visits.reported();
        }
        done.store(true, Ordering::Release);
        drop(connect(None, upstream));
        listening.join().unwrap()
    });
    assert!(heard.starts_with(b"GET / HTTP/1.1\r\n"), "the upstream heard {:?}", heard.escape_ascii().to_string());
    let (rest, naming) = without_naming(&heard);
    assert_eq!(naming, 4, "two headers of two requests");
    visits.evidence.add("what the upstream heard", rest);
}

/// The disk is full until the rings are full, too, and clicks are dropped.
fn overflow(edge: &Edge, cast: &mut Cast, evidence: &mut Evidence, disk: &SmallDisk) {
    disk.fill();
    let mut visits = Visits::new("full rings", edge, cast, evidence);
    let full = |edge: &Edge| edge.metric("clickedge_clicks_dropped_total{reason=\"ring_full\"}");
    // One connection: it fills one ring.
    let (mut filler, query) = (Visitor::connect(edge.address), format!("&long={}", "x".repeat(6_000)));
    while full(edge) == 0 {
        assert!((0..50).all(|_| filler.click("filler", &query)));
    }
    // Whichever ring it comes to.
    let from = visits.client("overflow");
    let request = format!("GET /spring?{query} HTTP/1.1\r\nHost: go.brand.com\r\n\r\n");
    let before = full(edge);
    while full(edge) == before {
        visits.say("overflow", from, edge.address, request.as_bytes());
    }
    visits.evidence.add("the log on a full disk", edge.log());
    disk.free();
}

/// What an operator may print.
fn look_into_the_spool(dir: &Path, evidence: &mut Evidence) {
    let mut print = |what: &str, arguments: &[&str]| {
        let said = spool(dir, what, arguments);
        assert_eq!(said.code, 0, "{}", said.stderr);
        evidence.add(format!("spool {what}"), said.stdout + &said.stderr);
    };
    print("ls", &[]);
    print("export", &["--feed", "local", "--delivered"]);
    print("replay", &["--feed", "local", "--from", "2020-01-01T00:00:00Z", "--to", "2100-01-01T00:00:00Z"]);
    for file in files_below(&dir.join("spool")) {
        let said = clickedge(&["spool", "inspect", file.to_str().unwrap()]);
        evidence.add("spool inspect", said.stdout + &said.stderr);
    }
}

/// Damages an event in the last segment of the journal.
fn flip_a_byte(journal: &Path) {
    let last = files_below(journal).into_iter().max().expect("a segment");
    let mut bytes = fs::read(&last).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(last, bytes).unwrap();
}

/// After a stop no ring is left, and whatever is there holds no address: the table of visits, above all, and that of
/// click limits.
fn assert_wiped(stopped: &Stopped, evidence: &mut Evidence) {
    let (visits, rings): (Vec<_>, Vec<_>) = files_below(stopped.rings())
        .into_iter()
        .filter(|path| path.metadata().unwrap().len() > 4_096)
        .partition(|path| path.ends_with("sessions") || path.ends_with("click-limits"));
    assert!(visits.len() == 2 && rings.is_empty(), "left by a stop: {visits:?} and {rings:?}");
    evidence.add_folder("rings after a stop", stopped.rings());
}
