//! `[stats]`: counts of clicks, and how long they are kept.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Config, Features, Section, findings::Findings};

/// Least days of hourly counts: rollups are made of the hours of two days.
const MIN_HOURS_DAYS: u64 = 3;
/// Most days of counts: ten years.
const MAX_DAYS: u64 = 3_660;

/// Counts of clicks by link, domain, workspace and more.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Stats {
    /// Whether clicks are counted, in the file `stats.sqlite` of the spool's folder. The admin listener answers with
    /// the counts below `/v1/stats/`. With false, clicks that no feed takes are dropped (`no_feed`). Builds without the
    /// feature `stats` cannot count; their default is false.
    pub enabled: bool,
    /// Days for which counts are kept hour by hour, 3 to 366. Older ones are summed into days (UTC).
    pub hours_days: u64,
    /// Days for which counts are kept, from `hours_days` to 3660. Older ones are deleted.
    pub days: u64,
}

impl Default for Stats {
    fn default() -> Self {
        Self { enabled: Features::of_this_build().stats, hours_days: 40, days: 400 }
    }
}

impl Section for Stats {
    fn rules(&self, _all: &Config, findings: &mut Findings) {
        findings.range(
            "stats.hours_days",
            self.hours_days,
            MIN_HOURS_DAYS..=366,
            "write for how many days hours are kept, such as 40",
        );
        let least = if findings.knows("stats.hours_days") { self.hours_days.min(MAX_DAYS) } else { MIN_HOURS_DAYS };
        findings.range(
            "stats.days",
            self.days,
            least..=MAX_DAYS,
            "write for how many days counts are kept, at least `stats.hours_days`, such as 400",
        );
    }
}

#[cfg(test)]
mod tests {
    use crate::config::fixture::each_is_an_error;

    #[test]
    fn days_are_checked() {
        each_is_an_error(&[
            ("stats.hours_days", "between 3 and 366, is 2", |c| c.stats.hours_days = 2),
            ("stats.days", "between 40 and 3660, is 39", |c| c.stats.days = 39),
        ]);
    }
}
