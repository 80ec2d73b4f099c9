//! Never down: visitors click all the time, while the edge is restarted, upgraded and reloaded. No request fails, no
//! click is lost, none is doubled.
//!
//! There is a visitor of each kind: plain or over TLS, with a connection for each request or one that is kept, over
//! HTTP/1.1 and HTTP/2, and with nothing, 20 ms or 100 ms between connecting (or the last answer) and the request.
//! `tests/README.md` says how to run the long form.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::net::UnixDatagram,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use crate::common::{
    Answer, CHROME, Edge, TIMEOUT,
    clicks::{assert_at_least_once, assert_exactly_once},
    connect, events_below, exchange, free_address, link, tls,
};
use crate::http2;

/// `NEVER_DOWN` multiplies the rounds.
fn rounds(short: usize) -> usize {
    std::env::var("NEVER_DOWN").map_or(1, |times| times.parse().expect("NEVER_DOWN is a number")) * short
}

/// Pauses before a request, in milliseconds.
const PAUSES: [u64; 3] = [0, 20, 100];

#[derive(Clone, Copy, Debug)]
struct Kind {
    tls: bool,
    keep_alive: bool,
    /// Before each request.
    pause: Duration,
}

/// Between the clicks of a visitor who does not pause.
const BREATH: Duration = Duration::from_millis(3);

/// What visitors have seen.
#[derive(Default)]
struct Seen {
    clicks: Vec<String>,
    failed: Vec<String>,
}

/// One visitor of each kind, who clicks until the end.
struct Visitors {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    threads: Vec<thread::JoinHandle<Seen>>,
}

impl Visitors {
    fn start(plain: SocketAddr, secure: SocketAddr) -> Self {
        Self::with_pauses(plain, secure, &PAUSES)
    }

    fn with_pauses(plain: SocketAddr, secure: SocketAddr, pauses: &[u64]) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut threads = Vec::new();
        for tls in [false, true] {
            for keep_alive in [false, true] {
                for &pause in pauses {
                    let kind = Kind { tls, keep_alive, pause: Duration::from_millis(pause) };
                    let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
                    let address = if tls { secure } else { plain };
                    threads.push(thread::spawn(move || visit(kind, address, &stop, &answered)));
                }
            }
        }
        for pause in pauses.iter().copied().map(Duration::from_millis) {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            threads.push(thread::spawn(move || visit_over_http2(pause, secure, &stop, &answered)));
        }
        Self { stop, answered, threads }
    }

    /// Waits until so many more clicks were answered.
    #[track_caller]
    fn wait_for(&self, more: usize) {
        let (from, until) = (self.answered.load(Relaxed), Instant::now() + TIMEOUT);
        while self.answered.load(Relaxed) < from + more {
            assert!(Instant::now() < until, "clicks are not answered");
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// The answered clicks, and those that failed.
    fn end(self) -> (Vec<String>, Vec<String>) {
        self.stop.store(true, Relaxed);
        let seen: Vec<_> = self.threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        let failed = seen.iter().flat_map(|seen| seen.failed.iter().cloned()).collect();
        (seen.into_iter().flat_map(|seen| seen.clicks).collect(), failed)
    }

    /// The answered clicks. None has failed.
    #[track_caller]
    fn stop(self, edge: &Edge) -> Vec<String> {
        let (clicks, failed) = self.end();
        let (failures, answered) = (failed.len(), clicks.len());
        assert!(failed.is_empty(), "{failures} failed, {answered} answered: {failed:#.20?}\n{}", edge.log());
        println!("{answered} clicks answered, none failed");
        clicks
    }
}

trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

fn visit(kind: Kind, address: SocketAddr, stop: &AtomicBool, answered: &AtomicUsize) -> Seen {
    let mut seen = Seen::default();
    let mut kept: Option<Box<dyn Stream>> = None;
    for number in 0.. {
        if stop.load(Relaxed) {
            break;
        }
        let nonce = format!("{}-{}-{}-{number}", kind.tls, kind.keep_alive, kind.pause.as_millis());
        let reused = kept.is_some();
        let clicked = kept.take().map_or_else(|| open(kind, address), Ok).and_then(|mut stream| {
            thread::sleep(kind.pause);
            let stays = click(&mut *stream, &nonce, kind.keep_alive)?;
            Ok(stays.then_some(stream))
        });
        match clicked {
            Ok(stream) => {
                kept = stream;
                seen.clicks.push(nonce);
                answered.fetch_add(1, Relaxed);
            }
            Err(error) => seen.failed.push(format!("{nonce} (connection kept: {reused}): {error}")),
        }
        if kind.pause.is_zero() {
            thread::sleep(BREATH);
        }
    }
    seen
}

/// Keeps one connection for as long as the edge takes requests on it.
fn visit_over_http2(pause: Duration, address: SocketAddr, stop: &AtomicBool, answered: &AtomicUsize) -> Seen {
    let mut seen = Seen::default();
    http2::block_on(async {
        let mut kept: Option<http2::Client> = None;
        for number in 0.. {
            if stop.load(Relaxed) {
                break;
            }
            let nonce = format!("http2-{}-{number}", pause.as_millis());
            let clicked = async {
                let mut client = match kept.take() {
                    Some(client) => client,
                    None => http2::Client::try_open(address).await?,
                };
                tokio::time::sleep(pause.max(BREATH)).await;
                if !client.is_open().await {
                    client = http2::Client::try_open(address).await?;
                }
                let request = http2::request("GET", &format!("/spring?n={nonce}"), &[]);
                match client.ask(request).await {
                    Ok((answer, _)) if answer.status() == 302 => Ok(Some(client)),
                    Ok((answer, _)) => Err(io::Error::other(format!("answered {}", answer.status()))),
                    // The connection was closed before the request left: a client asks on another one (RFC 9113, 6.8).
                    Err(error) if error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR) => Ok(None),
                    Err(error) => Err(io::Error::other(error)),
                }
            };
            match clicked.await {
                Ok(None) => {}
                Ok(client) => {
                    kept = client;
                    seen.clicks.push(nonce);
                    answered.fetch_add(1, Relaxed);
                }
                Err(error) => seen.failed.push(format!("{nonce}: {error}")),
            }
        }
    });
    seen
}

fn open(kind: Kind, address: SocketAddr) -> io::Result<Box<dyn Stream>> {
    let stream: TcpStream = connect(None, address)?;
    stream.set_nodelay(true)?;
    Ok(if kind.tls { Box::new(tls::client(stream, Some("go.brand.com"))) } else { Box::new(stream) })
}

/// Clicks, and returns whether the connection stays open.
fn click(stream: &mut dyn Stream, nonce: &str, keep_alive: bool) -> io::Result<bool> {
    let connection = if keep_alive { "" } else { "Connection: close\r\n" };
    let request = format!(
        "GET /spring?n={nonce} HTTP/1.1\r\nHost: go.brand.com\r\nUser-Agent: {CHROME}\r\nAccept: */*\r\n{connection}\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 4_096]);
    while !answer.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer)? {
            0 => return Err(io::Error::other(format!("closed after {:?}", String::from_utf8_lossy(&answer)))),
            read => answer.extend_from_slice(&buffer[..read]),
        }
    }
    let answer = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    if !answer.starts_with("http/1.1 302 ") {
        return Err(io::Error::other(format!("answered {answer:?}")));
    }
    Ok(keep_alive && !answer.contains("connection: close"))
}

/// An edge with a plain and a TLS listener, and the address of the latter.
fn edge(sockets: Option<[TcpListener; 2]>) -> (Edge, SocketAddr) {
    let builder = Edge::builder().feed("all", &["*"]);
    let secure = sockets.as_ref().map_or_else(free_address, |[_, second]| second.local_addr().unwrap());
    let listener = tls_listener(builder.dir(), secure);
    let builder = match sockets {
        Some(sockets) => builder.sockets(sockets),
        None => builder,
    };
    (builder.section(&listener).start(), secure)
}

fn tls_listener(dir: &Path, address: SocketAddr) -> String {
    let (certificate, _) = tls::certificate(dir, "go", &["go.brand.com"]);
    format!("[[listeners]]\naddress = \"{address}\"\n{certificate}")
}

#[test]
fn restarts_with_sockets_of_systemd_fail_no_request() {
    let sockets = || TcpListener::bind(free_address()).unwrap();
    let (mut edge, secure) = edge(Some([sockets(), sockets()]));
    let visitors = Visitors::start(edge.address, secure);
    for _ in 0..rounds(2) {
        visitors.wait_for(100);
        edge = edge.terminate().restart();
    }
    visitors.wait_for(100);
    let clicks = visitors.stop(&edge);
    assert_exactly_once(&edge.stop().events("all"), &clicks);
}

#[test]
fn upgrades_fail_no_request() {
    let (mut edge, secure) = edge(None);
    let visitors = Visitors::start(edge.address, secure);
    for round in 0..rounds(5) {
        visitors.wait_for(100);
        let output = edge.upgrade(&[]);
        assert!(output.status.success(), "upgrade {round}: {output:?}\n{}", edge.log());
    }
    visitors.wait_for(100);
    let clicks = visitors.stop(&edge);
    edge.await_predecessors();
    assert_exactly_once(&edge.stop().events("all"), &clicks);
}

#[test]
fn reloads_fail_no_request() {
    let (edge, secure) = edge(None);
    let path = edge.dir().join("clickedge.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    let visitors = Visitors::start(edge.address, secure);
    let extra = free_address();
    for round in 0..rounds(20) {
        // A feed, a listener, the catalog, a certificate and a limit change each time.
        let bucket = edge.dir().join(format!("bucket/more-{round}"));
        let mut next = config.clone();
        next += &format!("[[feeds]]\nname = \"more-{round}\"\nworkspaces = [\"*\"]\nmax_age_secs = 1\n");
        next += &format!("hold_back_secs = 0\nsink.dir.path = '{}'\n", bucket.display());
        next += &format!("[limits]\nheader_bytes = {}\n", 16_384 + round);
        if round % 2 == 0 {
            next += &format!("[[listeners]]\naddress = \"{extra}\"\n");
        }
        std::fs::write(&path, &next).unwrap();
        edge.write_links(&[link("go.brand.com", "spring", &format!("https://www.example.com/{round}"))]);
        tls::certificate(edge.dir(), "go", &["go.brand.com"]);
        let answer = reload(&edge);
        assert_eq!(answer.status, 200, "round {round}: {}\n{}", answer.body, edge.log());
        assert!(answer.body.contains("\"feeds\"") || answer.body.contains("feeds["), "{}", answer.body);
        assert_eq!(connect(None, extra).is_ok(), round % 2 == 0, "round {round}: the added listener");
        visitors.wait_for(30);
    }
    let clicks = visitors.stop(&edge);
    let last = edge.dir().join(format!("bucket/more-{}", rounds(20) - 1));
    let stopped = edge.stop();
    assert_exactly_once(&stopped.events("all"), &clicks);
    assert!(!events_below(&last).is_empty(), "the feed that was added last has its events");
}

/// What a process uses.
#[derive(Clone, Copy, Debug, Default)]
struct Used {
    memory_mib: u64,
    descriptors: usize,
    threads: u64,
}

impl Used {
    fn by(pid: u32) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
            line.split_whitespace().next().unwrap().parse::<u64>().unwrap()
        };
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        Self { memory_mib: number("RssAnon") / 1_024, descriptors, threads: number("Threads") }
    }

    fn most(self, other: Self) -> Self {
        Self {
            memory_mib: self.memory_mib.max(other.memory_mib),
            descriptors: self.descriptors.max(other.descriptors),
            threads: self.threads.max(other.threads),
        }
    }
}

#[test]
fn load_with_reloads_takes_no_more_memory_descriptors_or_threads_as_it_goes_on() {
    let length = Duration::from_secs(rounds(20) as u64);
    let (edge, secure) = edge(None);
    let path = edge.dir().join("clickedge.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    let visitors = Visitors::with_pauses(edge.address, secure, &[20, 100]);
    let began = Instant::now();
    let (mut early, mut late, mut reloads) = (Used::default(), Used::default(), 0_usize);
    while began.elapsed() < length {
        // Two feeds come and go by turns.
        let number = reloads % 2;
        let bucket = edge.dir().join(format!("bucket/more-{number}"));
        let feed = format!("[[feeds]]\nname = \"more-{number}\"\nworkspaces = [\"w-2\"]\n");
        std::fs::write(&path, format!("{config}{feed}sink.dir.path = '{}'\n", bucket.display())).unwrap();
        edge.write_links(&[link("go.brand.com", "spring", &format!("https://www.example.com/{reloads}"))]);
        tls::certificate(edge.dir(), "go", &["go.brand.com"]);
        let answer = reload(&edge);
        assert_eq!(answer.status, 200, "{}\n{}", answer.body, edge.log());
        reloads += 1;
        let used = Used::by(edge.pid());
        // The first quarter is for caches to fill.
        match began.elapsed().as_millis() * 4 / length.as_millis() {
            0 => {}
            1 => early = early.most(used),
            _ => late = late.most(used),
        }
        thread::sleep(Duration::from_millis(500));
    }
    let clicks = visitors.stop(&edge);
    println!("{reloads} reloads in {length:?}: {early:?}, and later {late:?}");
    assert!(late.memory_mib <= early.memory_mib * 5 / 4 + 16, "{early:?} {late:?}");
    assert!(late.descriptors <= early.descriptors + 32, "{early:?} {late:?}");
    // Files of feeds are written on threads that come and go.
    assert!(late.threads <= early.threads + 8, "{early:?} {late:?}");
    let delivered = events_below(&edge.stop().dir().join("bucket/all")).len();
    assert_eq!(delivered, clicks.len());
}

/// `POST /v1/reload` on the admin listener.
fn reload(edge: &Edge) -> Answer {
    let request = b"POST /v1/reload HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    exchange(connect(None, edge.admin).unwrap(), request).expect("an answer from the admin listener")
}

/// A program that fails as `words` of a shell say. The arguments of the binary follow them.
fn program(dir: &Path, name: &str, words: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    let path = dir.join(name);
    let binary = env!("CARGO_BIN_EXE_clickedge");
    std::fs::write(&path, format!("#!/bin/sh\nbinary={binary}\n{words}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

#[test]
fn a_new_process_that_fails_leaves_the_old_one_active() {
    let (mut edge, secure) = edge(None);
    let visitors = Visitors::start(edge.address, secure);
    let pid = edge.pid();
    let rings = |edge: &Edge| edge.rings().read_dir().unwrap().count();
    let before = rings(&edge);
    let config = std::fs::read_to_string(edge.dir().join("clickedge.toml")).unwrap();
    let failing = [
        ("missing", String::new(), "install the new binary there"),
        ("dies", "exit 3".into(), "ended before it was ready (exit status: 3)"),
        ("hangs", "exec sleep 60".into(), "was not ready within 2 s"),
        ("sockets", dying_at("sockets_taken"), "ended before it was accepting (signal: 9 (SIGKILL))"),
    ];
    for (name, words, expected) in failing {
        visitors.wait_for(50);
        let program = if words.is_empty() { "/nonexistent".into() } else { program(edge.dir(), name, &words) };
        let output = edge.upgrade(&["--binary", &program, "--timeout", "2"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(69), "{name}: {said}");
        assert!(said.contains(expected), "{name}: {said}");
        assert_eq!(rings(&edge), before, "{name}: its rings are gone");
    }
    // A configuration that is rejected.
    std::fs::write(edge.dir().join("clickedge.toml"), config.replace("max_age_secs = 1", "max_age_secs = 0"))
        .unwrap();
    let output = edge.upgrade(&[]);
    assert!(!output.status.success(), "{output:?}");
    std::fs::write(edge.dir().join("clickedge.toml"), &config).unwrap();
    visitors.wait_for(50);
    assert_eq!(edge.pid(), pid);
    assert!(!edge.has_ended());
    let clicks = visitors.stop(&edge);
    assert_exactly_once(&edge.stop().events("all"), &clicks);
}

/// A program that dies at a failpoint.
fn dying_at(point: &str) -> String {
    format!("CLICKEDGE_DIE_AT={point} exec $binary \"$@\"")
}

#[test]
fn clicks_that_a_new_process_has_captured_before_it_died_are_not_lost() {
    for (point, succeeds) in [("accepting", false), ("released", true)] {
        let (mut edge, secure) = edge(None);
        let visitors = Visitors::start(edge.address, secure);
        visitors.wait_for(50);
        let pid = edge.pid();
        let program = program(edge.dir(), point, &dying_at(point));
        let output = edge.upgrade(&["--binary", &program]);
        assert_eq!(output.status.code(), Some(69), "{point}: {output:?}");
        if succeeds {
            // A process of the former release has taken its place.
            edge.wait_until("the former process has handed over", |edge| {
                edge.log().contains("took over from the predecessor")
            });
            edge.adopt();
            assert_ne!(edge.pid(), pid);
        }
        visitors.wait_for(50);
        // What the process has accepted that died is cut off, and nothing else.
        let (clicks, failed) = visitors.end();
        assert!(failed.len() <= 15, "{point}: {failed:#?}\n{}", edge.log());
        edge.await_predecessors();
        assert_at_least_once(&edge.stop().events("all"), &clicks);
    }
}

#[test]
fn connections_that_outlive_upgrades_are_answered_and_their_clicks_delivered() {
    let (mut edge, secure) = edge(None);
    let idle = Kind { tls: false, keep_alive: true, pause: Duration::ZERO };
    let mut kept = open(idle, edge.address).unwrap();
    assert!(click(&mut *kept, "first", true).unwrap());
    let mut silent = open(Kind { tls: true, ..idle }, secure).unwrap();
    let mut half = connect(None, edge.address).unwrap();
    half.write_all(b"GET /spring?n=half HTTP/1.1\r\nHost: go.br").unwrap();
    edge.wait_until("all are accepted", |edge| edge.metric("clickedge_connections_open") == 3);
    let mut upgrade = |number: usize| {
        let output = edge.upgrade(&[]);
        assert!(output.status.success(), "{output:?}\n{}", edge.log());
        // From then on an answer is the last one of its connection.
        edge.wait_until("handed over", |edge| edge.log().matches("handed over; answering").count() == number);
    };
    upgrade(1);
    half.write_all(b"and.com\r\n\r\n").unwrap();
    let mut answer = String::new();
    half.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 302 ") && answer.contains("Connection: close"), "{answer}");
    assert!(!click(&mut *silent, "silent", true).unwrap(), "the answer closes the connection");
    upgrade(2);
    assert!(!click(&mut *kept, "kept", true).unwrap(), "the answer of the first process closes the connection");
    edge.await_predecessors();
    let clicks = ["first", "half", "silent", "kept"].map(str::to_owned);
    assert_exactly_once(&edge.stop().events("all"), &clicks);
}

#[test]
fn systemd_is_notified_of_the_new_main_process() {
    let builder = Edge::builder().feed("all", &["*"]);
    let path = builder.dir().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    let mut edge = builder.env("NOTIFY_SOCKET", path.to_str().unwrap()).start();
    let output = edge.upgrade(&[]);
    assert!(output.status.success(), "{output:?}\n{}", edge.log());
    let (expected, mut buffer) = (format!("MAINPID={}", edge.pid()), [0; 1_024]);
    loop {
        let length = socket.recv(&mut buffer).expect("systemd is notified");
        let states: Vec<_> = std::str::from_utf8(&buffer[..length]).unwrap().lines().collect();
        if states.contains(&expected.as_str()) {
            assert!(states.contains(&"READY=1"), "{states:?}");
            break;
        }
    }
    edge.await_predecessors();
    assert!(edge.stop().status.success());
}

#[test]
fn an_upgrade_applies_the_whole_configuration() {
    let (mut edge, secure) = edge(None);
    let path = edge.dir().join("clickedge.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    let bucket = edge.dir().join("bucket/more");
    let added = format!("[[feeds]]\nname = \"more\"\nworkspaces = [\"*\"]\nsink.dir.path = '{}'\n", bucket.display());
    std::fs::write(&path, config.replace("threads = 2", "threads = 3") + &added).unwrap();
    edge.write_links(&[link("go.brand.com", "spring", "https://www.example.com/new")]);
    let visitors = Visitors::start(edge.address, secure);
    let output = edge.upgrade(&[]);
    assert!(output.status.success(), "{output:?}\n{}", edge.log());
    assert!(
        edge.get("go.brand.com", "/spring?n=x")
            .header("location")
            .unwrap()
            .starts_with("https://www.example.com/new")
    );
    visitors.wait_for(50);
    let mut clicks = visitors.stop(&edge);
    clicks.push("x".into());
    edge.await_predecessors();
    let stopped = edge.stop();
    assert_exactly_once(&stopped.events("all"), &clicks);
    assert!(!stopped.events("more").is_empty());
}
