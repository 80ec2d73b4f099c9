//! Requests as broken clients and attackers write them: each is served or rejected alike on both ways, and never is one
//! request taken for two.

mod bodies;
mod chunks;

use std::{
    cell::Cell,
    io::{Read, Write},
    net::Shutdown,
};

use serde_json::json;

use crate::common::{Edge, connect, link};

/// A click that must never be one: the bytes stand where they are no request.
const SMUGGLED: &[u8] = b"GET /spring?smuggled HTTP/1.1\r\nHost: go.brand.com\r\n\r\n";

/// A request whose answer shows that the connection is still served.
const NEXT: &[u8] = b"GET /old HTTP/1.1\r\nHost: go.brand.com\r\nConnection: close\r\n\r\n";

/// An edge that answers plain requests by the fast lane, and one that does not.
struct Ways {
    edges: [Edge; 2],
    /// Answers so far, of each.
    answers: Cell<usize>,
}

impl Ways {
    fn start() -> Self {
        let edges = [true, false].map(|fast_lane| {
            let mut expired = link("go.brand.com", "old", "https://www.example.com/old");
            expired["status"] = json!("expired");
            let mut upload = link("go.brand.com", "upload", "https://www.example.com/upload");
            upload["httpStatus"] = json!(307);
            Edge::builder().fast_lane(fast_lane).link(expired).link(upload).feed("all", &["*"]).start()
        });
        Self { edges, answers: Cell::default() }
    }

    /// What is wrong with the answers to these bytes, which must have these statuses and no other.
    fn wrong(&self, bytes: &[u8], expected: &[u16]) -> Option<String> {
        let texts = self.edges.each_ref().map(|edge| exchange(edge, bytes));
        let found = statuses(&texts[0]);
        self.answers.set(self.answers.get() + found.len());
        let shown = bytes.escape_ascii();
        if found != expected {
            return Some(format!("{shown}: {found:?}, not {expected:?}"));
        }
        (undated(&texts[0]) != undated(&texts[1])).then(|| format!("{shown}: {texts:?}"))
    }

    /// Stops both. Each has counted what it answered, has answered no more clicks than these, and none that was
    /// smuggled.
    fn stop(self, clicks: usize) {
        for edge in self.edges {
            let answers = self.answers.get() as i64;
            edge.wait_until("all are counted", |edge| edge.sum("clickedge_requests_total") == answers);
            let stopped = edge.stop();
            let events = stopped.events("all");
            assert_eq!(events.len(), clicks);
            assert!(!events.iter().any(|event| event.to_string().contains("smuggled")));
            assert!(!stopped.log().contains("panicked"));
        }
    }
}

fn exchange(edge: &Edge, bytes: &[u8]) -> String {
    let mut stream = connect(None, edge.address).unwrap();
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn statuses(text: &str) -> Vec<u16> {
    text.split("HTTP/1.1 ").skip(1).map(|answer| answer[..3].parse().unwrap()).collect()
}

fn undated(text: &str) -> String {
    text.split("\r\n").filter(|line| !line.starts_with("Date: ")).collect::<Vec<_>>().join("\r\n")
}

/// Each request gets this one answer, and nothing after it is answered.
#[track_caller]
fn assert_rejected<B: AsRef<[u8]>>(ways: &Ways, status: u16, requests: impl IntoIterator<Item = B>) {
    let mut wrong = Vec::new();
    for request in requests {
        wrong.extend(ways.wrong(&[request.as_ref(), SMUGGLED, NEXT].concat(), &[status]));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Each request gets this answer, and the connection goes on.
#[track_caller]
fn assert_served<B: AsRef<[u8]>>(ways: &Ways, status: u16, requests: impl IntoIterator<Item = B>) {
    let mut wrong = Vec::new();
    for request in requests {
        wrong.extend(ways.wrong(&[request.as_ref(), NEXT].concat(), &[status, 410]));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn with_host(host: &[u8]) -> Vec<u8> {
    [b"GET /spring HTTP/1.1\r\nHost:", host, b"\r\n\r\n"].concat()
}

/// A request with these bytes between the field before and the empty line.
fn with_field(line: impl AsRef<[u8]>) -> Vec<u8> {
    [b"GET /spring HTTP/1.1\r\nHost: go.brand.com\r\n", line.as_ref(), b"\r\n\r\n"].concat()
}

fn with_line(line: impl AsRef<[u8]>) -> Vec<u8> {
    [line.as_ref(), b"\r\nHost: go.brand.com\r\n\r\n"].concat()
}

#[test]
fn a_host_in_any_other_form_is_rejected() {
    let ways = Ways::start();
    let good: [&[u8]; 8] = [
        b"go.brand.com",
        b" go.brand.com",
        b"\tgo.brand.com \t ",
        b" GO.BRAND.COM",
        b" go.brand.com.",
        b" go.brand.com:80",
        b" go.brand.com:65535",
        b" go.brand.com.:8080",
    ];
    assert_served(&ways, 302, good.map(with_host));
    let long = [b" a.".repeat(130), b"com".to_vec()].concat();
    let bad: [&[u8]; 46] = [
        b"",
        b" ",
        b" .",
        b" ..",
        b" :",
        b" :80",
        b" .go.brand.com",
        b" go..brand.com",
        b" go.brand.com..",
        b" go.brand.com:80x",
        b" go.brand.com:x",
        b" go.brand.com:-1",
        b" go.brand.com:+80",
        b" go.brand.com: 80",
        b" go.brand.com:80:80",
        b" go.brand.com:99999999999999999999",
        b" go brand.com",
        b" go.brand.com other.example",
        b" go.brand.com,other.example",
        b" go.brand.com, go.brand.com",
        b" go.brand.com/",
        b" go.brand.com/spring",
        b" go.brand.com\\",
        b" go.brand.com?",
        b" go.brand.com#",
        b" go.brand.com%00",
        b" go%2ebrand.com",
        b" @go.brand.com",
        b" user@go.brand.com",
        b" user:go.brand.com@other.example",
        b" http://go.brand.com",
        b" \"go.brand.com\"",
        b" 'go.brand.com'",
        b" <go.brand.com>",
        b" (go.brand.com)",
        b" [go.brand.com]",
        b" [::1",
        b" ::1",
        b" [::1]",
        b" [::1]:80",
        b" [::g]",
        b" go.brand.com;a",
        b" go.brand.com\xff",
        b" \xc3\x28.example",
        b" go.brand.com\x7f",
        &long,
    ];
    assert_rejected(&ways, 400, bad.map(with_host));
    for byte in (0..b' ').filter(|byte| *byte != b'\t') {
        assert_rejected(&ways, 400, [with_host(&[b" go.brand".as_slice(), &[byte], b".com"].concat())]);
        assert_rejected(&ways, 400, [with_host(&[b" go.brand.com".as_slice(), &[byte]].concat())]);
    }
    assert_rejected(
        &ways,
        400,
        [
            "GET /spring HTTP/1.1\r\n\r\n",
            "GET /spring HTTP/1.0\r\n\r\n",
            "GET /spring HTTP/1.1\r\nHost: go.brand.com\r\nHost: go.brand.com\r\n\r\n",
            "GET /spring HTTP/1.1\r\nHost: go.brand.com\r\nhOST: other.example\r\n\r\n",
            "GET /spring HTTP/1.1\r\nHost: go.brand.com\r\nHost:\r\n\r\n",
            "GET /spring HTTP/1.1\r\nHost:\r\nHost: go.brand.com\r\n\r\n",
            "GET http://go.brand.com/spring HTTP/1.1\r\n\r\n",
            "GET http://go.brand.com/spring HTTP/1.1\r\nHost: go.brand.com\r\nHost: go.brand.com\r\n\r\n",
            "GET /spring HTTP/1.1\r\nX-Host: go.brand.com\r\n\r\n",
            "GET /spring HTTP/1.1\r\n Host: go.brand.com\r\n\r\n",
        ],
    );
    ways.stop(good.len());
}

#[test]
fn a_line_ends_with_carriage_return_and_line_feed() {
    let ways = Ways::start();
    let good = "GET /spring HTTP/1.1\r\nHost: go.brand.com\r\nX: y\r\n\r\n";
    let mut bad = Vec::new();
    let ends: Vec<usize> = good.match_indices("\r\n").map(|(at, _)| at).collect();
    for at in ends {
        for end in ["\n", "\r\r\n", "\n\n", "\n\r\n", "\r", "\n\r", "\r\n\r", "\x0b", "\0\r\n", " \n"] {
            // What still is a head, of fewer fields or with an empty line after it, is another request.
            let bytes = [&good[..at], end, &good[at + 2..]].concat();
            if end != "\r\n\r" || good[at + 2..].starts_with(|char| char != '\r') {
                bad.push(bytes);
            }
        }
    }
    assert_rejected(&ways, 400, bad);
    // A head that never ends is not answered, whatever follows it: the client hangs up.
    assert_rejected(
        &ways,
        400,
        ["\n", "\r", "\r\r", "\n\r\n", "\r\n\r\n", "\r\n\n", " ", "\t", "\0", "\r\n \r\n"]
            .map(|before| format!("{before}{good}")),
    );
    assert_served(&ways, 302, [format!("\r\n{good}")]);
    ways.stop(1);
}

#[test]
fn a_request_line_has_three_parts_and_single_spaces() {
    let ways = Ways::start();
    let lines: [&[u8]; 41] = [
        b"GET /spring",
        b"GET /spring ",
        b"GET  HTTP/1.1",
        b"GET HTTP/1.1",
        b"GET",
        b"/spring HTTP/1.1",
        b" GET /spring HTTP/1.1",
        b"\tGET /spring HTTP/1.1",
        b"GET  /spring HTTP/1.1",
        b"GET /spring  HTTP/1.1",
        b"GET /spring HTTP/1.1 ",
        b"GET /spring HTTP/1.1\t",
        b"GET\t/spring HTTP/1.1",
        b"GET /spring\tHTTP/1.1",
        b"GET\x0b/spring HTTP/1.1",
        b"GET /spring\x0cHTTP/1.1",
        b"GET\xa0/spring HTTP/1.1",
        b"GET /spr ing HTTP/1.1",
        b"GET /spring HTTP/1.1 HTTP/1.1",
        b"GET /spring HTTP/1.1,HTTP/1.1",
        b"GET /spring http/1.1",
        b"GET /spring Http/1.1",
        b"GET /spring HTTP/1",
        b"GET /spring HTTP/1.",
        b"GET /spring HTTP/.1",
        b"GET /spring HTTP/1.10",
        b"GET /spring HTTP/01.1",
        b"GET /spring HTTP/1.01",
        b"GET /spring HTTP/11.1",
        b"GET /spring HTTP/1,1",
        b"GET /spring HTTP /1.1",
        b"GET /spring HTTP/ 1.1",
        b"GET /spring HTTP/1. 1",
        b"GET /spring HTTP/1.a",
        b"GET /spring HTTPS/1.1",
        b"GET /spring HTP/1.1",
        b"GET /spring ICY/1.1",
        b"GET /spring \xefHTTP/1.1",
        b"GET spring HTTP/1.1",
        b"GET ? HTTP/1.1",
        b"GET go.brand.com:80 HTTP/1.1",
    ];
    assert_rejected(&ways, 400, lines.map(with_line));
    let versions = ["HTTP/0.9", "HTTP/0.0", "HTTP/1.2", "HTTP/1.9", "HTTP/2.0", "HTTP/2.1", "HTTP/3.0", "HTTP/9.9"];
    assert_rejected(&ways, 505, versions.map(|version| with_line(format!("GET /spring {version}"))));
    assert_rejected(&ways, 302, [with_line("GET /spring HTTP/1.0")]);

    // A method is a token of at most 32 letters, and its case counts.
    let long = "A".repeat(32);
    let methods = ["get", "Get", "GETS", "G", "QUERY", "M-SEARCH", "BASELINE-CONTROL", "GE'T", "TRACE", &long];
    assert_served(&ways, 405, methods.map(|method| with_line(format!("{method} /spring HTTP/1.1"))));
    let mut bad: Vec<Vec<u8>> = Vec::new();
    for byte in 0..=255_u8 {
        if !byte.is_ascii_alphanumeric() && !b"!#$%&'*+-.^_`|~ \r\n".contains(&byte) {
            bad.push(with_line([b"G", &[byte][..], b"ET /spring HTTP/1.1"].concat()));
        }
    }
    bad.push(with_line(format!("{long}A /spring HTTP/1.1")));
    bad.push(with_line(format!("{} /spring HTTP/1.1", "A".repeat(100_000))));
    bad.push(with_line("PRI * HTTP/1.1"));
    assert_rejected(&ways, 400, bad);
    assert_rejected(
        &ways,
        405,
        ["CONNECT go.brand.com:443", "CONNECT /", "CONNECT *"].map(|line| with_line(format!("{line} HTTP/1.1"))),
    );
    ways.stop(1);
}

#[test]
fn a_field_has_a_name_and_a_value_on_one_line() {
    let ways = Ways::start();
    let mut bad: Vec<Vec<u8>> = [
        "X",
        ":",
        ": y",
        " X: y",
        "\tX: y",
        "X : y",
        "X\t: y",
        "X\x0b: y",
        "X\0: y",
        "X y: z",
        "X\r: y",
        "(X): y",
        "X, Y: z",
        "X;: y",
        "X[]: y",
        "X{}: y",
        "\"X\": y",
        "X/: y",
        "X@: y",
        "X\\: y",
        "X=: y",
        "<X>: y",
        "X?: y",
        "X: y\r\n z",
        "X: y\r\n\tz",
        "X:\r\n y",
        "X: y\r\n \r\n z",
        "X: y\r\n :z",
        "X: y\rZ: a",
        "X: y\nZ: a",
        "X: y\r\r\nZ: a",
        "GET /spring HTTP/1.1",
    ]
    .map(|line| with_field(line.as_bytes()))
    .to_vec();
    for byte in (0..b' ').chain([0x7f]).filter(|byte| !b"\t\r\n".contains(byte)) {
        bad.push(with_field([b"X: y", &[byte][..], b"z"].concat()));
        bad.push(with_field([b"X: y", &[byte][..]].concat()));
        bad.push(with_field([b"X", &[byte][..], b": y"].concat()));
    }
    for byte in 0x80..=0xff_u8 {
        bad.push(with_field([b"X", &[byte][..], b": y"].concat()));
    }
    assert_rejected(&ways, 400, bad);
    let good: [&[u8]; 9] = [
        b"X:",
        b"X:y",
        b"X: \t ",
        b"X: y:z",
        b"X: \xe9\xff\x80",
        b"!#$%&'*+-.^_`|~0: y",
        b"X: \"unclosed",
        b"X: y\r\nX: y",
        b"Content_Length: 7\r\nTransfer_Encoding: chunked",
    ];
    assert_served(&ways, 302, good.map(with_field));
    ways.stop(good.len());
}

#[test]
fn a_target_is_a_path_or_an_address_of_the_web() {
    let ways = Ways::start();
    let targets = |targets: &[&[u8]]| -> Vec<Vec<u8>> {
        targets.iter().map(|target| with_line([b"GET ", *target, b" HTTP/1.1"].concat())).collect()
    };
    let good = targets(&[
        b"/spring",
        b"/spring/",
        b"/spring%2f",
        b"/%73pring",
        b"/spring#fragment",
        b"/spring?",
        b"/spring?a=\xff\x80",
        b"/spring?\"<>\\^`{|}",
        b"/spring?//go.brand.com:80",
        b"http://go.brand.com/spring",
        b"HTTP://GO.BRAND.COM/spring",
        b"hTTps://go.brand.com:443/spring",
        b"http://go.brand.com:80/spring?http://other.example/",
        b"http://go.brand.com./spring#f",
    ]);
    assert_served(&ways, 302, &good);
    assert_served(
        &ways,
        404,
        targets(&[
            b"/",
            b"//",
            b"//go.brand.com/spring",
            b"/\\go.brand.com/spring",
            b"/../spring",
            b"/./spring",
            b"/spring/../spring",
            b"/spring;a",
            b"/%2fspring",
            b"/%zz",
            b"/spring%",
            b"/\"<>\\^`{|}\xe9",
            b"http://go.brand.com",
            b"http://go.brand.com?spring",
            b"http://go.brand.com//spring",
            b"http://other.example/spring",
        ]),
    );
    let mut bad = targets(&[
        b"*",
        b"**",
        b"*/spring",
        b"spring",
        b"./spring",
        b"\\spring",
        b"?spring",
        b"#spring",
        b"http:",
        b"http:/",
        b"http://",
        b"http:///spring",
        b"http:/go.brand.com/spring",
        b"http:go.brand.com/spring",
        b"http:\\\\go.brand.com/spring",
        b"http://?spring",
        b"http://#",
        b"http://@go.brand.com/spring",
        b"http://user@go.brand.com/spring",
        b"http://user:secret@go.brand.com/spring",
        b"http://go.brand.com@other.example/spring",
        b"http://go.brand.com\\@other.example/spring",
        b"http://go.brand.com:x/spring",
        b"http://go.brand.com:-1/spring",
        b"http://go..brand.com/spring",
        b"http://go.brand.com,other.example/spring",
        b"http://go%2ebrand.com/spring",
        b"http://[::1]/spring",
        b"http://[::1/spring",
        b"http://\xff/spring",
        b"ftp://go.brand.com/spring",
        b"ws://go.brand.com/spring",
        b"httpx://go.brand.com/spring",
        b"file:///etc/passwd",
        b"javascript:alert(1)",
        b"go.brand.com/spring",
        b"go.brand.com:443",
        b"/spring%00",
        b"/spring%0d%0ax:y",
        b"/spring?a=%1b",
    ]);
    for byte in (0..b' ').chain([0x7f]) {
        if !b"\r\n".contains(&byte) {
            bad.push(with_line([b"GET /spring", &[byte][..], b" HTTP/1.1"].concat()));
            bad.push(with_line([b"GET /spring?a=", &[byte][..], b"b HTTP/1.1"].concat()));
        }
    }
    assert_rejected(&ways, 400, bad);
    ways.stop(good.len());
}
