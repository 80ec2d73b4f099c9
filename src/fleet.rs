//! One catalog on many edges, through a bucket.
//!
//! ```text
//! API ─► writer ─► delta, then head by compare-and-set ─► bucket ─► replica ─► the catalog of each edge
//!                                    └─► NATS: "the head moved", perhaps with the delta ─┘
//! ```
//! The bucket is the truth. [`head`] is the one object that changes: it says what the catalog is now, and how to get
//! there. A [`delta`] carries the hash of the state that it follows, so that it applies to nothing else. A change that
//! the API of an edge takes is in the bucket before it is anywhere else (`writer`); that edge then applies it with
//! the same code as all others (`replica`). What comes over [`nats`] only saves the wait for the next look.
//!
//! One thread does all of it, so that following and writing do not meet. Whatever fails, each edge keeps the catalog
//! that it has, which is on its own disk.

#[cfg(feature = "s3")]
mod announcement;
#[cfg(feature = "s3")]
pub mod bucket;
#[cfg(feature = "s3")]
pub mod canary;
#[cfg(feature = "s3")]
pub mod delta;
#[cfg(feature = "s3")]
pub mod error;
#[cfg(feature = "s3")]
pub mod fetch;
#[cfg(test)]
mod fixture;
#[cfg(feature = "s3")]
mod follower;
#[cfg(not(feature = "s3"))]
#[path = "fleet/without_bucket.rs"]
mod follower;
#[cfg(feature = "s3")]
pub mod head;
mod local;
#[cfg(feature = "s3")]
pub mod malformed;
pub mod metrics;
#[cfg(all(feature = "s3", feature = "nats"))]
pub mod nats;
#[cfg(all(feature = "s3", not(feature = "nats")))]
#[path = "fleet/without_nats.rs"]
mod nats;
#[cfg(all(feature = "s3", feature = "server"))]
pub mod probe;
#[cfg(feature = "s3")]
pub mod publish;
#[cfg(feature = "s3")]
mod replica;
pub mod store;
#[cfg(feature = "s3")]
mod writer;

use std::{path::PathBuf, sync::Arc};

pub use follower::Fleet;
pub use metrics::FleetMetrics;
pub use store::{Preparation, Requests, Store, StoreError};
#[cfg(feature = "s3")]
pub use writer::FleetChanges;

use crate::runtime::PanicWatch;

/// What a fleet works with.
pub struct Parts {
    /// The catalog of this edge.
    pub store: Arc<dyn Store>,
    /// The folder in which snapshots are stored while they are read: on the disk of the state folder.
    pub dir: PathBuf,
    pub metrics: Arc<FleetMetrics>,
    /// The counts of requests, which a canary edge compares.
    pub requests: Box<dyn Fn() -> Requests + Send>,
    pub panics: PanicWatch,
}
