//! The fleet in a build without buckets: it never starts. A configuration that has one is rejected before
//! ([`crate::config::features`]).

use std::{io, time::Duration};

use super::Parts;
use crate::{catalog::LocalChanges, config};

/// No fleet.
pub enum Fleet {}

impl Fleet {
    /// Never starts.
    ///
    /// # Errors
    /// Always.
    pub fn start(_: &config::Fleet, _: Parts) -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "this build has no fleet: build with `--features s3`"))
    }

    /// What takes changes.
    pub fn changes(&self) -> LocalChanges {
        match *self {}
    }

    /// Waits until the edge has what the bucket has.
    pub fn wait_until_current(&self, _: Duration) -> bool {
        match *self {}
    }

    /// Stops.
    pub fn stop(self) {
        match self {}
    }
}
