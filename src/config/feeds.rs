//! Feeds: which clicks go where, and how they are packed.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One customer delivery.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Feed {
    /// Name of the feed: lower-case letters, digits and `-`. It stands in the objects' keys and in metrics.
    pub name: String,
    /// Ids of the workspaces whose clicks go to this feed; `["*"]` means all of them.
    pub workspaces: Vec<String>,
    /// What an object looks like inside.
    #[serde(default)]
    pub format: Format,
    /// How objects are compressed.
    #[serde(default)]
    pub compression: Compression,
    /// An object is made when its oldest event has waited for this many seconds.
    #[serde(default = "default_max_age_secs")]
    pub max_age_secs: u64,
    /// An object is made when there are events for this many bytes, compressed.
    #[serde(default = "default_max_bytes")]
    pub max_bytes: u64,
    /// Events for fewer bytes than this, compressed, are held back until `hold_back_secs`, so that a small feed gets
    /// a few objects worth opening.
    #[serde(default = "default_min_bytes")]
    pub min_bytes: u64,
    /// Seconds that the oldest event of a small feed waits at the most. Less than `max_age_secs` holds nothing back.
    #[serde(default = "default_hold_back_secs")]
    pub hold_back_secs: u64,
    /// Seconds between two versions of an hour's manifest while objects are added to the hour; the last one follows
    /// soon after its end. A manifest lists keys, counts, bytes and checksums of the hour's objects, and
    /// `clickedge feed verify` proves with it that nothing is missing. 0 writes none.
    #[serde(default = "default_manifest_secs")]
    pub manifest_secs: u64,
    /// Deliver the counts of each hour, too, soon after its end, and once more when clicks come late: clicks, humans,
    /// bots and sessions by link, domain, workspace, tag, creator, country, referrer, device, browser and operating
    /// system. Needs `stats.enabled`.
    #[serde(default)]
    pub rollups: bool,
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

/// What an object looks like inside.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One event a line.
    #[default]
    Ndjson,
    /// One array of events.
    Json,
    /// One object: `{"data": [...], "key": "..."}`, with the events and the object's own key.
    Envelope,
}

/// How objects are compressed.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Compression {
    /// gzip, `level` from 1 (fast) to 9 (small).
    Gzip {
        /// 1 to 9.
        level: u32,
    },
    /// Zstandard, `level` from 1 (fast) to 19 (small).
    Zstd {
        /// 1 to 19.
        level: u32,
    },
    /// As it is.
    None,
}

impl Default for Compression {
    fn default() -> Self {
        Self::Gzip { level: 3 }
    }
}

/// Where objects go.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[allow(clippy::large_enum_variant, reason = "there is one for each feed, and they never move")]
pub enum Sink {
    /// A folder on this machine.
    Dir(Dir),
    /// A bucket of Amazon S3, or of a store that speaks its protocol.
    S3(S3),
}

/// A folder on this machine.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Dir {
    /// The folder; made if it is missing.
    pub path: PathBuf,
}

/// A bucket of Amazon S3, or of a store that speaks its protocol.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct S3 {
    /// Name of the bucket.
    pub bucket: String,
    /// Start of every key, without a slash at its ends. Empty means none.
    #[serde(default)]
    pub prefix: String,
    /// Region of the bucket, `eu-west-1`. Stores other than Amazon's take any value.
    pub region: String,
    /// Base address of a store other than Amazon's, `https://minio.example.com:9000`.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Put the bucket into the path instead of the host name. Most stores other than Amazon's want it.
    #[serde(default)]
    pub path_style: bool,
    /// File with static keys, in the format of `~/.aws/credentials`. Without it (and without `profile`) the default
    /// chain serves: environment, shared files, web identity, container, instance.
    #[serde(default)]
    pub credentials_file: Option<PathBuf>,
    /// Profile in `credentials_file`, or in the shared files of the default chain.
    #[serde(default)]
    pub profile: Option<String>,
    /// Role of the customer's account to take on with those credentials.
    #[serde(default)]
    pub assume_role: Option<AssumeRole>,
    /// Server-side encryption that the objects ask for.
    #[serde(default)]
    pub encryption: Option<Encryption>,
    /// Seconds to connect.
    #[serde(default = "default_connect_secs")]
    pub connect_timeout_secs: u64,
    /// Seconds for the store to begin its answer.
    #[serde(default = "default_read_secs")]
    pub read_timeout_secs: u64,
    /// Seconds for one upload, from first byte to answer.
    #[serde(default = "default_attempt_secs")]
    pub attempt_timeout_secs: u64,
    /// Seconds for an upload and everything that it needs, such as getting credentials.
    #[serde(default = "default_operation_secs")]
    pub operation_timeout_secs: u64,
    /// Uploads at a time. It shrinks to one while the store asks to slow down, and grows again.
    #[serde(default = "default_uploads")]
    pub uploads: usize,
    /// When the client adds a checksum (CRC32) to an upload. Some stores other than Amazon's refuse them.
    #[serde(default)]
    pub request_checksum_calculation: ChecksumCalculation,
}

/// When the client adds a checksum to an upload.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChecksumCalculation {
    /// Always.
    #[default]
    WhenSupported,
    /// Never, as nothing that is sent requires one.
    WhenRequired,
}

fn default_read_secs() -> u64 {
    30
}

fn default_operation_secs() -> u64 {
    90
}

fn default_uploads() -> usize {
    4
}

fn default_connect_secs() -> u64 {
    5
}

fn default_attempt_secs() -> u64 {
    60
}

/// A role of the customer's account.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AssumeRole {
    /// Resource name of the role, `arn:aws:iam::123456789012:role/clicks`.
    pub role_arn: String,
    /// External id that the customer's trust policy asks for.
    #[serde(default)]
    pub external_id: Option<String>,
    /// Base address of the token service, for stores other than Amazon's.
    #[serde(default)]
    pub sts_endpoint: Option<String>,
}

/// Server-side encryption.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Encryption {
    /// Keys that the store keeps (`AES256`).
    S3Managed,
    /// A key of the key management service (`aws:kms`).
    Kms {
        /// Id, name or resource name of the key; without it the bucket's default key.
        #[serde(default)]
        key_id: Option<String>,
    },
}
