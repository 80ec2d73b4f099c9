//! Events that an operator watches.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
};

use serde_json::Value;

use crate::{
    common::{
        Edge, TIMEOUT,
        clicks::{click, wait_until_delivered},
        contract::schema,
        contract::validator,
        link,
    },
    links_api::token,
};

/// A client that watches: its lines, without the sizes of the chunks between them.
struct Watcher {
    lines: mpsc::Receiver<String>,
    stream: TcpStream,
}

impl Watcher {
    fn start(edge: &Edge, query: &str) -> Self {
        let mut stream = TcpStream::connect(edge.admin).unwrap();
        write!(stream, "GET /v1/tap?{query} HTTP/1.1\r\nHost: {}\r\n\r\n", edge.admin).unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
        }
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("application/x-ndjson"), "{head}");
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            let lines = reader.lines().map_while(Result::ok).filter(|line| line.starts_with('{'));
            lines.map_while(|line| sender.send(line).ok()).for_each(drop);
        });
        Self { lines, stream }
    }

    fn events(&self, count: usize) -> Vec<Value> {
        let next = || self.lines.recv_timeout(TIMEOUT).expect("an event");
        (0..count).map(|_| serde_json::from_str(&next()).unwrap()).collect()
    }
}

#[test]
fn events_are_shown_as_they_are_made_and_have_no_address() {
    let mut other = link("go.brand.com", "other", "https://www.example.com/");
    other["workspace"] = serde_json::json!({"id": "w-2", "name": "W"});
    let edge = Edge::builder().feed("all", &["*"]).feed("two", &["w-2"]).link(other).start();
    let all = Watcher::start(&edge, "");
    let of_two = Watcher::start(&edge, "feed=two");
    let of_link = Watcher::start(&edge, "link=go.brand.com%2Fother&workspace=w-2");
    let clicks = click(&edge, "a", 3);
    assert_eq!(edge.get("go.brand.com", "/other").status, 302);

    let validator = validator(&schema());
    let shown = all.events(clicks.len() + 1);
    wait_until_delivered(&edge, "all", shown.len());
    for event in &shown {
        assert!(validator.is_valid(event), "{event}");
        assert!(!event.to_string().contains("127.0.0.1"), "{event}");
    }
    for watcher in [&of_two, &of_link] {
        assert_eq!(watcher.events(1)[0]["route"]["slashtag"], "other");
        assert!(watcher.lines.try_recv().is_err(), "one event");
    }
    drop((all, of_two, of_link));
    let ids = |events: &[Value]| events.iter().map(|event| event["id"].to_string()).collect::<BTreeSet<_>>();
    assert_eq!(ids(&edge.stop().events("all")), ids(&shown), "the same events as those that are delivered");
}

#[test]
fn a_client_that_reads_nothing_delays_no_event_and_learns_what_it_has_missed() {
    let edge = Edge::builder().feed("all", &["*"]).start();
    let mut stalled = TcpStream::connect(edge.admin).unwrap();
    write!(stalled, "GET /v1/tap HTTP/1.1\r\nHost: {}\r\n\r\n", edge.admin).unwrap();
    let mut begin = [0; 12];
    stalled.read_exact(&mut begin).unwrap();
    assert_eq!(&begin, b"HTTP/1.1 200");
    // More in a second than are shown in one.
    let clicks = click(&edge, "b", 4_000);
    wait_until_delivered(&edge, "all", clicks.len());
    let fast = Watcher::start(&edge, "sample=2");
    click(&edge, "c", 4);
    assert_eq!(fast.events(2).len(), 2);
    assert_eq!(edge.sum("clickedge_events_dropped_total"), 0);
    assert_eq!(edge.stop().events("all").len(), 4_004);
}

#[test]
fn wrong_questions_are_answered_and_watchers_are_few() {
    let edge = Edge::builder().feed("all", &["*"]).start();
    for (query, part) in [("feed=none", "there are: all"), ("sample=0", "sample"), ("x=1", "unknown parameter")] {
        let answer = edge.admin(&format!("/v1/tap?{query}"));
        assert!(answer.status == 400 && answer.body.contains(part), "{query}: {answer:?}");
    }
    let mut watchers: Vec<_> = (0..4).map(|_| Watcher::start(&edge, "")).collect();
    assert_eq!(edge.admin("/v1/tap").status, 503);
    let left = watchers.pop().unwrap();
    left.stream.shutdown(std::net::Shutdown::Both).unwrap();
    let query = "/v1/tap?feed=all";
    edge.wait_until("there is a place", |edge| {
        let mut stream = TcpStream::connect(edge.admin).unwrap();
        write!(stream, "GET {query} HTTP/1.1\r\nHost: {}\r\n\r\n", edge.admin).unwrap();
        let mut begin = [0; 12];
        stream.read_exact(&mut begin).unwrap();
        begin.ends_with(b"200")
    });
}

#[test]
fn the_command_prints_events_until_it_has_as_many_as_it_was_asked_for() {
    let edge = Edge::builder().feed("all", &["*"]).start();
    let config = edge.dir().join("clickedge.toml");
    let mut tap = Command::new(env!("CARGO_BIN_EXE_clickedge"))
        .args(["tap", "--count", "3", "--link", "go.brand.com/spring", "--config"])
        .arg(&config)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It says when it watches: clicks before that are not shown.
    let mut messages = BufReader::new(tap.stderr.take().unwrap());
    let mut message = String::new();
    messages.read_line(&mut message).unwrap();
    assert!(message.contains("watching"), "{message}");
    click(&edge, "a", 5);
    let output = tap.wait_with_output().unwrap();
    let lines: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(output.status.success() && lines.len() == 3, "{lines:?}");
    assert!(lines.iter().all(|event| event["route"]["slashtag"] == "spring"), "{lines:?}");
}

#[test]
fn a_watcher_whose_token_is_removed_sees_no_more() {
    let builder = Edge::builder().feed("all", &["*"]);
    let [(kept, first), (lost, second)] = ["kept", "lost"].map(|name| token(&[name, "--read-only"]));
    let file = builder.dir().join("tokens");
    fs::write(&file, format!("{first}\n{second}\n")).unwrap();
    let edge = builder.admin("tokens_file = \"tokens\"").start();
    let watch = |token: &str| {
        let mut stream = TcpStream::connect(edge.admin).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        let (host, head) = (edge.admin, format!("Authorization: Bearer {token}\r\n"));
        write!(stream, "GET /v1/tap HTTP/1.1\r\nHost: {host}\r\n{head}\r\n").unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert!(line.contains("200"), "{line}");
        reader
    };
    let (mut kept, mut lost) = (watch(&kept), watch(&lost));
    fs::write(&file, format!("{first}\n")).unwrap();
    edge.signal("HUP");
    let mut rest = Vec::new();
    // It ends, and so does the read.
    while lost.read_until(b'\n', &mut rest).unwrap() > 0 && !rest.ends_with(b"0\r\n\r\n") {}
    assert!(String::from_utf8_lossy(&rest).contains("\r\n0\r\n"), "{rest:?}");
    let clicks = click(&edge, "a", 1);
    let mut line = String::new();
    while !line.starts_with('{') {
        line.clear();
        assert!(kept.read_line(&mut line).unwrap() > 0, "the other one goes on");
    }
    assert_eq!(clicks.len(), 1);
}
