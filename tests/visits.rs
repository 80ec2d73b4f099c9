//! Visitors in events: sessions, what opting out leaves out, and which feeds get a click.

use std::{collections::HashSet, fs};

use serde_json::{Value, json};

use crate::common::{Builder, CHROME, Edge, clock::Clock, connect, exchange, link};

fn of_workspace(slashtag: &str, workspace: Option<&str>) -> Value {
    let mut link = link("go.brand.com", slashtag, "https://www.example.com/");
    link["workspace"] = workspace.map_or(Value::Null, |id| json!({"id": id}));
    link
}

/// Links of the workspaces one and two, `/spring` of w-1, and one without a workspace.
fn links() -> Builder {
    Edge::builder()
        .link(of_workspace("one", Some("w-one")))
        .link(of_workspace("two", Some("w-two")))
        .link(of_workspace("unowned", None))
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
fn an_operator_may_switch_the_opt_out_off() {
    let edge = links().section("[enrich]\nhonour_opt_out = false").feed("all", &["*"]).start();
    click(&edge, "203.0.113.7", "/spring", &[("Sec-GPC", "1")]);
    let events = edge.stop().events("all");
    assert_eq!(events[0]["client"]["session"]["first"], true);
    assert_eq!(events[0]["route"]["scripts"], json!([{"id": "s-1", "name": "Pixel"}]));
}

#[test]
fn a_workspace_may_differ_in_whether_it_honours_the_opt_out() {
    let honoured = [(true, [Some(true), None, Some(true)]), (false, [None, Some(true), Some(false)])];
    for (all, expected) in honoured {
        let own = format!("[enrich]\nhonour_opt_out = {all}\nworkspaces.w-one.honour_opt_out = {}", !all);
        let edge = links().section(&own).feed("all", &["*"]).start();
        for (target, header) in [("/one", "DNT"), ("/two", "Sec-GPC"), ("/two", "X-Nothing")] {
            click(&edge, "", target, &[(header, "1")]);
        }
        let events = sorted(edge.stop().events("all"));
        let first: Vec<_> = events.iter().map(|event| event["client"]["session"]["first"].as_bool()).collect();
        assert_eq!(first, expected, "all: {all}");
    }
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
    for target in ["/one", "/two", "/unowned", "/spring", "/one"] {
        click(&edge, "", target, &[]);
    }
    let stopped = edge.stop();
    let all = sorted(stopped.events("all"));
    let (one, both) = (sorted(stopped.events("one")), sorted(stopped.events("both")));
    assert_eq!(slashtags(&all), ["one", "two", "unowned", "spring", "one"]);
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
        for target in ["/one", "/two", "/unowned", "/spring"] {
            click(&edge, "", target, &[]);
        }
        edge.wait_until("delivered", |edge| edge.metric("clickedge_events_delivered_total{feed=\"one\"}") == 1);
        edge.wait_until("counted", |edge| {
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

/// Clicks of these visitors are one visit for each, which began with the first.
#[track_caller]
fn assert_one_visit_each(events: &[Value], visitors: usize) {
    let first: Vec<_> = events.iter().filter(|event| event["client"]["session"]["first"] == true).collect();
    assert_eq!(first.len(), visitors, "one first click for each visitor");
    for event in events {
        let first = first.iter().filter(|first| first["timestamp"] == event["client"]["session"]["started"]);
        assert_eq!(first.count(), 1, "a visit began with a first click: {event}");
    }
}

#[test]
fn visits_continue_after_stops_and_kills_with_any_number_of_workers() {
    const VISITORS: usize = 20;
    let all_visitors = |edge: &Edge| {
        (0..VISITORS).for_each(|n| click(edge, &format!("203.0.113.{n}"), "/one", &[]));
    };
    let mut edge = links().section(TRUSTED).feed("all", &["*"]).start();
    all_visitors(&edge);
    let mut visitors = "workers = 2\n".to_owned();
    for (signal, workers, more) in [("TERM", 1, ""), ("KILL", 3, "session_visitors = 5000\n"), ("KILL", 2, "")] {
        edge.signal(signal);
        let stopped = edge.wait();
        let next = format!("workers = {workers}\n{more}");
        stopped.reconfigure(|config| config.replace(&visitors, &next));
        visitors = next;
        edge = stopped.restart();
        all_visitors(&edge);
        if signal == "TERM" {
            assert_eq!(edge.metric("clickedge_session_restored"), VISITORS as i64);
        }
    }
    edge.wait_until("all are noted", |edge| edge.metric("clickedge_ring_clicks") == 0);
    assert_eq!(edge.metric("clickedge_session_visitors"), VISITORS as i64);
    assert_eq!(edge.metric("clickedge_session_evictions_total"), 0);
    let stopped = edge.stop();
    let events = stopped.events("all");
    assert_eq!(events.len(), 4 * VISITORS);
    assert_one_visit_each(&events, VISITORS);
    assert!(stopped.rings().join("sessions").exists());
    assert!(!stopped.dir().join("spool/sessions").exists() && !stopped.dir().join("sessions").exists());
}

#[test]
fn a_click_that_comes_again_after_a_death_belongs_to_the_visit_that_it_did() {
    for point in ["enriched:1", "enriched:3", "journal_written:1", "journal_synced:1"] {
        let edge = links().feed("all", &["*"]).env("CLICKEDGE_DIE_AT", point).start();
        for _ in 0..3 {
            // It may die before it answers.
            let get = "GET /one HTTP/1.1\r\nHost: go.brand.com\r\nConnection: close\r\n";
            if let Ok(stream) = connect(None, edge.address) {
                _ = exchange(stream, format!("{get}User-Agent: {CHROME}\r\nAccept: */*\r\n\r\n").as_bytes());
            }
        }
        let stopped = edge.wait();
        assert!(!stopped.status.success(), "{point}");
        let edge = stopped.restart();
        click(&edge, "", "/one", &[]);
        let events = sorted(edge.stop().events("all"));
        assert!(events.len() >= 2, "{point}");
        assert_one_visit_each(&events, 1);
        assert_eq!(events[0]["client"]["session"]["first"], true, "{point}");
    }
}

#[test]
fn a_damaged_session_file_is_replaced_and_prevents_no_start() {
    let edge = links().feed("all", &["*"]).start();
    click(&edge, "", "/one", &[]);
    let stopped = edge.stop();
    fs::write(stopped.rings().join("sessions"), "no sessions").unwrap();
    let edge = stopped.restart();
    assert!(edge.log().contains("session file discarded; every visitor begins a new visit"));
    click(&edge, "", "/one", &[]);
    click(&edge, "", "/one", &[]);
    let events = sorted(edge.stop().events("all"));
    let first: Vec<_> = events.iter().map(|event| event["client"]["session"]["first"].as_bool().unwrap()).collect();
    assert_eq!(first, [true, true, false]);
}

#[test]
fn a_secret_is_read_again_and_splits_no_visit() {
    let builder = links().section("[enrich]\nsession_key_file = \"key\"").feed("all", &["*"]);
    let key = builder.dir().join("key");
    fs::write(&key, "a secret of thirty-two bytes, at least\n").unwrap();
    let edge = builder.start();
    assert!(edge.log().contains("readable by every user of this machine"));
    click(&edge, "", "/one", &[]);
    for (secret, result) in [("another secret of thirty-two bytes\n", "ok"), ("too short", "failed")] {
        fs::write(&key, secret).unwrap();
        edge.signal("HUP");
        let counted = format!("clickedge_reloads_total{{result=\"{result}\",what=\"session_key\"}}");
        edge.wait_until("reloaded", |edge| edge.metric(&counted) == 1);
        click(&edge, "", "/one", &[]);
    }
    assert!(edge.log().contains("has 9 bytes, and must have 32 to 4096"), "{}", edge.log());

    // What one edge hands over, another with the same secret goes on with.
    fs::write(&key, "another secret of thirty-two bytes\n").unwrap();
    let stopped = edge.stop();
    let builder = links().section("[enrich]\nsession_key_file = \"key\"").feed("all", &["*"]);
    fs::copy(&key, builder.dir().join("key")).unwrap();
    let other = builder.start().stop();
    fs::copy(stopped.rings().join("sessions"), other.rings().join("sessions")).unwrap();
    let other = other.restart();
    click(&other, "", "/one", &[]);
    let events = [stopped.events("all"), other.stop().events("all")].concat();
    assert_eq!(events.len(), 4);
    assert_one_visit_each(&events, 1);
}

#[test]
fn the_key_is_replaced_at_its_hour_and_wiped_with_its_visits() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let hour = (now / 3_600 + 1) % 24;
    let section = format!("[enrich]\nsession_rotation_hour = {hour}\nsession_visitors = 100");
    let builder = links().section(&section).feed("all", &["*"]);
    let Some(clock) = Clock::new(builder.dir()) else { return };
    // Seconds from the rotation.
    let set = |seconds: i64| clock.set(3_600 - (now % 3_600) as i64 + seconds);
    // The trusted time follows a clock that jumps ahead by 24 seconds a second.
    set(-60);
    let edge = clock.start(builder);
    let file = edge.rings().join("sessions");
    let words = |from: usize, count: usize| {
        let bytes = fs::read(&file).unwrap();
        bytes[from * 8..(from + count) * 8]
            .as_chunks()
            .0
            .iter()
            .map(|word| u64::from_le_bytes(*word))
            .collect::<Vec<_>>()
    };
    click(&edge, "", "/one", &[]);
    let key = words(24, 4);
    assert_eq!(words(16, 1), [0]);
    set(0);
    edge.wait_until("the key is replaced", |_| words(16, 1) == [1]);
    assert!(words(24, 4) == key && words(32, 4) != key && words(32, 4) != [0; 4]);
    click(&edge, "", "/one", &[]);
    let stopped = edge.stop();
    // Without the note of an earlier process, the clock is trusted as it is.
    let mut bytes = fs::read(&file).unwrap();
    bytes[20 * 8..22 * 8].fill(0);
    fs::write(&file, bytes).unwrap();
    set(1_801);
    let edge = clock.restart(stopped);
    edge.wait_until("the old key is wiped", |_| words(24, 6) == [0; 6]);
    let taken = words(512, 20 * 32).chunks(4).filter(|slot| slot.iter().any(|word| *word != 0)).count();
    assert_eq!(taken, 1, "only who has come back under the new key is left");
    let events = edge.stop().events("all");
    assert_eq!(events.len(), 2);
    assert_one_visit_each(&events, 1);
}
