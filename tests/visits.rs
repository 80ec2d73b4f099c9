//! Who an event tells about, and to whom: sessions, what opting out leaves out, and which feeds get a click.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::HashSet;

use common::{Builder, CHROME, Edge, link};
use serde_json::{Value, json};

fn of_workspace(slashtag: &str, workspace: Option<&str>) -> Value {
    let mut link = link("go.brand.com", slashtag, "https://www.example.com/");
    link["workspace"] = workspace.map_or(Value::Null, |id| json!({"id": id}));
    link
}

/// Links of the workspaces one and two, `/spring` of w-1, and one of nobody.
fn links() -> Builder {
    Edge::builder()
        .link(of_workspace("one", Some("w-one")))
        .link(of_workspace("two", Some("w-two")))
        .link(of_workspace("nobody", None))
}

fn click(edge: &Edge, address: &str, target: &str, headers: &[(&str, &str)]) {
    let headers = [&[("X-Forwarded-For", address)], headers].concat();
    assert_eq!(edge.request("GET", "go.brand.com", target, &headers).status, 302);
}

/// The events of a feed, oldest first.
fn sorted(mut events: Vec<Value>) -> Vec<Value> {
    events.sort_by(|one, other| one["id"].as_str().cmp(&other["id"].as_str()));
    events
}

fn slashtags(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["route"]["slashtag"].as_str().unwrap()).collect()
}

const TRUSTED: &str = "[client_address]\ntrusted_proxies = [\"127.0.0.0/8\"]\n[enrich]\nworkers = 2";

#[test]
fn a_session_belongs_to_one_visitor_of_one_workspace() {
    let edge = links().section(TRUSTED).feed("all", &["*"]).start();
    let firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0";
    let first = [
        ("203.0.113.7", "/one", CHROME, true),
        ("203.0.113.7", "/one", CHROME, false),
        ("203.0.113.7", "/two", CHROME, true),
        ("203.0.113.8", "/one", CHROME, true),
        ("203.0.113.7", "/one", firefox, true),
        ("203.0.113.7", "/one", CHROME, false),
        ("203.0.113.7", "/two", CHROME, false),
        ("2001:db8::1", "/one", CHROME, true),
        ("2001:db8::2", "/one", CHROME, false),
        ("2001:db8:0:1::1", "/one", CHROME, true),
    ];
    for (address, target, agent, _) in first {
        click(&edge, address, target, &[("User-Agent", agent)]);
    }
    let events = sorted(edge.stop().events("all"));
    assert_eq!(events.len(), first.len());
    for (event, row) in events.iter().zip(first) {
        assert_eq!(event["client"]["session"]["first"], row.3, "{row:?}");
        assert_eq!(event["client"]["session"]["started"] == event["timestamp"], row.3, "{row:?}");
    }
    assert_eq!(events[5]["client"]["session"]["started"], events[0]["timestamp"]);
}

#[test]
fn bots_and_visitors_who_opted_out_have_no_session_and_leave_no_trace_in_one() {
    let edge = links().section(TRUSTED).feed("all", &["*"]).start();
    let rows = [
        (&[("Sec-GPC", "1")][..], None),
        (&[("DNT", "1")], None),
        (&[("Sec-Purpose", "prefetch")], None),
        (&[("X-Purpose", "preview")], None),
        (&[("User-Agent", "curl/8.5.0")], None),
        (&[], Some(true)),
        (&[("Sec-GPC", "1")], None),
        (&[], Some(false)),
    ];
    for (headers, _) in rows {
        click(&edge, "203.0.113.7", "/one", headers);
    }
    let events = sorted(edge.stop().events("all"));
    assert_eq!(events.len(), rows.len());
    for (event, (headers, first)) in events.iter().zip(rows) {
        assert_eq!(event["client"]["session"]["first"].as_bool(), first, "{headers:?}");
    }
}

#[test]
fn an_operator_may_leave_the_opt_out_to_somebody_else() {
    let edge = links().section("[enrich]\nhonour_opt_out = false").feed("all", &["*"]).start();
    click(&edge, "203.0.113.7", "/spring", &[("Sec-GPC", "1")]);
    let events = edge.stop().events("all");
    assert_eq!(events[0]["client"]["session"]["first"], true);
    assert_eq!(events[0]["route"]["scripts"], json!({"s-1": {"value": "Pixel"}}));
}

#[test]
fn a_session_ends_when_it_was_idle_for_too_long() {
    let edge = links().section("[enrich]\nsession_idle_secs = 1").feed("all", &["*"]).start();
    click(&edge, "", "/one", &[]);
    let began = std::time::Instant::now();
    edge.wait_until("idle", |_| began.elapsed() > std::time::Duration::from_millis(1_100));
    click(&edge, "", "/one", &[]);
    click(&edge, "", "/one", &[]);
    let events = sorted(edge.stop().events("all"));
    let first: Vec<_> = events.iter().map(|event| event["client"]["session"]["first"].as_bool().unwrap()).collect();
    assert_eq!(first, [true, true, false]);
}

#[test]
fn a_click_goes_to_every_feed_of_its_workspace_and_to_no_other() {
    let edge = links()
        .feed("all", &["*"])
        .feed("one", &["w-one"])
        .feed("both", &["w-one", "w-two"])
        .feed("elsewhere", &["w-three"])
        .start();
    for target in ["/one", "/two", "/nobody", "/spring", "/one"] {
        click(&edge, "", target, &[]);
    }
    let stopped = edge.stop();
    let all = sorted(stopped.events("all"));
    let (one, both) = (sorted(stopped.events("one")), sorted(stopped.events("both")));
    assert_eq!(slashtags(&all), ["one", "two", "nobody", "spring", "one"]);
    assert_eq!(slashtags(&one), ["one", "one"]);
    assert_eq!(slashtags(&both), ["one", "two", "one"]);
    assert_eq!(stopped.events("elsewhere"), Vec::<Value>::new());
    assert_eq!(one, [all[0].clone(), all[4].clone()], "the same event, with the same id, in every feed");
    assert_eq!(both, [all[0].clone(), all[1].clone(), all[4].clone()]);
}

#[test]
fn a_click_without_a_feed_is_only_counted_or_is_dropped() {
    for (section, unfed, no_feed) in [("", 3, 0), ("[stats]\nenabled = false", 0, 3)] {
        let edge = links().section(section).feed("one", &["w-one"]).start();
        for target in ["/one", "/two", "/nobody", "/spring"] {
            click(&edge, "", target, &[]);
        }
        edge.wait_until("delivered", |edge| edge.metric("clickedge_events_delivered_total{feed=\"one\"}") == 1);
        edge.wait_until("told", |edge| {
            edge.metric("clickedge_clicks_dropped_total{reason=\"no_feed\"}") == no_feed
                && edge.metric("clickedge_clicks_unfed_total") == unfed
        });
        assert_eq!(edge.metric("clickedge_clicks_answered_total"), 4);
        assert_eq!(edge.metric("clickedge_clicks_enriched_total"), 1 + unfed);
        edge.wait_until("counted", |edge| edge.metric("clickedge_stats_counted_total") == (1 + unfed) * unfed.min(1));
        let stopped = edge.stop();
        assert_eq!(slashtags(&stopped.events("one")), ["one"]);
        assert_eq!(stopped.dir().join("spool/stats.sqlite").exists(), unfed > 0);
    }
}

#[test]
fn every_click_of_many_visitors_is_one_event_with_an_id_of_its_own() {
    let edge = links().section(TRUSTED).feed("all", &["*"]).start();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let edge = &edge;
            scope.spawn(move || {
                for n in 0..50 {
                    click(edge, &format!("198.51.100.{n}"), &format!("/spring?t={thread}&n={n}"), &[]);
                }
            });
        }
    });
    let events = edge.stop().events("all");
    let distinct = |of: &dyn Fn(&Value) -> String| events.iter().map(of).collect::<HashSet<_>>().len();
    assert_eq!(events.len(), 200);
    assert_eq!(distinct(&|event| event["id"].to_string()), 200);
    assert_eq!(distinct(&|event| event["route"]["params"].to_string()), 200);
    let first = events.iter().filter(|event| event["client"]["session"]["first"] == true).count();
    assert_eq!(first, 50, "one session for each address");
}
