//! HTTP/2: its clicks are clicks like any other, and its limits hold.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use h2::{Reason, client::SendRequest};
use http::{Request, Response};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::common::{Builder, CHROME, Edge, TIMEOUT, connect, free_address, link, tls};

/// An edge with TLS at the second address.
pub fn edge(sections: &str) -> (Edge, SocketAddr) {
    let address = free_address();
    let builder: Builder = Edge::builder();
    let (certificate, _) = tls::certificate(builder.dir(), "one", &["go.brand.com"]);
    let mut expired = link("go.brand.com", "old", "https://www.example.com/old");
    expired["status"] = json!("expired");
    let listener = format!("[[listeners]]\naddress = \"{address}\"\n{certificate}\n{sections}");
    (builder.link(expired).section(&listener).feed("all", &["*"]).start(), address)
}

pub fn client_config(protocol: &[u8]) -> Arc<rustls::ClientConfig> {
    let mut config = tls::remembering(&[&rustls::version::TLS13]);
    config.alpn_protocols = vec![protocol.to_vec()];
    Arc::new(config)
}

/// A connection of a client that keeps to the rules.
pub struct Client {
    streams: SendRequest<Bytes>,
    /// Ends with the connection.
    connection: JoinHandle<Result<(), h2::Error>>,
}

impl Client {
    async fn open(address: SocketAddr) -> Self {
        Self::try_open(address).await.unwrap()
    }

    pub async fn try_open(address: SocketAddr) -> std::io::Result<Self> {
        let tcp = tokio::net::TcpStream::connect(address).await?;
        let name = rustls::pki_types::ServerName::try_from("go.brand.com").unwrap();
        let tls = tokio_rustls::TlsConnector::from(client_config(b"h2")).connect(name, tcp).await?;
        let (streams, connection) = h2::client::handshake(tls).await.map_err(std::io::Error::other)?;
        Ok(Self { streams, connection: tokio::spawn(connection) })
    }

    /// Whether the server takes more requests on this connection.
    pub async fn is_open(&mut self) -> bool {
        std::future::poll_fn(|cx| self.streams.poll_ready(cx)).await.is_ok()
    }

    pub async fn ask(&mut self, request: Request<()>) -> Result<(Response<()>, String), h2::Error> {
        let (answer, _) = self.streams.send_request(request, true)?;
        let (head, mut body) = answer.await?.into_parts();
        let mut text = Vec::new();
        while let Some(bytes) = body.data().await {
            text.extend_from_slice(&bytes?);
        }
        Ok((Response::from_parts(head, ()), String::from_utf8(text).unwrap()))
    }

    async fn status(&mut self, request: Request<()>) -> u16 {
        self.ask(request).await.unwrap().0.status().as_u16()
    }

    /// How the connection ends.
    async fn end(self) -> Result<(), h2::Error> {
        tokio::time::timeout(TIMEOUT, self.connection).await.expect("still open").unwrap()
    }
}

/// A request with a browser's headers and these.
pub fn request(method: &str, target: &str, headers: &[(&str, &str)]) -> Request<()> {
    let browser = [("User-Agent", CHROME), ("Accept-Language", "en-GB,en;q=0.9"), ("Accept", "text/html")];
    let uri = format!("https://go.brand.com{target}");
    let builder = Request::builder().method(method).uri(uri);
    let all = browser.iter().chain(headers);
    all.fold(builder, |builder, (name, value)| builder.header(*name, *value)).body(()).unwrap()
}

pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn requests(edge: &Edge, outcome: &str) -> i64 {
    edge.metric(&format!("clickedge_requests_total{{outcome=\"{outcome}\"}}"))
}

fn ended(edge: &Edge, reason: &str) -> i64 {
    edge.metric(&format!("clickedge_connections_ended_total{{reason=\"{reason}\"}}"))
}

/// Everything that comes back over HTTP/1.1 and TLS.
fn http1(address: SocketAddr, request: &str) -> String {
    let mut stream = tls::with(client_config(b"http/1.1"), connect(None, address).unwrap(), "go.brand.com");
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    String::from_utf8(text).unwrap()
}

#[test]
fn a_click_over_http_2_is_answered_and_delivered_like_any_other() {
    let (edge, address) = edge("");
    let headers = [("Referer", "https://www.google.com/"), ("Sec-GPC", "1"), ("Sec-CH-UA-Mobile", "?1")];
    let targets = ["/spring?a=%C3%A9&b", "/spring?{a}|^", "/old", "/nothing", "/", "/spring?%00"];
    let mut expected = Vec::new();
    for target in targets {
        for method in ["GET", "HEAD", "POST"] {
            let fields: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            expected.push(http1(
                address,
                &format!(
                    "{method} {target} HTTP/1.1\r\nHost: go.brand.com\r\nUser-Agent: {CHROME}\r\n\
                     Accept-Language: en-GB,en;q=0.9\r\nAccept: text/html\r\n{fields}Connection: close\r\n\r\n"
                ),
            ));
        }
    }
    let mut got = Vec::new();
    block_on(async {
        let mut client = Client::open(address).await;
        for target in targets {
            for method in ["GET", "HEAD", "POST"] {
                let (head, body) = client.ask(request(method, target, &headers)).await.unwrap();
                let reason = head.status().canonical_reason().unwrap();
                let mut text = format!("HTTP/1.1 {} {reason}\r\n", head.status().as_u16());
                for (name, value) in head.headers() {
                    text += &format!("{name}: {}\r\n", value.to_str().unwrap());
                }
                got.push(format!("{text}\r\n{body}"));
            }
        }
    });
    // Names in lower case, and without what HTTP/2 says in other words.
    let neutral = |text: &String| {
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let lines = head.split("\r\n").map(|line| match line.split_once(": ") {
            Some((name, value)) => format!("{}: {value}", name.to_ascii_lowercase()),
            None => line.to_owned(),
        });
        let lines: Vec<_> =
            lines.filter(|line| !line.starts_with("date: ") && !line.starts_with("connection: ")).collect();
        format!("{}\n\n{body}", lines.join("\n"))
    };
    for (expected, got) in expected.iter().zip(&got) {
        assert_eq!(neutral(expected), neutral(got));
        assert!(got.contains("\r\ndate: "), "{got}");
    }
    assert_eq!(edge.metric("clickedge_clicks_answered_total"), 8);
    for outcome in ["redirect", "gone", "not_found", "method_not_allowed", "bad_request"] {
        assert_eq!(requests(&edge, outcome) % 2, 0, "{outcome}");
        assert!(requests(&edge, outcome) > 0, "{outcome}");
    }
    let mut events = edge.stop().events("all");
    assert_eq!(events.len(), 8);
    for event in &mut events {
        for name in ["id", "timestamp"] {
            event[name] = Value::Null;
        }
    }
    let mut texts: Vec<String> = events.iter().map(Value::to_string).collect();
    texts.sort();
    for pair in texts.chunks(2) {
        assert_eq!(pair[0], pair[1]);
    }
}

#[test]
fn what_is_too_long_or_too_often_is_answered_and_counted() {
    let (edge, address) = edge(
        "[limits]\ntarget_bytes = 200\nheader_bytes = 1000\nheader_fields = 10\nrequests_per_second = 1\nrequest_burst = 8",
    );
    block_on(async {
        let mut client = Client::open(address).await;
        let long = |bytes: usize| "a".repeat(bytes);
        let many: Vec<_> = (0..8).map(|_| ("x", "y")).collect();
        assert_eq!(client.status(request("GET", &format!("/{}", long(199)), &[])).await, 404);
        assert_eq!(client.status(request("GET", &format!("/{}", long(200)), &[])).await, 414);
        assert_eq!(client.status(request("GET", "/spring", &many[..7])).await, 302);
        assert_eq!(client.status(request("GET", "/spring", &many)).await, 431);
        assert_eq!(client.status(request("GET", "/spring", &[("x", &long(500))])).await, 302);
        assert_eq!(client.status(request("GET", "/spring", &[("x", &long(1_000))])).await, 431);
        assert_eq!(requests(&edge, "too_large"), 3);
        // Much too long: the codec answers by itself.
        assert_eq!(client.status(request("GET", "/spring", &[("x", &long(3_000))])).await, 431);
        assert_eq!(client.status(request("GET", "/spring", &[])).await, 302);
        assert_eq!(client.status(request("GET", "/spring", &[])).await, 302, "the eighth");
        // One more is allowed with each second that this took.
        let mut clicks = 4;
        while client.status(request("GET", "/spring", &[])).await == 302 {
            clicks += 1;
            assert!(clicks < 100, "it goes on");
        }
        assert_eq!(requests(&edge, "too_many"), 1);
        assert_eq!(edge.metric("clickedge_clicks_answered_total"), clicks, "what is rejected is no click");
    });
}

#[test]
fn what_pingora_rejects_is_counted_and_ends_the_connection_at_last() {
    let (edge, address) = edge("");
    let tunnel = || Request::builder().method("CONNECT").uri("go.brand.com:443").body(()).unwrap();
    block_on(async {
        let mut client = Client::open(address).await;
        assert_eq!(client.status(tunnel()).await, 405);
        assert_eq!(requests(&edge, "method_not_allowed"), 1);
        let two_hosts = || request("GET", "/spring", &[("Host", "other.example")]);
        for _ in 1..32 {
            assert_eq!(client.status(two_hosts()).await, 400);
            assert_eq!(client.status(request("GET", "/spring", &[])).await, 302, "the next stream");
        }
        assert_eq!(requests(&edge, "bad_request"), 31);
        let _ = client.ask(two_hosts()).await;
        let _ = client.end().await;
    });
    edge.wait_until("counted", |edge| ended(edge, "http2") == 1);
    assert_eq!(requests(&edge, "bad_request"), 32);
    assert_eq!(edge.metric("clickedge_clicks_answered_total"), 31);
}

#[test]
fn a_connection_ends_when_it_is_idle_or_has_asked_enough() {
    let (edge, address) = edge("[redirect]\nkeepalive_secs = 2\n[limits]\nrequests_per_connection = 4");
    // A machine that stops for a moment makes a pause that is too long: then it begins again.
    let with_pauses = async || {
        let mut client = Client::open(address).await;
        for _ in 0..3 {
            let began = Instant::now();
            if client.ask(request("GET", "/spring", &[])).await.is_err() {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(1_200)).await;
            if began.elapsed() > Duration::from_millis(1_900) {
                return None;
            }
        }
        Some(client)
    };
    block_on(async {
        let mut client = None;
        for _ in 0..10 {
            client = with_pauses().await;
            if client.is_some() {
                break;
            }
        }
        let began = Instant::now();
        let _ = client.expect("a connection with pauses").end().await;
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        edge.wait_until("counted", |edge| ended(edge, "idle") >= 1);

        let mut client = Client::open(address).await;
        for _ in 0..4 {
            assert_eq!(client.status(request("GET", "/spring", &[])).await, 302);
        }
        let fifth = async { while client.ask(request("GET", "/spring", &[])).await.is_ok() {} };
        tokio::time::timeout(TIMEOUT, fifth).await.expect("it goes on");
        let end = client.end().await;
        assert!(
            end.as_ref().is_ok_and(|()| true)
                || end.is_err_and(|error| error.is_io() || error.reason() == Some(Reason::NO_ERROR))
        );
    });
    edge.wait_until("none is open", |edge| edge.metric("clickedge_connections_open") == 0);
}

#[test]
fn a_stop_ends_connections_between_requests() {
    let (edge, address) = edge("[shutdown]\ngrace_secs = 5");
    block_on(async {
        let mut client = Client::open(address).await;
        assert_eq!(client.status(request("GET", "/spring", &[])).await, 302);
        edge.signal("QUIT");
        let began = Instant::now();
        let _ = client.end().await;
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    });
    assert_eq!(edge.wait().events("all").len(), 1);
}

/// The bytes with which a connection begins.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection of a client that does not care for rules.
type Raw = rustls::StreamOwned<rustls::ClientConnection, std::net::TcpStream>;

fn raw(address: SocketAddr) -> Raw {
    let mut stream = tls::with(client_config(b"h2"), connect(None, address).unwrap(), "go.brand.com");
    stream.write_all(PREFACE).unwrap();
    stream.write_all(&frame(4, 0, 0, &[])).unwrap();
    stream
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A header field, as it is.
fn field(name: &[u8], value: &[u8]) -> Vec<u8> {
    [&[0, name.len() as u8][..], name, &[value.len() as u8], value].concat()
}

pub fn head(stream: u32, path: &[u8]) -> Vec<u8> {
    let fields = [field(b":method", b"GET"), field(b":scheme", b"https"), field(b":path", path)];
    frame(1, 5, stream, &[fields.concat(), field(b":authority", b"go.brand.com")].concat())
}

/// Frames until the connection closes: kind, stream, payload.
fn frames(stream: &mut Raw) -> Vec<(u8, u32, Vec<u8>)> {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let (mut rest, mut frames) = (&bytes[..], Vec::new());
    while let Some((start, more)) = rest.split_at_checked(9) {
        let length = u32::from_be_bytes([0, start[0], start[1], start[2]]) as usize;
        let Some((payload, more)) = more.split_at_checked(length) else { break };
        frames.push((start[3], u32::from_be_bytes(start[5..9].try_into().unwrap()), payload.to_vec()));
        rest = more;
    }
    frames
}

/// The reason with which the other side ended the connection.
fn goaway(frames: &[(u8, u32, Vec<u8>)]) -> Option<u32> {
    let (_, _, payload) = frames.iter().rev().find(|(kind, ..)| *kind == 7)?;
    Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()))
}

#[test]
fn streams_that_are_reset_at_once_end_the_connection() {
    const ENHANCE_YOUR_CALM: u32 = 11;
    let (edge, address) = edge("");
    let mut stream = raw(address);
    let mut bytes = Vec::new();
    for number in 0..10_000_u32 {
        bytes.extend(head(2 * number + 1, b"/spring"));
        bytes.extend(frame(3, 0, 2 * number + 1, &8_u32.to_be_bytes()));
    }
    // The edge stops to read.
    let _ = stream.write_all(&bytes);
    let answer = frames(&mut stream);
    assert!(matches!(goaway(&answer), None | Some(ENHANCE_YOUR_CALM)), "{:?}", goaway(&answer));
    edge.wait_until("counted", |edge| ended(edge, "http2") == 1);
    let answered = edge.metric("clickedge_clicks_answered_total");
    assert!(answered < 1_000, "{answered} of 10,000");
    assert_eq!(edge.get("go.brand.com", "/spring").status, 302);
    // A few, one after the other.
    let mut stream = raw(address);
    for number in 0..10_u32 {
        let reset = frame(3, 0, 2 * number + 1, &8_u32.to_be_bytes());
        stream.write_all(&[head(2 * number + 1, b"/spring"), reset].concat()).unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    drop(stream);
    edge.wait_until("none is open", |edge| edge.metric("clickedge_connections_open") == 0);
    let log = edge.stop().log();
    assert!(!log.contains("Fail to") && !log.contains("failed to"), "{log}");
}

#[test]
fn the_codec_says_what_it_allows_and_ends_what_is_no_http_2() {
    let (edge, address) = edge("[limits]\ntarget_bytes = 200\nheader_bytes = 1000");
    let mut stream = raw(address);
    stream.write_all(&frame(7, 0, 0, &[0; 8])).unwrap();
    let answer = frames(&mut stream);
    let settings = answer.iter().find(|(kind, _, payload)| *kind == 4 && !payload.is_empty()).unwrap();
    let setting = |id: u16| {
        let found = settings.2.chunks(6).find(|setting| setting[..2] == id.to_be_bytes());
        found.map(|setting| u32::from_be_bytes(setting[2..6].try_into().unwrap()))
    };
    assert_eq!((setting(3), setting(6)), (Some(16), Some(2_000)), "streams and bytes of a header");

    // An endless header: continuations without an end.
    let mut stream = raw(address);
    let first = frame(1, 1, 1, &field(b":method", b"GET"));
    let _ = stream.write_all(&first);
    for _ in 0..10_000 {
        if stream.write_all(&frame(9, 0, 1, &field(b"x", &[b'y'; 200]))).is_err() {
            break;
        }
    }
    edge.wait_until("the endless header is counted", |edge| ended(edge, "http2") == 1);

    // Data of a stream that never began.
    let mut stream = raw(address);
    stream.write_all(&frame(0, 1, 7, b"x")).unwrap();
    assert!(goaway(&frames(&mut stream)).is_some());
    // Another protocol.
    let mut stream = tls::with(client_config(b"h2"), connect(None, address).unwrap(), "go.brand.com");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: go.brand.com\r\n\r\n").unwrap();
    frames(&mut stream);
    edge.wait_until("they are counted", |edge| ended(edge, "http2") == 3);
    assert_eq!(edge.metric("clickedge_clicks_answered_total"), 0);
    assert!(!edge.stop().log().contains("ERROR"));
}

#[test]
fn a_body_of_another_length_than_it_says_gets_an_error_and_no_answer() {
    const PROTOCOL_ERROR: u32 = 1;
    let (edge, address) = edge("[redirect]\nkeepalive_secs = 1");
    let fields = |path: &[u8], length: &[u8]| {
        let fields = [field(b":method", b"POST"), field(b":scheme", b"https"), field(b":path", path)];
        [fields.concat(), field(b":authority", b"go.brand.com"), field(b"content-length", length)].concat()
    };
    for (length, data) in [(&b"1"[..], &b"four"[..]), (b"5", b"four")] {
        let mut stream = raw(address);
        stream.write_all(&frame(1, 4, 1, &fields(b"/spring", length))).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        stream.write_all(&frame(0, 1, 1, data)).unwrap();
        let answer = frames(&mut stream);
        assert!(!answer.iter().any(|(kind, number, _)| (*kind, *number) == (1, 1)), "{answer:?}");
        let reset = answer.iter().find(|(kind, ..)| *kind == 3).map(|(.., payload)| payload.clone());
        assert_eq!(reset, Some(PROTOCOL_ERROR.to_be_bytes().to_vec()), "{answer:?}");
    }
    // The right length is answered, and one that never arrives after a while.
    for data in [&b"four"[..], b""] {
        let mut stream = raw(address);
        stream.write_all(&frame(1, 4, 1, &fields(b"/spring", b"4"))).unwrap();
        if !data.is_empty() {
            stream.write_all(&frame(0, 1, 1, data)).unwrap();
        }
        let answer = frames(&mut stream);
        assert!(answer.iter().any(|(kind, number, _)| (*kind, *number) == (1, 1)), "{answer:?}");
    }
    assert_eq!(requests(&edge, "method_not_allowed"), 2);
    let log = edge.stop().log();
    assert!(!log.contains("ERROR") && !log.contains("failed to send"), "{log}");
}

#[test]
fn bytes_that_no_target_may_hold_reset_their_stream_only() {
    let (edge, address) = edge("");
    let mut stream = raw(address);
    for (number, path) in
        [&b"/spring\0"[..], b"/spring\r\nx", b"/spr ing", b"", b"spring", b"*", b"http://other.example/spring"]
            .iter()
            .enumerate()
    {
        stream.write_all(&head(2 * number as u32 + 1, path)).unwrap();
    }
    stream.write_all(&head(101, b"/spring")).unwrap();
    edge.wait_until("the good one is answered", |edge| edge.metric("clickedge_clicks_answered_total") > 0);
    stream.write_all(&frame(7, 0, 0, &[0; 8])).unwrap();
    let answer = frames(&mut stream);
    assert!(answer.iter().any(|(kind, number, _)| (*kind, *number) == (1, 101)));
    assert!(!answer.iter().any(|(kind, number, _)| (*kind, *number) == (0, 101)), "a redirect is one frame");
    assert_eq!(edge.metric("clickedge_clicks_answered_total"), 1, "{answer:?}");
}
