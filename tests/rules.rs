//! Rules and variants, as the running edge decides by them on both ways of the front, and what events say of them.

use std::collections::BTreeMap;

use jiff::{Timestamp, ToSpan, tz::TimeZone};
use serde_json::{Value, json};

use crate::common::{Answer, CHROME, Edge, connect, exchange, link};

const HOST: &str = "go.brand.com";
const OWN: &str = "https://www.example.com/own";
const RULE: &str = "https://www.example.com/rule";

const IPHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                      Version/17.5 Mobile/15E148 Safari/604.1";
const IPAD: &str = "Mozilla/5.0 (iPad; CPU OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                    Version/17.5 Mobile/15E148 Safari/604.1";
const ANDROID: &str = "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) \
                       Chrome/131.0.0.0 Mobile Safari/537.36";

/// An address in San Francisco, by the database of the demo, one in Tokyo, and one that it does not have.
const SAN_FRANCISCO: &str = "192.0.2.7";
const TOKYO: &str = "203.0.113.9";
const NOWHERE: &str = "9.9.9.9";

/// A request, and whether the rule decides.
type Row = (&'static str, Vec<(&'static str, &'static str)>, bool);

/// The conditions of a rule, and requests with a query.
fn rows() -> Vec<(Value, Vec<Row>)> {
    let agent = |agent| vec![("User-Agent", agent)];
    let language = |language| vec![("Accept-Language", language)];
    let from = |address| vec![("X-Forwarded-For", address)];
    let referer = |referer| vec![("Referer", referer)];
    let plain = Vec::new;
    vec![
        (
            json!({"os": ["ios"]}),
            vec![("", agent(IPHONE), true), ("", agent(IPAD), true), ("", agent(ANDROID), false)],
        ),
        (
            json!({"device": ["mobile"]}),
            vec![("", agent(ANDROID), true), ("", agent(IPAD), false), ("", plain(), false)],
        ),
        (json!({"browser": ["Chrome"]}), vec![("", plain(), true), ("", agent(IPHONE), false)]),
        (json!({"bot": true}), vec![("", agent("curl/8.5.0"), true), ("", plain(), false)]),
        (
            json!({"language": ["en-gb"]}),
            vec![
                ("", language("en;q=0.4, en-GB;q=0.8"), true),
                ("", language("en"), false),
                ("", language("de, en-GB;q=0.8"), false),
                ("", language("*"), false),
            ],
        ),
        (json!({"language": ["en"]}), vec![("", language("en-AU"), true), ("", language("en;q=0, de"), false)]),
        (
            json!({"query": {"foo": "bar", "hello": "world"}}),
            vec![("foo=bar&hello=world", plain(), true), ("foo=bar", plain(), false), ("", plain(), false)],
        ),
        (
            json!({"query": {"foo": null}}),
            vec![("foo=1", plain(), true), ("foo", plain(), true), ("foot=1", plain(), false)],
        ),
        (
            json!({"query": {"foo": ""}}),
            vec![("foo", plain(), true), ("foo=", plain(), true), ("foo=1", plain(), false)],
        ),
        (
            json!({"query": {"a b": "c d"}}),
            vec![("a+b=c%20d", plain(), true), ("a=1&a%20b=c+d", plain(), true), ("a+b=c", plain(), false)],
        ),
        (
            json!({"country": ["us"], "city": ["san francisco"]}),
            vec![("", from(SAN_FRANCISCO), true), ("", from(TOKYO), false), ("", from(NOWHERE), false)],
        ),
        (json!({"region": ["US-CA"]}), vec![("", from(SAN_FRANCISCO), true), ("", from(TOKYO), false)]),
        (
            json!({"network": ["1.2.3.0/24", "2001:db8:7::/48"]}),
            vec![
                ("", from("1.2.3.4"), true),
                ("", from("::ffff:1.2.3.4"), true),
                ("", from("2001:db8:7::1"), true),
                ("", from("1.2.4.4"), false),
            ],
        ),
        (
            json!({"referrer": ["social", "news.example.com"]}),
            vec![
                ("", referer("https://t.co/x"), true),
                ("", referer("https://m.news.example.com/"), true),
                ("", referer("https://www.google.com/"), false),
                ("", plain(), false),
            ],
        ),
        (json!({"referrer": ["direct"]}), vec![("", plain(), true), ("", referer("https://t.co/x"), false)]),
        (
            json!({"os": ["ios"], "language": ["fr"]}),
            vec![
                ("", vec![("User-Agent", IPHONE), ("Accept-Language", "fr-FR")], true),
                ("", agent(IPHONE), false),
                ("", language("fr"), false),
            ],
        ),
        (json!({}), vec![("", plain(), true)]),
    ]
}

/// A link to which a rule leads for these conditions, and else its own destination.
fn ruled(slashtag: &str, when: &Value) -> Value {
    let mut link = link(HOST, slashtag, OWN);
    link["forwardParameters"] = json!(false);
    link["rules"] = json!([{"name": format!("rule of {slashtag}"), "when": when, "destination": RULE}]);
    link
}

fn edge(fast_lane: bool, links: impl IntoIterator<Item = Value>) -> Edge {
    let geoip = concat!(env!("CARGO_MANIFEST_DIR"), "/conf/demo/geoip.mmdb");
    let builder = Edge::builder()
        .fast_lane(fast_lane)
        .feed("all", &["*"])
        .section("[client_address]\ntrusted_proxies = [\"127.0.0.0/8\"]")
        .section(&format!("[enrich]\nworkers = 1\ngeoip_file = \"{geoip}\""));
    links.into_iter().fold(builder, super::common::Builder::link).start()
}

fn leads(answer: &Answer) -> &str {
    answer.header("location").unwrap_or_else(|| panic!("no redirect: {answer:?}"))
}

#[test]
fn each_condition_decides_and_the_event_names_the_rule() {
    for fast_lane in [true, false] {
        let rows = rows();
        let edge = edge(fast_lane, rows.iter().enumerate().map(|(at, (when, _))| ruled(&format!("r{at}"), when)));
        let mut expected = Vec::new();
        for (at, (when, requests)) in rows.iter().enumerate() {
            for (query, headers, holds) in requests {
                let target = format!("/r{at}?{query}");
                let answer = edge.request("GET", HOST, target.trim_end_matches('?'), headers);
                let location = if *holds { RULE } else { OWN };
                assert_eq!(leads(&answer), location, "{when} of {query:?} and {headers:?}, fast lane {fast_lane}");
                expected.push((location, holds.then(|| format!("rule of r{at}"))));
            }
        }
        let mut events = edge.stop().events("all");
        events.sort_by(|one, other| one["id"].as_str().cmp(&other["id"].as_str()));
        assert_eq!(events.len(), expected.len());
        for (event, (location, rule)) in events.iter().zip(expected) {
            assert_eq!(event["route"]["destination"]["raw"], location);
            assert_eq!(event["route"]["rule"].as_str(), rule.as_deref());
        }
    }
}

#[test]
fn time_goes_by_the_clock_of_the_zone() {
    let now = Timestamp::now();
    // Far from midnight, so that the test does not run over it.
    let zone = ["UTC", "Asia/Tokyo", "America/Los_Angeles"].into_iter().find(|name| {
        let hour = now.to_zoned(TimeZone::get(name).unwrap()).hour();
        (2..22).contains(&hour)
    });
    let zone = zone.expect("it is night in one place at a time");
    let clock = now.to_zoned(TimeZone::get(zone).unwrap());
    let hour = |offset: i8| format!("{:02}:{:02}", clock.hour() + offset, clock.minute());
    let day = |offset: i64| (&clock + offset.days()).strftime("%a").to_string();
    let inside = json!({
        "after": "2026-01-01T00:00:00Z", "before": (now + 1.hour()).to_string(), "weekday": [day(0)],
        "hours": format!("{}-{}", hour(-1), hour(1)), "timeZone": zone,
    });
    let but = |name: &str, value: Value| {
        let mut when = inside.clone();
        when[name] = value;
        when
    };
    let conditions = [
        (inside.clone(), true),
        (but("before", json!((now - 1.minute()).to_string())), false),
        (json!({"after": (now + 1.hour()).to_string()}), false),
        (but("weekday", json!([day(1), day(2)])), false),
        (but("hours", json!(format!("{}-{}", hour(1), hour(-1)))), false),
        (but("hours", json!([format!("{}-{}", hour(1), hour(2)), format!("{}-{}", hour(-1), hour(1))])), true),
    ];
    for fast_lane in [true, false] {
        let edge =
            edge(fast_lane, conditions.iter().enumerate().map(|(at, (when, _))| ruled(&format!("t{at}"), when)));
        for (at, (when, holds)) in conditions.iter().enumerate() {
            let answer = edge.get(HOST, &format!("/t{at}"));
            assert_eq!(leads(&answer), if *holds { RULE } else { OWN }, "{when}");
        }
    }
}

#[test]
fn the_first_rule_that_holds_decides() {
    let mut link = link(HOST, "several", OWN);
    link["rules"] = json!([
        {"name": "de", "when": {"language": ["de"]}, "destination": "https://www.example.com/de"},
        {"name": "en", "when": {"language": ["en"]}, "destination": "https://www.example.com/en"},
        {"name": "ios", "when": {"os": ["ios"]}, "destination": "https://www.example.com/ios"},
    ]);
    for fast_lane in [true, false] {
        let edge = edge(fast_lane, [link.clone()]);
        let of = |language: &str, agent: &str| {
            let headers = [("Accept-Language", language), ("User-Agent", agent)];
            leads(&edge.request("GET", HOST, "/several", &headers)).rsplit('/').next().unwrap().to_owned()
        };
        assert_eq!(of("de;q=0.5, en", CHROME), "en");
        assert_eq!(of("de, en;q=0.9", IPHONE), "de");
        assert_eq!(of("fr", IPHONE), "ios");
        assert_eq!(of("fr", CHROME), "own");
    }
}

#[test]
fn a_visitor_who_comes_back_is_returning() {
    for fast_lane in [true, false] {
        let edge = edge(fast_lane, [ruled("back", &json!({"visitor": "returning"}))]);
        let click = |headers: &[(&str, &str)]| leads(&edge.request("GET", HOST, "/back", headers)).to_owned();
        assert_eq!(click(&[]), OWN);
        edge.wait_until("the first click is known", |_| click(&[]) == RULE);
        assert_eq!(click(&[("X-Forwarded-For", TOKYO)]), OWN);
        assert_eq!(click(&[("Sec-GPC", "1")]), OWN);
    }
}

/// Clicks of visitors with addresses from 1.0.0.0 on, on one connection, and where they lead.
fn clicks(edge: &Edge, path: &str, visitors: u32) -> Vec<String> {
    let mut locations = Vec::new();
    let all: Vec<u32> = (0..visitors).collect();
    for batch in all.chunks(100) {
        let mut requests = String::new();
        for (at, visitor) in batch.iter().enumerate() {
            let address = std::net::Ipv4Addr::from(0x0100_0000 + visitor);
            let close = if at + 1 == batch.len() { "Connection: close\r\n" } else { "" };
            requests += &format!(
                "GET {path} HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: {CHROME}\r\nAccept-Language: en\r\n\
                 X-Forwarded-For: {address}\r\n{close}\r\n"
            );
        }
        let answers = exchange(connect(None, edge.address).unwrap(), requests.as_bytes()).unwrap();
        let first = answers.header("location").unwrap().to_owned();
        let others = answers.body.lines().filter_map(|line| {
            let (name, value) = line.trim_end().split_once(": ")?;
            name.eq_ignore_ascii_case("location").then(|| value.to_owned())
        });
        locations.extend(std::iter::once(first).chain(others));
    }
    locations
}

#[test]
fn variants_have_their_shares_and_a_visitor_keeps_theirs_without_a_cookie() {
    let mut link = link(HOST, "ab", OWN);
    link["variants"] = json!([
        {"name": "a", "weight": 1, "destination": "https://www.example.com/a"},
        {"name": "b", "weight": 3, "destination": "https://www.example.com/b"},
    ]);
    for fast_lane in [true, false] {
        let edge = edge(fast_lane, [link.clone()]);
        assert!(edge.get(HOST, "/ab").header("set-cookie").is_none());
        let first = clicks(&edge, "/ab", 10_000);
        assert_eq!(first.len(), 10_000);
        let mut shares = BTreeMap::<&str, u32>::new();
        for location in &first {
            *shares.entry(location.rsplit('/').next().unwrap()).or_default() += 1;
        }
        assert!((2_300..=2_700).contains(&shares["a"]) && shares["a"] + shares["b"] == 10_000, "{shares:?}");
        assert!(clicks(&edge, "/ab", 10_000) == first, "a visitor got another variant");
        // The key outlives the process.
        let edge = edge.terminate().restart();
        assert!(clicks(&edge, "/ab", 200)[..] == first[..200], "a restart gave another variant");
        let opted_out: Vec<_> =
            (0..40).map(|_| leads(&edge.request("GET", HOST, "/ab", &[("Sec-GPC", "1")])).to_owned()).collect();
        assert!(opted_out.iter().any(|location| *location != opted_out[0]), "a visitor who opted out is recognised");
        let events = edge.stop().events("all");
        let named = |event: &Value| {
            let destination = event["route"]["destination"]["raw"].as_str().unwrap();
            event["route"]["variant"].as_str() == destination.rsplit('/').next()
        };
        assert!(!events.is_empty() && events.iter().all(named));
    }
}

#[test]
fn variants_of_a_rule_are_named_together_with_it() {
    let mut link = link(HOST, "both", OWN);
    link["rules"] =
        json!([{"name": "ios", "when": {"os": ["ios"]}, "variants": [{"name": "only", "destination": RULE}]}]);
    let edge = edge(true, [link]);
    assert_eq!(leads(&edge.request("GET", HOST, "/both", &[("User-Agent", IPHONE)])), RULE);
    let events = edge.stop().events("all");
    assert_eq!((&events[0]["route"]["rule"], &events[0]["route"]["variant"]), (&json!("ios"), &json!("only")));
}

#[test]
fn the_place_that_a_rule_has_used_is_the_one_in_the_event() {
    for fast_lane in [true, false] {
        let edge = edge(fast_lane, [ruled("place", &json!({"country": ["jp"]}))]);
        for address in [TOKYO, NOWHERE] {
            edge.request("GET", HOST, "/place", &[("X-Forwarded-For", address)]);
        }
        let mut events = edge.stop().events("all");
        events.sort_by(|one, other| one["id"].as_str().cmp(&other["id"].as_str()));
        assert_eq!(events[0]["client"]["location"]["city"], "Tokyo");
        assert!(events[1]["client"].get("location").is_none());
    }
}
