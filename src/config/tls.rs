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
    /// Seconds between two looks at each `listeners.certificates_dir`, at most 86400. A change is read once it has
    /// lasted for two. 0 waits for SIGHUP.
    pub watch_secs: u64,
}

impl Default for Tls {
    fn default() -> Self {
        Self { ticket_secret_file: None, watch_secs: 10 }
    }
}

impl Section for Tls {
    fn rules(&self, _all: &Config, findings: &mut Findings) {
        findings.range("tls.watch_secs", self.watch_secs, 0..=86_400, "10 finds a renewed certificate soon enough");
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
    fn the_time_between_looks_is_checked() {
        each_is_an_error(&[("tls.watch_secs", "is 86401", |c| c.tls.watch_secs = 86_401)]);
    }
}
