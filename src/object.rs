//! Objects: the files of events, manifests and rollups in the outbox and in the customer's bucket.
//!
//! One file for each part of the format: [`key`] (names), [`writer`] and [`reader`] (content), [`digest`] (checksums),
//! [`manifest`] (the list of an hour's objects), [`rollup`] (the counts of an hour). The spool makes objects, the
//! delivery uploads them, and `clickedge feed verify` reads them back from a bucket.
//!
//! A noun next to the flow: imports no stage.

pub mod digest;
mod gzip;
pub mod key;
pub mod manifest;
pub mod reader;
pub mod rollup;
mod size;
pub mod writer;

use std::path::PathBuf;

pub use key::{KeyPlace, Maker, ManifestKey, ObjectKey, RollupKey};
pub use reader::Summary;

/// A finished object in the outbox.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its key in the sink, below the sink's prefix.
    pub key: String,
    /// Its file in the outbox.
    pub path: PathBuf,
    pub bytes: u64,
    pub kind: ObjectKind,
    /// `None` when it is not recorded: then it is read from the object's content.
    pub summary: Option<Summary>,
    /// Time when it was finished, in seconds since the Unix epoch.
    pub finished_at: u64,
}

/// What an object holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ObjectKind {
    Events,
    Manifest,
    /// The counts of an hour.
    Rollup,
    /// Events that were delivered before, and that an operator sends again.
    Replay,
    /// Sample events of `clickedge feed test`. Never in an outbox.
    Test,
}

impl ObjectKind {
    /// The kind of an object, from its key. `None` for any other file.
    pub fn of(key: &str) -> Option<Self> {
        if let Some(rest) = key::below(key::REPLAYS, key) {
            return ObjectKey::parse(rest.split_once('/')?.1).map(|_| Self::Replay);
        }
        let events = ObjectKey::parse(key).map(|_| Self::Events);
        let manifest = || ManifestKey::parse(key).map(|_| Self::Manifest);
        let rollup = || RollupKey::parse(key).map(|_| Self::Rollup);
        let earlier = || key::earlier::kind_and_hour(key).map(|(kind, _)| kind);
        events.or_else(manifest).or_else(rollup).or_else(earlier)
    }

    /// Whether it accompanies events, and has none itself: it is delivered next to them, and only as an object.
    pub fn is_companion(self) -> bool {
        matches!(self, Self::Manifest | Self::Rollup)
    }
}
