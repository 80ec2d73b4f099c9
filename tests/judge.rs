//! The judge's cases: whatever happens to the process, its disk, its clock or its store, no click is lost, none is
//! delivered twice, none is invented, the account balances, and a fresh click still flows.
//!
//! `tests/README.md` describes what each case does and how to run the long forms.

mod backlog;
mod changes;
mod clocks;
mod disks;
mod kills;
mod latency;
mod points;
mod sinks;
mod stops;
mod surgery;

use std::{path::Path, str::FromStr};

use crate::common::{
    Builder, Edge,
    judge::{self, Bucket, Verdict, judge},
    load::{Ledger, Load},
    s3::S3,
};

/// A setting of a long run.
fn setting<T: FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// An edge with two feeds of all clicks, into a folder and into a bucket, and where they end up.
fn two_feeds(s3: &S3) -> (Builder, [Bucket; 2]) {
    two_feeds_with(s3, "")
}

/// The same, with more lines for each feed.
fn two_feeds_with(s3: &S3, more: &str) -> (Builder, [Bucket; 2]) {
    let builder = Edge::builder();
    let dir = format!("{more}\nmanifest_secs = 2\nsink.dir.path = '{}'", builder.bucket("dir").display());
    // An upload without an answer is soon given up.
    let bucket = format!("{more}\nmanifest_secs = 2\n{}", s3.sink_toml("clicks", "attempt_timeout_secs = 2"));
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
    let meant = stopped.log().matches("a test asks for a panic here").count();
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
