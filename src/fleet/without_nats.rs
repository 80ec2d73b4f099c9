//! Announcements in a build without NATS: there are none. A configuration that asks for them is rejected before
//! ([`crate::config::features`]).

use tokio::sync::mpsc;

use super::announcement::Announcement;
use crate::{catalog::change::Position, config};

const ABSENT: &str = "this build has no client of NATS: build with `--features nats`";

/// No connection.
pub enum Announcer {}

impl Announcer {
    /// Never starts.
    pub async fn start(_: &config::FleetNats) -> Result<(Self, mpsc::Receiver<Option<Announcement>>), String> {
        std::future::ready(Err(ABSENT.into())).await
    }

    /// Announces that the head has moved.
    pub async fn announce(&self, _: Position, _: &[u8]) {
        std::future::ready(match *self {}).await
    }
}

/// Never connects.
#[cfg(feature = "server")]
pub(super) async fn probe(_: &config::FleetNats) -> Result<String, String> {
    std::future::ready(Err(ABSENT.into())).await
}
