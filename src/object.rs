//! Objects: the files of events, manifests and rollups as they lie in the outbox and in the customer's bucket.
//!
//! One file for each part of the format: [`key`] (where an object lies), [`writer`] and [`reader`] (what is in it),
//! [`digest`] (checksums), [`manifest`] (the list of an hour's objects). The spool makes objects, the delivery uploads
//! them, and `clickedge feed verify` reads them back from a bucket.
//!
//! A noun next to the flow: imports no stage.

pub mod digest;
pub mod key;
pub mod manifest;
pub mod reader;
pub mod writer;

use std::path::PathBuf;

pub use key::{ManifestKey, ObjectKey, RollupKey, manifest_key, object_key, rollup_key};
pub use reader::Summary;

/// Start of the keys of objects that an operator has sent again.
pub const REPLAY: &str = "replay/";

/// A finished object in the outbox.
#[derive(Clone, Debug)]
pub struct Object {
    /// Where it goes in the sink, below the sink's prefix.
    pub key: String,
    /// Where it lies.
    pub path: PathBuf,
    pub bytes: u64,
    pub kind: ObjectKind,
    /// `None` when nothing is recorded of it: then only its content tells.
    pub summary: Option<Summary>,
    /// When it was finished, in seconds since the Unix epoch.
    pub finished_at: u64,
}

/// What an object holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ObjectKind {
    Events,
    Manifest,
    /// The counts of an hour.
    Rollup,
    /// Events that were delivered before, and are sent again because an operator said so.
    Replay,
}

impl ObjectKind {
    /// By its key; `None` for a foreign file.
    pub fn of(key: &str) -> Option<Self> {
        if let Some(rest) = key.strip_prefix(REPLAY) {
            return ObjectKey::parse(rest.split_once('/')?.1).map(|_| Self::Replay);
        }
        let events = ObjectKey::parse(key).map(|_| Self::Events);
        let manifest = || ManifestKey::parse(key).map(|_| Self::Manifest);
        events.or_else(manifest).or_else(|| RollupKey::parse(key).map(|_| Self::Rollup))
    }
}
