//! `[shutdown]`: the timeouts of a stop.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Config, Section, findings::Findings};

/// Shutdown timeouts. A stop waits for no sink: what is not delivered stays in the spool for the next start, unless it
/// is the last stop (`clickedge drain`).
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shutdown {
    /// Seconds in which `/readyz` answers 503 before the listeners close, so that load balancers send no more clicks,
    /// at most 3600. An upgrade does not need it.
    pub lame_duck_secs: u64,
    /// Seconds for requests in flight to finish after the listeners closed, at most 3600.
    pub grace_secs: u64,
    /// Seconds for a process that was replaced (`clickedge upgrade`) to answer on the connections that it has accepted,
    /// at most 3600. It ends when the last of them has closed.
    pub upgrade_grace_secs: u64,
    /// Seconds that the last stop (`clickedge drain`, or `SIGQUIT`) may spend on delivering what waits, at most 3600.
    pub drain_secs: u64,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { lame_duck_secs: 0, grace_secs: 1, upgrade_grace_secs: 60, drain_secs: 20 }
    }
}

impl Section for Shutdown {
    fn rules(&self, _all: &Config, findings: &mut Findings) {
        for (key, secs, remedy) in [
            ("lame_duck_secs", self.lame_duck_secs, "how long load balancers take to notice, such as 10"),
            ("grace_secs", self.grace_secs, "how long requests in flight may take, such as 1"),
            ("upgrade_grace_secs", self.upgrade_grace_secs, "how long open connections may stay, such as 60"),
            ("drain_secs", self.drain_secs, "how long the last deliveries may take, such as 20"),
        ] {
            findings.range(format!("shutdown.{key}"), secs, 0..=3600, &format!("write {remedy}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::fixture::each_is_an_error;

    #[test]
    fn timeouts_are_checked() {
        each_is_an_error(&[
            ("shutdown.grace_secs", "is 3601", |c| c.shutdown.grace_secs = 3601),
            ("shutdown.lame_duck_secs", "is 3601", |c| c.shutdown.lame_duck_secs = 3601),
            ("shutdown.upgrade_grace_secs", "is 3601", |c| c.shutdown.upgrade_grace_secs = 3601),
            ("shutdown.drain_secs", "is 3601", |c| c.shutdown.drain_secs = 3601),
        ]);
    }
}
