//! `[catalog.fleet]`: the bucket from which many edges take one catalog.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    feeds::{self, ConditionalWrites, S3},
    findings::Findings,
};

/// The bucket from which many edges take one catalog, and to which they write its changes.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Fleet {
    /// Milliseconds between two looks at the bucket, 100 to 60000; each wait differs by up to a fifth, so that edges
    /// do not look in step. Looks that fail are repeated less often.
    #[serde(default = "default_poll_millis")]
    pub poll_millis: u64,
    /// Whether this edge's API takes changes and writes them to the bucket.
    #[serde(default = "default_write")]
    pub write: bool,
    /// Whether this edge takes each new snapshot first. After `hold_until_canary_secs` it reports in the bucket
    /// whether requests for unknown slashtags have become more frequent.
    #[serde(default)]
    pub canary: bool,
    /// Seconds that the canary edge observes a new snapshot, at most 86400. The other edges keep the former until the
    /// canary has found it good. 0 means that no edge waits. The same on all edges.
    #[serde(default)]
    pub hold_until_canary_secs: u64,
    /// Rise of the share of requests for unknown slashtags above which the canary finds a snapshot bad, 0 to 1.
    #[serde(default = "default_jump")]
    pub canary_max_unknown_ratio_jump: f64,
    /// The bucket, and the prefix below which the catalog is. Every edge may have credentials of its own; those that
    /// do not write need only `s3:GetObject`. Stores other than Amazon's must support conditional writes.
    pub bucket: S3,
    /// Announces changes between the edges, so that they need not wait for the next look at the bucket. Optional.
    #[serde(default)]
    pub nats: Option<FleetNats>,
}

/// A NATS server that passes announcements of changes between edges. Messages may be lost or doubled: the bucket alone
/// decides.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FleetNats {
    /// Servers of one cluster, `nats://host:4222`, or `tls://host:4222` where TLS is required.
    pub servers: Vec<String>,
    /// Subject of every announcement, without wildcards. The same on all edges. No stream is needed.
    #[serde(default = "default_subject")]
    pub subject: String,
    /// File with the user's JWT and key, as `nsc` writes it (`.creds`).
    #[serde(default)]
    pub credentials_file: Option<PathBuf>,
    /// File with the certificates (PEM) that issue the servers' certificates, instead of those of this machine.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Seconds to connect to a server, 1 to 600.
    #[serde(default = "default_connect_secs")]
    pub connect_timeout_secs: u64,
}

fn default_poll_millis() -> u64 {
    1_000
}

fn default_write() -> bool {
    true
}

fn default_jump() -> f64 {
    0.05
}

fn default_subject() -> String {
    "clickedge.catalog".into()
}

fn default_connect_secs() -> u64 {
    5
}

impl Fleet {
    /// The fleet of a bucket, with the defaults.
    pub fn of(bucket: S3) -> Self {
        Self {
            poll_millis: default_poll_millis(),
            write: default_write(),
            canary: false,
            hold_until_canary_secs: 0,
            canary_max_unknown_ratio_jump: default_jump(),
            bucket,
            nats: None,
        }
    }

    pub(super) fn rules(&self, findings: &mut Findings) {
        const KEY: &str = "catalog.fleet";
        findings.range(format!("{KEY}.poll_millis"), self.poll_millis, 100..=60_000, "1000 suits most fleets");
        let hold = self.hold_until_canary_secs;
        findings.range(format!("{KEY}.hold_until_canary_secs"), hold, 0..=86_400, "300 suits most fleets");
        findings.ratio(&format!("{KEY}.canary_max_unknown_ratio_jump"), self.canary_max_unknown_ratio_jump);
        if self.canary && hold == 0 && findings.knows(&format!("{KEY}.hold_until_canary_secs")) {
            findings.error(
                format!("{KEY}.canary"),
                "is true, but `hold_until_canary_secs` is 0, so that no edge waits for it",
                "write the same `hold_until_canary_secs` on all edges, such as 300",
            );
        }
        self.bucket.rules(&format!("{KEY}.bucket"), findings);
        if self.bucket.conditional_writes == ConditionalWrites::Off {
            findings.error(
                format!("{KEY}.bucket.conditional_writes"),
                "is \"off\", but two edges that change the catalog at a time are kept apart by conditional writes",
                "remove the key, and use a store that supports `If-Match`",
            );
        }
        if let Some(nats) = &self.nats {
            let key = format!("{KEY}.nats");
            feeds::nats::connection_rules(&key, (&nats.servers, &nats.subject), findings);
            let connect = nats.connect_timeout_secs;
            findings.range(format!("{key}.connect_timeout_secs"), connect, 1..=600, "5 suits most networks");
        }
    }

    pub(super) fn paths(&mut self) -> Vec<(String, &mut PathBuf)> {
        let nats = self.nats.iter_mut().flat_map(|nats| {
            [("nats.credentials_file", &mut nats.credentials_file), ("nats.ca_file", &mut nats.ca_file)]
        });
        let files = [("bucket.credentials_file", &mut self.bucket.credentials_file)].into_iter().chain(nats);
        files.filter_map(|(key, file)| Some((format!("catalog.fleet.{key}"), file.as_mut()?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{
        Config,
        fixture::{each_is_an_error, sound},
    };

    fn fleet(config: &mut Config) -> &mut Fleet {
        let json = serde_json::json!({
            "bucket": {"bucket": "example-catalog", "region": "eu-west-1"},
            "nats": {"servers": ["nats://10.0.0.4:4222"]},
        });
        config.catalog.state_dir.get_or_insert_with(|| "state".into());
        config.catalog.fleet.insert(serde_json::from_value(json).unwrap())
    }

    fn nats(config: &mut Config) -> &mut FleetNats {
        fleet(config).nats.as_mut().unwrap()
    }

    #[test]
    fn the_section_is_checked() {
        let mut config = sound();
        fleet(&mut config);
        assert_eq!(config.problems(), []);
        each_is_an_error(&[
            ("catalog.fleet.poll_millis", "is 99", |c| fleet(c).poll_millis = 99),
            ("catalog.fleet.hold_until_canary_secs", "is 86401", |c| fleet(c).hold_until_canary_secs = 86_401),
            ("catalog.fleet.canary", "no edge waits", |c| fleet(c).canary = true),
            ("catalog.fleet.canary_max_unknown_ratio_jump", "is 1.5", |c| {
                fleet(c).canary_max_unknown_ratio_jump = 1.5;
            }),
            ("catalog.fleet.bucket.bucket", "is \"ab\"", |c| fleet(c).bucket.bucket = "ab".into()),
            ("catalog.fleet.bucket.conditional_writes", "kept apart", |c| {
                fleet(c).bucket.conditional_writes = ConditionalWrites::Off;
            }),
            ("catalog.fleet.bucket.credentials_file", "is empty", |c| {
                fleet(c).bucket.credentials_file = Some("".into());
            }),
            ("catalog.fleet", "needs a folder", |c| {
                fleet(c);
                c.catalog.state_dir = None;
            }),
            ("catalog.fleet.nats.servers", "is empty", |c| nats(c).servers.clear()),
            ("catalog.fleet.nats.servers[0]", "not http:", |c| nats(c).servers[0] = "http://a".into()),
            ("catalog.fleet.nats.subject", "is \"a.*\"", |c| nats(c).subject = "a.*".into()),
            ("catalog.fleet.nats.ca_file", "is empty", |c| nats(c).ca_file = Some("".into())),
            ("catalog.fleet.nats.connect_timeout_secs", "is 0", |c| nats(c).connect_timeout_secs = 0),
        ]);
    }

    #[test]
    fn a_bucket_is_all_that_is_needed() {
        let text = "bucket = { bucket = 'example-catalog', region = 'eu-west-1' }";
        let fleet: Fleet = toml::from_str(text).unwrap();
        assert!(fleet.write && !fleet.canary && fleet.nats.is_none());
        assert_eq!((fleet.poll_millis, fleet.hold_until_canary_secs), (1_000, 0));
    }
}
