//! `[tls]`: what is common to all TLS sockets.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Config, Section, findings::Findings, secret::is_open_to_all};

/// What is common to all TLS sockets.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// File with the secret of session tickets, 32 to 4096 bytes: edges that have the same one resume each other's
    /// sessions. Without it each machine has its own, in `capture.dir`, which is replaced when the machine starts. Read
    /// again on SIGHUP; tickets of the previous secret stay good for their time.
    pub ticket_secret_file: Option<PathBuf>,
    /// Groups of the key exchange, in the order of preference. `"x25519mlkem768"` before the others protects recorded
    /// connections from quantum computers, for clients that know it.
    pub key_exchange: Vec<KeyExchange>,
    /// Seconds between two looks at each `listeners.certificates_dir`, at most 86400. A change is read once it has
    /// lasted for two. 0 waits for SIGHUP.
    pub watch_secs: u64,
}

/// A group of the key exchange.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyExchange {
    X25519,
    /// X25519 together with ML-KEM-768, TLS 1.3 only.
    X25519Mlkem768,
    /// NIST P-256.
    Secp256r1,
    /// NIST P-384.
    Secp384r1,
}

impl Default for Tls {
    fn default() -> Self {
        use KeyExchange::{Secp256r1, Secp384r1, X25519};
        Self { ticket_secret_file: None, key_exchange: vec![X25519, Secp256r1, Secp384r1], watch_secs: 10 }
    }
}

impl Section for Tls {
    fn rules(&self, _all: &Config, findings: &mut Findings) {
        findings.range("tls.watch_secs", self.watch_secs, 0..=86_400, "10 finds a renewed certificate soon enough");
        if self.key_exchange.iter().all(|group| *group == KeyExchange::X25519Mlkem768) {
            findings.error(
                "tls.key_exchange",
                "names no group that all clients know",
                "add \"x25519\" and \"secp256r1\": TLS 1.2 and older clients know nothing else",
            );
        }
        if let Some(file) = &self.ticket_secret_file
            && is_open_to_all(file)
        {
            findings.warning(
                "tls.ticket_secret_file",
                "names a file that any user of this machine may read",
                "chmod 600 it: who has the secret can decrypt recorded connections",
            );
        }
    }

    fn paths(&mut self) -> Vec<(String, &mut PathBuf)> {
        self.ticket_secret_file.iter_mut().map(|file| ("tls.ticket_secret_file".to_owned(), file)).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::config::fixture::each_is_an_error;

    #[test]
    fn the_section_is_checked() {
        each_is_an_error(&[
            ("tls.watch_secs", "is 86401", |c| c.tls.watch_secs = 86_401),
            ("tls.key_exchange", "no group that all clients know", |c| c.tls.key_exchange.clear()),
            ("tls.key_exchange", "no group", |c| c.tls.key_exchange = vec![super::KeyExchange::X25519Mlkem768]),
        ]);
    }
}
