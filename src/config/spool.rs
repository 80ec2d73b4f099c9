//! `[spool]`: local durable storage between enrichment and delivery.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Config, Section, findings::Findings};

/// Least spool, in bytes: below it every short outage of a bucket loses clicks.
const MIN_BYTES: u64 = 1 << 20;
/// Least journal, in bytes: a few segments.
const MIN_JOURNAL_BYTES: u64 = 16 << 20;

/// Local durable storage between enrichment and delivery.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Spool {
    /// Folder of the spool, created with mode 0700. It must be on a disk that survives a restart.
    pub dir: PathBuf,
    /// Bytes of finished objects that may wait here; at least 1 MiB and one object of each feed. Beyond it a feed that
    /// has more than its equal share waiting loses new events, which are counted (`spool_quota`); other feeds lose
    /// none.
    pub max_bytes: u64,
    /// Bytes of the journal, in which events wait until every feed has packed its part; at least 16 MiB. While it is
    /// full the workers wait, and the rings fill up.
    pub journal_max_bytes: u64,
    /// Milliseconds between two fsyncs of the journal, 1 to 10000: the clicks that a loss of power may lose. A crash of
    /// the process loses none.
    pub sync_interval_millis: u64,
    /// Seconds that delivered objects are kept for `clickedge spool replay`, at most 31536000. They are removed earlier
    /// when the spool needs the space. 0 keeps none.
    pub retain_secs: u64,
}

impl Default for Spool {
    fn default() -> Self {
        Self {
            dir: "/var/lib/clickedge/spool".into(),
            max_bytes: 20 << 30,
            journal_max_bytes: 4 << 30,
            sync_interval_millis: 100,
            retain_secs: 86_400,
        }
    }
}

impl Section for Spool {
    fn rules(&self, all: &Config, findings: &mut Findings) {
        let is_capture_dir = self.dir == all.capture.dir && !self.dir.as_os_str().is_empty();
        if is_capture_dir && findings.knows("capture.dir") {
            findings.error(
                "spool.dir",
                "is the same folder as `capture.dir`",
                "the spool lies on a disk and the rings in memory: give each a folder of its own",
            );
        }
        self.size(all, findings);
        findings.range(
            "spool.journal_max_bytes",
            self.journal_max_bytes,
            MIN_JOURNAL_BYTES..=1 << 50,
            "give it space for the longest `hold_back_secs`, such as 4294967296 (4 GiB)",
        );
        findings.range(
            "spool.sync_interval_millis",
            self.sync_interval_millis,
            1..=10_000,
            "write how many milliseconds of clicks a loss of power may lose, such as 100",
        );
        findings.range(
            "spool.retain_secs",
            self.retain_secs,
            0..=31_536_000,
            "write how long delivered objects are kept for a replay, such as 86400",
        );
    }

    fn paths(&mut self) -> Vec<(String, &mut PathBuf)> {
        vec![("spool.dir".to_owned(), &mut self.dir)]
    }
}

impl Spool {
    fn size(&self, all: &Config, findings: &mut Findings) {
        let spool = self.max_bytes;
        let feeds = all.feeds.iter().enumerate();
        let known = feeds.filter(|(i, _)| findings.knows(&format!("feeds[{i}].max_bytes"))).map(|(_, feed)| feed);
        let largest = known.max_by_key(|feed| feed.max_bytes);
        if spool < MIN_BYTES {
            findings.error(
                "spool.max_bytes",
                format!("must be at least {MIN_BYTES} (1 MiB), is {spool}"),
                "give it space for the longest outage to bridge, such as 21474836480 (20 GiB)",
            );
        } else if let Some(feed) = largest.filter(|feed| feed.max_bytes > spool) {
            findings.error(
                "spool.max_bytes",
                format!("is {spool}, less than one object of feed {:?} ({})", feed.name, feed.max_bytes),
                "raise it, or lower `max_bytes` of that feed",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::fixture::each_is_an_error;

    #[test]
    fn folder_sizes_and_times_are_checked() {
        each_is_an_error(&[
            ("spool.dir", "is empty", |c| c.spool.dir.clear()),
            ("spool.dir", "the same folder as `capture.dir`", |c| c.spool.dir = c.capture.dir.clone()),
            ("spool.journal_max_bytes", "between 16777216 and", |c| c.spool.journal_max_bytes = 1),
            ("spool.sync_interval_millis", "between 1 and 10000, is 0", |c| c.spool.sync_interval_millis = 0),
            ("spool.retain_secs", "between 0 and 31536000", |c| c.spool.retain_secs = 31_536_001),
            ("spool.max_bytes", "at least 1048576 (1 MiB), is 1048575", |c| c.spool.max_bytes = (1 << 20) - 1),
            ("spool.max_bytes", "is 2097152, less than one object of feed \"brand-1\" (4194304)", |c| {
                c.spool.max_bytes = 2 << 20;
                c.feeds[0].max_bytes = 1 << 20;
                c.feeds[1].max_bytes = 4 << 20;
            }),
        ]);
    }
}
