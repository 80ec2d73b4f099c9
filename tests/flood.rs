//! Hostile load: hundreds of connections of each kind, while good clients get every answer, descriptors suffice, memory
//! stays flat, and the log has one line a kind and minute.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::common::{Edge, TIMEOUT, connect, free_address, tls};

/// Hostile connections of each kind.
const HOSTILE: usize = 500;

const GOOD: &[u8] = b"GET /spring HTTP/1.1\r\nHost: go.brand.com\r\nConnection: close\r\n\r\n";
const UNKNOWN: &[u8] = b"GET /nothing HTTP/1.1\r\nHost: go.brand.com\r\n\r\n";

/// Most memory that all of them may take together.
const MOST_MEMORY: usize = 40 << 20;

/// Starts a program with so many descriptors, of which it has few at first.
fn descriptors(most: usize) -> [String; 3] {
    ["sh".into(), "-c".into(), format!("ulimit -Sn 200 && ulimit -Hn {most} && exec \"$0\" \"$@\"")]
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A header, byte by byte.
    Drip,
    /// Half a header.
    Half,
    /// Nothing at all.
    Idle,
    /// A header without an end.
    Large,
    /// Requests, whose answers are not read.
    SlowRead,
    /// Half a TLS handshake.
    Handshake,
    /// As many requests as fit.
    Flood,
}

impl Kind {
    fn begin(self, edge: SocketAddr, tls: SocketAddr, source: IpAddr) -> Option<TcpStream> {
        let to = if matches!(self, Self::Handshake) { tls } else { edge };
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        if matches!(self, Self::SlowRead) {
            // So that little fits into the kernel's buffers.
            socket.set_recv_buffer_size(4_096).unwrap();
            socket.set_tcp_mss(536).unwrap();
        }
        socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
        socket.connect(&to.into()).ok()?;
        socket.set_nonblocking(true).unwrap();
        let stream = TcpStream::from(socket);
        // What does not fit into the kernel's buffers is left out.
        let _ = (&stream).write_all(&match self {
            Self::Drip | Self::Half => b"GET /spring HTTP/1.1\r\nHost: go".to_vec(),
            Self::Idle => Vec::new(),
            Self::Large => [GOOD[..40].to_vec(), vec![b'a'; 1 << 20]].concat(),
            Self::SlowRead => UNKNOWN.repeat(1_000),
            Self::Handshake => b"\x16\x03\x01\x02\x00\x01".to_vec(),
            Self::Flood => UNKNOWN.repeat(200),
        });
        Some(stream)
    }

    /// Goes on. False when the connection has ended.
    fn go_on(self, mut stream: &TcpStream) -> bool {
        match self {
            Self::Drip => stream.write_all(b"a").is_ok(),
            Self::Flood => {
                let mut buffer = vec![0; 65_536];
                let ended = loop {
                    match stream.read(&mut buffer) {
                        Ok(0) => break true,
                        Ok(_) => {}
                        Err(error) => break error.kind() != ErrorKind::WouldBlock,
                    }
                };
                let _ = stream.write(&UNKNOWN.repeat(20));
                !ended
            }
            _ => true,
        }
    }

    /// The metric that counts it.
    fn counted(self) -> &'static str {
        match self {
            Self::Drip | Self::Half => r#"clickedge_connections_ended_total{reason="header_timeout"}"#,
            Self::Idle => r#"clickedge_connections_ended_total{reason="idle"}"#,
            Self::Large => r#"clickedge_requests_limited_total{limit="header"}"#,
            Self::SlowRead => r#"clickedge_connections_ended_total{reason="send_timeout"}"#,
            Self::Handshake => r#"clickedge_connections_ended_total{reason="handshake_timeout"}"#,
            Self::Flood => r#"clickedge_requests_limited_total{limit="rate"}"#,
        }
    }
}

/// Twenty addresses that attack, each with fewer connections than it may have.
fn attacker(number: usize) -> IpAddr {
    Ipv4Addr::new(127, 0, 1, (number % 20) as u8 + 1).into()
}

/// Asks again and again until `done`, and counts the answers. Each must be a redirect.
fn good_client(address: SocketAddr, number: u8, done: &AtomicBool, answers: &AtomicUsize) {
    let source = IpAddr::V4(Ipv4Addr::new(127, 0, 2, number));
    while !done.load(Relaxed) {
        let mut stream = connect(Some(source), address).unwrap();
        stream.write_all(GOOD).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 302 "), "{text:?}");
        answers.fetch_add(1, Relaxed);
        thread::sleep(Duration::from_millis(20));
    }
}

/// Ends the good clients.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Memory of the process that is not shared with files, such as the rings.
fn memory(edge: &Edge) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", edge.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

/// Attacks until the edge has counted it. Returns the most memory that it had meanwhile.
fn attack(kind: Kind, edge: &Edge, tls: SocketAddr) -> usize {
    let metric = kind.counted();
    let wanted = edge.metric(metric) + HOSTILE as i64;
    let began = Instant::now();
    let mut hostile: Vec<_> = (0..HOSTILE).map(|n| kind.begin(edge.address, tls, attacker(n))).collect();
    let mut most = 0;
    while edge.metric(metric) < wanted {
        assert!(began.elapsed() < TIMEOUT, "{kind:?}: {} of {wanted}", edge.metric(metric));
        for (number, stream) in hostile.iter_mut().enumerate() {
            let open = stream.as_ref().is_some_and(|stream| kind.go_on(stream));
            if !open && matches!(kind, Kind::Flood) {
                *stream = kind.begin(edge.address, tls, attacker(number));
            }
        }
        most = most.max(memory(edge));
        thread::sleep(Duration::from_millis(50));
    }
    most
}

/// Attacks an edge with these limits in these ways, one after the other. The messages must be in its log then, with the
/// counts of the metrics.
fn withstands(limits: &str, attacks: &[Kind], messages: &[(&str, Kind)]) {
    let builder = Edge::builder().through(&descriptors(1_000));
    let tls = free_address();
    let (certificate, _) = tls::certificate(builder.dir(), "one", &["go.brand.com"]);
    let section = format!(
        "[[listeners]]\naddress = \"{tls}\"\n{certificate}\n[limits]\nconnections_per_address = 26\n{limits}"
    );
    let edge = builder.section(&section).feed("all", &["*"]).start();
    let began = Instant::now();
    let (done, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        // Also when an assertion fails: the scope waits for them.
        let _end = End(&done);
        let good = |number| {
            let (address, done, answers) = (edge.address, &done, &answers);
            scope.spawn(move || good_client(address, number, done, answers))
        };
        let clients: Vec<_> = (1..=3).map(good).collect();
        edge.wait_until("good clients are served", |_| answers.load(Relaxed) > 30);
        let before = memory(&edge);
        for &kind in attacks {
            let served = answers.load(Relaxed);
            let most = attack(kind, &edge, tls);
            assert!(most < before + MOST_MEMORY, "{kind:?}: {before} bytes before, {most} during it");
            edge.wait_until("good clients are still served", |_| answers.load(Relaxed) > served + 30);
            assert!(clients.iter().all(|client| !client.is_finished()), "{kind:?}: a good client has failed");
        }
    });
    edge.wait_until("all have ended", |edge| edge.metric("clickedge_connections_open") == 0);
    assert_eq!(edge.metric("clickedge_accept_failures_total"), 0);
    assert_eq!(edge.metric(r#"clickedge_connections_ended_total{reason="too_many"}"#), 0);
    let counts: Vec<_> = messages.iter().map(|(_, kind)| edge.metric(kind.counted())).collect();
    let minutes = began.elapsed().as_secs() as usize / 60;
    let stopped = edge.stop();
    assert_eq!(stopped.events("all").len(), answers.load(Relaxed), "the clicks of good clients, and no others");
    let log = stopped.log();
    assert!(log.contains("limit of open files raised"), "{log}");
    assert!(!log.contains("127.0.1.") && !log.contains("127.0.2."), "an address in the log\n{log}");
    for ((message, _), count) in messages.iter().zip(counts) {
        let lines = log.lines().filter(|line| line.contains(message));
        let lines: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!((1..=1 + minutes).contains(&lines.len()), "{message}: {lines:?}");
        let number = |line: &Value| line["connections"].as_i64().or(line["requests"].as_i64()).unwrap();
        assert_eq!(lines.iter().map(number).sum::<i64>(), count, "{message}");
    }
    let warnings = log.lines().filter(|line| line.contains("\"WARN\"") || line.contains("\"ERROR\"")).count();
    assert!(warnings < 10 * (1 + minutes), "{log}");
}

#[test]
fn good_clients_are_served_while_hundreds_of_others_stall() {
    withstands(
        "header_secs = 2\nhandshake_secs = 2",
        &[Kind::Drip, Kind::Half, Kind::Idle, Kind::Large, Kind::SlowRead, Kind::Handshake],
        &[
            ("connections closed: a request header took too long", Kind::Drip),
            ("requests answered with 431", Kind::Large),
            ("connections closed: the client did not read its answer", Kind::SlowRead),
            ("connections closed: a handshake took too long", Kind::Handshake),
        ],
    );
}

#[test]
fn good_clients_are_served_while_hundreds_of_others_ask_too_much() {
    withstands(
        "requests_per_second = 200\nrequest_burst = 1000",
        &[Kind::Flood],
        &[("requests answered with 429", Kind::Flood)],
    );
}

#[test]
fn one_address_leaves_descriptors_for_all_others_and_for_the_journal() {
    let edge = Edge::builder().through(&descriptors(512)).feed("all", &["*"]).start();
    let source = Some(attacker(0));
    let idle: Vec<_> = (0..480).map(|_| connect(source, edge.address).unwrap()).collect();
    edge.wait_until("they have what they may have", |edge| {
        edge.metric(r#"clickedge_connections_ended_total{reason="too_many_of_address"}"#) == 480 - 128
    });
    for _ in 0..20 {
        assert_eq!(edge.get("go.brand.com", "/spring").status, 302);
    }
    edge.wait_until("delivered", |edge| edge.metric(r#"clickedge_events_delivered_total{feed="all"}"#) == 20);
    assert_eq!(edge.metric("clickedge_accept_failures_total"), 0);
    drop(idle);
    edge.wait_until("their places are free", |edge| edge.metric("clickedge_connections_open") == 0);
}

#[test]
fn a_silent_upstream_cannot_take_the_descriptors_of_others() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let section = format!("[upstream]\naddress = \"{}\"\nrequests = 100000", upstream.local_addr().unwrap());
    let edge = Edge::builder().through(&descriptors(512)).section(&section).feed("all", &["*"]).start();
    let waiting: Vec<_> = (0..100)
        .map(|number| {
            let mut stream = connect(Some(attacker(number)), edge.address).unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: www.brand.com\r\n\r\n").unwrap();
            stream
        })
        .collect();
    edge.wait_until("the others get 503", |edge| {
        edge.metric(r#"clickedge_requests_limited_total{limit="upstream"}"#) == 100 - 64
    });
    let began = Instant::now();
    assert_eq!(edge.get("go.brand.com", "/spring").status, 302);
    assert!(began.elapsed() < Duration::from_secs(2));
    edge.wait_until("delivered", |edge| edge.metric(r#"clickedge_events_delivered_total{feed="all"}"#) == 1);
    assert_eq!(edge.metric("clickedge_accept_failures_total"), 0);
    drop(waiting);
    let log = edge.stop().log();
    let line = log.lines().find(|line| line.contains("upstream.requests") && line.contains("\"used\":64")).unwrap();
    assert!(line.contains("LimitNOFILE"), "{line}");
    assert_eq!(log.matches("requests answered with 503").count(), 1, "{log}");
}
