//! A feed's sink that is a part of the program which embeds the pipeline.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::findings::Findings;

/// A sink that the program around the pipeline provides. `clickedge serve` has none.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Custom {
    /// Name under which the program has given the sink to the pipeline: 1 to 63 lower-case letters, digits and inner
    /// `-`.
    pub name: String,
    /// Number of concurrent uploads of events, 1 to 64.
    #[serde(default = "default_uploads")]
    pub uploads: usize,
    /// Seconds until the sink has stored an object, 1 to 1200. An upload that takes longer is abandoned and retried.
    #[serde(default = "default_timeout_secs")]
    pub timeout_secs: u64,
}

impl Custom {
    /// The sink of this name, with the defaults of a configuration file.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), uploads: default_uploads(), timeout_secs: default_timeout_secs() }
    }

    /// `key` is the path of this sink.
    pub(super) fn rules(&self, key: &str, findings: &mut Findings) {
        findings.name(format!("{key}.name"), &self.name, "archive");
        findings.range(format!("{key}.uploads"), self.uploads, 1..=64, "1 suits a sink on this machine");
        findings.range(format!("{key}.timeout_secs"), self.timeout_secs, 1..=1200, "90 suits most networks");
    }
}

fn default_uploads() -> usize {
    1
}

fn default_timeout_secs() -> u64 {
    90
}

#[cfg(test)]
mod tests {
    use super::Custom;
    use crate::config::{Sink, fixture::each_is_an_error};

    #[test]
    fn names_and_limits_are_checked() {
        each_is_an_error(&[
            ("feeds[0].sink.custom.name", "is \"My Sink\"", |c| {
                c.feeds[0].sink = Sink::Custom(Custom::new("My Sink"));
            }),
            ("feeds[0].sink.custom.uploads", "is 65", |c| {
                c.feeds[0].sink = Sink::Custom(Custom { uploads: 65, ..Custom::new("archive") });
            }),
            ("feeds[0].sink.custom.timeout_secs", "is 0", |c| {
                c.feeds[0].sink = Sink::Custom(Custom { timeout_secs: 0, ..Custom::new("archive") });
            }),
        ]);
    }
}
