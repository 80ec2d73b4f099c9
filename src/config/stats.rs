//! Counts: whether there are any, and how long they are kept.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Counts of clicks by link, domain, workspace and more.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Stats {
    /// Count clicks, in the file `stats.sqlite` of the spool's folder. The admin listener answers with the counts below
    /// `/v1/stats/`. Without them, clicks that no feed takes are dropped (`no_feed`).
    pub enabled: bool,
    /// Days for which counts are kept hour by hour, 3 to 366. Older ones are summed into days (UTC).
    pub hours_days: u64,
    /// Days for which counts are kept at all: at least `hours_days`, at most 3660.
    pub days: u64,
}

impl Default for Stats {
    fn default() -> Self {
        Self { enabled: true, hours_days: 40, days: 400 }
    }
}
