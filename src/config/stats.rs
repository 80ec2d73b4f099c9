//! Counts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Counts of clicks, hour by hour.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Stats {
    /// Count clicks per link, domain, workspace, tag and creator, and per workspace by country, referrer, device,
    /// browser and operating system. The counts lie in `stats.sqlite` in the spool's folder. Without them, clicks that no
    /// feed takes are dropped (`no_feed`).
    pub enabled: bool,
}

impl Default for Stats {
    fn default() -> Self {
        Self { enabled: true }
    }
}
