//! What clients do over HTTP: every way to an answer, to an error and to neither. Each way is taken twice: by an
//! untrusted client that claims to be another one, and through a trusted proxy that names the client.

use std::{
    io::{Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpStream},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{canary::Cast, search::Evidence};
use crate::common::{CHROME, Edge, connect};

/// Requests that are answered, and what each must be answered with. `{h}` is where headers name the client.
const ANSWERED: [(&str, &str, u16); 15] = [
    ("302", "GET /spring?x=1 HTTP/1.1\r\nHost: go.brand.com\r\n{h}\r\n", 302),
    ("302 opted out", "GET /spring HTTP/1.1\r\nHost: go.brand.com\r\nSec-GPC: 1\r\nDNT: 1\r\n{h}\r\n", 302),
    ("302 prefetch", "GET /spring HTTP/1.1\r\nHost: go.brand.com\r\nSec-Purpose: prefetch\r\n{h}\r\n", 302),
    ("302 over HTTP/1.0", "GET /spring HTTP/1.0\r\nHost: go.brand.com\r\n{h}\r\n", 302),
    ("302 absolute", "GET http://go.brand.com/spring HTTP/1.1\r\nHost: go.brand.com\r\n{h}\r\n", 302),
    ("HEAD", "HEAD /spring HTTP/1.1\r\nHost: go.brand.com\r\n{h}\r\n", 302),
    ("404", "GET /winter HTTP/1.1\r\nHost: go.brand.com\r\n{h}\r\n", 404),
    ("404 switched off", "GET /off HTTP/1.1\r\nHost: go.brand.com\r\n{h}\r\n", 404),
    ("410", "GET /over HTTP/1.1\r\nHost: go.brand.com\r\n{h}\r\n", 410),
    ("405", "POST /spring HTTP/1.1\r\nHost: go.brand.com\r\nContent-Length: 0\r\n{h}\r\n", 405),
    ("400 no host", "GET /spring HTTP/1.1\r\n{h}\r\n", 400),
    ("400 two hosts", "GET /spring HTTP/1.1\r\nHost: go.brand.com\r\nHost: a\r\n{h}\r\n", 400),
    ("400 impossible host", "GET /spring HTTP/1.1\r\nHost: go brand com\r\n{h}\r\n", 400),
    ("400 control character", "GET /spring%00 HTTP/1.1\r\nHost: go.brand.com\r\n{h}\r\n", 400),
    ("400 control character in the query", "GET /spring?a=%1b HTTP/1.1\r\nHost: go.brand.com\r\n{h}\r\n", 400),
];

/// Requests that the server or the proxy logs as errors, whatever it answers. `{a}` is the client's address.
const ODD: [(&str, &str); 16] = [
    ("upstream", "GET / HTTP/1.1\r\nHost: elsewhere.example\r\n{h}\r\n"),
    ("upstream with a body", "POST / HTTP/1.1\r\nHost: elsewhere.example\r\nContent-Length: 2\r\n{h}\r\nab"),
    ("upstream upgrade", "GET / HTTP/1.1\r\nHost: elsewhere.example\r\nUpgrade: websocket\r\n{h}\r\n"),
    ("address as host", "GET / HTTP/1.1\r\nHost: {a}\r\n{h}\r\n"),
    ("other target", "GET http://other.example/spring HTTP/1.1\r\nHost: go.brand.com\r\n{h}\r\n"),
    ("raw control character", "GET /spring\x01 HTTP/1.1\r\nHost: go.brand.com\r\n{h}\r\n"),
    ("impossible target", "GET /spring?<a>\" HTTP/1.1\r\nHost: go.brand.com\r\n{h}\r\n"),
    ("garbage", "GARBAGE\r\n{h}\r\n"),
    ("header without a colon", "GET /spring HTTP/1.1\r\nHost: go.brand.com\r\nX-Forwarded-For {a}\r\n\r\n"),
    ("header of control characters", "GET /spring HTTP/1.1\r\nHost: go.brand.com\r\nX: \x01{a}\x02\r\n{h}\r\n"),
    ("unknown version", "GET /spring HTTP/9.9\r\nHost: go.brand.com\r\n{h}\r\n"),
    ("CONNECT", "CONNECT {a}:443 HTTP/1.1\r\nHost: {a}:443\r\n{h}\r\n"),
    ("impossible length", "POST / HTTP/1.1\r\nHost: elsewhere.example\r\nContent-Length: x{a}\r\n{h}\r\n"),
    ("impossible chunk", "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n{h}\r\nx{a}\r\n"),
    ("PROXY", "PROXY TCP4 {a} 127.0.0.1 4711 80\r\nGET /spring HTTP/1.1\r\nHost: go.brand.com\r\n{h}\r\n"),
    ("HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nX-Forwarded-For: {a}\r\n\r\n"),
];

/// Log lines that a client may cause before the log is given time: beyond twenty a second it leaves lines out, and the
/// search would not see them.
const REPORTS: u32 = 9;

/// All clients in one part of a test.
pub struct Visits<'a> {
    /// Which part.
    pub part: &'a str,
    pub edge: &'a Edge,
    pub cast: &'a mut Cast,
    pub evidence: &'a mut Evidence,
    reports: u32,
}

impl<'a> Visits<'a> {
    pub fn new(part: &'a str, edge: &'a Edge, cast: &'a mut Cast, evidence: &'a mut Evidence) -> Self {
        Self { part, edge, cast, evidence, reports: 0 }
    }

    /// Goes every way.
    pub fn all(&mut self) {
        for (path, request, status) in ANSWERED {
            for (from, request) in self.both(path, request) {
                let answer = self.say(path, from, self.edge.address, request.as_bytes());
                assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
            }
        }
        for (path, request) in ODD {
            for (from, request) in self.both(path, request) {
                let mut stream = connect(Some(from), self.edge.address).unwrap();
                let _ = stream.write_all(request.as_bytes());
                // A proxy asks no upstream for a client that wants nothing more.
                if !path.starts_with("upstream") {
                    let _ = stream.shutdown(Shutdown::Write);
                }
                self.hear(path, &mut stream);
                self.reported();
            }
        }
        self.binary_proxy_header();
        self.kept_alive();
        self.closed();
    }

    /// One click each of so many clients.
    pub fn clicks(&mut self, path: &str, count: usize) {
        for _ in 0..count {
            let from = self.client(path);
            let request = b"GET /spring HTTP/1.1\r\nHost: go.brand.com\r\n\r\n";
            self.say(path, from, self.edge.address, request);
        }
    }

    pub fn client(&mut self, path: &str) -> IpAddr {
        self.cast.client(&format!("{}: {path}", self.part))
    }

    /// Sends bytes, hangs up, and keeps the answer as evidence.
    pub fn say(&mut self, path: &str, from: IpAddr, to: SocketAddr, bytes: &[u8]) -> String {
        let mut stream = connect(Some(from), to).unwrap();
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        self.hear(path, &mut stream)
    }

    /// Keeps everything that comes as evidence.
    pub fn hear(&mut self, path: &str, stream: &mut impl Read) -> String {
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer).into_owned();
        self.evidence.add(format!("the answer to {path}"), answer);
        text
    }

    /// To be called after what the edge may log: gives the log time for the next lines.
    pub fn reported(&mut self) {
        self.reports += 1;
        if self.reports.is_multiple_of(REPORTS) {
            let second = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
            let now = second();
            while second() == now {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    /// A request as an untrusted client and as a trusted proxy would send it.
    fn both(&mut self, path: &str, request: &str) -> [(IpAddr, String); 2] {
        let path = format!("{}: {path}", self.part);
        let (v4, v6) = (self.cast.v4(&path, "claimed"), self.cast.v6(&path, "claimed"));
        let claims = format!(
            "User-Agent: {CHROME}\r\nX-Forwarded-For: {v4}, {v6}\r\nX-Real-IP: {v4}\r\nCF-Connecting-IP: {v6}\r\n\
             Forwarded: for=\"[{v6}]:4711\";by={v4}, for={v4}\r\n"
        );
        let fill =
            |headers: &str, address: IpAddr| request.replace("{h}", headers).replace("{a}", &address.to_string());
        let untrusted = (self.cast.client(&path), fill(&claims, v4));
        let (proxy, near) = (self.cast.proxy(&path), self.cast.proxy(&path));
        let (named, text) = if self.cast.all().len().is_multiple_of(2) {
            let named = self.cast.v4(&path, "named");
            (named, named.to_string())
        } else {
            let named = self.cast.v6(&path, "named");
            (named, format!("[{named}]:4711"))
        };
        let named_by =
            format!("User-Agent: {CHROME}\r\nX-Forwarded-For: {v4}, {text}\r\nX-Forwarded-For: {near}\r\n");
        [untrusted, (proxy, fill(&named_by, named))]
    }

    /// The header that load balancers put in front of a connection, in its binary form.
    fn binary_proxy_header(&mut self) {
        let (from, named) = (self.client("PROXY v2"), self.cast.v4(self.part, "PROXY v2, named"));
        let IpAddr::V4(named) = named else { unreachable!("it is IPv4") };
        let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
        bytes.extend(named.octets());
        bytes.extend(b"\x7f\0\0\x01\x12\x34\0\x50GET /spring HTTP/1.1\r\nHost: go.brand.com\r\n\r\n");
        self.say("PROXY v2", from, self.edge.address, &bytes);
        self.reported();
    }

    /// Several requests on a connection, which then idles until the edge closes it.
    fn kept_alive(&mut self) {
        let from = self.client("keep-alive");
        let mut stream = connect(Some(from), self.edge.address).unwrap();
        for target in ["/spring", "/winter", "/spring?again"] {
            write!(stream, "GET {target} HTTP/1.1\r\nHost: go.brand.com\r\n\r\n").unwrap();
        }
        let answers = self.hear("keep-alive", &mut stream);
        assert_eq!(answers.matches("HTTP/1.1 302 ").count(), 2, "{answers}");
    }

    /// Clients that go without waiting for an answer.
    fn closed(&mut self) {
        const HEAD: &[u8] = b"GET /spring HTTP/1.1\r\nHost: go.brand.com\r\n";
        let to = self.edge.address;
        let request = [HEAD, b"\r\n"].concat();
        let body = b"POST / HTTP/1.1\r\nHost: elsewhere.example\r\nContent-Length: 9\r\n\r\nab";
        for (path, bytes) in [
            ("closed at once", &b""[..]),
            ("closed within a header", HEAD),
            ("closed within a body", body),
            ("closed", &request),
        ] {
            for reset in [false, true] {
                let from = self.client(&format!("{path}{}", if reset { " by a reset" } else { "" }));
                let mut stream = connect(Some(from), to).unwrap();
                stream.write_all(bytes).unwrap();
                hang_up(stream, reset);
                self.reported();
            }
        }
        let from = self.client("closed within many answers");
        let mut stream = connect(Some(from), to).unwrap();
        let _ = stream.write_all(&request.repeat(50));
        hang_up(stream, true);
        self.reported();
    }
}

/// Closes a connection, or resets it.
pub fn hang_up(stream: TcpStream, reset: bool) {
    if reset {
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
    drop(stream);
}
