//! `[upstream]`: the server behind this edge.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Config, Section,
    findings::{Findings, is_host_name},
    listeners::sockets,
};

/// Where requests go whose host is not a branded domain.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// IP address and port. It must not be a listener of this edge.
    pub address: SocketAddr,
    /// Whether to connect with TLS.
    #[serde(default)]
    pub tls: bool,
    /// Server name for TLS. Without it the host of the request is used.
    #[serde(default)]
    pub server_name: Option<String>,
    /// Seconds for a connection to be made, TLS included, at most 3600.
    #[serde(default = "connect_secs")]
    pub connect_secs: u64,
    /// Seconds without a byte from the upstream after which a request gets 502, at most 3600.
    #[serde(default = "response_secs")]
    pub response_secs: u64,
    /// Seconds that an idle connection is kept for the next request, at most 3600.
    #[serde(default = "idle_secs")]
    pub idle_secs: u64,
    /// Requests to the upstream at a time; more get 503, so that a slow upstream cannot use up what redirects need.
    /// Each takes two open files, and together they take at most half of what `limits.connections` could have.
    #[serde(default = "requests")]
    pub requests: usize,
}

fn connect_secs() -> u64 {
    2
}

fn response_secs() -> u64 {
    10
}

fn idle_secs() -> u64 {
    60
}

fn requests() -> usize {
    256
}

impl Section for Option<Upstream> {
    fn rules(&self, all: &Config, findings: &mut Findings) {
        let Some(upstream) = self else { return };
        if upstream.address.port() == 0 {
            findings.error("upstream.address", "has port 0, which nothing listens on", "name the port");
        } else if let Some((other, _)) = sockets(&all.listeners).find(|(_, address)| *address == upstream.address) {
            findings.error(
                "upstream.address",
                format!("is {}, the same as `{other}`: requests would go in circles", upstream.address),
                "name the server behind this edge",
            );
        }
        for (key, value) in [
            ("upstream.connect_secs", upstream.connect_secs),
            ("upstream.response_secs", upstream.response_secs),
            ("upstream.idle_secs", upstream.idle_secs),
        ] {
            findings.range(key, value, 1..=3_600, "remove it for the default");
        }
        findings.range("upstream.requests", upstream.requests, 1..=1_000_000, "remove it for the default");
        let Some(name) = &upstream.server_name else { return };
        if !upstream.tls && findings.knows("upstream.tls") {
            findings.warning(
                "upstream.server_name",
                "has no effect while `upstream.tls` is false",
                "set `tls = true`, or remove it",
            );
        }
        if !is_host_name(name) {
            findings.error("upstream.server_name", "is not a host name", "write it like `www.example.com`");
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::fixture::{each_is_a_warning, each_is_an_error};

    #[test]
    fn address_and_server_name_are_checked() {
        each_is_an_error(&[
            ("upstream.address", "port 0", |c| c.upstream.as_mut().unwrap().address.set_port(0)),
            ("upstream.address", "in circles", |c| {
                c.upstream.as_mut().unwrap().address = c.listeners[0].address;
            }),
            ("upstream.connect_secs", "is 0", |c| c.upstream.as_mut().unwrap().connect_secs = 0),
            ("upstream.requests", "is 0", |c| c.upstream.as_mut().unwrap().requests = 0),
            ("upstream.server_name", "not a host name", |c| {
                c.upstream.as_mut().unwrap().server_name = Some("https://x".into());
            }),
        ]);
        each_is_a_warning(&[("upstream.server_name", "no effect", |c| c.upstream.as_mut().unwrap().tls = false)]);
    }
}
