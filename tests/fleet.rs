//! Edges that share a catalog through a bucket: they have the same one after any fault, and no change is lost.

mod announcements;
mod chaos;
mod edges;
mod model;

use std::sync::atomic::Ordering;

use clickedge::{
    catalog::change::{Condition, Operation, Refused},
    fleet::{
        Store,
        bucket::{BucketError, upload::Parts},
        publish::{Options, PublishError},
    },
};
use serde_json::json;

use crate::common::s3::{Canned, Fault};
use model::{Node, Place, wait_until, wait_until_equal};

const SPRING: (&str, &str) = ("spring", "https://www.example.com/spring");
const SUMMER: (&str, &str) = ("summer", "https://www.example.com/summer");

fn put(slashtag: &str, to: &str) -> Operation {
    Operation::PutLink { link: format!("{slashtag} {to}") }
}

#[test]
fn edges_take_snapshots_and_each_other_s_changes() {
    let place = Place::new();
    let [a, b] = [(); 2].map(|()| Node::start(&place, &json!({})));
    wait_until("the missing head is counted", || a.metric("polls_total{result=\"failed\"}") > 0);
    let head = place.publish(&[SPRING], Options::default()).unwrap();
    assert_eq!((head.position.generation, head.position.revision), (1, 0));
    wait_until_equal(&place, &[&a, &b]);
    assert_eq!(a.model.destination("spring").as_deref(), Some(SPRING.1));

    let accepted = a.put(&place, "autumn", "https://a.example/").unwrap();
    assert!(accepted.created && accepted.revision == 1, "{accepted:?}");
    assert_eq!(a.model.destination("autumn").as_deref(), Some("https://a.example/"), "at once where it was made");
    wait_until_equal(&place, &[&a, &b]);
    assert_eq!(b.model.destination("autumn").as_deref(), Some("https://a.example/"));
    wait_until("it is counted", || (b.metric("revision"), b.metric("deltas_applied_total")) == (1, 1));
    assert_eq!((b.metric("generation"), b.metric("snapshots_installed_total")), (1, 1));

    place.publish(&[SPRING, SUMMER], Options { discard_changes: true, ..Options::default() }).unwrap();
    wait_until_equal(&place, &[&a, &b]);
    assert_eq!((b.model.destination("autumn"), b.model.links()), (None, 2));
    assert_eq!((a.leftovers(), b.leftovers()), (0, 0), "files that were read are removed");
}

#[test]
fn changes_of_many_edges_at_a_time_are_all_made_once() {
    const EACH: usize = 40;
    let place = Place::new();
    place.publish(&[SPRING], Options::default()).unwrap();
    let nodes = [(); 3].map(|()| Node::start(&place, &json!({})));
    std::thread::scope(|scope| {
        for (i, node) in nodes.iter().enumerate() {
            for half in 0..2 {
                let place = &place;
                scope.spawn(move || {
                    for n in (half..EACH).step_by(2) {
                        node.put(place, &format!("{i}-{n}"), "https://a.example/").unwrap();
                    }
                });
            }
        }
    });
    wait_until_equal(&place, &nodes.each_ref());
    assert_eq!(nodes[0].model.links(), 1 + 3 * EACH);
    assert_eq!(place.head().1.position.revision, 3 * EACH as u64, "each has one number");
}

#[test]
fn only_one_of_those_who_create_a_link_has_created_it() {
    let place = Place::new();
    place.publish(&[SPRING], Options::default()).unwrap();
    let nodes = [(); 3].map(|()| Node::start(&place, &json!({"poll_millis": 60_000})));
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let place = &place;
        let change = move |(i, node): (usize, &Node)| {
            node.change(place, put("new", &format!("https://{i}.example/")), Condition::Absent).unwrap()
        };
        let threads: Vec<_> = nodes.iter().enumerate().map(|of| scope.spawn(move || change(of))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    // What an edge finds unchanged or rejects is so in the bucket, although it has not looked there for long.
    let winner = outcomes.iter().position(Result::is_ok).unwrap();
    let others: Vec<_> = (0..3).filter(|i| *i != winner).collect();
    nodes[others[0]].put(&place, "new", "https://last.example/").unwrap();
    let back = nodes[winner].put(&place, "new", &format!("https://{winner}.example/")).unwrap();
    assert!(!back.unchanged, "another edge has changed it meanwhile");
    let absent = nodes[others[1]].change(&place, put("new", "https://x.example/"), Condition::Absent).unwrap();
    assert!(matches!(absent, Err(Refused::ConditionFailed { .. })), "{absent:?}");
}

#[test]
fn a_lost_answer_makes_a_change_neither_twice_nor_lost() {
    let place = Place::new();
    place.publish(&[SPRING], Options::default()).unwrap();
    let [a, b] = [(); 2].map(|()| Node::start(&place, &json!({})));
    wait_until_equal(&place, &[&a, &b]);
    place.s3.set(Fault::LostAnswerFor("head.json".into()));
    for n in 1..=5 {
        let accepted = a.put(&place, &format!("lost-{n}"), "https://a.example/").unwrap();
        assert_eq!(accepted.revision, n);
    }
    place.s3.set(Fault::Healthy);
    wait_until_equal(&place, &[&a, &b]);
    assert_eq!((b.model.position().revision, b.model.links()), (5, 6));
}

#[test]
fn without_the_bucket_changes_are_unavailable_and_nothing_changes() {
    let place = Place::new();
    place.publish(&[SPRING], Options::default()).unwrap();
    let mut a = Node::start(&place, &json!({}));
    wait_until_equal(&place, &[&a]);
    let before = a.model.position();
    for fault in [Fault::Unavailable, Fault::Broken, Fault::Forbidden("links/".into())] {
        place.s3.set(fault.clone());
        let error = a.put(&place, "new", "https://a.example/").unwrap_err().to_string();
        assert!(error.contains("nothing has changed"), "{fault:?}: {error}");
        assert_eq!(a.model.position(), before);
    }
    a.restart(&place, &json!({}));
    wait_until("failed looks are counted", || a.metric("polls_total{result=\"failed\"}") > 1);
    assert_eq!(a.model.destination("spring").as_deref(), Some(SPRING.1), "what the edge has stays");
    place.s3.set(Fault::Healthy);
    wait_until("the bucket is back", || a.put(&place, "new", "https://a.example/").is_ok());
    wait_until_equal(&place, &[&a]);
}

#[test]
fn an_edge_that_is_far_behind_walks_back_the_deltas() {
    let place = Place::new();
    place.publish(&[SPRING], Options::default()).unwrap();
    let (a, mut b) = (Node::start(&place, &json!({})), Node::start(&place, &json!({})));
    wait_until_equal(&place, &[&a, &b]);
    a.put(&place, "first", "https://a.example/").unwrap();
    wait_until_equal(&place, &[&b]);
    b.stop();
    for n in 0..150 {
        a.put(&place, &format!("{}", n % 7), &format!("https://{n}.example/")).unwrap();
    }
    let head = place.head().1;
    assert!(head.recent[0].from > 1, "the head does not name all of them any more");
    b.restart(&place, &json!({}));
    wait_until_equal(&place, &[&a, &b]);
    assert_eq!(b.metric("snapshots_installed_total"), 0, "it needed the deltas only");
    let fresh = Node::start(&place, &json!({}));
    wait_until_equal(&place, &[&fresh]);
}

#[test]
fn a_corrupt_delta_changes_nothing_until_it_is_whole_again() {
    let place = Place::new();
    place.publish(&[SPRING], Options::default()).unwrap();
    let (a, mut b) = (Node::start(&place, &json!({})), Node::start(&place, &json!({})));
    wait_until_equal(&place, &[&a, &b]);
    b.stop();
    for n in 0..3 {
        a.put(&place, &format!("{n}"), "https://a.example/").unwrap();
    }
    let key = format!("links/{}", place.head().1.recent[1].key);
    let file = place.s3.bucket("clicks").join(&key);
    let sound = std::fs::read(&file).unwrap();
    let cut = sound[..sound.len() - 9].to_vec();
    let other = String::from_utf8(sound.clone()).unwrap().replace("https://a.", "https://b.").into_bytes();
    let mut failed = 0;
    for corrupt in [Vec::new(), cut, other] {
        place.s3.write("clicks", &key, &corrupt);
        let before = b.model.position();
        b.restart(&place, &json!({}));
        wait_until("the edge has tried", || b.metric("polls_total{result=\"failed\"}") > 0);
        b.stop();
        failed += 1;
        assert!(b.model.position() == before || b.model.destination("1").is_none(), "{failed}: half a way");
    }
    place.s3.write("clicks", &key, &sound);
    b.restart(&place, &json!({}));
    wait_until_equal(&place, &[&a, &b]);
}

#[test]
fn a_head_that_goes_back_is_reported_and_not_followed() {
    let place = Place::new();
    let former = place.publish(&[SPRING], Options::default()).unwrap();
    let mut a = Node::start(&place, &json!({}));
    wait_until_equal(&place, &[&a]);
    a.put(&place, "new", "https://a.example/").unwrap();
    let (etag, current) = place.head();
    let etag = place.runtime.block_on(place.bucket().put_head(&former, Some(&etag))).unwrap();
    wait_until("it is reported", || a.is_halted("went_back"));
    assert_eq!(a.model.position(), current.position);
    a.restart(&place, &json!({}));
    wait_until("it is reported after a restart as well", || a.is_halted("went_back"));
    place.runtime.block_on(place.bucket().put_head(&current, Some(&etag))).unwrap();
    wait_until("it is over", || !a.is_halted("went_back") && a.metric("polls_total{result=\"unchanged\"}") > 0);
    assert_eq!(a.model.destination("new").as_deref(), Some("https://a.example/"));
}

#[test]
fn a_missing_head_or_delta_halts_edges_until_it_is_back() {
    let place = Place::new();
    let mut a = Node::start(&place, &json!({}));
    wait_until("an empty bucket is reported", || a.is_halted("no_head"));
    place.publish(&[SPRING], Options::default()).unwrap();
    wait_until_equal(&place, &[&a]);
    wait_until("it is over", || !a.is_halted("no_head"));
    let b = Node::start(&place, &json!({}));
    wait_until_equal(&place, &[&b]);
    a.stop();
    b.put(&place, "new", "https://a.example/").unwrap();
    let key = format!("links/{}", place.head().1.recent[0].key);
    let delta = std::fs::read(place.s3.bucket("clicks").join(&key)).unwrap();
    place.s3.remove("clicks", &key);
    a.restart(&place, &json!({}));
    wait_until("the delta is reported", || a.is_halted("missing"));
    place.s3.write("clicks", &key, &delta);
    wait_until_equal(&place, &[&a, &b]);
    wait_until("it is over", || !a.is_halted("missing"));
}

#[test]
fn a_malformed_head_halts_edges_until_it_is_restored() {
    let place = Place::new();
    place.publish(&[SPRING], Options::default()).unwrap();
    let mut a = Node::start(&place, &json!({}));
    wait_until_equal(&place, &[&a]);
    a.put(&place, "new", "https://a.example/").unwrap();
    place.s3.set(Fault::Canned(vec![Canned::new(200, &[("etag", "\"1\"")], "{\"kind\":\"head\"").to("GET")]));
    wait_until("it is reported", || a.is_halted("malformed"));
    a.restart(&place, &json!({}));
    wait_until("it is reported after a restart as well", || a.is_halted("malformed"));
    let error = a.put(&place, "newer", "https://a.example/").unwrap_err().to_string();
    assert_eq!(error.matches("nothing has changed").count(), 1, "{error}");
    assert!(error.contains("head.json") && error.contains("restore its former version"), "{error}");
    assert_eq!(a.model.destination("new").as_deref(), Some("https://a.example/"), "what the edge has stays");
    place.s3.set(Fault::Healthy);
    wait_until("it is over", || !a.is_halted("malformed"));
    a.put(&place, "newer", "https://a.example/").unwrap();
    assert_eq!(place.head().1.position.revision, 2, "no change is lost");
}

#[test]
fn a_head_is_replaced_by_the_first_of_two_writers_only() {
    let place = Place::new();
    let head = place.publish(&[SPRING], Options::default()).unwrap();
    let (etag, _) = place.head();
    let bucket = place.bucket();
    let results = place.runtime.block_on(async {
        let put = || bucket.put_head(&head, Some(&etag));
        tokio::join!(bucket.put_head(&head, None), put(), bucket.head(Some(&etag)))
    });
    assert!(matches!(results.0, Err(BucketError::Conflict)), "{:?}", results.0);
    assert!(results.1.is_ok() && results.2.is_ok());
    let wrong = "\"0123456789abcdef0123456789abcdef\"";
    assert!(matches!(place.runtime.block_on(bucket.put_head(&head, Some(wrong))), Err(BucketError::Conflict)));
}

#[test]
fn a_snapshot_that_is_damaged_or_too_small_halts_the_roll_out() {
    let place = Place::new();
    place.publish(&[SPRING, SUMMER, ("a", "b"), ("c", "d"), ("e", "f")], Options::default()).unwrap();
    let a = Node::start(&place, &json!({}));
    wait_until_equal(&place, &[&a]);
    let before = a.model.position();

    place.publish(&[SPRING], Options::default()).unwrap();
    wait_until("it is too small", || a.is_halted("shrunk"));
    assert_eq!(a.model.position(), before);
    place.publish(&[SPRING], Options { accept: true, ..Options::default() }).unwrap();
    wait_until_equal(&place, &[&a]);
    wait_until("the halt is over", || !a.is_halted("shrunk"));

    let mut late = Node::start(&place, &json!({}));
    wait_until_equal(&place, &[&late]);
    late.stop();
    let head = place.publish(&[SUMMER], Options::default()).unwrap();
    let key = format!("links/{}", head.snapshot.key);
    let mut bytes = std::fs::read(place.s3.bucket("clicks").join(&key)).unwrap();
    bytes[5] ^= 1;
    place.s3.write("clicks", &key, &bytes);
    late.restart(&place, &json!({}));
    wait_until("it is damaged", || late.is_halted("rejected"));
    assert_eq!(late.model.destination("spring").as_deref(), Some(SPRING.1));
    assert_eq!(late.leftovers(), 0);
    place.publish(&[SUMMER, ("again", "x")], Options::default()).unwrap();
    wait_until_equal(&place, &[&a, &late]);
}

#[test]
fn a_catalog_that_is_not_what_its_number_says_is_replaced() {
    let place = Place::new();
    place.publish(&[SPRING], Options::default()).unwrap();
    let [a, b] = [(); 2].map(|()| Node::start(&place, &json!({})));
    wait_until_equal(&place, &[&a, &b]);
    a.put(&place, "new", "https://a.example/").unwrap();
    wait_until_equal(&place, &[&b]);
    b.model.damage("spring");
    a.put(&place, "newer", "https://a.example/").unwrap();
    wait_until_equal(&place, &[&a, &b]);
    assert_eq!(b.model.destination("spring").as_deref(), Some(SPRING.1));
    assert_eq!(b.metric("snapshots_installed_total"), 2);
}

#[test]
fn a_snapshot_does_not_discard_changes_by_accident() {
    let place = Place::new();
    place.publish(&[SPRING, SUMMER], Options::default()).unwrap();
    let a = Node::start(&place, &json!({}));
    wait_until_equal(&place, &[&a]);
    let at = a.model.position();
    a.put(&place, "new", "https://a.example/").unwrap();
    a.put(&place, "newer", "https://a.example/").unwrap();
    let error = place.publish(&[SUMMER], Options::default()).unwrap_err();
    assert!(matches!(error, PublishError::Changes { changes: 2 }), "{error}");
    let error = place
        .publish(&[SUMMER], Options { generation: Some(1), discard_changes: true, ..Options::default() })
        .unwrap_err();
    assert!(matches!(error, PublishError::Generation(1, 1)), "{error}");

    // A former state of the same catalog: the changes since are kept.
    let head = place.publish_at(&[SPRING, SUMMER], Options::default(), at).unwrap();
    assert_eq!((head.position.generation, head.position.revision, head.snapshot.position.revision), (2, 2, 0));
    let b = Node::start(&place, &json!({}));
    wait_until_equal(&place, &[&a, &b]);
    assert_eq!(b.model.destination("newer").as_deref(), Some("https://a.example/"));
    assert_eq!(a.put(&place, "newest", "https://a.example/").unwrap().revision, 3);
}

#[test]
fn a_snapshot_of_long_ago_keeps_all_changes_since() {
    let place = Place::new();
    place.publish(&[SPRING], Options::default()).unwrap();
    let a = Node::start(&place, &json!({}));
    wait_until_equal(&place, &[&a]);
    a.put(&place, "first", "https://a.example/").unwrap();
    let (at, links) = (a.model.position(), [SPRING, ("first", "https://a.example/")]);
    let change = |n: usize| {
        let (slashtag, to) = (format!("{}", n % 2), format!("https://{n}.example/"));
        wait_until("the change is made", || a.put(&place, &slashtag, &to).is_ok());
    };
    (0..150).for_each(change);
    let error = place.publish_at(&[SPRING], Options::default(), at).unwrap_err();
    assert!(matches!(error, PublishError::Changes { changes: 151 }), "another state with this number: {error}");
    let fold = Options { fold: true, ..Options::default() };
    let error = place.publish_at(&[SPRING], fold, at).unwrap_err();
    assert!(matches!(error, PublishError::Busy), "a fold replaces nothing: {error}");

    // Changes go on while it is published.
    let head = std::thread::scope(|scope| {
        let writer = scope.spawn(|| (150..220).for_each(change));
        let head = place.publish_at(&links, fold, at).unwrap();
        writer.join().unwrap();
        head
    });
    assert_eq!((head.position.generation, head.snapshot.position.revision), (2, 1));
    assert!(head.recent[0].from > 1 && head.position.revision >= 151, "{head:?}");
    assert_eq!(place.head().1.position.revision, 221, "no change is lost");
    let b = Node::start(&place, &json!({}));
    wait_until_equal(&place, &[&a, &b]);
    assert_eq!(b.model.destination("1").as_deref(), Some("https://219.example/"));
}

#[test]
fn a_large_snapshot_is_uploaded_in_parts() {
    let mut place = Place::new();
    place.padding = 11 << 20;
    let parts = Parts { single: 1 << 20, part: 5 << 20 };
    place.publish(&[SPRING], Options { parts, ..Options::default() }).unwrap();
    let puts = place.s3.puts();
    assert_eq!(puts.iter().filter(|put| put.path.ends_with(".snapshot")).count(), 3);
    assert!(puts.iter().all(|put| put.header("x-amz-trailer").is_none()), "many stores reject trailers");
    let a = Node::start(&place, &json!({}));
    wait_until_equal(&place, &[&a]);
}

#[test]
fn an_edge_that_does_not_write_says_so() {
    let place = Place::new();
    let a = Node::start(&place, &json!({"write": false}));
    let error = a.put(&place, "new", "https://a.example/").unwrap_err().to_string();
    assert!(error.contains("catalog.fleet.write"), "{error}");
}

#[test]
fn a_store_without_compare_and_set_is_named() {
    let place = Place::new();
    place.publish(&[SPRING], Options::default()).unwrap();
    let a = Node::start(&place, &json!({}));
    wait_until_equal(&place, &[&a]);
    place.s3.set(Fault::Canned(vec![Canned::new(501, &[("x-amz-request-id", "1")], "").to("PUT")]));
    let error = a.put(&place, "new", "https://a.example/").unwrap_err().to_string();
    assert!(error.contains("501") && error.contains("nothing has changed"), "{error}");
}

#[test]
fn other_edges_wait_for_the_canary() {
    let place = Place::new();
    let settings = |canary: bool| json!({"canary": canary, "hold_until_canary_secs": 1});
    place.publish(&[SPRING], Options::default()).unwrap();
    let (canary, mut other) = (Node::start(&place, &settings(true)), Node::start(&place, &settings(false)));
    wait_until_equal(&place, &[&canary, &other]);
    // One of ten requests is for an unknown slashtag, for as long as the canary compares.
    let requests = |all: u64, unknown: u64| {
        canary.requests.0.fetch_add(all, Ordering::Relaxed);
        canary.requests.1.fetch_add(unknown, Ordering::Relaxed);
    };
    let looks = canary.metric("polls_total{result=\"unchanged\"}");
    wait_until("the canary has counted", || {
        requests(10, 1);
        canary.metric("polls_total{result=\"unchanged\"}") > looks + 12
    });

    place.publish(&[SPRING, SUMMER], Options::default()).unwrap();
    wait_until("the other edge waits", || other.is_halted("canary"));
    assert_eq!(other.model.position().generation, 1);
    wait_until("the canary has it", || canary.model.position().generation == 2);
    wait_until("the other has it", || {
        requests(10, 1);
        other.model.position().generation == 2
    });
    assert!(!canary.is_halted("canary_failed"));

    place.publish(&[SPRING, ("wrong", "x")], Options::default()).unwrap();
    wait_until("the canary finds it bad", || {
        requests(10, 5);
        canary.is_halted("canary_failed")
    });
    wait_until("the other edge learns of it", || other.is_halted("canary_failed"));
    other.restart(&place, &settings(false));
    wait_until("it keeps the former over a restart", || other.is_halted("canary_failed"));
    assert_eq!(other.model.destination("summer").as_deref(), Some(SUMMER.1));
}
