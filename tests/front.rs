//! The front: both ways to an answer give the same one; limits, deadlines, the PROXY protocol, tickets.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustls::HandshakeKind;
use serde_json::{Value, json};

use crate::common::{CHROME, Edge, TIMEOUT, connect, fast_lane, free_address, link, tls};

/// Sends bytes, and returns everything that comes back until the other side closes or is silent.
pub fn talk(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = connect(None, address).unwrap();
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// Without what differs from second to second.
pub fn undated(text: &str) -> String {
    let lines: Vec<&str> = text.split("\r\n").filter(|line| !line.starts_with("Date: ")).collect();
    lines.join("\r\n")
}

pub fn edge(fast_lane: bool) -> Edge {
    let with = |slashtag: &str, key: &str, value: Value| {
        let mut link = link("go.brand.com", slashtag, &format!("https://www.example.com/{slashtag}?a=b#c"));
        link[key] = value;
        link
    };
    Edge::builder()
        .fast_lane(fast_lane)
        .link(with("moved", "httpStatus", json!(301)))
        .link(with("upload", "httpStatus", json!(307)))
        .link(with("kept", "httpStatus", json!(308)))
        .link(with("old", "status", json!("expired")))
        .link(with("paused", "status", json!("paused")))
        .link(with("caf\u{e9}", "forwardParameters", json!(true)))
        .link(policied("paths", json!({"forwardPath": "append", "forwardParameters": ["x", "utm_*"]})))
        .link(policied("paths/deep", json!({"forwardPath": "ignore", "noIndex": true})))
        .link(policied("over", json!({"activeUntil": "2020-01-01", "fallback": "https://www.example.com/{path}"})))
        .link(policied("soon", json!({"activeFrom": "2999-01-01"})))
        .link(policied("secret", json!({"passwordHash": PASSWORD})))
        .link(policied("card", json!({"card": {"title": "T"}})))
        .link(policied("ruled", json!({"rules": [
            {"name": "german", "when": {"language": ["de"]}, "destination": "https://www.example.com/de"},
            {"name": "mobile", "when": {"query": {"m": null}}, "destination": "https://m.example.com/?m=0"},
            {"name": "bots", "when": {"bot": true}, "destination": "https://www.example.com/bots"},
        ]})))
        .link(json!({
            "kind": "domain", "fullName": "x.example", "aliases": ["*.x.example"], "notFound": "https://www.example.com/{path}?d={domain}",
            "expired": "https://www.example.com/over", "root": "https://www.example.com/", "previewSuffix": "+",
            "trimPunctuation": true, "robots": "User-agent: *\n", "pages": {"gone": "<p>{{path}}</p>"},
        }))
        .section("[client_address]\ntrusted_proxies = [\"127.0.0.9/32\"]")
        .feed("all", &["*"])
        .start()
}

/// A link of a domain that has a line.
fn policied(slashtag: &str, policy: Value) -> Value {
    let mut link = link("x.example", slashtag, &format!("https://www.example.com/{slashtag}?a=b#c"));
    let Value::Object(policy) = policy else { panic!("no object: {policy}") };
    for (name, value) in policy {
        link[name] = value;
    }
    link
}

/// Of `open sesame`.
const PASSWORD: &str = "$argon2id$v=19$m=256,t=1,p=1$c29tZSBzYWx0IGhlcmU$q7fIkvv0VnSu3xA5NZT7Qdf2xQSxJ+je0JUsVhl0XrU";

/// Requests of every kind.
pub fn requests() -> Vec<String> {
    let mut requests = Vec::new();
    let mut add = |method: &str, target: &str, version: &str, fields: &str| {
        requests.push(format!("{method} {target} HTTP/{version}\r\n{fields}\r\n"));
    };
    let host = "Host: go.brand.com\r\n";
    for target in [
        "/spring",
        "/moved",
        "/upload",
        "/kept",
        "/old",
        "/paused",
        "/nothing",
        "/",
        "//",
        "/spring/",
        "/SPRING",
        "/spring?x=1&y=%20",
        "/caf%C3%A9?q=a+b&a=c",
        "/caf%c3%a9",
        "/spring#f",
        "/spring?a={b}|c^d",
        "/%00",
        "/spring?%1b",
        "/%zz",
        "/spring?",
        "/spring?&&",
        "http://GO.brand.com:80/spring?y",
        "https://go.brand.com",
        "http://other.example/spring",
        "/spring?\"<>`",
        "/favicon.ico",
        "/robots.txt",
        "/%73pring",
        "/spring?utm_source=x&UTM_Source=y&=z",
        "/a/../spring",
        "/./spring",
    ] {
        for method in ["GET", "HEAD"] {
            add(method, target, "1.1", host);
        }
    }
    for target in [
        "/paths/a/b?x=1&y=2",
        "/paths/../../x",
        "/paths/deep/er",
        "/paths//evil.example\\x",
        "/over/x",
        "/over",
        "/soon",
        "/secret",
        "/card",
        "/card.",
        "/card+",
        "/secret+",
        "/ruled",
        "/ruled?m",
        "/ruled?M=1",
        "/robots.txt",
        "/",
        "/nothing/<x>?y",
        "/card%E2%80%8B",
    ] {
        for fields in ["Host: x.example\r\n", "Host: Y.x.example\r\nAccept-Language: fr, de;q=0.5\r\n"] {
            add("GET", target, "1.1", fields);
            add("HEAD", target, "1.1", fields);
            add("GET", target, "1.1", &format!("{fields}User-Agent: facebookexternalhit/1.1\r\n"));
        }
    }
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PURGE", "get"] {
        add(method, "/spring", "1.1", host);
        add(method, "/upload", "1.1", host);
    }
    for fields in [
        "",
        "Host: other.example\r\n",
        "Host: GO.Brand.com.\r\n",
        "Host: go.brand.com:8080\r\n",
        "Host:go.brand.com  \r\n",
        "Host: go.brand.com\r\nHost: go.brand.com\r\n",
        "Host: a b\r\n",
        "Host: \r\n",
        "Host: [::1]\r\n",
    ] {
        add("GET", "/spring", "1.1", fields);
        add("GET", "/spring", "1.0", fields);
    }
    for fields in [
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64) Chrome/131\r\nuser-agent: second\r\n".to_owned(),
        format!("USER-AGENT: {CHROME}\r\nAccept: */*\r\nAccept-Language: de-CH,de;q=0.9\r\nACCEPT-ENCODING: gzip\r\n"),
        format!("User-Agent: {CHROME}\r\nReferer: https://www.google.com/search?q=x\r\nDNT: 1\r\n"),
        format!("User-Agent: {CHROME}\r\nSec-GPC: 1\r\nSec-Fetch-Mode: navigate\r\nsec-ch-ua-mobile: ?1\r\n"),
        "SEC-CH-UA: \"Chromium\";v=\"131\"\r\nSec-CH-UA-Full-Version-List: \"Chromium\";v=\"131.0.1\"\r\n".to_owned(),
        "Sec-CH-UA-Platform: \"Windows\"\r\nSec-CH-UA-Platform-Version: \"15.0.0\"\r\nSec-CH-UA-Form-Factors: \"Desktop\"\r\n".to_owned(),
        "Sec-Purpose: prefetch;prerender\r\n".to_owned(),
        "Purpose: preview\r\nX-Requested-With: com.example.app\r\n".to_owned(),
        "X-Purpose: prefetch\r\n".to_owned(),
        "X-Moz: prefetch\r\n".to_owned(),
        "Signature-Agent: \"https://agent.example\"\r\nSignature-Input: sig=()\r\nSignature: sig=::\r\n".to_owned(),
        "X-Forwarded-For: 203.0.113.7\r\nReferer: http://m\u{fc}nchen.de/\r\n".to_owned(),
        "Accept-Language:\r\nUser-Agent:    spaced   \r\n".to_owned(),
        "Connection: close\r\n".to_owned(),
        "Connection: keep-alive, foo\r\n".to_owned(),
        "Connection: upgrade\r\nUpgrade: websocket\r\n".to_owned(),
        "Expect: 100-continue\r\n".to_owned(),
        "Cookie: a=b\r\nIf-None-Match: \"x\"\r\nRange: bytes=0-1\r\n".to_owned(),
    ] {
        add("GET", "/spring?n", "1.1", &format!("{host}{fields}"));
    }
    requests
}

/// Events, without what two clicks never share.
pub fn comparable(events: Vec<Value>) -> Vec<String> {
    let mut events: Vec<String> = events
        .into_iter()
        .map(|mut event| {
            for name in ["id", "timestamp"] {
                event[name] = Value::Null;
            }
            if let Some(session) = event["client"].get_mut("session") {
                *session = Value::Null;
            }
            event.to_string()
        })
        .collect();
    events.sort();
    events
}

#[test]
fn both_ways_give_the_same_answers_events_and_metrics() {
    let (fast, slow) = (edge(true), edge(false));
    for request in requests() {
        let text = |edge: &Edge| undated(&talk(edge.address, request.as_bytes()));
        assert_eq!(text(&fast), text(&slow), "{request}");
        // On a connection that goes on, with a second request behind it.
        let two = format!("{request}GET /moved HTTP/1.1\r\nHost: go.brand.com\r\nUser-Agent: next\r\n\r\n");
        let text = |edge: &Edge| undated(&talk(edge.address, two.as_bytes()));
        assert_eq!(text(&fast), text(&slow), "{two}");
    }
    let outcomes = |edge: &Edge| {
        let text = edge.admin("/metrics").body;
        let counted = |line: &&str| {
            line.starts_with("clickedge_requests_total") || line.starts_with("clickedge_clicks_answered")
        };
        text.lines().filter(counted).map(str::to_owned).collect::<Vec<_>>()
    };
    fast.wait_until("both count the same", |fast| outcomes(fast) == outcomes(&slow));
    let (fast, slow) = (comparable(fast.stop().events("all")), comparable(slow.stop().events("all")));
    assert_eq!(fast.len(), slow.len());
    for (fast, slow) in fast.iter().zip(&slow) {
        assert_eq!(fast, slow);
    }
    assert!(fast.len() > 100, "{} events", fast.len());
}

#[test]
fn pipelined_requests_are_answered_in_order_whichever_way_they_take() {
    let edge = edge(fast_lane());
    let requests = [
        ("GET /spring?n=1 HTTP/1.1", 302),
        ("POST /spring HTTP/1.1", 405),
        ("GET /nothing HTTP/1.1", 404),
        ("GET http://go.brand.com/spring?n=4 HTTP/1.1", 302),
        ("OPTIONS /spring HTTP/1.1", 405),
        ("HEAD /moved HTTP/1.1", 301),
        ("OPTIONS * HTTP/1.1", 200),
        ("GET /old HTTP/1.1", 410),
    ];
    let text: String = requests.iter().map(|(line, _)| format!("{line}\r\nHost: go.brand.com\r\n\r\n")).collect();
    // In one write, and a byte at a time.
    let whole = talk(edge.address, text.as_bytes());
    let mut stream = connect(None, edge.address).unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in text.as_bytes() {
        stream.write_all(&[*byte]).unwrap();
    }
    stream.shutdown(Shutdown::Write).unwrap();
    let mut pieces = String::new();
    stream.read_to_string(&mut pieces).unwrap();
    for answers in [whole, pieces] {
        let statuses: Vec<u16> =
            answers.split("HTTP/1.1 ").skip(1).map(|answer| answer[..3].parse().unwrap()).collect();
        assert_eq!(statuses, requests.map(|(_, status)| status), "{answers}");
    }
}

#[test]
fn a_long_pipeline_is_answered_as_fast_as_it_is_read() {
    let edge = edge(fast_lane());
    let began = Instant::now();
    let last = "GET /old HTTP/1.1\r\nHost: go.brand.com\r\nConnection: close\r\n\r\n";
    let text = talk(
        edge.address,
        format!("{}{last}", "GET / HTTP/1.1\r\nHost: go.brand.com\r\n\r\n".repeat(2_000)).as_bytes(),
    );
    assert_eq!((text.matches("HTTP/1.1 404 ").count(), text.matches("HTTP/1.1 410 ").count()), (2_000, 1));
    assert!(began.elapsed() < Duration::from_secs(4), "no deadline was waited for");
}

#[test]
fn a_client_that_keeps_asking_keeps_its_connection() {
    let edge = Edge::builder().section("[redirect]\nkeepalive_secs = 3").start();
    let mut stream = connect(None, edge.address).unwrap();
    let mut buffer = [0; 1_024];
    for _ in 0..4 {
        stream.write_all(GOOD).unwrap();
        assert!(stream.read(&mut buffer).unwrap() > 0, "closed in use");
        thread::sleep(Duration::from_secs(1));
    }
    assert_eq!(stream.read(&mut buffer).unwrap(), 0, "and loses it when it stops");
}

#[test]
fn clients_that_connected_before_a_stop_are_answered() {
    let edge = Edge::builder()
        .section("[shutdown]\ngrace_secs = 3\n[limits]\nconnections_per_address = 0")
        .feed("all", &["*"])
        .start();
    let mut silent: Vec<TcpStream> = (0..3).map(|_| connect(None, edge.address).unwrap()).collect();
    edge.wait_until("three are open", |edge| edge.metric("clickedge_connections_open") == 3);
    // More than an accept loop takes at once.
    edge.signal("STOP");
    let mut waiting: Vec<TcpStream> = (0..300).map(|_| connect(None, edge.address).unwrap()).collect();
    for stream in &mut waiting {
        stream.write_all(GOOD).unwrap();
    }
    edge.signal("QUIT");
    edge.signal("CONT");
    let mut answered = 0;
    for stream in &mut waiting {
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        answered += usize::from(text.starts_with("HTTP/1.1 302 "));
    }
    assert_eq!(answered, 300);
    let until = Instant::now() + TIMEOUT;
    while connect(None, edge.address).is_ok() {
        assert!(Instant::now() < until, "the socket is still open");
        thread::sleep(Duration::from_millis(10));
    }
    for stream in &mut silent {
        stream.write_all(GOOD).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 302 "), "{text}");
    }
    assert_eq!(edge.wait().events("all").len(), 303);
}

fn limited(lines: &str) -> Edge {
    Edge::builder().section(&format!("[limits]\n{lines}")).feed("all", &["*"]).start()
}

const GOOD: &[u8] = b"GET /spring HTTP/1.1\r\nHost: go.brand.com\r\n\r\n";

/// How long the other side keeps a connection open on which `send` is called again and again.
fn lifetime(address: SocketAddr, mut send: impl FnMut(&mut TcpStream)) -> Duration {
    let began = Instant::now();
    let mut stream = connect(None, address).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    while began.elapsed() < TIMEOUT {
        send(&mut stream);
        let mut buffer = [0; 4_096];
        match stream.read(&mut buffer) {
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Ok(0) | Err(_) => return began.elapsed(),
            Ok(_) => {}
        }
    }
    panic!("still open");
}

#[test]
fn a_header_has_a_deadline_whether_it_drips_stalls_or_never_begins() {
    let edge = limited("header_secs = 1");
    let drip = |stream: &mut TcpStream| _ = stream.write_all(b"X");
    let began = |stream: &mut TcpStream| stream.write_all(b"GET /spring HTTP/1.1\r\n").unwrap();
    let mut first = true;
    let dripping = lifetime(edge.address, |stream| {
        if std::mem::take(&mut first) {
            began(stream);
        }
        drip(stream);
    });
    let mut first = true;
    let second = lifetime(edge.address, |stream| {
        if std::mem::take(&mut first) {
            stream.write_all(GOOD).unwrap();
            began(stream);
        }
        drip(stream);
    });
    let silent = lifetime(edge.address, |_| {});
    for (what, lifetime) in [("dripping", dripping), ("second request", second), ("silent", silent)] {
        assert!(lifetime > Duration::from_millis(900) && lifetime < Duration::from_secs(10), "{what}: {lifetime:?}");
    }
    edge.wait_until("counted", |edge| {
        edge.metric("clickedge_connections_ended_total{reason=\"header_timeout\"}") == 2
            && edge.metric("clickedge_connections_ended_total{reason=\"idle\"}") == 1
    });
    assert_eq!(edge.metric("clickedge_connections_open"), 0);
}

#[test]
fn what_is_too_long_is_answered_and_counted() {
    let edge = limited("target_bytes = 200\nheader_bytes = 1000\nheader_fields = 10");
    for (request, status) in [
        (format!("GET /{} HTTP/1.1\r\nHost: go.brand.com\r\n\r\n", "a".repeat(199)), 404),
        (format!("GET /{} HTTP/1.1\r\nHost: go.brand.com\r\n\r\n", "a".repeat(200)), 414),
        (format!("GET / HTTP/1.1\r\nHost: go.brand.com\r\nX: {}\r\n\r\n", "a".repeat(1_000)), 431),
        (format!("GET / HTTP/1.1\r\nHost: go.brand.com\r\n{}\r\n", "X: y\r\n".repeat(9)), 404),
        (format!("GET / HTTP/1.1\r\nHost: go.brand.com\r\n{}\r\n", "X: y\r\n".repeat(10)), 431),
        ("GET / HTTP/3.0\r\nHost: go.brand.com\r\n\r\n".into(), 505),
        ("POST / HTTP/1.1\r\nHost: go.brand.com\r\nTransfer-Encoding: br\r\n\r\n".into(), 501),
    ] {
        let answer = talk(edge.address, request.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {answer}");
    }
    assert_eq!(edge.metric("clickedge_requests_total{outcome=\"too_large\"}"), 3);
    assert_eq!(edge.metric("clickedge_requests_total{outcome=\"bad_request\"}"), 2);
}

#[test]
fn an_address_has_so_many_connections_and_requests() {
    let edge = limited("header_secs = 60\nconnections_per_address = 4\nrequests_per_second = 1\nrequest_burst = 3");
    let mut held: Vec<TcpStream> = (0..4).map(|_| connect(None, edge.address).unwrap()).collect();
    edge.wait_until("four are open", |edge| edge.metric("clickedge_connections_open") == 4);
    assert_eq!(talk(edge.address, GOOD), "", "a fifth is closed at once");
    let other = Some("127.0.0.2".parse().unwrap());
    assert!(connect(other, edge.address).is_ok_and(|mut stream| {
        stream.write_all(GOOD).unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).unwrap();
        &start == b"HTTP/1.1 302"
    }));
    edge.wait_until("counted", |edge| {
        edge.metric("clickedge_connections_ended_total{reason=\"too_many_of_address\"}") == 1
    });
    held.truncate(1);
    let stream = &mut held[0];
    stream.write_all(&GOOD.repeat(4)).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!((text.matches("HTTP/1.1 302").count(), text.matches("HTTP/1.1 429").count()), (3, 1), "{text}");
    assert_eq!(edge.metric("clickedge_requests_total{outcome=\"too_many\"}"), 1);
}

#[test]
fn an_http_2_connection_that_says_nothing_is_closed() {
    let address = free_address();
    let builder = Edge::builder();
    let (certificate, _) = tls::certificate(builder.dir(), "one", &["go.brand.com"]);
    let section = format!("[[listeners]]\naddress = \"{address}\"\n{certificate}\n[limits]\nheader_secs = 1");
    let edge = builder.section(&section).start();
    let mut config = tls::remembering(&[&rustls::version::TLS13]);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let config = Arc::new(config);
    for half in [&b""[..], b"PRI * HTTP/2.0"] {
        let mut stream = tls::with(Arc::clone(&config), connect(None, address).unwrap(), "go.brand.com");
        stream.write_all(half).unwrap();
        stream.flush().unwrap();
        let began = Instant::now();
        let _ = stream.read_to_end(&mut Vec::new());
        assert_eq!(stream.conn.alpn_protocol(), Some(&b"h2"[..]));
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }
    edge.wait_until("none is open", |edge| edge.metric("clickedge_connections_open") == 0);
}

#[test]
fn clients_behind_a_proxy_header_have_limits_of_their_own() {
    let address = free_address();
    let section = format!(
        "[[listeners]]\naddress = \"{address}\"\nproxy_protocol = true\n\
         [client_address]\ntrusted_proxies = [\"127.0.0.1/32\"]\n[limits]\nconnections_per_address = 2"
    );
    let edge = Edge::builder().section(&section).start();
    let from = |client: &str| {
        let mut stream = connect(None, address).unwrap();
        stream.write_all(format!("PROXY TCP4 {client} 127.0.0.1 4000 80\r\n").as_bytes()).unwrap();
        stream.write_all(GOOD).unwrap();
        let mut start = [0; 12];
        let answered = stream.read_exact(&mut start).is_ok();
        (stream, answered)
    };
    let held = [from("203.0.113.7"), from("203.0.113.7"), from("203.0.113.8")];
    assert!(held.iter().all(|(_, answered)| *answered));
    assert!(!from("203.0.113.7").1, "a third of one client");
    edge.wait_until("counted", |edge| {
        edge.metric("clickedge_connections_ended_total{reason=\"too_many_of_address\"}") == 1
    });
}

#[test]
fn the_client_of_a_proxy_header_is_the_one_that_it_names() {
    let address = free_address();
    let section = format!(
        "[[listeners]]\naddress = \"{address}\"\nproxy_protocol = true\n\
         [client_address]\ntrusted_proxies = [\"127.0.0.1/32\"]"
    );
    let edge = Edge::builder().section(&section).feed("all", &["*"]).start();
    let binary = |family: u8, body: &[u8]| {
        let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21".to_vec();
        header.push(family);
        header.extend((body.len() as u16).to_be_bytes());
        header.extend(body);
        header
    };
    let v4 = binary(0x11, &[203, 0, 113, 9, 127, 0, 0, 1, 0x10, 0, 0, 80]);
    for (header, answered) in [
        (&b"PROXY TCP4 203.0.113.7 127.0.0.1 4000 80\r\n"[..], true),
        (b"PROXY TCP6 2001:db8::7 ::1 4000 80\r\n", true),
        (b"PROXY UNKNOWN\r\n", true),
        (&v4, true),
        (b"", false),
        (b"PROXY TCP4 203.0.113.7\r\n", false),
        (b"PROXY TCP4 203.0.113.7 127.0.0.1 4000 99999\r\n", false),
    ] {
        let answer = talk(address, &[header, GOOD].concat());
        assert_eq!(answer.starts_with("HTTP/1.1 302"), answered, "{}: {answer}", header.escape_ascii());
    }
    for header in [&v4[..], b"PROXY TCP4 203.0.113.7 127.0.0.1 4000 80\r\n"] {
        // Byte by byte.
        let mut stream = connect(None, address).unwrap();
        stream.set_nodelay(true).unwrap();
        for byte in [header, GOOD].concat() {
            stream.write_all(&[byte]).unwrap();
        }
        let mut start = [0; 12];
        stream.read_exact(&mut start).unwrap();
        assert_eq!(&start, b"HTTP/1.1 302");
    }
    // Another peer is taken as it is.
    let mut stranger = connect(Some("127.0.0.2".parse().unwrap()), address).unwrap();
    stranger.write_all(&[b"PROXY TCP4 203.0.113.7 127.0.0.1 4000 80\r\n", GOOD].concat()).unwrap();
    let mut text = String::new();
    stranger.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 400 "), "{text}");
    edge.wait_until("counted", |edge| edge.metric("clickedge_connections_ended_total{reason=\"proxy_header\"}") == 3);
    assert!(!edge.stop().log().contains("203.0.113"));
}

#[test]
fn a_plain_socket_redirects_to_https_where_that_is_configured() {
    let address = free_address();
    let edge = Edge::builder()
        .section(&format!("[[listeners]]\naddress = \"{address}\"\nredirect_to_https = true"))
        .feed("all", &["*"])
        .start();
    for (request, location) in [
        ("GET /spring?a=b HTTP/1.1\r\nHost: GO.brand.com:80\r\n\r\n", "https://go.brand.com/spring?a=b"),
        ("GET http://go.brand.com/caf\u{e9} HTTP/1.1\r\nHost: x\r\n\r\n", "https://go.brand.com/caf%C3%A9"),
        (
            "POST /nothing HTTP/1.1\r\nHost: other.example\r\nContent-Length: 1\r\n\r\nx",
            "https://other.example/nothing",
        ),
    ] {
        let answer = talk(address, request.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 301 "), "{answer}");
        assert!(answer.contains(&format!("\r\nlocation: {location}\r\n")), "{answer}");
    }
    assert!(talk(address, b"GET / HTTP/1.0\r\n\r\n").starts_with("HTTP/1.1 400 "));
    assert_eq!(edge.metric("clickedge_requests_total{outcome=\"https\"}"), 3);
    assert_eq!(edge.metric("clickedge_clicks_answered_total"), 0, "none of them was a click");
}

/// One click over TLS with a client that remembers sessions. Returns how it shook hands.
fn shake(address: SocketAddr, config: &Arc<rustls::ClientConfig>) -> HandshakeKind {
    let mut stream = tls::with(Arc::clone(config), connect(None, address).unwrap(), "go.brand.com");
    write!(stream, "GET /spring HTTP/1.1\r\nHost: go.brand.com\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    assert!(text.starts_with(b"HTTP/1.1 302 "), "{}", text.escape_ascii());
    stream.conn.handshake_kind().unwrap()
}

#[test]
fn a_session_is_resumed_after_others_after_a_restart_and_at_another_edge_with_the_same_secret() {
    let start = |secret: &str| {
        let builder = Edge::builder();
        let (certificate, _) = tls::certificate(builder.dir(), "one", &["go.brand.com"]);
        std::fs::write(builder.dir().join("tickets.secret"), secret.repeat(32)).unwrap();
        let address = free_address();
        let sections = format!(
            "[[listeners]]\naddress = \"{address}\"\n{certificate}\n[tls]\nticket_secret_file = \"tickets.secret\""
        );
        (builder.section(&sections).feed("all", &["*"]).start(), address)
    };
    let (edge, address) = start("s");
    let ((_same, second), (_other, third)) = (start("s"), start("t"));
    for versions in [&[&rustls::version::TLS13][..], &[&rustls::version::TLS12]] {
        let config = Arc::new(tls::remembering(versions));
        assert_eq!(shake(address, &config), HandshakeKind::Full);
        assert_eq!(shake(address, &config), HandshakeKind::Resumed);
        for _ in 0..300 {
            assert_eq!(shake(address, &Arc::new(tls::remembering(versions))), HandshakeKind::Full);
        }
        assert_eq!(shake(address, &config), HandshakeKind::Resumed, "after 300 others");
        assert_eq!(shake(second, &config), HandshakeKind::Resumed, "at another edge");
        assert_eq!(shake(third, &config), HandshakeKind::Full, "not with another secret");
    }
    let config = Arc::new(tls::remembering(&[&rustls::version::TLS13]));
    shake(address, &config);
    let edge = edge.kill().restart();
    assert_eq!(shake(address, &config), HandshakeKind::Resumed, "after a restart");
    assert_eq!(edge.metric("clickedge_tls_handshakes_total{result=\"resumed\"}"), 1);
}
