//! The store of counts: one `SQLite` file (`stats.sqlite`), which one thread writes and others read.
//!
//! ```text
//! hours    (hour, kind, scope, name) -> counts    recent counts, by the hour
//! days     (day, kind, scope, name)  -> counts    older counts, summed up by the day
//! counted  segment, place, at                     position up to which the journal is counted, and when
//! marks    name -> value                          `since`: since when all clicks are counted;
//!                                                 `summed`: the hour before which hours are summed into days
//! ```
//! Time comes first in both keys. So current counts are together at the end of the tree, however many subjects there
//! are; old counts are removed from its beginning; and a query seeks once an hour. The rows of a domain have a
//! workspace as their scope: a partial index finds them by the domain's name.
//!
//! A commit adds counts and moves the position in one transaction, which is durable when it returns
//! (`synchronous=FULL`): after a crash the counts are those of the journal up to exactly that position. A reader has a
//! consistent [`Snapshot`], and reader and writer never wait for each other (WAL).
//!
//! Damage is detected when its page is read, and has an error of its own, [`StoreError::Damaged`]. A check of all pages
//! at the start would read the whole file, and still miss a wrong number.

#[cfg(not(feature = "stats"))]
mod absent;
pub mod error;
pub mod query;
#[cfg(feature = "stats")]
mod reader;
#[cfg(feature = "stats")]
mod retention;
#[cfg(feature = "stats")]
mod sql;
#[cfg(feature = "stats")]
mod writer;

#[cfg(not(feature = "stats"))]
pub use absent::{Reader, Snapshot, Store};
pub use error::StoreError;
pub use query::{Counted, Covered, MAX_ROWS, Order, Owner, Row, Scope, Step};
#[cfg(feature = "stats")]
pub use {
    reader::{Reader, Snapshot},
    writer::Store,
};

use crate::config;

/// Version of the layout of the tables. Increase it with every change.
const VERSION: i64 = 1;

/// A position in the journal: the number of a segment, and an offset in it.
pub type Position = (u64, u64);

/// How long counts are kept.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Days for which counts are kept by the hour.
    pub hours_days: u64,
    /// Days for which counts are kept by the day.
    pub days: u64,
}

impl From<&config::Stats> for Retention {
    fn from(config: &config::Stats) -> Self {
        Self { hours_days: config.hours_days, days: config.days }
    }
}
