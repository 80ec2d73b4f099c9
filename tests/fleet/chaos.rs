//! Edges, the store and the NATS server fail and come back while changes are made: all edges end with the same catalog.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use clickedge::{
    catalog::change::{Change, Changes, Condition, Operation, Unavailable},
    fleet::{FleetChanges, Store, publish::Options},
};
use serde_json::json;

use super::{
    SPRING,
    model::{Node, Place, wait_until, wait_until_equal},
};
use crate::common::{hostile_seed, nats::Nats, s3::Fault};

const CHANGES: usize = 100;

/// Makes changes through one edge after the other, each until it is made. Returns what each link leads to at the end.
fn writer(place: &Place, ways: &[FleetChanges], name: usize) -> BTreeMap<String, String> {
    let mut links = BTreeMap::new();
    for n in 0..CHANGES {
        let (slashtag, to) = (format!("{name}-{}", n % 40), format!("https://{n}.example/"));
        let operation = Operation::PutLink { link: format!("{slashtag} {to}") };
        let change = Change { operation, condition: Condition::Always };
        let mut tries = n..;
        wait_until("the change is made", || {
            let way = &ways[tries.next().unwrap() % ways.len()];
            match place.runtime.block_on(way.change(vec![change.clone()])) {
                Ok(outcomes) => outcomes[0].is_ok(),
                Err(Unavailable::Bucket(_) | Unavailable::Unknown(_) | Unavailable::Ahead(_)) => {
                    thread::sleep(Duration::from_millis(20));
                    false
                }
                Err(other) => panic!("{other}"),
            }
        });
        links.insert(slashtag, to);
    }
    links
}

#[test]
fn edges_are_equal_after_all_that_can_fail_has_failed() {
    let mut random = fastrand::Rng::with_seed(hostile_seed());
    let Some(mut nats) = Nats::start("") else { return };
    let mut place = Place::new();
    place.publish(&[SPRING], Options::default()).unwrap();
    let settings = json!({"poll_millis": 100, "nats": {"servers": [nats.url()]}});
    let steady = [(); 2].map(|()| Node::start(&place, &settings));
    let mut mortal = Node::start(&place, &settings);
    let ways = steady.each_ref().map(|node| node.fleet.as_ref().unwrap().changes());
    let is_over = AtomicBool::new(false);
    let expected = thread::scope(|scope| {
        let threads: Vec<_> = {
            let place = &place;
            (0..2)
                .map(|name| {
                    scope.spawn({
                        let ways = ways.clone();
                        move || writer(place, &ways, name)
                    })
                })
                .collect()
        };
        let place = &place;
        let over = &is_over;
        let faults = scope.spawn(move || {
            while !over.load(Ordering::Relaxed) {
                match random.u32(0..6) {
                    0 => place.s3.set(Fault::Unavailable),
                    1 => place.s3.set(Fault::LostAnswer),
                    2 => place.s3.set(Fault::LostAnswerFor("head.json".into())),
                    3 => place.s3.set(Fault::Broken),
                    4 => nats.kill(),
                    _ => mortal.stop(),
                }
                thread::sleep(Duration::from_millis(random.u64(10..300)));
                place.s3.set(Fault::Healthy);
                if !nats.is_running() {
                    nats.restart();
                }
                if mortal.fleet.is_none() {
                    mortal.restart(place, &settings);
                }
                thread::sleep(Duration::from_millis(random.u64(10..100)));
            }
            mortal
        });
        let links: Vec<_> = threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        is_over.store(true, Ordering::Relaxed);
        let mortal = faults.join().unwrap();
        (links.into_iter().map(Result::unwrap).collect::<Vec<_>>(), mortal)
    });
    let (links, mortal) = expected;
    wait_until_equal(&place, &[&steady[0], &steady[1], &mortal]);
    for (slashtag, to) in links.iter().flatten() {
        for node in [&steady[0], &steady[1], &mortal] {
            assert_eq!(node.model.destination(slashtag).as_ref(), Some(to), "{slashtag}");
        }
    }
    assert_eq!(mortal.model.links(), 1 + 2 * 40);
    assert!(mortal.model.position().revision >= 2 * CHANGES as u64, "each change has a number of its own");
    place.s3.restart();
    steady[1].put(&place, "after", "https://a.example/").unwrap();
    wait_until_equal(&place, &[&steady[0], &steady[1], &mortal]);
}
