//! The rules for feeds and their sinks.

use std::collections::{BTreeMap, BTreeSet};

use url::Url;

use super::Findings;
use crate::config::{
    Compression, Feed, S3, Sink,
    feeds::{AssumeRole, Encryption},
};

/// Feeds of one edge at the most: events name theirs with 16 bits.
const MAX_FEEDS: usize = 65_535;

pub(super) fn feeds(feeds: &[Feed], findings: &mut Findings) {
    if feeds.is_empty() {
        findings.warning(
            "feeds",
            "is empty, so clicks are answered and their events go nowhere",
            "add a section `[[feeds]]`, see `clickedge generate config`",
        );
    }
    if feeds.len() > MAX_FEEDS {
        findings.error(
            "feeds",
            format!("are {}, more than {MAX_FEEDS}, which the journal can tell apart", feeds.len()),
            "spread them over several edges",
        );
    }
    let mut names = BTreeMap::new();
    for (i, feed) in feeds.iter().enumerate() {
        let key = format!("feeds[{i}]");
        findings.name(format!("{key}.name"), &feed.name, "all-clicks");
        if let Some(first) = names.get(feed.name.as_str()) {
            findings.error(
                format!("{key}.name"),
                format!("is {:?}, the same as `feeds[{first}].name`", feed.name),
                "give each feed a name of its own",
            );
        } else {
            names.insert(feed.name.as_str(), i);
        }
        workspaces(&key, &feed.workspaces, findings);
        match feed.compression {
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
            feed.max_age_secs,
            1..=3600,
            "say how many seconds an event may wait for its object, such as 60",
        );
        findings.range(
            format!("{key}.hold_back_secs"),
            feed.hold_back_secs,
            0..=3600,
            "say how many seconds an event of a small feed may wait, such as 300",
        );
        findings.range(
            format!("{key}.max_bytes"),
            feed.max_bytes,
            1 << 10..=1 << 30,
            "say how large an object may grow, such as 16777216 (16 MiB)",
        );
        findings.range(
            format!("{key}.manifest_secs"),
            feed.manifest_secs,
            0..=86_400,
            "say how many seconds may pass between two versions of a manifest, such as 3600, or 0 for none",
        );
        match &feed.sink {
            Sink::Dir(dir) => findings.path(format!("{key}.sink.dir.path"), &dir.path),
            Sink::S3(bucket) => s3(&format!("{key}.sink.s3"), bucket, findings),
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

fn s3(key: &str, s3: &S3, findings: &mut Findings) {
    if !is_bucket(&s3.bucket) {
        findings.error(
            format!("{key}.bucket"),
            format!(
                "must be 3 to 63 lower-case letters, digits, `-` and single `.`, with a letter or digit at both ends, \
                 and no IP address, is {:?}",
                s3.bucket
            ),
            "write the name of the bucket alone, without `s3://`",
        );
    }
    prefix(key, &s3.prefix, findings);
    if s3.region.is_empty() || !s3.region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
        findings.error(
            format!("{key}.region"),
            format!("must be letters, digits and `-`, is {:?}", s3.region),
            "write it like `eu-west-1`",
        );
    }
    if let Some(endpoint) = &s3.endpoint {
        base_address(format!("{key}.endpoint"), endpoint, findings);
    }
    if let Some(path) = &s3.credentials_file {
        findings.path(format!("{key}.credentials_file"), path);
    }
    if s3.profile.as_ref().is_some_and(|profile| profile.trim().is_empty()) {
        findings.error(format!("{key}.profile"), "is empty", "name a profile, or remove the key");
    }
    if let Some(role) = &s3.assume_role {
        assume_role(&format!("{key}.assume_role"), role, findings);
    }
    if let Some(Encryption::Kms { key_id: Some(id) }) = &s3.encryption
        && (id.is_empty() || id.chars().any(|c| c.is_control() || c.is_whitespace()))
    {
        findings.error(
            format!("{key}.encryption.kms.key_id"),
            format!("must be the id, name or resource name of a key, is {id:?}"),
            "leave it out to use the default key of the bucket",
        );
    }
    let connect = s3.connect_timeout_secs;
    findings.range(format!("{key}.connect_timeout_secs"), connect, 1..=600, "5 suits most networks");
    let read = s3.read_timeout_secs;
    findings.range(format!("{key}.read_timeout_secs"), read, 1..=600, "30 suits most networks");
    let attempt = s3.attempt_timeout_secs;
    findings.range(format!("{key}.attempt_timeout_secs"), attempt, 1..=600, "60 suits most networks");
    let operation = s3.operation_timeout_secs;
    findings.range(format!("{key}.operation_timeout_secs"), operation, 1..=1200, "90 suits most networks");
    findings.range(format!("{key}.uploads"), s3.uploads, 1..=64, "4 suits most buckets");
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
            format!("must be the resource name of a role, is {:?}", role.role_arn),
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
        base_address(format!("{key}.sts_endpoint"), endpoint, findings);
    }
}

/// The address may hold a password by mistake, so a message never repeats it whole: the scheme says enough.
fn base_address(key: String, value: &str, findings: &mut Findings) {
    let example = "write it like `https://minio.example.com:9000`";
    let Ok(url) = Url::parse(value) else {
        return findings.error(key, "is no address with scheme and host", example);
    };
    if !matches!(url.scheme(), "http" | "https") {
        findings.error(key, format!("must begin with https:// or http://, not {}:", url.scheme()), example);
    } else if !url.username().is_empty() || url.password().is_some() {
        findings.error(key, "holds a user name or password", "put credentials into `credentials_file`");
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
