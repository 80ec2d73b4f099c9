//! `[limits]`: what one connection, one address and all of them may use.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Config, Section, findings::Findings};

/// What one connection, one address and all of them may use. Load balancers in `client_address.trusted_proxies` have
/// no limits of their own; with the PROXY protocol, their clients have.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of a request's target, at most 65536. A longer one gets 414.
    pub target_bytes: usize,
    /// Bytes of a request's header, the request line included, at most 262144. A longer one gets 431.
    pub header_bytes: usize,
    /// Fields of a request's header, at most 256. More get 431.
    pub header_fields: usize,
    /// Seconds for a whole header to arrive, from its first byte; for the first request, from the start of the
    /// connection. At most 3600.
    pub header_secs: u64,
    /// Seconds for the PROXY header and the TLS handshake, at most 3600.
    pub handshake_secs: u64,
    /// Requests on one connection, after which it is closed. 0 means any number.
    pub requests_per_connection: u32,
    /// Connections in total. 0 means as many as the limit of open files allows, less 256 for everything else (half of
    /// them where there are fewer than 512) and less two for each of `upstream.requests`. No number exceeds that.
    pub connections: usize,
    /// Connections of one address (of an IPv6 address, its first 64 bits), and never more than half of all. 0 means any
    /// number.
    pub connections_per_address: u32,
    /// Requests a second of one address, on average; more get 429. 0 means any number.
    pub requests_per_second: u32,
    /// Requests that an address which was quiet before may make at once.
    pub request_burst: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            target_bytes: 8_192,
            header_bytes: 16_384,
            header_fields: 64,
            header_secs: 5,
            handshake_secs: 5,
            requests_per_connection: 100_000,
            connections: 0,
            connections_per_address: 256,
            requests_per_second: 0,
            request_burst: 1_000,
        }
    }
}

impl Section for Limits {
    fn rules(&self, _all: &Config, findings: &mut Findings) {
        findings.range("limits.target_bytes", self.target_bytes, 64..=65_536, "8192 is more than browsers send");
        findings.range("limits.header_bytes", self.header_bytes, 256..=262_144, "16384 is more than browsers send");
        findings.range("limits.header_fields", self.header_fields, 8..=256, "64 are more than browsers send");
        findings.range("limits.header_secs", self.header_secs, 1..=3_600, "5 is enough for the slowest network");
        findings.range(
            "limits.handshake_secs",
            self.handshake_secs,
            1..=3_600,
            "5 is enough for the slowest network",
        );
        if self.header_bytes < self.target_bytes {
            findings.error(
                "limits.header_bytes",
                "is less than `limits.target_bytes`, which is a part of it",
                "make it larger, such as 16384",
            );
        }
        if self.requests_per_second > 0 && self.request_burst == 0 {
            findings.error(
                "limits.request_burst",
                "is 0, so that every request would get 429",
                "write how many requests may come at once, such as 1000",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::fixture::each_is_an_error;

    #[test]
    fn limits_are_checked() {
        each_is_an_error(&[
            ("limits.target_bytes", "between 64 and 65536, is 1", |c| c.limits.target_bytes = 1),
            ("limits.header_bytes", "is 262145", |c| c.limits.header_bytes = 262_145),
            ("limits.header_bytes", "less than `limits.target_bytes`", |c| c.limits.header_bytes = 8_000),
            ("limits.header_fields", "is 0", |c| c.limits.header_fields = 0),
            ("limits.header_secs", "is 0", |c| c.limits.header_secs = 0),
            ("limits.handshake_secs", "is 3601", |c| c.limits.handshake_secs = 3_601),
            ("limits.request_burst", "429", |c| {
                c.limits.requests_per_second = 10;
                c.limits.request_burst = 0;
            }),
        ]);
    }
}
