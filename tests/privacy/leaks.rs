//! The proof can fail: a leak of each kind is made on purpose, by `src/enrich/leak.rs`, and must be found.

use std::thread;

use super::{
    canary::Cast,
    proof::{through, tracer},
    search::{Evidence, Find, Search, assert_none},
};
use crate::common::{
    Edge,
    clicks::of_feed,
    s3::{Fault, S3},
};

/// One click of one client, with a leak of this kind; what is found. `None` when it could only be seen by a tracer that
/// is not there.
fn leak(kind: &str) -> Option<Vec<Find>> {
    let tracer = tracer();
    if tracer.is_none() && kind == "file" {
        return None;
    }
    let s3 = S3::start();
    s3.set(Fault::Unavailable);
    let mut builder = Edge::builder().feed_into("bucket", &["*"], &s3.sink_toml("clicks", ""));
    if kind != "hash" {
        builder = builder.feed("local", &["*"]);
    }
    let through = through(&builder, tracer.as_ref());
    let hasty = "[shutdown]\ndrain_secs = 1";
    let edge = builder.section(hasty).through(&through).env("CLICKEDGE_LEAK", kind).start();
    let process = edge.pid();
    let (mut cast, mut evidence) = (Cast::default(), Evidence::default());
    let answer = edge.request_from(Some(cast.client(kind)), "GET", "go.brand.com", "/spring", &[]);
    assert_eq!(answer.status, 302);
    let done = match kind {
        "panic" => "clickedge_clicks_dropped_total{reason=\"worker_failed\"}".to_owned(),
        _ => of_feed("events_pending", "bucket"),
    };
    edge.wait_until("the click is acknowledged", |edge| edge.metric(&done) == 1);
    if kind == "event" {
        let delivered = of_feed("events_delivered_total", "local");
        edge.wait_until("the event is delivered to a folder", |edge| edge.metric(&delivered) == 1);
    }
    evidence.add("metrics", edge.admin("/metrics").body);
    let stopped = edge.stop();
    evidence.add_folder("edge", stopped.dir());
    if let Some(tracer) = tracer {
        tracer.read(&[process]).add_to(&mut evidence, &[s3.address()], "elsewhere.example");
    }
    if kind == "panic" {
        assert!(stopped.log().contains("panicked: a test wants <address> to leak"), "{}", stopped.log());
    }
    Some(Search::new(cast.all()).run(&evidence))
}

#[test]
fn a_leak_of_any_kind_is_found() {
    let kinds = [
        ("log", "text", "edge/log"),
        ("event", "text, base64", ".ndjson.gz, decompressed"),
        ("hash", "SHA-256 of the text, hex", "edge/spool/"),
        ("metric", "text", "metrics"),
        ("file", "mapped bytes", "clickedge-leak"),
    ];
    thread::scope(|scope| {
        let seen = kinds.map(|(kind, form, place)| (kind, form, place, scope.spawn(move || leak(kind))));
        for (kind, form, place, finds) in seen {
            let Some(finds) = finds.join().unwrap() else {
                continue;
            };
            let listed: Vec<_> = finds.iter().map(ToString::to_string).collect();
            let found = finds.iter().any(|find| find.form == form && find.place.contains(place));
            assert!(found, "{kind}: {form} in {place} is not among {listed:#?}");
            let elsewhere = finds.iter().any(|find| !find.place.starts_with("writes to "));
            assert_eq!(elsewhere, kind != "file", "only the trace sees the file: {listed:#?}");
        }
    });
}

#[test]
fn a_panic_reveals_no_address() {
    assert_none(&leak("panic").unwrap());
}

#[test]
fn nothing_is_found_when_nothing_leaks() {
    assert_none(&leak("none").unwrap());
}
