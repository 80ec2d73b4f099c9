//! `[edge]`: the point of presence.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Config, Section,
    findings::{Findings, MAX_THREADS},
};

/// This point of presence.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Edge {
    /// Name of this point of presence: 1 to 63 lower-case letters, digits and inner `-`. It is part of every event
    /// (`edge.pop`) and of every object's key, so it must differ between edges that write into the same bucket.
    pub pop: String,
    /// Number of threads that answer clicks, at most 1024. 0 means one for each processor.
    pub threads: usize,
    /// Whether plain requests are answered without Pingora's proxy, for less processor time. The answers are the
    /// same. Set it to `false` to rule the fast lane out when you look for a fault.
    pub fast_lane: bool,
}

impl Default for Edge {
    fn default() -> Self {
        Self { pop: "local".into(), threads: 0, fast_lane: true }
    }
}

impl Section for Edge {
    fn rules(&self, _all: &Config, findings: &mut Findings) {
        findings.name("edge.pop", &self.pop, "ams1");
        findings.range("edge.threads", self.threads, 0..=MAX_THREADS, "0 takes one for each processor");
    }
}

#[cfg(test)]
mod tests {
    use crate::config::fixture::each_is_an_error;

    #[test]
    fn names_and_thread_counts_are_checked() {
        each_is_an_error(&[
            ("edge.pop", "is \"\"", |c| c.edge.pop.clear()),
            ("edge.pop", "is \"AMS\"", |c| c.edge.pop = "AMS".into()),
            ("edge.pop", "is \"-a\"", |c| c.edge.pop = "-a".into()),
            ("edge.pop", "is \"a/b\"", |c| c.edge.pop = "a/b".into()),
            ("edge.pop", "1 to 63", |c| c.edge.pop = "a".repeat(64)),
            ("edge.threads", "between 0 and 1024, is 1025", |c| c.edge.threads = 1025),
        ]);
    }
}
