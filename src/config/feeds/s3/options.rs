//! What uploads into a bucket ask of the store: access, storage class, tags, owner, and conditional writes.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::S3;
use crate::config::findings::Findings;

/// Most tags of an object.
const MAX_TAGS: usize = 10;

/// The storage classes of Amazon S3.
const STORAGE_CLASSES: [&str; 9] = [
    "STANDARD",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER_IR",
    "GLACIER",
    "DEEP_ARCHIVE",
    "REDUCED_REDUNDANCY",
    "EXPRESS_ONEZONE",
];

/// Those whose objects must be restored before they can be read.
const ARCHIVES: [&str; 2] = ["GLACIER", "DEEP_ARCHIVE"];

/// A canned access control list.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Acl {
    /// The uploading account owns the object, and only it has access.
    Private,
    /// The owner of the bucket gets full control.
    #[serde(alias = "bucket_owner_full_control")]
    BucketOwnerFullControl,
    /// The owner of the bucket may read.
    #[serde(alias = "bucket_owner_read")]
    BucketOwnerRead,
    /// Every account of the provider may read.
    #[serde(alias = "authenticated_read")]
    AuthenticatedRead,
    /// Amazon EC2 may read.
    #[serde(alias = "aws_exec_read")]
    AwsExecRead,
    /// Anyone may read.
    #[serde(alias = "public_read")]
    PublicRead,
    /// Anyone may read and write.
    #[serde(alias = "public_read_write")]
    PublicReadWrite,
}

impl Acl {
    /// The name that requests use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::BucketOwnerFullControl => "bucket-owner-full-control",
            Self::BucketOwnerRead => "bucket-owner-read",
            Self::AuthenticatedRead => "authenticated-read",
            Self::AwsExecRead => "aws-exec-read",
            Self::PublicRead => "public-read",
            Self::PublicReadWrite => "public-read-write",
        }
    }
}

/// Whether uploads are conditional.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConditionalWrites {
    /// Each upload says `If-None-Match: *`: the store never replaces an object.
    #[default]
    Required,
    /// For stores that lack it: a `HEAD` looks first whether the object exists. A repeated upload may replace an object
    /// with the same bytes.
    Off,
}

pub(super) fn rules(s3: &S3, key: &str, findings: &mut Findings) {
    if let Some(class) = &s3.storage_class {
        storage_class(format!("{key}.storage_class"), class, s3.endpoint.is_some(), findings);
    }
    if let Some(acl @ (Acl::PublicRead | Acl::PublicReadWrite | Acl::AuthenticatedRead)) = s3.acl {
        findings.warning(
            format!("{key}.acl"),
            format!("is {:?}, so that others than the customer can read every click", acl.name()),
            "write `bucket-owner-full-control`, or leave it out",
        );
    }
    if let Some(owner) = &s3.expected_bucket_owner
        && !(owner.len() == 12 && owner.bytes().all(|b| b.is_ascii_digit()))
    {
        findings.error(
            format!("{key}.expected_bucket_owner"),
            format!("must be the 12 digits of an account, is {owner:?}"),
            "write it like \"123456789012\", or leave it out",
        );
    }
    tags(&format!("{key}.tags"), &s3.tags, findings);
}

fn storage_class(key: String, class: &str, other_store: bool, findings: &mut Findings) {
    let is_name =
        (1..=64).contains(&class.len()) && class.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if !is_name || !(other_store || STORAGE_CLASSES.contains(&class)) {
        findings.error(
            key,
            format!("must be a storage class, is {class:?}"),
            format!("write one of {}", STORAGE_CLASSES.join(", ")),
        );
    } else if ARCHIVES.contains(&class) {
        findings.warning(
            key,
            format!("is {class}, so that the customer must restore each object before it can be read"),
            "write GLACIER_IR for an archive that can be read at once",
        );
    }
}

/// The rules of S3 for tags of objects.
fn tags(key: &str, tags: &BTreeMap<String, String>, findings: &mut Findings) {
    if tags.len() > MAX_TAGS {
        findings.error(key, format!("has {} tags, more than {MAX_TAGS}", tags.len()), "remove some");
    }
    let may_stand = |c: char| c.is_alphanumeric() || c == ' ' || "+-=._:/@".contains(c);
    for (name, value) in tags {
        let problem = if name.is_empty() || name.chars().count() > 128 {
            "a name that is not 1 to 128 characters long"
        } else if value.chars().count() > 256 {
            "a value longer than 256 characters"
        } else if name.to_ascii_lowercase().starts_with("aws:") {
            "a name that begins with `aws:`, which Amazon reserves"
        } else if !name.chars().all(may_stand) || !value.chars().all(may_stand) {
            "a character that is no letter, digit, space or one of `+-=._:/@`"
        } else {
            continue;
        };
        findings.error(
            key,
            format!("has {problem}: {name:?} = {value:?}"),
            "write them like `{ source = \"clicks\" }`",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{
        Config, Sink,
        fixture::{each_is_a_warning, each_is_an_error, sound},
    };

    fn bucket(config: &mut Config) -> &mut S3 {
        let Sink::S3(s3) = &mut config.feeds[1].sink else { panic!("the second feed goes to a bucket") };
        s3
    }

    fn tag(config: &mut Config, name: &str, value: &str) {
        bucket(config).tags.insert(name.into(), value.into());
    }

    #[test]
    fn options_are_checked() {
        each_is_an_error(&[
            ("feeds[1].sink.s3.storage_class", "is \"standard-ia\"", |c| {
                bucket(c).endpoint = None;
                bucket(c).storage_class = Some("standard-ia".into());
            }),
            ("feeds[1].sink.s3.storage_class", "is \"A B\"", |c| bucket(c).storage_class = Some("A B".into())),
            ("feeds[1].sink.s3.expected_bucket_owner", "12 digits", |c| {
                bucket(c).expected_bucket_owner = Some("1234-5678-9012".into());
            }),
            ("feeds[1].sink.s3.expected_bucket_owner", "is \"１２３４\"", |c| {
                bucket(c).expected_bucket_owner = Some("１２３４".into());
            }),
            ("feeds[1].sink.s3.tags", "has 11 tags", |c| (0..11).for_each(|n| tag(c, &format!("t{n}"), ""))),
            ("feeds[1].sink.s3.tags", "1 to 128", |c| tag(c, "", "x")),
            ("feeds[1].sink.s3.tags", "1 to 128", |c| tag(c, &"é".repeat(129), "x")),
            ("feeds[1].sink.s3.tags", "256", |c| tag(c, "x", &"y".repeat(257))),
            ("feeds[1].sink.s3.tags", "reserves", |c| tag(c, "AWS:x", "y")),
            ("feeds[1].sink.s3.tags", "no letter, digit", |c| tag(c, "a&b", "c")),
            ("feeds[1].sink.s3.tags", "no letter, digit", |c| tag(c, "a", "b\nc")),
        ]);
        each_is_a_warning(&[
            ("feeds[1].sink.s3.storage_class", "restore", |c| bucket(c).storage_class = Some("DEEP_ARCHIVE".into())),
            ("feeds[1].sink.s3.acl", "others than the customer", |c| bucket(c).acl = Some(Acl::PublicRead)),
        ]);
    }

    #[test]
    fn what_stores_accept_passes() {
        let mut config = sound();
        tag(&mut config, &"é".repeat(128), &"ü".repeat(256));
        tag(&mut config, "cost centre", "a+b-c=d._:/@");
        let s3 = bucket(&mut config);
        s3.acl = Some(Acl::BucketOwnerFullControl);
        s3.expected_bucket_owner = Some("012345678901".into());
        s3.storage_class = Some("STANDARD_IA".into());
        assert_eq!(config.problems(), []);
        bucket(&mut config).endpoint = Some("https://ceph.example.com".into());
        bucket(&mut config).storage_class = Some("COLD_HDD".into());
        assert_eq!(config.problems(), []);
    }

    #[test]
    fn the_names_of_acls_are_those_of_requests_in_either_spelling() {
        for acl in [Acl::Private, Acl::BucketOwnerFullControl, Acl::BucketOwnerRead, Acl::AuthenticatedRead] {
            let name = serde_json::to_value(acl).unwrap();
            assert_eq!(name, acl.name());
            let snake = acl.name().replace('-', "_");
            assert_eq!(serde_json::from_value::<Acl>(snake.into()).unwrap(), acl);
        }
    }
}
