//! The outbox under pressure: full, shared by feeds of which one fails, and changed from outside.

use std::{collections::BTreeSet, fs};

use crate::common::{
    Edge,
    clicks::{
        assert_at_least_once, assert_balanced, assert_exactly_once, click, click_with, noise, nonces, of_feed,
        wait_until_delivered,
    },
    objects_below,
    s3::{Fault, S3},
};

fn quota_drops(edge: &Edge, feed: &str) -> i64 {
    edge.metric(&format!("clickedge_events_dropped_total{{feed=\"{feed}\",reason=\"spool_quota\"}}"))
}

#[test]
fn a_full_outbox_drops_and_counts_while_redirects_continue() {
    let s3 = S3::start();
    s3.set(Fault::Unavailable);
    let sink = format!("max_bytes = 65536\n{}", s3.sink_toml("clicks", ""));
    let edge = Edge::builder()
        .feed_into("all", &["*"], &sink)
        .spool("max_bytes = 1048576")
        .capture("ring_bytes = 67108864")
        .start();
    let dropped = |edge: &Edge| quota_drops(edge, "all");
    let mut clicks = Vec::new();
    while dropped(&edge) == 0 {
        clicks.extend(click_with(&edge, &format!("a{}", clicks.len()), 100, noise));
        assert!(clicks.len() < 20_000, "the outbox fills up");
    }
    let before = dropped(&edge);
    clicks.extend(click(&edge, "full", 50));
    edge.wait_until("they are dropped, too", |edge| dropped(edge) >= before + 50);
    s3.set(Fault::Healthy);
    edge.wait_until("delivered", |edge| edge.metric(&of_feed("events_pending", "all")) == 0);
    let events = s3.events("clicks");
    let (delivered, dropped) = (events.len(), dropped(&edge));
    assert!(delivered > 0 && dropped >= 50, "{delivered} delivered, {dropped} dropped");
    assert_balanced(&edge, "all", clicks.len(), dropped as usize);
    let known: BTreeSet<_> = clicks.iter().collect();
    assert!(nonces(&events).iter().all(|nonce| known.contains(nonce)));
    assert_at_least_once(&events, &[]);

    let after = click(&edge, "after", 5);
    edge.wait_until("delivered again", |_| s3.events("clicks").len() == delivered + 5);
    assert_exactly_once(&s3.events("clicks")[delivered..], &after);
}

#[test]
fn a_feed_that_fills_the_outbox_costs_no_other_feed_an_event() {
    let s3 = S3::start();
    s3.set(Fault::Unavailable);
    let sink = format!("max_bytes = 65536\n{}", s3.sink_toml("clicks", ""));
    let builder = Edge::builder();
    let healthy = format!("max_bytes = 65536\nsink.dir.path = '{}'", builder.bucket("healthy").display());
    let edge = builder
        .feed_into("failing", &["*"], &sink)
        .feed_into("healthy", &["*"], &healthy)
        .spool("max_bytes = 1048576")
        .capture("ring_bytes = 67108864")
        .start();
    let mut clicks = Vec::new();
    while quota_drops(&edge, "failing") == 0 {
        clicks.extend(click_with(&edge, &format!("a{}", clicks.len()), 100, noise));
        // Its own delivery is not to be what fills the outbox, however slow this machine's disk is.
        edge.wait_until("the healthy feed keeps up", |edge| edge.metric(&of_feed("events_pending", "healthy")) < 200);
        assert!(clicks.len() < 20_000, "the outbox fills up");
    }
    clicks.extend(click(&edge, "full", 50));
    wait_until_delivered(&edge, "healthy", clicks.len());
    assert_eq!(quota_drops(&edge, "healthy"), 0);
    assert!(quota_drops(&edge, "failing") >= 50);
}

#[test]
fn an_object_that_is_removed_by_hand_is_counted_and_delays_no_other_object() {
    let s3 = S3::start();
    s3.set(Fault::Unavailable);
    let edge = Edge::builder().feed_into("all", &["*"], &s3.sink_toml("clicks", "")).start();
    click(&edge, "taken", 5);
    edge.wait_until("it waits", |edge| edge.metric(&of_feed("outbox_objects", "all")) == 1);
    let waiting = objects_below(&edge.dir().join("spool/outbox"));
    fs::remove_file(&waiting[0]).unwrap();
    // An attempt that has the file open may still deliver it: the store stays away until the loss is seen.
    edge.wait_until("it is missed", |edge| {
        edge.metric("clickedge_events_dropped_total{feed=\"all\",reason=\"removed\"}") == 5
    });
    let clicks = click(&edge, "left", 5);
    s3.set(Fault::Healthy);
    wait_until_delivered(&edge, "all", 5);
    assert_exactly_once(&s3.events("clicks"), &clicks);
    assert_eq!(edge.metric(&of_feed("events_pending", "all")), 0);
}
