//! Announcements in a build without NATS: nothing is sent. A configuration that asks for them is rejected before
//! ([`crate::config::features`]).

use std::future::{Ready, ready};

use tokio::sync::mpsc;

use super::announcement::Announcement;
use crate::{catalog::change::Position, config};

const ABSENT: &str = "this build has no client of NATS: build with `--features nats`";

type Announced = mpsc::Receiver<Option<Announcement>>;

/// No connection.
pub enum Announcer {}

impl Announcer {
    /// Never starts.
    ///
    /// # Errors
    /// Always.
    pub fn start(_: &config::FleetNats) -> Ready<Result<(Self, Announced), String>> {
        ready(Err(ABSENT.into()))
    }

    /// Announces that the head has moved.
    pub fn announce(&self, _: Position, _: &[u8]) -> Ready<()> {
        match *self {}
    }
}

/// Never connects.
#[cfg(feature = "server")]
pub(super) fn probe(_: &config::FleetNats) -> Ready<Result<String, String>> {
    ready(Err(ABSENT.into()))
}
