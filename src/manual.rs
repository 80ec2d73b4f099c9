//! The operator's manual.
//!
//! The chapters are the files of `src/manual/`. Their examples are tested: Rust compiles as documentation tests, and
//! every TOML block loads as a configuration. Tables between `<!-- generated: NAME -->` and `<!-- end -->` are made
//! from the code: `make manual` writes them, and a test fails when one is out of date.
//!
//! | chapter | content |
//! |---|---|
//! | [`installation`] | Debian package, container image, Kubernetes, tarball, sources; to the first event in a bucket |
//! | [`configuration`] | the configuration file by topic: HTTPS, load balancers, feeds, folders |
//! | [`catalog`] | format of links, matching, answers, reload |
//! | [`snapshots`] | catalogs of any size: build, examine, compare |
//! | [`links_api`] | links and domains that programs change while the edge runs |
//! | [`fleet`] | one catalog on many edges: bucket, NATS, canary |
//! | [`rules`] | who gets another destination, variants |
//! | [`pages`] | pages, passwords, scripts, cards, previews, files of a domain |
//! | [`feeds`] | objects, formats, delivery, manifests, verification, rollups |
//! | [`statistics`] | counts, and how to query them |
//! | [`quality`] | verdicts, bots, blocking, block lists |
//! | [`status`] | the status page, `clickedge top`, and events as they are made |
//! | [`operations`] | the service, signals, exit codes, metrics, the spool |
//! | [`tuning`] | kernel, threads, sizes and memory by clicks a second; `clickedge doctor` |
//! | [`monitoring`] | Prometheus, alerts, dashboard, OpenTelemetry |
//! | [`runbook`] | what to do about each alert |
//! | [`guarantees`] | what is lost, and when |
//! | [`privacy`] | where client addresses are, sessions, the evidence |
//! | [`embedding`] | the redirect stage inside another Pingora proxy |
//! | [`troubleshooting`] | symptoms, causes, remedies |

#[allow(clippy::doc_markdown, reason = "names of products are not code")]
pub mod installation {
    #![doc = include_str!("manual/installation.md")]
}

pub mod configuration {
    #![doc = include_str!("manual/configuration.md")]
}

pub mod catalog {
    #![doc = include_str!("manual/catalog.md")]
}

pub mod snapshots {
    #![doc = include_str!("manual/snapshots.md")]
}

pub mod links_api {
    #![doc = include_str!("manual/links-api.md")]
}

#[allow(clippy::doc_markdown, reason = "names of products are not code")]
pub mod fleet {
    #![doc = include_str!("manual/fleet.md")]
}

pub mod rules {
    #![doc = include_str!("manual/rules.md")]
}

#[allow(clippy::doc_markdown, reason = "names of products are not code")]
pub mod pages {
    #![doc = include_str!("manual/pages.md")]
}

#[allow(clippy::doc_markdown, reason = "names of products are not code")]
pub mod feeds {
    #![doc = include_str!("manual/feeds.md")]
}

pub mod statistics {
    #![doc = include_str!("manual/statistics.md")]
}

pub mod quality {
    #![doc = include_str!("manual/quality.md")]
}

pub mod status {
    #![doc = include_str!("manual/status.md")]
}

#[allow(clippy::doc_markdown, reason = "the help of metrics is text for Prometheus, without backticks")]
pub mod operations {
    #![doc = include_str!("manual/operations.md")]
}

#[allow(clippy::doc_markdown, reason = "settings of the kernel are not code in tables")]
pub mod tuning {
    #![doc = include_str!("manual/tuning.md")]
}

#[allow(clippy::doc_markdown, reason = "names of products are not code")]
pub mod monitoring {
    #![doc = include_str!("manual/monitoring.md")]
}

#[allow(clippy::doc_markdown, reason = "names of alerts are headings")]
pub mod runbook {
    #![doc = include_str!("manual/runbook.md")]
}

pub mod guarantees {
    #![doc = include_str!("manual/guarantees.md")]
}

pub mod privacy {
    #![doc = include_str!("manual/privacy.md")]
}

pub mod embedding {
    #![doc = include_str!("manual/embedding.md")]
}

pub mod troubleshooting {
    #![doc = include_str!("manual/troubleshooting.md")]
}

#[cfg(test)]
mod tests;
