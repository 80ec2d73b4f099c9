//! Changes that are announced over NATS: what messages bring forward, and that they change nothing else.

use std::time::{Duration, Instant};

use clickedge::fleet::{Store, publish::Options};
use serde_json::json;

use super::{
    SPRING,
    model::{Node, Place, wait_until, wait_until_equal},
};
use crate::common::nats::Nats;

const SUBJECT: &str = "clickedge.catalog";

fn announced(nats: &Nats, poll_millis: u64) -> serde_json::Value {
    json!({"poll_millis": poll_millis, "nats": {"servers": [nats.url()]}})
}

#[test]
fn a_message_brings_a_change_before_the_next_look() {
    let Some(nats) = Nats::start("") else { return };
    let place = Place::new();
    place.publish(&[SPRING], Options::default()).unwrap();
    let nodes = [(); 3].map(|()| Node::start(&place, &announced(&nats, 60_000)));
    wait_until_equal(&place, &nodes.each_ref());
    // Until all have subscribed.
    wait_until("messages arrive", || {
        nodes[0].put(&place, "first", &format!("https://{}.example/", fastrand::u32(..))).unwrap();
        nodes[1..].iter().all(|node| node.metric("polls_total{result=\"announced\"}") > 0)
    });
    wait_until_equal(&place, &nodes.each_ref());
    let looks = |node: &Node| {
        ["unchanged", "moved"].map(|result| node.metric(&format!("polls_total{{result=\"{result}\"}}"))).iter().sum()
    };
    let before: i64 = looks(&nodes[1]);
    let start = Instant::now();
    for n in 0..20 {
        nodes[0].put(&place, &format!("{n}"), "https://a.example/").unwrap();
    }
    wait_until_equal(&place, &nodes.each_ref());
    assert!(start.elapsed() < Duration::from_secs(20), "none has waited for a look");
    assert_eq!(looks(&nodes[1]), before, "the messages carried the deltas");
}

#[test]
fn messages_that_are_forged_stale_doubled_or_lost_change_nothing_but_the_delay() {
    let Some(mut nats) = Nats::start("") else { return };
    let place = Place::new();
    place.publish(&[SPRING], Options::default()).unwrap();
    let [a, b] = [(); 2].map(|()| Node::start(&place, &announced(&nats, 300)));
    wait_until_equal(&place, &[&a, &b]);
    let client = place.runtime.block_on(async_nats::connect(nats.url())).unwrap();
    let send = |bytes: Vec<u8>| {
        place.runtime.block_on(async {
            client.publish(SUBJECT, bytes.into()).await.unwrap();
            client.flush().await.unwrap();
        });
    };
    let delta = |i: usize| {
        let key = place.head().1.recent[i].key.clone();
        std::fs::read(place.s3.bucket("clicks").join("links").join(key)).unwrap()
    };
    let message = |delta: &[u8]| {
        let position = serde_json::to_value(place.head().1.position).unwrap();
        let mut bytes = json!({"kind": "head-moved", "position": position}).to_string().into_bytes();
        bytes.push(b'\n');
        bytes.extend_from_slice(delta);
        bytes
    };
    for round in 0..5 {
        a.put(&place, &format!("{round}"), "https://a.example/").unwrap();
        a.put(&place, &format!("{round}"), "https://b.example/").unwrap();
        let last = place.head().1.recent.len() - 1;
        // Out of order, stale, twice, with the wrong state, and what is no message at all.
        let forged = String::from_utf8(delta(last)).unwrap().replace("https://b.", "https://evil.");
        for bytes in [
            message(&delta(last)),
            message(&delta(last - 1)),
            message(&delta(last)),
            message(&delta(0)),
            message(forged.as_bytes()),
            b"\xff\xfe nothing".to_vec(),
            Vec::new(),
        ] {
            send(bytes);
        }
        if round == 2 {
            nats.kill();
            a.put(&place, "without", "https://a.example/").unwrap();
            wait_until_equal(&place, &[&a, &b]);
            nats.restart();
            wait_until("the test's client is back", || place.runtime.block_on(client.flush()).is_ok());
        }
    }
    wait_until_equal(&place, &[&a, &b]);
    assert_eq!(b.model.position().revision, 11);
    assert_eq!(b.model.destination("4").as_deref(), Some("https://b.example/"));
    assert_eq!(b.metric("snapshots_installed_total"), 1, "nothing had to be repaired");
}
