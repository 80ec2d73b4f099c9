//! Case G: a backlog larger than memory, made by kills with the store down, is delivered within a bounded memory.
//!
//! `JUDGE_BACKLOG_MB` sets its size. Measured is the peak of the resident memory of the process that delivers it.

use std::{fs, path::Path, time::Duration};

use super::{finish_with, setting};
use crate::common::{
    Edge, TIMEOUT,
    judge::{Bucket, Numbers, settle},
    load::{Ledger, Load, Pace},
    s3::{Fault, S3},
};

/// What the process may need at its peak, in a debug build.
const LIMIT_KIB: u64 = 300 << 10;

/// Long queries make many bytes of few clicks.
const PACE: Pace = Pace { connections: 4, pause: Duration::from_millis(6), noise: 7_900 };

fn bytes_below(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    let bytes = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        // A file that was made larger in advance counts by what was written.
        Ok(metadata) => std::os::unix::fs::MetadataExt::blocks(&metadata) * 512,
        Err(_) => 0,
    };
    entries.map(bytes).sum()
}

/// The most memory that the process ever had, in KiB.
fn peak_kib(edge: &Edge) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", edge.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_backlog_larger_than_memory_is_delivered_within_a_bounded_memory() {
    let target = setting::<u64>("JUDGE_BACKLOG_MB", 48) << 20;
    let s3 = S3::start();
    s3.set(Fault::Unavailable);
    let builder = Edge::builder().feed_into("s3", &["*"], &s3.sink_toml("clicks", ""));
    let buckets = [Bucket::new("s3", s3.bucket("clicks"))];
    // Rings that a slow worker does not fill: nothing may be dropped here.
    let mut edge = builder.capture("ring_bytes = 67108864").start();
    let spool = edge.dir().join("spool");
    let mut ledger = Ledger::default();
    for round in 1.. {
        let before = bytes_below(&spool);
        let load = Load::start(edge.address, &format!("backlog-{round}"), PACE);
        load.round(round);
        let until = std::time::Instant::now() + TIMEOUT.max(Duration::from_secs(target >> 20));
        // Six deaths on the way, as a backlog of one run would be easy.
        while bytes_below(&spool) < target && bytes_below(&spool) < before + target / 6 {
            assert!(std::time::Instant::now() < until, "the backlog grows no more: {} bytes", bytes_below(&spool));
            std::thread::sleep(Duration::from_millis(20));
        }
        ledger.extend(load.stop());
        assert_eq!(Numbers::of(&edge).dropped(), 0, "nothing is dropped while the backlog grows");
        let stopped = edge.kill();
        if bytes_below(&spool) >= target {
            s3.set(Fault::Healthy);
            edge = stopped.restart();
            break;
        }
        edge = stopped.restart();
    }
    let backlog = bytes_below(&spool);
    settle(&edge, &mut ledger, &buckets);
    let peak = peak_kib(&edge);
    println!("backlog: {} MiB in {} clicks, peak {} MiB", backlog >> 20, ledger.clicks.len(), peak >> 10);
    finish_with("a backlog", edge, &mut ledger, &buckets).assert_exactly_once();
    assert!(peak < LIMIT_KIB, "the process needed {peak} KiB");
}
