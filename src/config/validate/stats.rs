//! The rules for counts.

use super::Findings;
use crate::config::Config;

/// Least days of hours: rollups are made of hours for two days.
const MIN_HOURS_DAYS: u64 = 3;

pub(super) fn stats(config: &Config, findings: &mut Findings) {
    let stats = &config.stats;
    findings.range(
        "stats.hours_days",
        stats.hours_days,
        MIN_HOURS_DAYS..=366,
        "say for how many days hours are kept, such as 40",
    );
    findings.range(
        "stats.days",
        stats.days,
        stats.hours_days.min(3_660)..=3_660,
        "say for how many days counts are kept, at least `stats.hours_days`, such as 400",
    );
    for (i, feed) in config.feeds.iter().enumerate() {
        if feed.rollups && !stats.enabled {
            findings.error(
                format!("feeds[{i}].rollups"),
                "is true, and nothing is counted, as `stats.enabled` is false",
                "set `stats.enabled = true`, or remove `rollups`",
            );
        }
    }
}
