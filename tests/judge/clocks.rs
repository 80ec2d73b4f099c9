//! Case E: a clock that jumps, by hours forward and back, between two starts and under a running edge; and two years
//! ahead for some seconds, which must make nothing old.
//!
//! The clock is bent by `libfaketime` (Debian's package `faketime`); without it the case is skipped.

use std::{collections::BTreeSet, fs, path::Path, thread, time::Duration};

use serde_json::Value;

use super::{finish, two_feeds};
use crate::common::{
    Edge, judge,
    load::{LIGHT, Load},
    s3::S3,
};

const LIBRARIES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];

/// What the library shares between processes outlives one that is killed.
pub fn tidy_up_after(pid: u32) {
    for name in ["faketime_shm_", "sem.faketime_sem_"] {
        let _ = fs::remove_file(format!("/dev/shm/{name}{pid}"));
    }
}

/// The library, if it is installed.
pub fn library() -> Option<&'static str> {
    LIBRARIES.into_iter().find(|path| Path::new(path).exists())
}

/// The environment of an edge whose time of day is off by what a file says. Only the time of day jumps: no system lets
/// the monotonic clock do so.
pub fn env<'a>(library: &'a str, offset_file: &'a str) -> [(&'static str, &'a str); 5] {
    [
        ("LD_PRELOAD", library),
        ("FAKETIME_TIMESTAMP_FILE", offset_file),
        ("FAKETIME_CACHE_DURATION", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("DONT_FAKE_MONOTONIC", "1"),
    ]
}

/// Waits until the clock of an edge is off by these seconds: the library reads its file once a second.
pub fn wait_for_offset(edge: &Edge, seconds: i64) {
    edge.wait_until("its clock is set", |edge| {
        let date =
            edge.get("nowhere.example", "/").header("date").and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
        let off = date.map(|date| date.timestamp().as_second() - jiff::Timestamp::now().as_second());
        off.is_some_and(|off| (off - seconds).abs() < 60)
    });
}

/// The environment of an edge whose clock is bent.
type ClockEnv = [(&'static str, String); 5];

/// Makes a clock that a file in `dir` sets, and the environment of processes that read it. `None` without the library.
fn bent_clock(dir: &Path) -> Option<(impl Fn(&str) + use<>, ClockEnv)> {
    let Some(library) = library() else {
        eprintln!("skipped: libfaketime is not installed (apt-get install faketime)");
        return None;
    };
    let clock = dir.join("clock");
    let env = env(library, &clock.display().to_string()).map(|(key, value)| (key, value.to_owned()));
    Some((move |offset: &str| fs::write(&clock, offset).unwrap(), env))
}

#[test]
fn a_clock_that_jumps_costs_no_click_and_doubles_none() {
    let s3 = S3::start();
    let (builder, buckets) = two_feeds(&s3);
    // A store rejects a signature of another hour: its feed waits until the clock is right, and no stop waits for it.
    let builder = builder.section("[shutdown]\ngrace_secs = 1\ndrain_secs = 1");
    let Some((set, env)) = bent_clock(builder.dir()) else { return };
    let env = env.each_ref().map(|(key, value)| (*key, value.as_str()));
    set("+0");
    let mut edge = env.iter().fold(builder, |builder, (key, value)| builder.env(key, value)).start();
    let load = Load::start(edge.address, "clock", LIGHT);
    load.wait_for(50);
    // Between two starts, after a kill and after a clean stop.
    for (round, offset) in [(2, "+3600"), (3, "-3600"), (4, "+0"), (5, "-3600")] {
        let pid = edge.pid();
        let stopped = if round % 2 == 0 { edge.kill() } else { edge.stop() };
        tidy_up_after(pid);
        load.round(round);
        set(offset);
        edge = stopped.restart_with(&env);
        load.wait_for(50);
    }
    // And during the run: an object is open when its clock jumps.
    for (round, offset) in [(6, 3_600), (7, 0), (8, -3_600), (9, 7_200), (10, 0)] {
        load.round(round);
        set(&format!("{offset:+}"));
        wait_for_offset(&edge, offset);
        load.wait_for(50);
    }
    let pid = edge.pid();
    let verdict = finish("a clock that jumps", edge, load, &buckets);
    tidy_up_after(pid);
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
    let Some((set, env)) = bent_clock(builder.dir()) else { return };
    let env = env.each_ref().map(|(key, value)| (*key, value.as_str()));
    set("+0");
    let mut edge = env.iter().fold(builder, |builder, (key, value)| builder.env(key, value)).start();
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

    set("+2y");
    wait_for_offset(&edge, 2 * 365 * 86_400);
    clicks(&edge, 5);
    counted(&edge, &ahead, 5);
    // Idle now: retention has every reason to remove what is too old.
    thread::sleep(Duration::from_secs(3));
    let pid = edge.pid();
    edge = edge.kill().restart_with(&env);
    tidy_up_after(pid);
    clicks(&edge, 2);
    counted(&edge, &ahead, 7);
    thread::sleep(Duration::from_secs(3));
    assert_eq!(key(&edge), session_key, "no key of the sessions is replaced");

    set("+0");
    wait_for_offset(&edge, 0);
    clicks(&edge, 3);
    counted(&edge, &present, 23);
    counted(&edge, &ahead, 7);
    let sessions = |query: &str| counts(&edge, query).unwrap()["totals"]["sessions"].clone();
    assert_eq!((sessions(&present), sessions(&ahead)), (Value::from(1), Value::from(0)), "one visit");
    let pid = edge.pid();
    let stopped = edge.stop();
    tidy_up_after(pid);
    assert!(stopped.status.success(), "{}", stopped.log());
    let events = stopped.events("all");
    assert_eq!(events.len(), 30);
    let years: BTreeSet<_> =
        events.iter().map(|event| event["timestamp"].as_str().unwrap()[..4].to_owned()).collect();
    assert_eq!(years.len(), 2, "each click has the time that the clock said: {years:?}");
}
