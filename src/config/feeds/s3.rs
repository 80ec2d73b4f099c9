//! A feed's bucket: of Amazon S3, or of a store with the same protocol.

mod options;

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

pub use options::{Acl, ConditionalWrites};

use crate::config::findings::Findings;

/// A bucket of Amazon S3, or of a store with the same protocol.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct S3 {
    /// Name of the bucket.
    pub bucket: String,
    /// Prefix of every key, without a slash at its ends, at most 512 bytes. Empty means none.
    #[serde(default)]
    pub prefix: String,
    /// Region of the bucket, `eu-west-1`. Stores other than Amazon's accept any value.
    pub region: String,
    /// Base URL of a store other than Amazon's, `https://minio.example.com:9000`.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Whether the bucket is part of the path instead of the host name. Most stores other than Amazon's need it.
    #[serde(default)]
    pub path_style: bool,
    /// File with static credentials, in the format of `~/.aws/credentials`. Without it (and without `profile`) they
    /// come from the default chain: environment, shared files, web identity, container, instance.
    #[serde(default)]
    pub credentials_file: Option<PathBuf>,
    /// Profile in `credentials_file`, or in the shared files of the default chain.
    #[serde(default)]
    pub profile: Option<String>,
    /// Role of the customer's account that is assumed with those credentials.
    #[serde(default)]
    pub assume_role: Option<AssumeRole>,
    /// Server-side encryption that uploads request.
    #[serde(default)]
    pub encryption: Option<Encryption>,
    /// Canned access control list that uploads request. Needs `s3:PutObjectAcl`. Without it the bucket decides.
    #[serde(default)]
    pub acl: Option<Acl>,
    /// Storage class that uploads request, such as `STANDARD_IA`. Without it the bucket decides.
    #[serde(default)]
    pub storage_class: Option<String>,
    /// Tags of each object, at most 10. Need `s3:PutObjectTagging`.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Account that owns the bucket, 12 digits. The store rejects requests when it is another one.
    #[serde(default)]
    pub expected_bucket_owner: Option<String>,
    /// Whether the store must support uploads that never replace an object.
    #[serde(default)]
    pub conditional_writes: ConditionalWrites,
    /// Seconds to connect, 1 to 600.
    #[serde(default = "default_connect_secs")]
    pub connect_timeout_secs: u64,
    /// Seconds until the first byte of the store's answer, 1 to 600.
    #[serde(default = "default_read_secs")]
    pub read_timeout_secs: u64,
    /// Seconds for one upload attempt, from its first byte to the answer, 1 to 600.
    #[serde(default = "default_attempt_secs")]
    pub attempt_timeout_secs: u64,
    /// Seconds for an upload with its retries and everything that it needs, such as credentials, 1 to 1200.
    #[serde(default = "default_operation_secs")]
    pub operation_timeout_secs: u64,
    /// Number of concurrent uploads of events, 1 to 64. It falls to one while the store asks to slow down, and rises
    /// again. A manifest or rollup goes next to them.
    #[serde(default = "default_uploads")]
    pub uploads: usize,
    /// When the client adds a checksum (CRC32) to an upload. Some stores other than Amazon's reject it.
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
    /// Never: no request that clickedge sends requires one.
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
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AssumeRole {
    /// ARN of the role, `arn:aws:iam::123456789012:role/clicks`.
    pub role_arn: String,
    /// External id that the customer's trust policy requires.
    #[serde(default)]
    pub external_id: Option<String>,
    /// Base URL of the token service, for stores other than Amazon's.
    #[serde(default)]
    pub sts_endpoint: Option<String>,
}

/// Server-side encryption.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Encryption {
    /// With keys that the store manages (`AES256`).
    S3Managed,
    /// With a key of the key management service (`aws:kms`).
    Kms {
        /// Id, alias or ARN of the key; without it the bucket's default key.
        #[serde(default)]
        key_id: Option<String>,
    },
}

impl S3 {
    /// `key` is the path of this bucket.
    pub(in crate::config) fn rules(&self, key: &str, findings: &mut Findings) {
        if !is_bucket(&self.bucket) {
            findings.error(
                format!("{key}.bucket"),
                format!(
                    "must be 3 to 63 lower-case letters, digits, `-` and single `.`, with a letter or digit at both ends, \
                     and not an IP address, is {:?}",
                    self.bucket
                ),
                "write the name of the bucket alone, without `s3://`",
            );
        }
        prefix(key, &self.prefix, findings);
        if self.region.is_empty() || !self.region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        {
            findings.error(
                format!("{key}.region"),
                format!("must be letters, digits and `-`, is {:?}", self.region),
                "write it like `eu-west-1`",
            );
        }
        if let Some(endpoint) = &self.endpoint {
            base_url(format!("{key}.endpoint"), endpoint, findings);
        }
        if self.profile.as_ref().is_some_and(|profile| profile.trim().is_empty()) {
            findings.error(format!("{key}.profile"), "is empty", "name a profile, or remove the key");
        }
        if let Some(role) = &self.assume_role {
            assume_role(&format!("{key}.assume_role"), role, findings);
        }
        if let Some(Encryption::Kms { key_id: Some(id) }) = &self.encryption
            && (id.is_empty() || id.chars().any(|c| c.is_control() || c.is_whitespace()))
        {
            findings.error(
                format!("{key}.encryption.kms.key_id"),
                format!("must be the id, alias or ARN of a key, is {id:?}"),
                "leave it out to use the default key of the bucket",
            );
        }
        options::rules(self, key, findings);
        let connect = self.connect_timeout_secs;
        findings.range(format!("{key}.connect_timeout_secs"), connect, 1..=600, "5 suits most networks");
        let read = self.read_timeout_secs;
        findings.range(format!("{key}.read_timeout_secs"), read, 1..=600, "30 suits most networks");
        let attempt = self.attempt_timeout_secs;
        findings.range(format!("{key}.attempt_timeout_secs"), attempt, 1..=600, "60 suits most networks");
        let operation = self.operation_timeout_secs;
        findings.range(format!("{key}.operation_timeout_secs"), operation, 1..=1200, "90 suits most networks");
        findings.range(format!("{key}.uploads"), self.uploads, 1..=64, "4 suits most buckets");
    }
}

fn prefix(key: &str, prefix: &str, findings: &mut Findings) {
    let problem = if prefix.starts_with('/') || prefix.ends_with('/') {
        "has a slash at one of its ends"
    } else if prefix.contains("//") {
        "has an empty part (`//`)"
    } else if prefix.split('/').any(|part| part == "." || part == "..") {
        "has a part `.` or `..`, which many tools cannot read back"
    } else if prefix.chars().any(char::is_control) {
        "has a control character"
    } else if prefix.len() > 512 {
        "is longer than 512 bytes"
    } else {
        return;
    };
    findings.error(format!("{key}.prefix"), format!("{problem}: {prefix:?}"), "write it like `clicks/brand`");
}

fn assume_role(key: &str, role: &AssumeRole, findings: &mut Findings) {
    if !is_role_arn(&role.role_arn) {
        findings.error(
            format!("{key}.role_arn"),
            format!("must be the ARN of a role, is {:?}", role.role_arn),
            "write it like `arn:aws:iam::123456789012:role/clicks`",
        );
    }
    if let Some(id) = &role.external_id
        && !((2..=1224).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@:/-".contains(&b)))
    {
        findings.error(
            format!("{key}.external_id"),
            "must be 2 to 1224 letters, digits and any of `_+=,.@:/-`",
            "copy it from the customer's trust policy",
        );
    }
    if let Some(endpoint) = &role.sts_endpoint {
        base_url(format!("{key}.sts_endpoint"), endpoint, findings);
    }
}

/// The URL may contain a password by mistake, so a message repeats its scheme only.
fn base_url(key: String, value: &str, findings: &mut Findings) {
    let example = "write it like `https://minio.example.com:9000`";
    let Ok(url) = Url::parse(value) else {
        return findings.error(key, "is not a URL with scheme and host", example);
    };
    if !matches!(url.scheme(), "http" | "https") {
        findings.error(key, format!("must begin with https:// or http://, not {}:", url.scheme()), example);
    } else if !url.username().is_empty() || url.password().is_some() {
        findings.error(key, "contains a user name or password", "put credentials into `credentials_file`");
    } else if url.query().is_some() || url.fragment().is_some() {
        findings.error(key, "has a query or a fragment", example);
    }
}

fn is_bucket(name: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = name.as_bytes();
    (3..=63).contains(&bytes.len())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-".contains(b))
        && edge(bytes.first())
        && edge(bytes.last())
        && !name.contains("..")
        && name.parse::<std::net::Ipv4Addr>().is_err()
}

/// `arn:aws:iam::123456789012:role/clicks`; other stores leave the account out.
fn is_role_arn(arn: &str) -> bool {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", partition, "iam", _, account, resource] = parts[..] else {
        return false;
    };
    let account_fits = if partition.starts_with("aws") {
        account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit())
    } else {
        account.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    !partition.is_empty()
        && account_fits
        && resource.strip_prefix("role/").is_some_and(|role| !role.is_empty())
        && !arn.chars().any(|c| c.is_control() || c.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{
        Config, Sink,
        fixture::{each_is_an_error, sound},
    };

    fn bucket(config: &mut Config) -> &mut S3 {
        let Sink::S3(s3) = &mut config.feeds[1].sink else { panic!("the second feed goes to a bucket") };
        s3
    }

    fn role(config: &mut Config) -> &mut AssumeRole {
        bucket(config).assume_role.as_mut().unwrap()
    }

    #[test]
    fn buckets_are_checked() {
        each_is_an_error(&[
            ("feeds[1].sink.s3.bucket", "is \"ab\"", |c| bucket(c).bucket = "ab".into()),
            ("feeds[1].sink.s3.bucket", "is \"s3://clicks\"", |c| bucket(c).bucket = "s3://clicks".into()),
            ("feeds[1].sink.s3.bucket", "is \"Clicks\"", |c| bucket(c).bucket = "Clicks".into()),
            ("feeds[1].sink.s3.bucket", "is \"a..b\"", |c| bucket(c).bucket = "a..b".into()),
            ("feeds[1].sink.s3.bucket", "is \"10.0.0.1\"", |c| bucket(c).bucket = "10.0.0.1".into()),
            ("feeds[1].sink.s3.bucket", "is \"clicks-\"", |c| bucket(c).bucket = "clicks-".into()),
            ("feeds[1].sink.s3.prefix", "slash", |c| bucket(c).prefix = "/a".into()),
            ("feeds[1].sink.s3.prefix", "slash", |c| bucket(c).prefix = "a/".into()),
            ("feeds[1].sink.s3.prefix", "empty part", |c| bucket(c).prefix = "a//b".into()),
            ("feeds[1].sink.s3.prefix", "`..`", |c| bucket(c).prefix = "a/../b".into()),
            ("feeds[1].sink.s3.prefix", "control character: \"a\\nb\"", |c| bucket(c).prefix = "a\nb".into()),
            ("feeds[1].sink.s3.prefix", "512", |c| bucket(c).prefix = "a".repeat(513)),
            ("feeds[1].sink.s3.region", "is \"\"", |c| bucket(c).region.clear()),
            ("feeds[1].sink.s3.region", "is \"eu/west\"", |c| bucket(c).region = "eu/west".into()),
            ("feeds[1].sink.s3.endpoint", "not a URL", |c| bucket(c).endpoint = Some("minio".into())),
            ("feeds[1].sink.s3.endpoint", "not ftp:", |c| bucket(c).endpoint = Some("ftp://minio".into())),
            ("feeds[1].sink.s3.endpoint", "user name", |c| bucket(c).endpoint = Some("https://a:b@c".into())),
            ("feeds[1].sink.s3.endpoint", "query", |c| bucket(c).endpoint = Some("https://c/?a".into())),
            ("feeds[1].sink.s3.credentials_file", "is empty", |c| bucket(c).credentials_file = Some("".into())),
            ("feeds[1].sink.s3.profile", "is empty", |c| bucket(c).profile = Some(" ".into())),
            ("feeds[1].sink.s3.encryption.kms.key_id", "is \"\"", |c| {
                bucket(c).encryption = Some(Encryption::Kms { key_id: Some(String::new()) });
            }),
            ("feeds[1].sink.s3.connect_timeout_secs", "is 0", |c| bucket(c).connect_timeout_secs = 0),
            ("feeds[1].sink.s3.attempt_timeout_secs", "is 601", |c| bucket(c).attempt_timeout_secs = 601),
            ("feeds[1].sink.s3.assume_role.role_arn", "is \"clicks\"", |c| role(c).role_arn = "clicks".into()),
            ("feeds[1].sink.s3.assume_role.role_arn", "the ARN of a role", |c| {
                role(c).role_arn = "arn:aws:iam::1234:role/clicks".into();
            }),
            ("feeds[1].sink.s3.assume_role.role_arn", "the ARN of a role", |c| {
                role(c).role_arn = "arn:aws:iam::123456789012:user/clicks".into();
            }),
            ("feeds[1].sink.s3.assume_role.external_id", "2 to 1224", |c| role(c).external_id = Some("a b".into())),
            ("feeds[1].sink.s3.assume_role.sts_endpoint", "not a URL", |c| {
                role(c).sts_endpoint = Some("sts".into());
            }),
        ]);
    }

    #[test]
    fn roles_of_other_stores_and_partitions_pass() {
        for arn in ["arn:minio:iam:::role/idmp-clicks", "arn:aws-cn:iam::123456789012:role/clicks"] {
            let mut config = sound();
            role(&mut config).role_arn = arn.into();
            assert_eq!(config.problems(), [], "{arn}");
        }
    }

    #[test]
    fn a_message_never_repeats_a_password() {
        let mut config = sound();
        bucket(&mut config).endpoint = Some("https://me:secret@minio".into());
        assert!(!format!("{:?}", config.problems()).contains("secret"));
    }
}
