//! What is no valid request: rejected, the connection closed, and the next visitor served.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    sync::{Arc, Mutex, Weak},
};

use crate::common::{Answer, Edge, TIMEOUT};

/// A good request that follows a bad one, to see whether the connection is still served.
const NEXT: &[u8] = b"GET /spring HTTP/1.1\r\nHost: go.brand.com\r\nConnection: close\r\n\r\n";

/// One edge for the tests that run at the same time; it ends with the last of them.
fn edge() -> Arc<Edge> {
    static EDGE: Mutex<Weak<Edge>> = Mutex::new(Weak::new());
    let mut shared = EDGE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let edge = Arc::new(Edge::builder().start());
        *shared = Arc::downgrade(&edge);
        edge
    })
}

/// Everything that comes back for these bytes until the other side closes.
fn exchange(edge: &Edge, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(edge.address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert!(!matches!(error.kind(), std::io::ErrorKind::WouldBlock), "left open after {bytes:?}");
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[track_caller]
fn assert_refused_and_closed(edge: &Edge, request: &[u8]) {
    let shown = request.escape_ascii();
    let text = exchange(edge, &[request, NEXT].concat());
    let answer = Answer::parse(&text).unwrap_or_else(|| panic!("no answer to {shown}: {text:?}"));
    assert_eq!(answer.status, 400, "{shown}");
    assert_eq!(answer.header("location"), None, "{shown}");
    assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "the connection is closed after {shown}: {text}");
}

#[test]
fn a_request_without_exactly_one_valid_host_is_rejected() {
    let edge = edge();
    assert_refused_and_closed(&edge, b"GET /spring HTTP/1.1\r\n\r\n");
    assert_refused_and_closed(&edge, b"GET /spring HTTP/1.0\r\n\r\n");
    assert_refused_and_closed(&edge, b"GET /spring HTTP/1.1\r\nHost: go.brand.com\r\nHost: go.brand.com\r\n\r\n");
    assert_refused_and_closed(&edge, b"GET /spring HTTP/1.1\r\nHost: go.brand.com\r\nhost: other.example\r\n\r\n");
    let long = ["a."; 130].concat();
    for host in [
        &b""[..],
        b" ",
        b".",
        b":80",
        b"go..brand.com",
        b".go.brand.com",
        b"go.brand.com..",
        b"go brand com",
        b"go.brand.com/",
        b"go.brand.com:80x",
        b"go.brand.com:-1",
        b"user@go.brand.com",
        b"go.brand.com, go.brand.com",
        b"[::1]:80",
        b"go.brand.com\t\xff",
        b"\xc3\x28.example",
        b"go.brand%2ecom",
        long.as_bytes(),
    ] {
        assert_refused_and_closed(&edge, &[b"GET /spring HTTP/1.1\r\nHost: ", host, b"\r\n\r\n"].concat());
    }
}

#[test]
fn a_control_character_in_the_target_is_rejected_plain_or_encoded() {
    let edge = edge();
    for target in [
        &b"/spring\x00"[..],
        b"/spr\x01ing",
        b"/spring\x7f",
        b"/spring\x0b",
        b"/spring%00",
        b"/spring%0a",
        b"/a%0d%0aSet-Cookie:x",
        b"/%7f",
        b"/%C2%85",
        b"/%1b[31m",
        b"/spring?a=\x00",
        b"/spring?a=%1b[31m",
        b"/spring?a=\x7f",
    ] {
        let request = [b"GET ", target, b" HTTP/1.1\r\nHost: go.brand.com\r\n\r\n"].concat();
        assert_refused_and_closed(&edge, &request);
    }
}

#[test]
fn bytes_that_no_uri_may_hold_are_served_encoded() {
    let edge = edge();
    for (target, query) in [
        (&b"/spring?a=\xff"[..], "a=%FF"),
        (b"/spring?a=\"", "a=%22"),
        (b"/spring?<a>", "%3Ca%3E"),
        (b"/spring?request-ids=[\"0689a263\"]", "request-ids=[%220689a263%22]"),
        (b"/spring?x=caf\xe9", "x=caf%E9"),
        ("/spring?x=caf\u{e9}".as_bytes(), "x=caf%C3%A9"),
    ] {
        let request = [b"GET ", target, b" HTTP/1.1\r\nHost: go.brand.com\r\nConnection: close\r\n\r\n"].concat();
        let answer = Answer::parse(&exchange(&edge, &request)).unwrap();
        let location = answer.header("location").unwrap_or_default();
        assert_eq!(answer.status, 302, "{}", target.escape_ascii());
        assert!(location.ends_with(&format!("&{query}")), "{location}");
    }
}

#[test]
fn the_host_of_an_absolute_target_counts() {
    let edge = edge();
    let status = |target: &str, host: &str| {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        Answer::parse(&exchange(&edge, request.as_bytes())).unwrap().status
    };
    assert_eq!(status("http://GO.brand.com:80/spring", "go.brand.com"), 302);
    assert_eq!(status("http://go.brand.com/spring", "other.example"), 302);
    assert_eq!(status("https://other.example/spring", "go.brand.com"), 404);
    for target in ["ftp://go.brand.com/spring", "http:///spring", "http://user@go.brand.com/", "spring", "*", ""] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: go.brand.com\r\n\r\n");
        assert_refused_and_closed(&edge, request.as_bytes());
    }
}

#[test]
fn an_oversized_path_is_no_link_and_an_oversized_header_does_no_harm() {
    let edge = edge();
    assert_eq!(edge.get("go.brand.com", &format!("/{}", "a".repeat(2_000))).status, 404);
    assert_eq!(edge.get("go.brand.com", &format!("/{}", "%41".repeat(1_000))).status, 404);
    let long = "x".repeat(12_000);
    assert_eq!(edge.request("GET", "go.brand.com", "/spring", &[("Cookie", &long)]).status, 302);
    assert_eq!(edge.request("GET", "go.brand.com", "/spring", &[("Cookie", &long.repeat(4))]).status, 431);
    let text = exchange(&edge, format!("GET /spring HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(2_000_000)).as_bytes());
    assert!(!text.contains("HTTP/1.1 30"), "{text}");
    assert_eq!(edge.get("go.brand.com", "/spring").status, 302);
}

#[test]
fn bad_requests_are_counted_and_are_no_clicks() {
    let edge = Edge::builder().start();
    assert_refused_and_closed(&edge, b"GET /spring HTTP/1.1\r\nHost: a b\r\n\r\n");
    assert_refused_and_closed(&edge, b"GET /spring%00 HTTP/1.1\r\nHost: go.brand.com\r\n\r\n");
    edge.wait_until("counted", |edge| edge.metric("clickedge_requests_total{outcome=\"bad_request\"}") == 2);
    assert_eq!(edge.metric("clickedge_clicks_answered_total"), 0);
}

/// A request as a fuzzer would write it: noise, or a good one with some bytes changed, added or removed.
fn nonsense(random: &mut fastrand::Rng) -> Vec<u8> {
    const GOOD: &[u8] = b"GET /spring?utm_term=poster&a=%C3%A9#x HTTP/1.1\r\nHost: go.brand.com\r\n\
                          User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nReferer: https://www.example.org/a?b\r\n\
                          Accept-Language: de-CH,en;q=0.5\r\nSec-Purpose: prefetch\r\nContent-Length: 3\r\n\r\nabc";
    if random.u8(..) < 64 {
        return (0..random.usize(0..2_000)).map(|_| random.u8(..)).collect();
    }
    let mut bytes = GOOD.to_vec();
    for _ in 0..random.usize(1..8) {
        let at = random.usize(0..bytes.len().max(1));
        match random.u8(0..4) {
            _ if bytes.len() < 2 => break,
            0 => bytes[at] = random.u8(..),
            1 => bytes.insert(at, *random.choice(b"\r\n\0 :%/?#&=\xff,;").unwrap()),
            2 => drop(bytes.remove(at)),
            _ => bytes.truncate(at.max(1)),
        }
    }
    bytes
}

#[test]
fn a_thousand_malformed_requests_do_not_disturb_the_next_visitor() {
    let edge = Edge::builder().feed("all", &["*"]).start();
    let mut random = fastrand::Rng::with_seed(20_261_123);
    let mut redirects = 0;
    for _ in 0..1_000 {
        redirects += i64::from(exchange(&edge, &nonsense(&mut random)).starts_with("HTTP/1.1 302"));
    }
    assert!(redirects > 20, "{redirects}: some must get through to the worker");
    assert_eq!(edge.get("go.brand.com", "/spring").status, 302);
    let answered = edge.metric("clickedge_clicks_answered_total");
    assert!(answered > redirects, "{answered}");
    let stopped = edge.stop();
    assert!(stopped.status.success());
    assert_eq!(stopped.events("all").len() as i64, answered, "every click is an event, whatever bytes it carried");
    assert!(!stopped.log().contains("panicked"), "{}", stopped.log());
}
