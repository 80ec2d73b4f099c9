//! `[redirect]`: how clicks are answered.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Config, Section, findings::Findings};

/// Longest time that a browser may keep a permanent redirect, in seconds.
const MAX_PERMANENT_SECS: u32 = 86_400;

/// How clicks are answered.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Redirect {
    /// Seconds of `max-age` in 301 and 308 answers, which browsers would otherwise keep for ever; at most 86400.
    /// 302 and 307 answers are never stored.
    pub permanent_max_age_secs: u32,
    /// Seconds that an idle keep-alive connection stays open, at most 3600. 0 closes it after each answer.
    pub keepalive_secs: u64,
    /// Whether a visitor gets the same variant of a link at each click, as far as address and agent stay the same. It
    /// is picked by a keyed hash of both, which is neither stored nor sent, and not by a cookie. Visitors who opted out
    /// are not recognised. `false` picks a random variant at each click.
    pub sticky_variants: bool,
}

impl Default for Redirect {
    fn default() -> Self {
        Self { permanent_max_age_secs: 90, keepalive_secs: 60, sticky_variants: true }
    }
}

impl Section for Redirect {
    fn rules(&self, _all: &Config, findings: &mut Findings) {
        findings.range(
            "redirect.permanent_max_age_secs",
            self.permanent_max_age_secs,
            0..=MAX_PERMANENT_SECS,
            "browsers cannot be called back: keep it short, such as 90",
        );
        findings.range(
            "redirect.keepalive_secs",
            self.keepalive_secs,
            0..=3600,
            "write how many seconds an idle connection stays open, such as 60",
        );
    }
}

#[cfg(test)]
mod tests {
    use crate::config::fixture::each_is_an_error;

    #[test]
    fn ages_are_checked() {
        each_is_an_error(&[
            ("redirect.permanent_max_age_secs", "is 86401", |c| c.redirect.permanent_max_age_secs = 86_401),
            ("redirect.keepalive_secs", "between 0 and 3600, is 3601", |c| c.redirect.keepalive_secs = 3601),
        ]);
    }
}
