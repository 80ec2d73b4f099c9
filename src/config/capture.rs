//! `[capture]`: the rings in memory between the redirect and the workers.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Config, Section, admin, findings::Findings};

/// The rings in memory between the redirect and the workers.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Capture {
    /// Folder of the rings, created with mode 0700. It must be on a tmpfs: memory that outlives this process and never
    /// reaches a disk. There, a click whose redirect was answered survives a crash of the process. At most 95 bytes,
    /// because of the Unix sockets in it.
    pub dir: PathBuf,
    /// Bytes of all rings together, allocated at the start; 1 MiB to 1 TiB. A click needs about 1 kB until it is in the
    /// journal. Each pair of a listener thread and a worker has a ring of at least 1 MiB. While a ring is full the
    /// redirect is still answered, and the click is counted as dropped (`ring_full`).
    pub ring_bytes: u64,
}

impl Default for Capture {
    fn default() -> Self {
        Self { dir: "/run/clickedge".into(), ring_bytes: 128 << 20 }
    }
}

impl Section for Capture {
    fn rules(&self, _all: &Config, findings: &mut Findings) {
        if !admin::fits(&self.dir.join("admin.sock")) {
            findings.warning(
                "capture.dir",
                format!(
                    "has {} bytes, too many for the Unix sockets in it, by which `clickedge` commands reach the edge",
                    self.dir.as_os_str().len()
                ),
                "name a folder of at most 95 bytes, such as `/run/clickedge`",
            );
        }
        findings.range(
            "capture.ring_bytes",
            self.ring_bytes,
            1 << 20..=1 << 40,
            "134217728 (128 MiB) suits most edges",
        );
    }

    fn paths(&mut self) -> Vec<(String, &mut PathBuf)> {
        vec![("capture.dir".to_owned(), &mut self.dir)]
    }
}

#[cfg(test)]
mod tests {
    use crate::config::fixture::{each_is_a_warning, each_is_an_error};

    #[test]
    fn folder_and_size_are_checked() {
        each_is_an_error(&[
            ("capture.dir", "is empty", |c| c.capture.dir.clear()),
            ("capture.ring_bytes", "between 1048576 and", |c| c.capture.ring_bytes = (1 << 20) - 1),
        ]);
        each_is_a_warning(&[("capture.dir", "has 96 bytes", |c| c.capture.dir = "x".repeat(96).into())]);
    }
}
