//! Clicks that can be distinguished: each carries a nonce in its query, which comes back in its event.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
};

use serde_json::Value;

use super::{CHROME, Edge, connect};

/// A browser that keeps its connection open.
pub struct Visitor(BufReader<TcpStream>);

impl Visitor {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = connect(None, address).expect("a connection");
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    /// Clicks on `go.brand.com/spring`, with `more` of a query. True when the whole redirect came back.
    pub fn click(&mut self, nonce: &str, more: &str) -> bool {
        self.click_at("/spring", nonce, more)
    }

    /// The same on another path.
    pub fn click_at(&mut self, path: &str, nonce: &str, more: &str) -> bool {
        let request = format!(
            "GET {path}?n={nonce}{more} HTTP/1.1\r\nHost: go.brand.com\r\nUser-Agent: {CHROME}\r\nAccept: */*\r\n\r\n"
        );
        self.send(request.as_bytes())
    }

    /// Sends a request for a link. True when the whole redirect came back.
    pub fn send(&mut self, request: &[u8]) -> bool {
        if self.0.get_mut().write_all(request).is_err() {
            return false;
        }
        let (mut line, mut status) = (String::new(), String::new());
        loop {
            line.clear();
            match self.0.read_line(&mut line) {
                Ok(1..) if line == "\r\n" => return status.starts_with("HTTP/1.1 302 "),
                Ok(1..) if status.is_empty() => status.clone_from(&line),
                Ok(1..) => {}
                _ => return false,
            }
        }
    }
}

/// Clicks `count` times, one after the other, and returns the nonces. All must be answered.
pub fn click(edge: &Edge, run: &str, count: usize) -> Vec<String> {
    click_with(edge, run, count, String::new)
}

/// Like [`click`], with more of a query for each.
pub fn click_with(edge: &Edge, run: &str, count: usize, more: impl Fn() -> String) -> Vec<String> {
    let mut visitor = Visitor::connect(edge.address);
    let nonces: Vec<_> = (0..count).map(|n| format!("{run}-{n}")).collect();
    for nonce in &nonces {
        assert!(visitor.click(nonce, &more()), "click {nonce} is answered\n{}", edge.log());
    }
    nonces
}

/// The nonces of events, in their order.
pub fn nonces(events: &[Value]) -> Vec<String> {
    events.iter().map(|event| parameter(event, "n").expect("a nonce").to_owned()).collect()
}

/// The first value of a parameter that the visitor put on the short link.
pub fn parameter<'a>(event: &'a Value, name: &str) -> Option<&'a str> {
    let query = &event["route"]["params"]["query"];
    let found = query.as_array()?.iter().find(|pair| pair["name"] == name);
    found?["value"].as_str()
}

/// Each of these clicks became exactly one event, each event with an id of its own, and there are no others.
#[track_caller]
pub fn assert_exactly_once(events: &[Value], clicks: &[String]) {
    assert_at_least_once(events, clicks);
    assert_eq!(events.len(), clicks.len(), "there are events of no click");
}

/// Like [`assert_exactly_once`], but there may be events of other clicks, once each: their answer was not read.
#[track_caller]
pub fn assert_at_least_once(events: &[Value], clicks: &[String]) {
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for nonce in nonces(events) {
        *times.entry(nonce).or_default() += 1;
    }
    let lost: Vec<_> = clicks.iter().filter(|nonce| !times.contains_key(*nonce)).collect();
    let twice: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    let (lost_count, twice_count) = (lost.len(), twice.len());
    assert!(lost.is_empty(), "{lost_count} of {} answered clicks are lost: {lost:.200?}", clicks.len());
    assert!(twice.is_empty(), "{twice_count} clicks were delivered more than once: {twice:.200?}");
    let ids: BTreeSet<_> = events.iter().map(|event| event["id"].as_str().expect("an id")).collect();
    assert_eq!(ids.len(), events.len(), "every event has an id of its own");
}

/// Full name of a metric of a feed.
pub fn of_feed(name: &str, feed: &str) -> String {
    format!("clickedge_{name}{{feed=\"{feed}\"}}")
}

/// Waits until this many events of a feed have been delivered in this run.
pub fn wait_until_delivered(edge: &Edge, feed: &str, events: usize) {
    edge.wait_until(&format!("{events} events of {feed} are delivered"), |edge| {
        edge.metric(&of_feed("events_delivered_total", feed)) == events as i64
    });
}

/// A part of a query that no compressor makes smaller.
pub fn noise() -> String {
    format!("&noise={}", (0..2_000).map(|_| fastrand::alphanumeric()).collect::<String>())
}

/// Every answered click is either delivered or counted as dropped.
#[track_caller]
pub fn assert_balanced(edge: &Edge, feed: &str, answered: usize, dropped: usize) {
    assert_eq!(edge.metric("clickedge_clicks_answered_total"), answered as i64);
    assert_eq!(edge.metric("clickedge_clicks_enriched_total"), answered as i64);
    assert_eq!(edge.metric(&of_feed("events_routed_total", feed)), answered as i64);
    assert_eq!(edge.metric(&of_feed("events_delivered_total", feed)), (answered - dropped) as i64);
    assert_eq!(edge.metric(&of_feed("events_pending", feed)), 0);
}
