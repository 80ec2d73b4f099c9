//! The judge's cases: whatever happens to the process, its disk, its clock or its store, no click is lost, none is
//! delivered twice, none is invented, the account balances, and a fresh click still flows.
//!
//! `tests/README.md` tells what each case does and how to run the long forms.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "common/clicks.rs"]
mod clicks;
mod common;
#[path = "common/disk.rs"]
mod disk;
#[path = "common/judge.rs"]
mod judge;
#[path = "common/load.rs"]
mod load;
#[path = "common/s3.rs"]
mod s3;

#[path = "judge/backlog.rs"]
mod backlog;
#[path = "judge/clocks.rs"]
mod clocks;
#[path = "judge/disks.rs"]
mod disks;
#[path = "judge/kills.rs"]
mod kills;
#[path = "judge/latency.rs"]
mod latency;
#[path = "judge/points.rs"]
mod points;
#[path = "judge/stops.rs"]
mod stops;
#[path = "judge/surgery.rs"]
mod surgery;

use std::{path::Path, str::FromStr};

use common::{Builder, Edge};
use judge::{Bucket, Verdict, judge};
use load::{Ledger, Load};
use s3::S3;

/// A setting of a long run.
fn setting<T: FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// An edge with two feeds of all clicks, into a folder and into a bucket, and where they end up.
fn two_feeds(s3: &S3) -> (Builder, [Bucket; 2]) {
    let builder = Edge::builder();
    let dir = format!("manifest_secs = 2\nsink.dir.path = '{}'", builder.bucket("dir").display());
    // An upload without an answer is soon given up.
    let bucket = format!("manifest_secs = 2\n{}", s3.sink_toml("clicks", "attempt_timeout_secs = 2"));
    let builder = builder.feed_into("dir", &["*"], &dir).feed_into("s3", &["*"], &bucket);
    let buckets = [Bucket::new("dir", builder.bucket("dir")), Bucket::new("s3", s3.bucket("clicks"))];
    (builder, buckets)
}

/// The end of every case: the visits end, what is under way arrives, the edge stops cleanly, and is judged.
#[track_caller]
fn finish(case: &str, edge: Edge, load: Load, buckets: &[Bucket]) -> Verdict {
    let mut ledger = load.stop();
    finish_with(case, edge, &mut ledger, buckets)
}

#[track_caller]
fn finish_with(case: &str, edge: Edge, ledger: &mut Ledger, buckets: &[Bucket]) -> Verdict {
    judge::settle(&edge, ledger, buckets);
    let stopped = edge.stop();
    assert!(stopped.status.success(), "{case}: {}\n{}", stopped.status, judge::last_lines(&stopped.log()));
    let panics = stopped.log().lines().filter(|line| line.contains("panicked")).count();
    let meant = stopped.log().matches("a test wants a panic here").count();
    assert!(panics <= meant, "{case}: a thread panicked, see {}", stopped.dir().display());
    let left = outbox(stopped.dir());
    assert!(left.is_empty(), "{case}: a clean stop left objects in the outbox: {left:?}");
    let mut verdict = judge(case, ledger, buckets);
    verdict.evidence = Some(stopped);
    verdict
}

/// The objects that wait in the outbox of an edge's folder.
fn outbox(dir: &Path) -> Vec<std::path::PathBuf> {
    judge::objects(&dir.join("spool/outbox"))
}
