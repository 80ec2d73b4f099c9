//! A manifest in trouble delays no events, and no later manifest.

use std::{fs, io::Write, path::Path};

use serde_json::json;

use super::{HASTY, trouble::logged};
use crate::common::{
    Builder, Edge,
    cli::clickedge,
    clicks::{assert_exactly_once, click, of_feed, wait_until_delivered},
    events_of,
    s3::{Fault, S3},
};

/// An edge whose feed gets a version of its manifest each second in which it gets events.
fn edge(s3: &S3) -> Builder {
    let sink = format!("manifest_secs = 1\n{}", s3.sink_toml("clicks", ""));
    Edge::builder().feed_into("all", &["*"], &sink).section(HASTY)
}

/// The manifests below a folder, by their keys.
fn manifests(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root.join("_manifest")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "json") {
                found.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

fn set_aside(edge: &Edge) -> i64 {
    edge.metric(&of_feed("feed_set_aside", "all"))
}

/// Clicks until one more manifest is set aside, and its events are delivered.
fn click_until_set_aside(edge: &Edge, clicks: &mut Vec<String>) {
    let before = set_aside(edge);
    for run in 0.. {
        clicks.extend(click(edge, &format!("{before}-{run}"), 2));
        wait_until_delivered(edge, "all", clicks.len());
        if set_aside(edge) > before {
            return;
        }
        assert!(run < 100, "no manifest is set aside\n{}", edge.log());
    }
}

#[test]
fn manifests_that_are_denied_are_set_aside_and_delivered_later() {
    let s3 = S3::start();
    s3.set(Fault::Forbidden("/_manifest/".into()));
    let edge = edge(&s3).start();
    let mut clicks = Vec::new();
    for _ in 0..2 {
        click_until_set_aside(&edge, &mut clicks);
    }
    assert_eq!(edge.metric(&of_feed("feed_parked", "all")), 0, "events are accepted");
    let line = logged(&edge, "sink rejected a manifest or rollup; set aside");
    assert_eq!((&line["level"], &line["feed"], &line["status"]), (&json!("ERROR"), &json!("all"), &json!(403)));
    assert!(line["key"].as_str().unwrap().starts_with("_manifest/"), "{line}");
    assert!(!edge.log().contains("feed parked"));
    assert!(edge.metric("clickedge_uploads_total{feed=\"all\",result=\"refused\"}") >= 2);
    assert!(manifests(&s3.bucket("clicks")).is_empty());

    s3.set(Fault::Healthy);
    let config = edge.dir().join("clickedge.toml");
    clickedge(&["feed", "retry", "all", "--config", config.to_str().unwrap()]).ok();
    edge.wait_until("no manifest is set aside", |edge| set_aside(edge) == 0);
    assert!(manifests(&s3.bucket("clicks")).len() >= 2);
    assert_exactly_once(&s3.events("clicks"), &clicks);
    let stopped = edge.stop();
    assert!(stopped.status.success());
    clickedge(&["feed", "verify", s3.bucket("clicks").to_str().unwrap()]).ok();
}

#[test]
fn a_rollup_that_is_denied_is_set_aside_and_delivered_later() {
    const KEY: &str = "_rollups/dt=2026-11-23/hour=09/all-fra1-k3j9x0ab-v1.ndjson.gz";
    let s3 = S3::start();
    s3.set(Fault::Forbidden("/_rollups/".into()));
    let sink = format!("rollups = true\nmanifest_secs = 0\n{}", s3.sink_toml("clicks", ""));
    let stopped = Edge::builder().feed_into("all", &["*"], &sink).section(HASTY).start().stop();
    // As a process that died before the upload leaves it: the hour of a rollup is longer than this test.
    let waiting = stopped.dir().join("spool/outbox/all").join(KEY);
    fs::create_dir_all(waiting.parent().unwrap()).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&fs::read("tests/golden/rollup.ndjson").unwrap()).unwrap();
    let rollup = encoder.finish().unwrap();
    fs::write(&waiting, &rollup).unwrap();

    let edge = stopped.restart();
    edge.wait_until("it is set aside", |edge| set_aside(edge) == 1);
    let mut clicks = click(&edge, "denied", 3);
    wait_until_delivered(&edge, "all", 3);
    assert_eq!(edge.metric(&of_feed("feed_parked", "all")), 0, "events are accepted");
    let line = logged(&edge, "sink rejected a manifest or rollup; set aside");
    assert_eq!((&line["level"], &line["key"], &line["status"]), (&json!("ERROR"), &json!(KEY), &json!(403)));
    assert!(line["remedy"].as_str().unwrap().contains("s3:PutObject"), "{line}");
    assert!(edge.metric("clickedge_uploads_total{feed=\"all\",result=\"refused\"}") >= 1);
    assert!(!s3.bucket("clicks").join(KEY).exists() && waiting.exists());

    s3.set(Fault::Healthy);
    let config = edge.dir().join("clickedge.toml");
    clickedge(&["feed", "retry", "all", "--config", config.to_str().unwrap()]).ok();
    edge.wait_until("it is no longer set aside", |edge| set_aside(edge) == 0);
    assert_eq!(fs::read(s3.bucket("clicks").join(KEY)).unwrap(), rollup);
    assert!(edge.log().contains("sink accepts what was set aside"));
    clicks.extend(click(&edge, "accepted", 3));
    wait_until_delivered(&edge, "all", 6);
    let events = s3.objects("clicks").into_iter().filter(|key| key.starts_with("dt="));
    let events: Vec<_> =
        events.flat_map(|key| events_of(&fs::read(s3.bucket("clicks").join(key)).unwrap())).collect();
    assert_exactly_once(&events, &clicks);
}

#[test]
fn a_manifest_that_hangs_delays_no_events() {
    let s3 = S3::start();
    s3.set(Fault::SilentFor("/_manifest/".into()));
    let edge = edge(&s3).start();
    let mut clicks = click(&edge, "first", 2);
    edge.wait_until("a manifest hangs", |_| s3.puts().iter().any(|put| put.path.contains("/_manifest/")));
    for run in 0..3 {
        clicks.extend(click(&edge, &format!("later-{run}"), 2));
        wait_until_delivered(&edge, "all", clicks.len());
    }
    assert!(s3.puts().iter().all(|put| !put.path.contains("/_manifest/") || put.status.is_none()));
    assert_exactly_once(&s3.events("clicks"), &clicks);
}

#[test]
fn a_manifest_whose_key_is_taken_blocks_neither_events_nor_later_manifests() {
    let s3 = S3::start();
    s3.set(Fault::Forbidden("/_manifest/".into()));
    let edge = edge(&s3).start();
    let mut clicks = Vec::new();
    click_until_set_aside(&edge, &mut clicks);
    let taken = manifests(&edge.dir().join("spool/outbox/all")).remove(0);
    s3.write("clicks", &taken, b"of an edge before this one");
    let edge = edge.stop().restart();
    s3.set(Fault::Healthy);
    edge.wait_until("it is set aside", |edge| edge.log().contains("exists in clicks with other content"));

    let (mut delivered, before) = (0, manifests(&s3.bucket("clicks")).len());
    for run in 0.. {
        let more = click(&edge, &format!("after-{run}"), 2);
        delivered += more.len();
        clicks.extend(more);
        wait_until_delivered(&edge, "all", delivered);
        if manifests(&s3.bucket("clicks")).len() > before {
            break;
        }
        assert!(run < 100, "no later manifest arrives\n{}", edge.log());
    }
    let config = edge.dir().join("clickedge.toml");
    let retry = || clickedge(&["feed", "retry", "all", "--config", config.to_str().unwrap()]).ok();
    edge.wait_until("only the one whose key is taken waits", |edge| {
        retry();
        manifests(&edge.dir().join("spool/outbox/all")) == [taken.clone()]
    });
    assert_eq!((edge.metric(&of_feed("feed_parked", "all")), set_aside(&edge)), (0, 1));
    assert_exactly_once(&s3.events("clicks"), &clicks);

    s3.remove("clicks", &taken);
    edge.wait_until("it is delivered", |edge| {
        retry();
        set_aside(edge) == 0
    });
    assert!(manifests(&s3.bucket("clicks")).contains(&taken));
    clickedge(&["feed", "verify", s3.bucket("clicks").to_str().unwrap()]).ok();
}
