//! `[tls]`: what is common to all TLS sockets.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Config, Section, findings::Findings, secret::is_open_to_all};

/// What is common to all TLS sockets.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// File with the secret of session tickets, 32 to 4096 bytes: edges that have the same one resume each other's
    /// sessions. Without it each machine has its own, in `capture.dir`, which is replaced when the machine starts.
    pub ticket_secret_file: Option<PathBuf>,
}

impl Section for Tls {
    fn rules(&self, _all: &Config, findings: &mut Findings) {
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
