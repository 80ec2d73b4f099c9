//! Counts: clicks by link, domain, workspace, tag and creator, and for each workspace by country, referrer, device,
//! browser and operating system, hour by hour.
//!
//! They are a fold over the journal: the packer's thread reads each event's [tally] once, in the journal's order, and
//! commits the counts to the [store] together with the position up to which it has read. So a crash neither loses a
//! click nor counts one twice, and workers never wait for each other: they append a tally to what they journal anyway.
//!
//! Requests for [unknown] slashtags are no clicks: they are counted in memory, and only to be looked at.
//!
//! A noun next to the flow: imports no stage. Workers write tallies, and the spool reads them and commits the counts.

pub mod count_store;
mod counts;
mod fold;
mod handle;
pub mod metrics;
mod referrers;
pub mod rollup;
pub mod store;
pub mod tally;
pub mod unknown;

pub use counts::{Counts, Delta, Key, SubjectKind};
pub use fold::Fold;
pub use handle::StatsHandle;
pub use referrers::{MAX_NAMES, OTHER, Referrers};
