//! What objects look like, of every format and compression, and how long a small feed is held back.

use std::{
    collections::BTreeSet,
    fs,
    io::Read,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::common::{
    Builder, Edge,
    cli::clickedge,
    clicks::{assert_exactly_once, click, of_feed, wait_until_delivered},
};

/// Format, compression as the configuration has it, and what an object's name ends with.
const ALL: [(&str, &str, &str); 9] = [
    ("ndjson", "{ gzip = { level = 3 } }", "ndjson.gz"),
    ("ndjson", "{ zstd = { level = 3 } }", "ndjson.zst"),
    ("ndjson", "\"none\"", "ndjson"),
    ("json", "{ gzip = { level = 9 } }", "json.gz"),
    ("json", "{ zstd = { level = 1 } }", "json.zst"),
    ("json", "\"none\"", "json"),
    ("envelope", "{ gzip = { level = 1 } }", "json.gz"),
    ("envelope", "{ zstd = { level = 9 } }", "json.zst"),
    ("envelope", "\"none\"", "json"),
];

/// Keys of all files below a folder, sorted.
fn keys_below(root: &Path) -> Vec<String> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if !path.file_name().unwrap().to_str().unwrap().starts_with('.') {
                // The others are not whole yet.
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(root, &mut found);
    let mut keys: Vec<_> =
        found.iter().map(|path| path.strip_prefix(root).unwrap().to_str().unwrap().into()).collect();
    keys.sort();
    keys
}

/// An object's text, by whatever its name says of the compression.
fn text_of(path: &Path) -> String {
    let bytes = fs::read(path).unwrap();
    let mut text = String::new();
    match path.extension().unwrap().to_str().unwrap() {
        "gz" => _ = flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).expect("whole gzip"),
        "zst" => text = String::from_utf8(zstd::decode_all(&bytes[..]).expect("whole zstd")).unwrap(),
        _ => text = String::from_utf8(bytes).unwrap(),
    }
    text
}

/// The events of an object, read as a customer reads this format.
fn events_of(root: &Path, key: &str, format: &str) -> Vec<Value> {
    let text = text_of(&root.join(key));
    if format == "ndjson" {
        assert!(text.ends_with('\n'), "{key} ends with a whole line");
        return text.lines().map(|line| serde_json::from_str(line).expect("one event a line")).collect();
    }
    let mut value: Value = serde_json::from_str(&text).expect("one JSON value");
    if format == "envelope" {
        assert_eq!(value.as_object().unwrap().len(), 2, "{key}");
        assert_eq!(value["key"], key);
        value = value["data"].take();
    }
    let Value::Array(events) = value else { panic!("{key} holds no array") };
    events
}

#[test]
fn every_format_and_compression_is_delivered_as_what_it_is_and_proven() {
    let name = |n: usize| format!("feed-{n}");
    let add = |builder: Builder, n: usize| {
        let (format, compression, _) = ALL[n];
        let path = builder.bucket(&name(n));
        let lines = format!(
            "format = \"{format}\"\ncompression = {compression}\nmanifest_secs = 1\nsink.dir.path = '{}'",
            path.display()
        );
        builder.feed_into(&name(n), &["*"], &lines)
    };
    let edge = (0..ALL.len()).fold(Edge::builder(), add).start();
    let mut clicks = Vec::new();
    for (run, count) in [("a", 40), ("b", 1)] {
        clicks.extend(click(&edge, run, count));
        (0..ALL.len()).for_each(|n| wait_until_delivered(&edge, &name(n), clicks.len()));
    }
    for (n, (format, _, extension)) in ALL.into_iter().enumerate() {
        let root = edge.dir().join("bucket").join(name(n));
        let report = || {
            let said = clickedge(&["feed", "verify", root.to_str().unwrap(), "--json"]).ok();
            serde_json::from_str::<Value>(&said).unwrap()
        };
        edge.wait_until("a manifest lists everything", |_| report()["feeds"][0]["open_objects"] == 0);
        let report = report();
        let row = &report["feeds"][0];
        assert_eq!((&report["proven"], &row["events"]), (&json!(true), &json!(41)), "{format} {extension}");

        let objects: Vec<_> = keys_below(&root).into_iter().filter(|key| key.starts_with("dt=")).collect();
        assert!(objects.len() >= 2, "{objects:?}");
        for key in &objects {
            assert_eq!(key.rsplit('/').next().unwrap().split_once('.').unwrap().1, extension);
        }
        let events: Vec<_> = objects.iter().flat_map(|key| events_of(&root, key, format)).collect();
        assert_exactly_once(&events, &clicks);
    }
}

#[test]
fn a_small_feed_is_held_back_and_others_are_not() {
    let builder = Edge::builder().feed("eager", &["*"]);
    let (held, large) = (builder.bucket("held"), builder.bucket("large"));
    let edge = builder
        .section(&format!(
            "[[feeds]]\nname = \"held\"\nworkspaces = [\"*\"]\nmax_age_secs = 1\nhold_back_secs = 4\n\
             sink.dir.path = '{}'\n\
             [[feeds]]\nname = \"large\"\nworkspaces = [\"*\"]\nmax_age_secs = 1\nhold_back_secs = 3600\n\
             min_bytes = 100\nsink.dir.path = '{}'",
            held.display(),
            large.display()
        ))
        .start();
    let since = Instant::now();
    let clicks = click(&edge, "a", 10);
    wait_until_delivered(&edge, "eager", clicks.len());
    // It has enough for an object worth opening.
    wait_until_delivered(&edge, "large", clicks.len());
    let (early, waiting) = (since.elapsed(), edge.metric(&of_feed("events_pending", "held")));
    assert!(early < Duration::from_secs(4) && waiting == 10, "after {early:?} {waiting} wait");
    assert!(!held.exists());
    wait_until_delivered(&edge, "held", clicks.len());
    assert!(since.elapsed() >= Duration::from_secs(4), "it came after {:?}", since.elapsed());
    assert_exactly_once(&edge.stop().events("held"), &clicks);
}

#[test]
fn what_whole_objects_leave_over_stays_until_it_is_enough_or_old() {
    const MAX_BYTES: u64 = 131_072;
    let builder = Edge::builder();
    let (row, aged) = (builder.bucket("row"), builder.bucket("aged"));
    let feed = |name: &str, secs: u32, sink: &Path| {
        format!(
            "[[feeds]]\nname = {name:?}\nworkspaces = [\"*\"]\nmax_bytes = {MAX_BYTES}\nmax_age_secs = {secs}\n\
             hold_back_secs = {secs}\nsink.dir.path = '{}'",
            sink.display()
        )
    };
    let edge = builder.section(&format!("{}\n{}", feed("row", 3_600, &row), feed("aged", 5, &aged))).start();
    // The sizes of all objects, and how many are too small: one at the end of each hour that is over.
    let sizes = |hours_open: usize| {
        let keys: Vec<_> = keys_below(&row).into_iter().filter(|key| key.starts_with("dt=")).collect();
        let hours: BTreeSet<_> = keys.iter().filter_map(|key| key.rsplit_once('/')).map(|(hour, _)| hour).collect();
        let sizes: Vec<_> = keys.iter().map(|key| fs::metadata(row.join(key)).unwrap().len()).collect();
        let small = sizes.iter().filter(|bytes| bytes.abs_diff(MAX_BYTES) > MAX_BYTES / 10).count();
        assert!(small <= hours.len() - hours_open.min(hours.len()), "{small} are too small: {sizes:?}");
        sizes
    };
    let mut clicks = Vec::new();
    while sizes(1).len() < 2 {
        clicks.extend(click(&edge, &format!("run-{}", clicks.len()), 200));
    }
    // What is left over may be a whole object, by chance; five more events are not.
    for round in ["last", "very-last"] {
        clicks.extend(click(&edge, round, 5));
        wait_until_delivered(&edge, "aged", clicks.len());
        if edge.metric(&of_feed("events_pending", "row")) > 0 {
            break;
        }
    }
    assert!(edge.metric(&of_feed("events_pending", "row")) >= 5);
    let whole = sizes(1).len();
    let stopped = edge.stop();
    assert!(sizes(0).len() > whole, "a stop packs the rest");
    assert_exactly_once(&stopped.events("row"), &clicks);
    assert_exactly_once(&stopped.events("aged"), &clicks);
}
