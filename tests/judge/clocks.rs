//! Case E: a clock that jumps, by hours forward and back, between two starts and under a running edge; and two years
//! ahead for some seconds, which must make nothing old.
//! Without `libfaketime` the case is skipped.

use std::{collections::BTreeSet, fs, thread, time::Duration};

use serde_json::Value;

use super::{finish, two_feeds};
use crate::common::{
    Edge,
    clock::Clock,
    judge,
    load::{LIGHT, Load},
    s3::S3,
};

#[test]
fn a_clock_that_jumps_costs_no_click_and_doubles_none() {
    let s3 = S3::start();
    let (builder, buckets) = two_feeds(&s3);
    // A store rejects a signature of another hour: its feed waits until the clock is right, and no stop waits for it.
    let builder = builder.section("[shutdown]\ngrace_secs = 1\ndrain_secs = 1");
    let Some(clock) = Clock::new(builder.dir()) else { return };
    let mut edge = clock.start(builder);
    let load = Load::start(edge.address, "clock", LIGHT);
    load.wait_for(50);
    // Between two starts, after a kill and after a clean stop.
    for (round, offset) in [(2, 3_600), (3, -3_600), (4, 0), (5, -3_600)] {
        let stopped = if round % 2 == 0 { edge.kill() } else { edge.stop() };
        load.round(round);
        clock.set(offset);
        edge = clock.restart(stopped);
        load.wait_for(50);
    }
    // And during the run: an object is open when its clock jumps.
    for (round, offset) in [(6, 3_600), (7, 0), (8, -3_600), (9, 7_200), (10, 0)] {
        load.round(round);
        clock.set_under(&edge, offset);
        load.wait_for(50);
    }
    let verdict = finish("a clock that jumps", edge, load, &buckets);
    verdict.assert_exactly_once();
    for bucket in &buckets {
        let objects = judge::objects(&bucket.path);
        let mut hours: Vec<_> = objects.iter().map(|path| path.parent().unwrap()).collect();
        hours.dedup();
        assert!(hours.len() >= 4, "an hour that has passed has its partition: {hours:?}");
    }
}

#[test]
fn a_clock_two_years_ahead_for_some_seconds_makes_nothing_old() {
    // The keys of the sessions are replaced half a day from now.
    let hour = (jiff::Timestamp::now().as_second() / 3_600 + 12) % 24;
    let rotation = format!("[enrich]\nsession_rotation_hour = {hour}");
    let builder = Edge::builder().feed("all", &["*"]).section(&rotation);
    let Some(clock) = Clock::new(builder.dir()) else { return };
    let mut edge = clock.start(builder);
    let clicks = |edge: &Edge, count: usize| {
        (0..count).for_each(|n| assert_eq!(edge.get("go.brand.com", &format!("/spring?n={n}")).status, 302));
    };
    let counts = |edge: &Edge, query: &str| -> Option<Value> {
        let answer = edge.admin(&format!("/v1/stats/workspaces/w-1?step=hour&{query}"));
        // Nothing is counted yet, or a query took too long on a busy machine.
        assert!([200, 404, 503].contains(&answer.status), "{answer:?}");
        serde_json::from_str(&answer.body).ok()
    };
    let counted = |edge: &Edge, query: &str, clicks: u64| {
        let all = |edge: &Edge| counts(edge, query).is_some_and(|counts| counts["totals"]["clicks"] == clicks);
        edge.wait_until("all clicks are counted", all);
    };
    let now = jiff::Timestamp::now();
    let hour = |hours: i64| (now + jiff::SignedDuration::from_hours(hours)).strftime("%Y-%m-%dT%H").to_string();
    let present = format!("from={}&until={}", hour(-24), hour(24));
    let ahead = format!("from={}&until={}", hour(729 * 24), hour(732 * 24));
    clicks(&edge, 20);
    counted(&edge, &present, 20);
    // Words 24 to 29 of the file.
    let key = |edge: &Edge| fs::read(edge.rings().join("sessions")).unwrap()[192..240].to_vec();
    let session_key = key(&edge);

    clock.set_under(&edge, 2 * 365 * 86_400);
    clicks(&edge, 5);
    counted(&edge, &ahead, 5);
    // Idle now: retention has every reason to remove what is too old.
    thread::sleep(Duration::from_secs(3));
    edge = clock.restart(edge.kill());
    clicks(&edge, 2);
    counted(&edge, &ahead, 7);
    thread::sleep(Duration::from_secs(3));
    assert_eq!(key(&edge), session_key, "no key of the sessions is replaced");

    clock.set_under(&edge, 0);
    clicks(&edge, 3);
    counted(&edge, &present, 23);
    counted(&edge, &ahead, 7);
    let sessions = |query: &str| counts(&edge, query).unwrap()["totals"]["sessions"].clone();
    assert_eq!((sessions(&present), sessions(&ahead)), (Value::from(1), Value::from(0)), "one visit");
    let stopped = edge.stop();
    assert!(stopped.status.success(), "{}", stopped.log());
    let events = stopped.events("all");
    assert_eq!(events.len(), 30);
    let years: BTreeSet<_> =
        events.iter().map(|event| event["timestamp"].as_str().unwrap()[..4].to_owned()).collect();
    assert_eq!(years.len(), 2, "each click has the time that the clock said: {years:?}");
}
