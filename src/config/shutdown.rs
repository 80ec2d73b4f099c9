//! `[shutdown]`: the timeouts of a stop.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Config, Section, findings::Findings};

/// Shutdown timeouts.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shutdown {
    /// Seconds for requests in flight to finish after the listeners closed, at most 3600.
    pub grace_secs: u64,
    /// Seconds for the queues to drain and the last objects to be delivered, at most 3600. What is not delivered by
    /// then stays in the outbox and is delivered after the next start.
    pub drain_secs: u64,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { grace_secs: 1, drain_secs: 20 }
    }
}

impl Section for Shutdown {
    fn rules(&self, _all: &Config, findings: &mut Findings) {
        findings.range(
            "shutdown.grace_secs",
            self.grace_secs,
            0..=3600,
            "write how long requests in flight may take, such as 1",
        );
        findings.range(
            "shutdown.drain_secs",
            self.drain_secs,
            0..=3600,
            "write how long the last deliveries may take, such as 20",
        );
    }
}

#[cfg(test)]
mod tests {
    use crate::config::fixture::each_is_an_error;

    #[test]
    fn timeouts_are_checked() {
        each_is_an_error(&[
            ("shutdown.grace_secs", "is 3601", |c| c.shutdown.grace_secs = 3601),
            ("shutdown.drain_secs", "is 3601", |c| c.shutdown.drain_secs = 3601),
        ]);
    }
}
