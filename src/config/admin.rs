//! `[admin]`: the listener for operators.

use std::{net::SocketAddr, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Config, Section, findings::Findings, listeners::sockets};

/// A state in which clicks are answered, and may be lost if it lasts.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Degraded {
    /// The disk does not accept the journal or objects; clicks wait in the rings.
    SpoolStalled,
    /// A ring is nine tenths full, or more: clicks of a full one are dropped.
    RingsFull,
}

impl Degraded {
    /// Its name, as in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::SpoolStalled => "spool_stalled",
            Self::RingsFull => "rings_full",
        }
    }
}

/// The listener for operators.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// IP address and port of `/metrics`, `/livez`, `/readyz`, `/v1/stats/`, `/v1/feeds/`, `/v1/reload`, `/v1/links`
    /// and `/v1/domains/`. No listener may have the same.
    pub address: SocketAddr,
    /// States in which `/readyz` answers 503, so that load balancers send clicks elsewhere: `spool_stalled`,
    /// `rings_full`. In the others it answers 200 and names them.
    pub not_ready_when: Vec<Degraded>,
    /// Tokens of programs that read and change links and domains through this listener, `/v1/links` and `/v1/domains/`:
    /// a file with a line for each, `NAME SHA256 WORKSPACE,...` or `NAME SHA256 *`, and `read` behind it for a token
    /// that changes nothing. `clickedge catalog token NAME` makes a token and its line. Without the file, these routes
    /// answer 403. The file is read again at a reload.
    pub tokens_file: Option<PathBuf>,
}

impl Default for Admin {
    fn default() -> Self {
        Self { address: SocketAddr::from(([127, 0, 0, 1], 9180)), not_ready_when: Vec::new(), tokens_file: None }
    }
}

impl Section for Admin {
    fn rules(&self, all: &Config, findings: &mut Findings) {
        findings.socket("admin.address", self.address, sockets(&all.listeners));
    }

    fn paths(&mut self) -> Vec<(String, &mut PathBuf)> {
        self.tokens_file.iter_mut().map(|file| ("admin.tokens_file".to_owned(), file)).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::config::fixture::each_is_an_error;

    #[test]
    fn the_address_is_checked() {
        each_is_an_error(&[
            ("admin.address", "port 0", |c| c.admin.address.set_port(0)),
            ("admin.address", "is [::]:443, which `listeners[1].address` already uses", |c| {
                c.admin.address = c.listeners[1].address;
            }),
        ]);
    }
}
