//! Case F: stops under load with the store down, events as long as they can be, and more clicks than the journal holds.

use std::time::Duration;

use super::{finish, finish_with, two_feeds};
use crate::common::{
    CHROME,
    judge::{self, Bucket, Numbers},
    load::{Click, Client, LIGHT, Ledger, Load, Pace},
    s3::{Fault, S3},
};

const HASTY: &str = "[shutdown]\ngrace_secs = 1\ndrain_secs = 1";

#[test]
fn stops_under_load_with_the_store_down_cost_no_click_and_double_none() {
    let s3 = S3::start();
    let (builder, buckets) = two_feeds(&s3);
    let mut edge = builder.section(HASTY).start();
    let load = Load::start(edge.address, "stop", LIGHT);
    for (round, fault) in [(1, Fault::Unavailable), (2, Fault::LostAnswer), (3, Fault::Silent)] {
        load.round(round);
        s3.set(fault);
        load.wait_for(100);
        let stopped = edge.stop();
        assert!(stopped.status.success(), "{}", stopped.status);
        edge = stopped.restart();
    }
    s3.set(Fault::Healthy);
    load.round(4);
    load.wait_for(50);
    finish("stops with the store down", edge, load, &buckets).assert_exactly_once();
}

/// Queries and headers at and beyond their limits, in the bytes that grow the most on their way into JSON.
fn giants() -> Vec<(&'static str, String, String)> {
    let pairs = |pair: &str, bytes: usize| pair.repeat(bytes / pair.len());
    let header = |name: &str, text: &str, bytes: usize| format!("{name}: {}\r\n", text.repeat(bytes / text.len()));
    vec![
        ("plain", pairs("&a=b", 8_000), String::new()),
        ("one long value", format!("&a={}", "x".repeat(8_000)), String::new()),
        ("quotes", format!("&a={}", "%22".repeat(2_600)), String::new()),
        ("no UTF-8", format!("&a={}", "%ff".repeat(2_600)), String::new()),
        ("empty pairs", "&".repeat(8_000), String::new()),
        ("keys only", pairs("&%22", 8_000), String::new()),
        ("beyond the limit", format!("&a={}", "x".repeat(12_000)), String::new()),
        (
            "long headers",
            String::new(),
            header("Referer", "https://a.example/?q=%22", 6_000) + &header("Accept-Language", "en;q=0.1,", 6_000),
        ),
        (
            "everything",
            format!("&a={}", "%22%5c".repeat(1_300)),
            header("Referer", "https://a.example/?q=%22\\\"", 4_000) + &header("Accept-Language", "\"\\", 4_000),
        ),
    ]
}

#[test]
fn an_event_of_any_length_is_delivered_or_counted_as_too_large() {
    let s3 = S3::start();
    let (builder, buckets) = two_feeds(&s3);
    let edge = builder.start();
    let mut ledger = Ledger::default();
    for (number, (what, query, headers)) in giants().into_iter().enumerate() {
        let nonce = format!("giant-{number}");
        let mut client = Client::connect(edge.address).unwrap();
        // The agent string comes twice: a client may do that.
        let headers = format!("User-Agent: {}\r\n{headers}", CHROME.repeat(18));
        let status = client.send(&nonce, &query, &headers).unwrap_or_else(|error| panic!("{what}: {error}"));
        if status == 302 {
            ledger.clicks.insert(nonce, Click { round: number as u32, micros: Some(0) });
        } else {
            // A request may be rejected for its length, but not by a redirect that is then no click.
            assert!((400..500).contains(&status), "{what} got {status}");
            println!("{what} ({} bytes of query) got {status}", query.len());
        }
    }
    assert!(ledger.clicks.len() >= 5, "most are answered");
    let numbers = judge::settle(&edge, &mut ledger, &buckets);
    let too_large: Vec<_> = buckets
        .iter()
        .map(|bucket| {
            (numbers.clicks_dropped("too_large") + numbers.events_dropped(&bucket.feed, "too_large")) as usize
        })
        .collect();
    let verdict = finish_with("giants", edge, &mut ledger, &buckets);
    verdict.assert_at_most_once();
    for (bucket, too_large) in buckets.iter().zip(too_large) {
        assert_eq!(
            verdict.lost[&bucket.feed].len(),
            too_large,
            "{} counts what it leaves out\n{verdict}",
            bucket.feed
        );
    }
}

#[test]
fn a_worker_that_panics_loses_that_click_counts_it_and_continues() {
    let s3 = S3::start();
    let (builder, buckets) = two_feeds(&s3);
    let edge = builder.env("CLICKEDGE_PANIC_AT", "enriched:100").start();
    let load = Load::start(edge.address, "panic", LIGHT);
    load.wait_for(300);
    let mut ledger = load.stop();
    edge.wait_until("all are enriched", |edge| Numbers::of(edge).in_rings() == 0);
    assert_eq!(Numbers::of(&edge).clicks_dropped("worker_failed"), 1);
    let verdict = finish_with("a worker's panic", edge, &mut ledger, &buckets);
    verdict.assert_at_most_once();
    assert!(verdict.lost.values().all(|lost| lost.len() == 1), "{verdict}");
}

#[test]
fn a_spool_thread_that_panics_ends_the_process_and_the_next_one_loses_nothing() {
    for point in ["journal_written:3", "journal_synced:2", "sealed", "renamed"] {
        let s3 = S3::start();
        let (builder, buckets) = two_feeds(&s3);
        let edge = builder.env("CLICKEDGE_PANIC_AT", point).start();
        let load = Load::start(edge.address, point, LIGHT);
        let stopped = edge.wait();
        assert_eq!(stopped.status.code(), Some(70), "{point}\n{}", stopped.log());
        let mut ledger = load.stop();
        let edge = stopped.restart();
        finish_with(point, edge, &mut ledger, &buckets).assert_exactly_once();
    }
}

#[test]
fn more_clicks_than_the_journal_holds_are_delivered_or_counted() {
    let s3 = S3::start();
    let (builder, buckets) = two_feeds(&s3);
    // The smallest journal that the configuration takes, and events for twice as much.
    let edge = builder.spool("journal_max_bytes = 16777216").start();
    let pace = Pace { connections: 4, pause: Duration::from_micros(500), noise: 4_000 };
    let load = Load::start(edge.address, "rush", pace);
    for _ in 0..6 {
        load.wait_for(1_000);
    }
    let mut ledger = load.stop();
    edge.wait_until("the rings have room again", |edge| Numbers::of(edge).in_rings() == 0);
    let dropped = Numbers::of(&edge).clicks_dropped("ring_full") as usize;
    let verdict = finish_with("a small journal", edge, &mut ledger, &buckets);
    verdict.assert_at_most_once();
    let lost: Vec<_> = verdict.lost.values().map(std::collections::HashSet::len).collect();
    assert_eq!(lost, [dropped; 2], "what is lost is counted as ring_full\n{verdict}");
}

#[test]
fn the_judge_reports_what_is_wrong() {
    use std::{fs, io::Write};
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, lines: &[(&str, &str)]| {
        let path = dir.path().join("dt=2026-11-23/hour=09").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut object = flate2::write::GzEncoder::new(fs::File::create(path).unwrap(), flate2::Compression::fast());
        for (id, nonce) in lines {
            let id = format!("01a2085b-d4e1-7645-b01b-0000000000{id}");
            let query = serde_json::json!({"params": {"query": [{"name": "n", "value": nonce}]}});
            let event = serde_json::json!({"id": id, "timestamp": "2026-11-23T09:00:00Z", "route": query});
            writeln!(object, "{event}").unwrap();
        }
        object.finish().unwrap();
    };
    let mut ledger = Ledger::default();
    let clicked = [("read", Some(1)), ("lost", Some(1)), ("astray", None), ("gone", None), ("twice", Some(1))];
    for (nonce, micros) in clicked {
        ledger.clicks.insert(nonce.into(), Click { round: 1, micros });
    }
    put("a.ndjson.gz", &[("01", "read"), ("02", "astray"), ("03", "twice")]);
    put("b.ndjson.gz", &[("04", "twice"), ("05", "invented")]);
    fs::write(dir.path().join("dt=2026-11-23/hour=09/c.ndjson.gz"), "no gzip").unwrap();
    let verdict = judge::judge("itself", &ledger, &[Bucket::new("all", dir.path())]);
    assert_eq!(verdict.lost["all"].iter().collect::<Vec<_>>(), ["lost"]);
    // The second event of `twice` has another id than the first: that is reported separately.
    let found = [verdict.duplicated, verdict.invented, verdict.unanswered, verdict.broken, verdict.delivered["all"]];
    assert_eq!(found, [1, 1, 1, 2, 4], "{verdict}");
}
