//! `[[feeds]]`: which clicks go where, and how they are packed.

pub mod custom;
pub mod events;
pub mod nats;
mod place;
pub mod s3;
pub mod webhook;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Config, Section, findings::Findings};

pub use crate::event::Shape;
pub use custom::Custom;
pub use events::{Fields, Only};
pub use nats::Nats;
pub use s3::{Acl, AssumeRole, ChecksumCalculation, ConditionalWrites, Encryption, S3};
pub use webhook::Webhook;

/// Feeds of one edge at the most: events name theirs with 16 bits.
const MAX_FEEDS: usize = 65_535;

/// One customer delivery.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Feed {
    /// Name of the feed: 1 to 63 lower-case letters, digits and inner `-`; no other feed may have the same. It is part
    /// of the objects' keys and of metrics.
    pub name: String,
    /// Ids of the workspaces whose clicks go to this feed; `["*"]` means all of them.
    pub workspaces: Vec<String>,
    /// Which of these clicks go to this feed; absent, all of them. Counts and rollups always count all.
    #[serde(default)]
    pub only: Option<Only>,
    /// Shape of the events.
    #[serde(default)]
    pub shape: Shape,
    /// Format of the content of an object.
    #[serde(default)]
    pub format: Format,
    /// Order of the objects' keys.
    #[serde(default)]
    pub layout: Layout,
    /// Compression of objects.
    #[serde(default)]
    pub compression: Compression,
    /// Seconds after which the oldest waiting event makes an object, 1 to 3600, if the events are enough for
    /// `min_bytes`.
    #[serde(default = "default_max_age_secs")]
    pub max_age_secs: u64,
    /// Compressed size of an object, 1 KiB to 1 GiB. An object is made as soon as the waiting events are enough for it,
    /// and from 64 KiB on is within a tenth of that size.
    #[serde(default = "default_max_bytes")]
    pub max_bytes: u64,
    /// Compressed size below which events are held back until `hold_back_secs`, so that a small feed gets a few large
    /// objects instead of many small ones. It holds for what larger objects leave over, too. Smaller objects are made
    /// at the last stop, when the journal is three quarters full, at the end of an hour once the next hour has
    /// events for a whole object or has waited for `hold_back_secs`, and when clicks of two hours are mixed. At most
    /// `max_bytes`; the default also holds for a smaller `max_bytes`.
    #[serde(default = "default_min_bytes")]
    pub min_bytes: u64,
    /// Seconds that an event waits at most, up to 3600, however few there are. Less than `max_age_secs` holds nothing
    /// back.
    #[serde(default = "default_hold_back_secs")]
    pub hold_back_secs: u64,
    /// Seconds between two versions of an hour's manifest while objects are added to the hour, at most 86400; the last
    /// version follows soon after the end of the hour. A manifest lists keys, counts, bytes and checksums of the hour's
    /// objects; with it `clickedge feed verify` proves that nothing is missing. 0 writes none. Webhooks and streams get
    /// none.
    #[serde(default = "default_manifest_secs")]
    pub manifest_secs: u64,
    /// Whether the counts of each hour are delivered too, soon after its end, and again when clicks come late: clicks,
    /// humans, bots and sessions by link, domain, workspace, tag, creator, country, referrer, device, browser and
    /// operating system. Needs `stats.enabled`.
    #[serde(default)]
    pub rollups: bool,
    /// What the events of this feed leave out.
    #[serde(default)]
    pub fields: Fields,
    /// Where objects go.
    pub sink: Sink,
}

fn default_max_age_secs() -> u64 {
    60
}

fn default_max_bytes() -> u64 {
    16 << 20
}

fn default_min_bytes() -> u64 {
    64 << 10
}

fn default_hold_back_secs() -> u64 {
    300
}

fn default_manifest_secs() -> u64 {
    3600
}

/// Format of the content of an object.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One event a line.
    #[default]
    Ndjson,
    /// One array of events.
    Json,
    /// One object: `{"data": [...], "key": "..."}`, with the events and the object's own key; in the shape
    /// `clickstream` the key is the feed's name.
    Envelope,
}

/// Order of the objects' keys.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// By the hour of the clicks, in folders that table engines read as partitions.
    #[default]
    Hive,
    /// In the order of arrival, one folder for each edge, and uploaded in that order, one at a time: for loaders that
    /// remember the last key that they have read. The feed needs a folder or a prefix of its own.
    Sequence,
}

/// Compression of objects.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Compression {
    /// gzip, `level` from 1 (fast) to 9 (small). On x86-64 and aarch64 the levels 1 to 5 are the same, ISA-L's, which
    /// is several times faster than zlib-ng; 6 to 9 are those of zlib-ng. On other processors all are zlib-ng's.
    Gzip {
        /// 1 to 9.
        level: u32,
    },
    /// Zstandard, `level` from 1 (fast) to 19 (small).
    Zstd {
        /// 1 to 19.
        level: u32,
    },
    /// Not compressed.
    None,
}

impl Default for Compression {
    fn default() -> Self {
        Self::Gzip { level: 3 }
    }
}

/// Where objects go.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[allow(clippy::large_enum_variant, reason = "there is one for each feed, and they never move")]
pub enum Sink {
    /// A folder on this machine.
    Dir(Dir),
    /// A bucket of Amazon S3, or of a store with the same protocol.
    S3(S3),
    /// An HTTP endpoint that receives batches of events as signed `POST` requests, after the Standard Webhooks
    /// specification.
    Webhook(Webhook),
    /// A stream of NATS JetStream that receives each event as a message.
    Nats(Nats),
    /// A sink that the program around the pipeline provides. `clickedge serve` has none.
    Custom(Custom),
}

impl Sink {
    /// Objects that are delivered at a time.
    pub fn uploads(&self) -> usize {
        match self {
            Self::Dir(_) | Self::Nats(_) => 1,
            Self::S3(s3) => s3.uploads,
            Self::Webhook(webhook) => webhook.uploads,
            Self::Custom(custom) => custom.uploads,
        }
    }

    /// What the sink is, if it takes events alone, and no objects: it gets neither manifests nor rollups.
    pub fn takes_events_only(&self) -> Option<&'static str> {
        match self {
            Self::Dir(_) | Self::S3(_) | Self::Custom(_) => None,
            Self::Webhook(_) => Some("a webhook"),
            Self::Nats(_) => Some("a stream of NATS"),
        }
    }
}

/// A folder on this machine.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Dir {
    /// Path of the folder, created if it is missing.
    pub path: PathBuf,
}

impl Section for Vec<Feed> {
    fn rules(&self, all: &Config, findings: &mut Findings) {
        if self.is_empty() {
            findings.warning(
                "feeds",
                "is empty, so clicks are answered and their events go nowhere",
                "add a section `[[feeds]]`, see `clickedge generate config`",
            );
        }
        if self.len() > MAX_FEEDS {
            findings.error(
                "feeds",
                format!("has {} entries, more than {MAX_FEEDS}", self.len()),
                "spread them over several edges",
            );
        }
        place::rules(self, findings);
        let mut names = BTreeMap::new();
        for (i, feed) in self.iter().enumerate() {
            let key = format!("feeds[{i}]");
            feed.rules(&key, findings);
            if let Some(first) = names.get(feed.name.as_str()) {
                findings.error(
                    format!("{key}.name"),
                    format!("is {:?}, the same as `feeds[{first}].name`", feed.name),
                    "give each feed a name of its own",
                );
            } else {
                names.insert(feed.name.as_str(), i);
            }
            if feed.rollups && !all.stats.enabled {
                findings.error(
                    format!("{key}.rollups"),
                    "is true, and nothing is counted, as `stats.enabled` is false",
                    "set `stats.enabled = true`, or remove `rollups`",
                );
            }
        }
    }

    fn paths(&mut self) -> Vec<(String, &mut PathBuf)> {
        let mut paths = Vec::new();
        for (i, feed) in self.iter_mut().enumerate() {
            match &mut feed.sink {
                Sink::Dir(dir) => paths.push((format!("feeds[{i}].sink.dir.path"), &mut dir.path)),
                Sink::Custom(_) => {}
                Sink::S3(s3) => {
                    let key = format!("feeds[{i}].sink.s3.credentials_file");
                    paths.extend(s3.credentials_file.as_mut().map(|file| (key, file)));
                }
                Sink::Webhook(webhook) => {
                    let key = format!("feeds[{i}].sink.webhook");
                    let secrets = webhook.secret_files.iter_mut().enumerate();
                    paths.extend(secrets.map(|(j, file)| (format!("{key}.secret_files[{j}]"), file)));
                    paths.extend(webhook.ca_file.as_mut().map(|file| (format!("{key}.ca_file"), file)));
                }
                Sink::Nats(nats) => {
                    let key = format!("feeds[{i}].sink.nats");
                    let credentials = nats.credentials_file.as_mut();
                    paths.extend(credentials.map(|file| (format!("{key}.credentials_file"), file)));
                    paths.extend(nats.ca_file.as_mut().map(|file| (format!("{key}.ca_file"), file)));
                }
            }
        }
        paths
    }
}

impl Feed {
    /// A feed with the defaults of a configuration file. `workspaces` are ids, or `*` alone for all.
    pub fn new<W: Into<String>>(
        name: impl Into<String>,
        workspaces: impl IntoIterator<Item = W>,
        sink: Sink,
    ) -> Self {
        Self {
            name: name.into(),
            workspaces: workspaces.into_iter().map(Into::into).collect(),
            only: None,
            shape: Shape::default(),
            format: Format::default(),
            layout: Layout::default(),
            compression: Compression::default(),
            max_age_secs: default_max_age_secs(),
            max_bytes: default_max_bytes(),
            min_bytes: default_min_bytes(),
            hold_back_secs: default_hold_back_secs(),
            manifest_secs: default_manifest_secs(),
            rollups: false,
            fields: Fields::default(),
            sink,
        }
    }

    fn rules(&self, key: &str, findings: &mut Findings) {
        findings.name(format!("{key}.name"), &self.name, "all-clicks");
        workspaces(key, &self.workspaces, findings);
        self.fields.rules(key, findings);
        match self.compression {
            Compression::Gzip { level } => {
                let remedy = "1 is fast, 9 is small, 3 suits most";
                findings.range(format!("{key}.compression.gzip.level"), level, 1..=9, remedy);
            }
            Compression::Zstd { level } => {
                let remedy = "1 is fast, 19 is small, 3 suits most";
                findings.range(format!("{key}.compression.zstd.level"), level, 1..=19, remedy);
            }
            Compression::None => {}
        }
        findings.range(
            format!("{key}.max_age_secs"),
            self.max_age_secs,
            1..=3600,
            "write how many seconds an event may wait for its object, such as 60",
        );
        findings.range(
            format!("{key}.hold_back_secs"),
            self.hold_back_secs,
            0..=3600,
            "write how many seconds an event of a small feed may wait, such as 300",
        );
        findings.range(
            format!("{key}.max_bytes"),
            self.max_bytes,
            1 << 10..=1 << 30,
            "write how large an object may grow, such as 16777216 (16 MiB)",
        );
        // The default is not what the file says, and a smaller `max_bytes` bounds it.
        if self.min_bytes > self.max_bytes
            && self.min_bytes != default_min_bytes()
            && findings.knows(&format!("{key}.max_bytes"))
        {
            findings.error(
                format!("{key}.min_bytes"),
                format!("is {}, more than `{key}.max_bytes`, which is {}", self.min_bytes, self.max_bytes),
                "lower `min_bytes`, or raise `max_bytes`",
            );
        }
        findings.range(
            format!("{key}.manifest_secs"),
            self.manifest_secs,
            0..=86_400,
            "write how many seconds may pass between two versions of a manifest, such as 3600, or 0 for none",
        );
        if let Some(sink) = self.sink.takes_events_only()
            && self.rollups
        {
            findings.error(
                format!("{key}.rollups"),
                format!("is true, and the sink is {sink}, which takes events only"),
                "remove `rollups`, or add a feed into a folder or a bucket for them",
            );
        }
        match &self.sink {
            Sink::Dir(_) => {}
            Sink::S3(bucket) => bucket.rules(&format!("{key}.sink.s3"), findings),
            Sink::Webhook(webhook) => webhook.rules(&format!("{key}.sink.webhook"), findings),
            Sink::Nats(nats) => nats.rules(&format!("{key}.sink.nats"), findings),
            Sink::Custom(custom) => custom.rules(&format!("{key}.sink.custom"), findings),
        }
    }
}

fn workspaces(feed: &str, workspaces: &[String], findings: &mut Findings) {
    let key = format!("{feed}.workspaces");
    if workspaces.is_empty() {
        findings.error(
            key.as_str(),
            "is empty, so no click would ever go to this feed",
            "name workspaces by their ids, or write [\"*\"] for all of them",
        );
    }
    if workspaces.len() > 1 && workspaces.iter().any(|id| id == "*") {
        findings.error(key.as_str(), "mixes \"*\" with ids", "\"*\" means all of them: keep it alone, or remove it");
    }
    let mut seen = BTreeSet::new();
    for (i, id) in workspaces.iter().enumerate() {
        if id.is_empty() || id.chars().any(|c| c.is_control() || c.is_whitespace()) {
            findings.error(
                format!("{key}[{i}]"),
                format!("must be the id of a workspace, without spaces, is {id:?}"),
                "copy it from the catalog",
            );
        } else if !seen.insert(id) {
            findings.error(format!("{key}[{i}]"), format!("names {id:?} a second time"), "remove it");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fixture::{each_is_a_warning, each_is_an_error, sound};

    fn omit(config: &mut Config, path: &str) {
        config.feeds[0].fields.omit = vec![path.to_owned()];
    }

    #[test]
    fn feeds_are_checked() {
        each_is_an_error(&[
            ("feeds[0].name", "is \"All\"", |c| c.feeds[0].name = "All".into()),
            ("feeds[1].name", "the same as `feeds[0].name`", |c| c.feeds[1].name = "all-clicks".into()),
            ("feeds[1].workspaces", "is empty", |c| c.feeds[1].workspaces.clear()),
            ("feeds[1].workspaces", "mixes", |c| c.feeds[1].workspaces.push("*".into())),
            ("feeds[1].workspaces[1]", "is \"a b\"", |c| c.feeds[1].workspaces[1] = "a b".into()),
            ("feeds[1].workspaces[1]", "a second time", |c| c.feeds[1].workspaces[1] = "ws_1".into()),
            ("feeds[0].compression.gzip.level", "between 1 and 9, is 0", |c| {
                c.feeds[0].compression = Compression::Gzip { level: 0 };
            }),
            ("feeds[0].compression.zstd.level", "between 1 and 19, is 20", |c| {
                c.feeds[0].compression = Compression::Zstd { level: 20 };
            }),
            ("feeds[0].max_age_secs", "between 1 and 3600, is 0", |c| c.feeds[0].max_age_secs = 0),
            ("feeds[0].hold_back_secs", "between 0 and 3600, is 3601", |c| c.feeds[0].hold_back_secs = 3601),
            ("feeds[0].manifest_secs", "between 0 and 86400", |c| c.feeds[0].manifest_secs = 86_401),
            ("feeds[0].max_bytes", "is 1023", |c| c.feeds[0].max_bytes = 1023),
            ("feeds[0].max_bytes", "is 1073741825", |c| c.feeds[0].max_bytes = (1 << 30) + 1),
            ("feeds[0].min_bytes", "is 1025, more than `feeds[0].max_bytes`, which is 1024", |c| {
                (c.feeds[0].min_bytes, c.feeds[0].max_bytes) = (1025, 1024);
            }),
            ("feeds[1].rollups", "`stats.enabled` is false", |c| {
                c.stats.enabled = false;
                c.feeds[1].rollups = true;
            }),
            ("feeds[0].fields.omit[0]", "every event has `id`", |c| omit(c, "id")),
            ("feeds[0].fields.omit[0]", "every `client.session` has", |c| omit(c, "client.session.first")),
            ("feeds[0].fields.omit[0]", "several fields end so", |c| omit(c, "params")),
            ("feeds[0].fields.omit[0]", "no such field", |c| omit(c, "client.locaton")),
            ("feeds[0].sink.dir.path", "is empty", |c| {
                c.feeds[0].sink = Sink::Dir(Dir { path: "".into() });
            }),
        ]);
        each_is_a_warning(&[("feeds", "go nowhere", |c| c.feeds.clear())]);
        let mut small = sound();
        small.feeds[0].max_bytes = 4_096;
        assert_eq!(small.problems(), [], "the default of `min_bytes` is larger");
    }
}
