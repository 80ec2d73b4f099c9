//! Case H: how long a redirect takes while everything behind it is in trouble. Prints the figures; asserts only that
//! every click was answered, since what a busy machine measures is no benchmark.

use std::{thread, time::Duration};

use super::{setting, two_feeds};
use crate::common::{
    disk::SmallDisk,
    judge::Numbers,
    load::{Load, Pace},
    s3::{Fault, S3},
};

const PACE: Pace = Pace { connections: 2, pause: Duration::from_micros(500), noise: 2_000 };

#[test]
fn redirects_are_answered_whatever_happens_behind_them() {
    let time = Duration::from_millis(setting("JUDGE_LATENCY_MILLIS", 1_500));
    let s3 = S3::start();
    let (builder, _) = two_feeds(&s3);
    let spool = builder.dir().join("spool");
    let disk = SmallDisk::mount(&spool, 64 << 10);
    let edge = builder.spool("max_bytes = 16777216").section("[shutdown]\ndrain_secs = 1").start();
    let load = Load::start(edge.address, "latency", PACE);
    let mut phases = vec!["undisturbed", "the store is down", "the spool's quota is used up"];
    let phase = |number: usize| {
        load.round(number as u32);
        thread::sleep(time);
        load.wait_for(10);
    };
    phase(0);
    s3.set(Fault::Unavailable);
    phase(1);
    // What is measured until then belongs to no phase.
    load.round(100);
    let quota = |numbers: &Numbers| numbers.events_dropped("s3", "spool_quota");
    let until = std::time::Instant::now() + Duration::from_secs(20);
    while quota(&Numbers::of(&edge)) == 0 && std::time::Instant::now() < until {
        thread::sleep(Duration::from_millis(50));
    }
    if quota(&Numbers::of(&edge)) == 0 {
        phases[2] = "the spool fills up";
    }
    phase(2);
    match disk {
        Ok(disk) => {
            disk.fill();
            phases.push("the disk is full and workers wait");
            phase(3);
            drop(disk);
        }
        Err(error) => eprintln!("without a full disk: no small disk can be mounted here: {error}"),
    }
    let ledger = load.stop();
    drop(edge);
    for (number, phase) in phases.iter().enumerate() {
        let micros = ledger.micros(number as u32);
        let at = |share: usize| micros.get((micros.len() * share / 1000).min(micros.len() - 1)).unwrap();
        println!(
            "latency: {phase}: {} clicks, p50 {} us, p99 {} us, p99.9 {} us",
            micros.len(),
            at(500),
            at(990),
            at(999)
        );
    }
    assert!(ledger.refused.is_empty(), "{:?}", ledger.refused);
    assert_eq!(ledger.received(), ledger.clicks.len(), "every click was answered with a redirect");
}
