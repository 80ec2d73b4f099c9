//! From bytes on a socket to answers and events: both ways, and the PROXY header before them.

use std::{
    io::{ErrorKind, Read, Write},
    net::Shutdown,
    time::{Duration, Instant},
};

use super::{fuzz, mutate, random, time};
use crate::{
    common::{Edge, connect, free_address, tls},
    front::{self, talk, undated},
    http2,
};

const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b" ",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"GET ",
    b"HEAD ",
    b"POST ",
    b"CONNECT ",
    b"OPTIONS * ",
    b"GET /spring?smuggled HTTP/1.1\r\nHost: go.brand.com\r\n\r\n",
    b"Host: go.brand.com\r\n",
    b"Host:",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding:\tchunked \r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive\r\n",
    b"Connection: upgrade\r\nUpgrade: h2c\r\n",
    b"Expect: 100-continue\r\n",
    b"X: y\r\n",
    b"0\r\n\r\n",
    b"5\r\nhello\r\n",
    b"http://go.brand.com",
    b"https://",
    b"/spring",
    b"/spring?",
    b"/upload",
    b"/..",
    b"%00",
    b"%2f",
    b"%",
    b"//",
    b"\\",
    b"@",
    b":80",
    b"\xc3\xa9",
    b"\xff",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
];

/// Clicks after which the events of both ways are compared.
const ROUND: usize = 20_000;

/// Requests that these bytes may hold: each ends with an empty line, or with what is no request any more.
fn most_answers(bytes: &[u8]) -> usize {
    memchr::memmem::find_iter(bytes, b"\r\n\r\n").count() + 1
}

#[test]
fn both_ways_answer_whatever_comes_alike() {
    let corpus: Vec<Vec<u8>> = front::requests().into_iter().map(String::into_bytes).collect();
    let next = b"GET /moved HTTP/1.1\r\nHost: go.brand.com\r\nUser-Agent: next\r\n\r\n";
    let (mut random, until, mut cases) = (random("requests"), Instant::now() + time(), 0);
    while cases == 0 || Instant::now() < until {
        let edges = [true, false].map(front::edge);
        let (mut round, mut answered) = (0, 0);
        while round < ROUND && (round == 0 || Instant::now() < until) {
            let mut bytes = mutate::mutated(&mut random, &corpus, WORDS);
            if random.bool() {
                bytes.extend(next);
            }
            let [fast, slow] = edges.each_ref().map(|edge| undated(&talk(edge.address, &bytes)));
            let shown = bytes.escape_ascii();
            assert_eq!(fast, slow, "{shown}");
            let answers = fast.matches("HTTP/1.1 ").count();
            assert!(answers <= most_answers(&bytes), "{answers} answers: {fast}\nto {shown}");
            answered += (answers - fast.matches("HTTP/1.1 100 ").count()) as i64;
            round += 1;
        }
        cases += round;
        let events = edges.map(|edge| {
            edge.wait_until("all are counted", |edge| edge.sum("clickedge_requests_total") == answered);
            let stopped = edge.stop();
            assert!(stopped.status.success() && !stopped.log().contains("panicked"), "{}", stopped.log());
            let mut events = stopped.events("all");
            for event in &mut events {
                // What the moment of a click says about it.
                event["quality"] = serde_json::Value::Null;
            }
            front::comparable(events)
        });
        assert!(!events[0].is_empty() || round < 100, "no click among {round} requests");
        assert_eq!(events[0].len(), events[1].len());
        for (fast, slow) in events[0].iter().zip(&events[1]) {
            assert_eq!(fast, slow);
        }
    }
    println!("fuzz: requests: {cases} cases");
}

#[test]
fn any_proxy_header_is_a_header_or_ends_the_connection() {
    let address = free_address();
    let section = format!(
        "[[listeners]]\naddress = \"{address}\"\nproxy_protocol = true\n\
         [client_address]\ntrusted_proxies = [\"127.0.0.1/32\"]\n[limits]\nhandshake_secs = 1"
    );
    let edge = Edge::builder().section(&section).start();
    let request = b"GET /spring HTTP/1.1\r\nHost: go.brand.com\r\nConnection: close\r\n\r\n";
    let binary = |command: u8, family: u8, body: &[u8]| {
        let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
        header.extend([command, family]);
        header.extend((body.len() as u16).to_be_bytes());
        header.extend(body);
        header
    };
    let v4 = [203, 0, 113, 9, 127, 0, 0, 1, 0x10, 0, 0, 80];
    let corpus: Vec<Vec<u8>> = [
        b"PROXY TCP4 203.0.113.7 127.0.0.1 4000 80\r\n".to_vec(),
        b"PROXY TCP6 2001:db8::7 ::1 4000 80\r\n".to_vec(),
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN ffff::1 ffff::2 1 65535\r\n".to_vec(),
        binary(0x21, 0x11, &v4),
        binary(0x20, 0x00, &[]),
        binary(0x21, 0x21, &[1; 36]),
        binary(0x21, 0x11, &[&v4[..], &[3, 0, 4, 1, 2, 3, 4]].concat()),
        binary(0x21, 0x31, &[b'/'; 216]),
    ]
    .into_iter()
    .map(|header| [&header, &request[..]].concat())
    .collect();
    let words: &[&[u8]] = &[
        b"PROXY ",
        b"TCP4",
        b"TCP6",
        b"UNKNOWN",
        b" ",
        b"\r\n",
        b"\r\n\r\n\0\r\nQUIT\n",
        b"\x21\x11\x00\x0c",
        b"65536",
        b"::",
        b"0",
        b"\xff\xff",
    ];
    let one = || {
        fuzz("proxy-header", &corpus, words, |bytes| {
            let began = Instant::now();
            let text = talk(address, bytes);
            let answers = text.matches("HTTP/1.1 ").count();
            assert!(answers <= most_answers(bytes), "{text}");
            assert!(began.elapsed() < Duration::from_secs(10), "closed at the latest when the handshake is over");
        });
    };
    // A header without an end takes a second.
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(one);
        }
    });
    assert_eq!(edge.get("go.brand.com", "/spring").status, 302);
    let stopped = edge.stop();
    assert!(stopped.status.success() && !stopped.log().contains("panicked"));
}

#[test]
fn any_frames_are_answered_or_end_the_connection() {
    let (edge, address) = http2::edge("");
    let start = [http2::PREFACE, &http2::frame(4, 0, 0, &[])].concat();
    let whole = http2::head(1, b"/spring");
    let (first, rest) = whole[9..].split_at(20);
    let corpus = [
        http2::head(1, b"/spring?a=b"),
        [http2::head(1, b"/spring"), http2::head(3, b"/old"), http2::frame(3, 0, 1, &[0, 0, 0, 8])].concat(),
        [http2::frame(1, 1, 1, first), http2::frame(9, 4, 1, rest)].concat(),
        [http2::frame(1, 4, 1, &whole[9..]), http2::frame(0, 0, 1, b"data"), http2::frame(0, 1, 1, b"")].concat(),
        [http2::frame(6, 0, 0, &[7; 8]), http2::frame(8, 0, 0, &[0, 0, 1, 0]), http2::head(1, b"/")].concat(),
        [http2::frame(4, 0, 0, &[0, 4, 0, 0, 0, 1]), http2::frame(2, 0, 1, &[0; 5]), http2::head(1, b"/")].concat(),
    ]
    .map(|frames| [&start[..], &frames].concat());
    let (next, reset) = (http2::head(5, b"/spring"), http2::frame(3, 0, 5, &[0, 0, 0, 8]));
    let words: &[&[u8]] =
        &[&next, &reset, &start[24..], b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x3f\xe1\x1f"];
    let one = || {
        fuzz("http2", &corpus, words, |bytes| {
            let socket = connect(None, address).unwrap();
            let mut stream = tls::with(http2::client_config(b"h2"), socket, "go.brand.com");
            let _ = stream.write_all(bytes);
            stream.conn.send_close_notify();
            let _ = stream.flush();
            let _ = stream.sock.shutdown(Shutdown::Write);
            let mut answer = Vec::new();
            if let Err(error) = stream.read_to_end(&mut answer) {
                assert!(!matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "left open");
            }
        });
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(one);
        }
    });
    assert_eq!(edge.get("go.brand.com", "/spring").status, 302);
    let stopped = edge.stop();
    assert!(stopped.status.success() && !stopped.log().contains("panicked"));
}
