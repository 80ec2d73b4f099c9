//! What a request gets: status, headers and the fate of the connection, for every kind of link, method and host.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, Weak},
};

use serde_json::{Value, json};

use crate::common::{Answer, Builder, Edge, TIMEOUT, link};

const HOST: &str = "go.brand.com";
const PIPELINED: &[u8] = b"GET /spring?n=1 HTTP/1.1\r\nHost: go.brand.com\r\n\r\n\
                           GET /nothing HTTP/1.1\r\nHost: go.brand.com\r\n\r\n\
                           GET /spring?n=3 HTTP/1.1\r\nHost: go.brand.com\r\n\r\n";

fn with(slashtag: &str, key: &str, value: Value) -> Value {
    let mut link = link(HOST, slashtag, &format!("https://www.example.com/{slashtag}"));
    link[key] = value;
    link
}

/// One edge for the tests that run at the same time; it ends with the last of them.
fn edge() -> Arc<Edge> {
    static EDGE: Mutex<Weak<Edge>> = Mutex::new(Weak::new());
    let mut shared = EDGE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let edge = Arc::new(links().section("[redirect]\npermanent_max_age_secs = 77").start());
        *shared = Arc::downgrade(&edge);
        edge
    })
}

fn links() -> Builder {
    Edge::builder()
        .link(with("moved", "httpStatus", json!(301)))
        .link(with("upload", "httpStatus", json!(307)))
        .link(with("kept", "httpStatus", json!(308)))
        .link(with("old", "status", json!("expired")))
        .link(with("paused", "status", json!("paused")))
        .feed("all", &["*"])
}

/// A connection that stays open.
struct Connection(BufReader<TcpStream>);

impl Connection {
    fn open(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        Self(BufReader::new(stream))
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).unwrap();
    }

    /// The next answer, whose body is as long as `Content-Length` says; `None` when the other side has closed.
    fn answer(&mut self) -> Option<Answer> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.0.read_line(&mut head).unwrap_or(0) == 0 {
                return None;
            }
        }
        let mut answer = Answer::parse(&head)?;
        let mut body = vec![0; answer.header("content-length").map_or(0, |length| length.parse().unwrap())];
        self.0.read_exact(&mut body).ok()?;
        answer.body = String::from_utf8(body).unwrap();
        Some(answer)
    }
}

fn names(answer: &Answer) -> Vec<String> {
    let mut names: Vec<_> = answer.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    names.sort();
    names
}

#[test]
fn a_redirect_may_be_stored_only_when_it_is_permanent_and_then_not_for_long() {
    let edge = edge();
    for (slashtag, status, stored) in [
        ("spring", 302, "private, no-store"),
        ("moved", 301, "private, max-age=77"),
        ("upload", 307, "private, no-store"),
        ("kept", 308, "private, max-age=77"),
    ] {
        let answer = edge.get(HOST, &format!("/{slashtag}"));
        assert_eq!(answer.status, status, "{slashtag}");
        assert_eq!(answer.header("cache-control"), Some(stored), "{slashtag}");
        assert_eq!(answer.header("content-length"), Some("0"), "{slashtag}");
        assert_eq!(answer.body, "", "{slashtag}");
        let own = if slashtag == "spring" { "?utm_source=go" } else { "" };
        let location = format!("https://www.example.com/{slashtag}{own}");
        assert_eq!(answer.header("location"), Some(&*location));
        assert_eq!(names(&answer), ["cache-control", "connection", "content-length", "date", "location"]);
    }
}

#[test]
fn a_head_request_gets_the_headers_of_a_get_without_a_body() {
    let edge = edge();
    for target in ["/spring", "/nothing", "/old"] {
        let (get, head) = (edge.get(HOST, target), edge.request("HEAD", HOST, target, &[]));
        assert_eq!(head.status, get.status, "{target}");
        assert_eq!(head.body, "", "{target}");
        for name in ["location", "cache-control", "content-length", "content-type"] {
            assert_eq!(head.header(name), get.header(name), "{name} of {target}");
        }
    }
    assert_ne!(edge.request("HEAD", HOST, "/nothing", &[]).header("content-length"), Some("0"));
}

#[test]
fn a_method_that_is_no_click_gets_405_and_the_allowed_methods() {
    let edge = edge();
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "BREW"] {
        for target in ["/spring", "/moved", "/nothing", "/paused"] {
            let answer = edge.request(method, HOST, target, &[]);
            assert_eq!(answer.status, 405, "{method} {target}");
            assert_eq!(answer.header("allow"), Some("GET, HEAD"), "{method} {target}");
            assert_eq!(answer.header("location"), None, "{method} {target}");
        }
    }
}

#[test]
fn a_post_to_a_link_that_keeps_the_method_is_redirected_but_is_no_click() {
    let edge = links().start();
    for (slashtag, status) in [("upload", 307), ("kept", 308)] {
        let answer = edge.request("POST", HOST, &format!("/{slashtag}"), &[("Content-Length", "0")]);
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("location"), Some(&*format!("https://www.example.com/{slashtag}")));
        assert_eq!(answer.header("allow"), None);
    }
    assert_eq!(edge.get(HOST, "/upload").status, 307);
    edge.wait_until("counted", |edge| edge.metric("clickedge_requests_total{outcome=\"redirect\"}") == 3);
    assert_eq!(edge.metric("clickedge_clicks_answered_total"), 1);
    let events = edge.stop().events("all");
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["route"]["status"], 307);
}

#[test]
fn an_unknown_disabled_or_expired_link_gets_its_own_status_and_is_not_stored() {
    let edge = edge();
    let no_such_link = "<h1>There is no such link.</h1>";
    for (target, status, body) in [
        ("/nothing", 404, no_such_link),
        ("/", 404, no_such_link),
        ("/spring/more", 404, no_such_link),
        ("/paused", 404, no_such_link),
        ("/old", 410, "<h1>This link has expired.</h1>"),
    ] {
        let answer = edge.get(HOST, target);
        assert_eq!(answer.status, status, "{target}");
        assert!(answer.body.contains(body), "{target}: {}", answer.body);
        assert_eq!(answer.header("cache-control"), Some("private, no-store"), "{target}");
        assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"), "{target}");
        assert_eq!(answer.header("x-robots-tag"), Some("noindex"), "{target}");
        assert_eq!(answer.header("location"), None, "{target}");
    }
}

#[test]
fn two_requests_on_one_connection_are_both_answered() {
    let edge = edge();
    let mut connection = Connection::open(edge.address);
    for n in 1..=2 {
        connection.send(format!("GET /spring?n={n} HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes());
        let answer = connection.answer().unwrap();
        let location = format!("https://www.example.com/spring?utm_source=go&n={n}");
        assert_eq!((answer.status, answer.header("location")), (302, Some(&*location)));
        assert_ne!(answer.header("connection"), Some("close"));
    }
    connection.send(b"GET /nothing HTTP/1.1\r\nHost: go.brand.com\r\n\r\n");
    assert!(connection.answer().unwrap().body.contains("There is no such link."));
    connection.send(b"GET /spring HTTP/1.1\r\nHost: go.brand.com\r\nConnection: close\r\n\r\n");
    let last = connection.answer().unwrap();
    assert_eq!((last.status, last.header("connection")), (302, Some("close")));
    assert!(connection.answer().is_none(), "closed");
}

#[test]
fn pipelined_requests_are_all_answered_in_order() {
    let edge = edge();
    let mut connection = Connection::open(edge.address);
    connection.send(PIPELINED);
    let answers: Vec<_> = (0..3).map(|_| connection.answer().unwrap()).collect();
    let of = |n: usize| (answers[n].status, answers[n].header("location"));
    assert_eq!(of(0), (302, Some("https://www.example.com/spring?utm_source=go&n=1")));
    assert_eq!(of(1), (404, None));
    assert_eq!(of(2), (302, Some("https://www.example.com/spring?utm_source=go&n=3")));
}

#[test]
fn a_body_is_never_read_as_a_request() {
    let edge = links().start();
    let hidden = "GET /spring?hidden HTTP/1.1\r\nHost: go.brand.com\r\n\r\n";
    for (target, status) in [("/upload", 307), ("/spring", 405), ("/nothing", 405)] {
        for framing in [
            format!("Content-Length: {}\r\n\r\n{hidden}", hidden.len()),
            format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len()),
        ] {
            let mut connection = Connection::open(edge.address);
            connection.send(format!("POST {target} HTTP/1.1\r\nHost: {HOST}\r\n{framing}").as_bytes());
            assert_eq!(connection.answer().unwrap().status, status, "{framing}");
            connection.send(b"GET /old HTTP/1.1\r\nHost: go.brand.com\r\nConnection: close\r\n\r\n");
            // Closing is as good as reading past the body.
            let next = connection.answer();
            assert!(next.as_ref().is_none_or(|answer| answer.status == 410), "{target} {framing}: {next:?}");
        }
    }
    assert_eq!(edge.metric("clickedge_clicks_answered_total"), 0);
}

#[test]
fn without_keep_alive_every_answer_closes() {
    let edge = links().section("[redirect]\nkeepalive_secs = 0").start();
    let mut connection = Connection::open(edge.address);
    connection.send(b"GET /spring HTTP/1.1\r\nHost: go.brand.com\r\n\r\n");
    assert_eq!(connection.answer().unwrap().header("connection"), Some("close"));
    assert!(connection.answer().is_none(), "closed");
}

#[test]
fn a_host_that_is_not_branded_is_not_found_when_there_is_no_upstream() {
    let answer = edge().get("www.brand.com", "/spring");
    assert_eq!((answer.status, &*answer.body), (404, "There is no such link.\n"));
}

#[test]
fn only_a_host_that_is_not_branded_reaches_the_upstream_and_does_so_untouched() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = upstream.local_addr().unwrap();
    let edge = links().section(&format!("[upstream]\naddress = \"{address}\"")).start();
    let served = std::thread::spawn(move || {
        let mut request = Connection(BufReader::new(upstream.accept().unwrap().0));
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(request.0.read_line(&mut head).unwrap(), 0);
        }
        let mut body = [0; 5];
        request.0.read_exact(&mut body).unwrap();
        request
            .send(b"HTTP/1.1 201 Created\r\nX-Upstream: yes\r\nContent-Length: 4\r\nConnection: close\r\n\r\nmade");
        (head, body)
    });

    for (target, status) in [("/spring", 302), ("/nothing", 404), ("/old", 410)] {
        assert_eq!(edge.get(HOST, target).status, status, "a branded host is answered here");
    }
    let text = b"PUT /a%2Fb//c?x=%20&x HTTP/1.1\r\nHost: www.brand.com\r\nX-Mine: 1\r\nContent-Length: 5\r\n\
                 Connection: close\r\n\r\nhello";
    let answer = edge.raw(text).unwrap();
    assert_eq!((answer.status, answer.header("x-upstream"), &*answer.body), (201, Some("yes"), "made"));

    let (head, body) = served.join().unwrap();
    assert!(head.starts_with("PUT /a%2Fb//c?x=%20&x HTTP/1.1\r\n"), "{head}");
    assert!(head.to_ascii_lowercase().contains("\r\nhost: www.brand.com\r\n"), "{head}");
    assert!(head.to_ascii_lowercase().contains("\r\nx-mine: 1\r\n"), "{head}");
    assert_eq!(&body, b"hello");
    assert_eq!(edge.metric("clickedge_requests_total{outcome=\"passed\"}"), 1);
    assert_eq!(edge.metric("clickedge_clicks_answered_total"), 1);
}
