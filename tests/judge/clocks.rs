//! Case E: a clock that jumps, by an hour forward and back, between two starts and under a running edge.
//!
//! The clock is bent by `libfaketime` (Debian's package `faketime`); without it the case is skipped.

use std::{fs, path::Path, thread, time::Duration};

use super::{finish, two_feeds};
use crate::common::{
    judge,
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
pub fn env<'a>(library: &'a str, offset_file: &'a str) -> [(&'a str, &'a str); 5] {
    [
        ("LD_PRELOAD", library),
        ("FAKETIME_TIMESTAMP_FILE", offset_file),
        ("FAKETIME_CACHE_DURATION", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("DONT_FAKE_MONOTONIC", "1"),
    ]
}

#[test]
fn a_clock_that_jumps_costs_no_click_and_doubles_none() {
    let Some(library) = library() else {
        return eprintln!("skipped: libfaketime is not installed (apt-get install faketime)");
    };
    let s3 = S3::start();
    let (builder, buckets) = two_feeds(&s3);
    // A store rejects a signature of another hour: its feed waits until the clock is right, and no stop waits for it.
    let builder = builder.section("[shutdown]\ngrace_secs = 1\ndrain_secs = 1");
    let clock = builder.dir().join("clock");
    let set = |offset: &str| fs::write(&clock, offset).unwrap();
    let path = clock.display().to_string();
    let env = env(library, &path);
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
    for (round, offset) in [(6, "+3600"), (7, "+0"), (8, "-3600"), (9, "+7200"), (10, "+0")] {
        load.round(round);
        set(offset);
        thread::sleep(Duration::from_millis(1_500));
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
