//! The permissions that a feed needs, as policies that the owners of bucket, key and role can paste.
//!
//! Least privilege: a permission is in a policy when the code makes a request that needs it, with this configuration.
//! A test compares the list with the requests that a store has received.

use serde_json::{Value, json};

use crate::{
    config::{self, Encryption},
    deliver::error::SinkError,
};

/// Stands in a policy for the identity of the edge, where the configuration does not name one.
pub const PRINCIPAL: &str = "arn:aws:iam::ACCOUNT-OF-THE-EDGE:user/NAME-OF-THE-EDGE";

/// Version of the policy language.
const VERSION: &str = "2012-10-17";

/// What is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct PolicyOptions<'a> {
    /// ARN of the identity with which the edge signs: its user or role. Without it [`PRINCIPAL`].
    pub principal: Option<&'a str>,
    /// Also what `clickedge feed verify` needs: `s3:ListBucket`. Without it there is no warning of another edge of the
    /// same name. A `HEAD` of a missing object is answered with 403 without it, and for a feed with a prefix also with
    /// it, as no `HEAD` meets the condition on the prefix; deliveries expect both.
    pub verify: bool,
}

/// The policies of a feed.
#[derive(Clone, Debug, PartialEq)]
pub struct Policies {
    /// For the bucket.
    pub bucket: Value,
    /// A statement for the policy of the KMS key, if uploads request one.
    pub kms_key: Option<Value>,
    /// For the role that the feed assumes, if it does.
    pub trust: Option<Value>,
}

impl Policies {
    /// The policies for this bucket.
    pub fn new(config: &config::S3, options: PolicyOptions) -> Self {
        let partition = partition(config);
        let edge = options.principal.unwrap_or(PRINCIPAL);
        let role = config.assume_role.as_ref();
        let principal = json!({ "AWS": role.map_or(edge, |role| role.role_arn.as_str()) });
        let bucket = format!("arn:{partition}:s3:::{}", config.bucket);
        let below = match config.prefix.as_str() {
            "" => String::new(),
            prefix => format!("{}/", literal(prefix)),
        };
        let objects = format!("{bucket}/{below}*");
        let statement = |sid: &str, actions: &[&str], resource: &str| json!({ "Sid": sid, "Effect": "Allow", "Principal": principal, "Action": actions, "Resource": resource });
        let mut statements = vec![
            statement("ClickedgeDelivers", &put_actions(config), &objects),
            statement("ClickedgeComparesAndTests", &["s3:GetObject"], &objects),
        ];
        if options.verify {
            let mut list = statement("ClickedgeVerifies", &["s3:ListBucket"], &bucket);
            if !below.is_empty() {
                list["Condition"] = json!({ "StringLike": { "s3:prefix": format!("{below}*") } });
            }
            statements.push(list);
        }
        Self {
            bucket: json!({ "Version": VERSION, "Statement": statements }),
            kms_key: matches!(config.encryption, Some(Encryption::Kms { .. })).then(|| {
                // In the policy of a key, `*` is that key.
                let mut statement = statement("ClickedgeEncrypts", &["kms:GenerateDataKey", "kms:Decrypt"], "*");
                let domain = if partition == "aws-cn" { "amazonaws.com.cn" } else { "amazonaws.com" };
                let service = format!("s3.{}.{domain}", config.region);
                statement["Condition"] = json!({ "StringEquals": { "kms:ViaService": service } });
                statement
            }),
            trust: role.map(|role| {
                let mut statement = json!({
                    "Sid": "ClickedgeAssumes",
                    "Effect": "Allow",
                    "Principal": { "AWS": edge },
                    "Action": "sts:AssumeRole",
                });
                if let Some(id) = &role.external_id {
                    statement["Condition"] = json!({ "StringEquals": { "sts:ExternalId": id } });
                }
                json!({ "Version": VERSION, "Statement": [statement] })
            }),
        }
    }
}

/// The actions that an upload needs.
pub fn put_actions(config: &config::S3) -> Vec<&'static str> {
    let mut actions = vec!["s3:PutObject"];
    if config.acl.is_some() {
        actions.push("s3:PutObjectAcl");
    }
    if !config.tags.is_empty() {
        actions.push("s3:PutObjectTagging");
    }
    actions
}

/// The permission that a denied request lacks, in words. `actions` are those that it needs.
pub fn lacks(config: &config::S3, actions: &[&str], error: &SinkError) -> Option<String> {
    let details = error.details();
    // Other codes of 403 are about the credentials.
    let denied = details.status == Some(403) && details.code.as_deref().is_none_or(|code| code == "AccessDenied");
    if !denied || details.region.is_some() || details.answer.is_some() {
        return None;
    }
    if details.is_about_kms() {
        return Some(
            "the policy lacks kms:GenerateDataKey and kms:Decrypt on the KMS key of the bucket or the feed".into(),
        );
    }
    let place = [config.bucket.as_str(), config.prefix.as_str(), "*"];
    let place = place.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
    Some(format!("the policy lacks {} on `{place}`", actions.join(", ")))
}

/// A text in which a policy sees no wildcard and no variable.
fn literal(text: &str) -> String {
    let escaped = text.chars().map(|c| match c {
        '*' | '?' | '$' => format!("${{{c}}}"),
        c => c.to_string(),
    });
    escaped.collect()
}

/// The partition of the bucket: that of the role, or of the region.
fn partition(config: &config::S3) -> &str {
    let of_role = config.assume_role.as_ref().and_then(|role| role.role_arn.split(':').nth(1));
    of_role.unwrap_or_else(|| match config.region.as_str() {
        region if region.starts_with("cn-") => "aws-cn",
        region if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(more: &str) -> config::S3 {
        toml::from_str(&format!("bucket = \"clicks\"\n{more}")).unwrap()
    }

    const ALL: &str = r#"
        prefix = "brand/raw"
        region = "eu-west-1"
        acl = "bucket-owner-full-control"
        tags = { source = "clickedge" }
        encryption = { kms = {} }
        assume_role = { role_arn = "arn:aws:iam::123456789012:role/clicks", external_id = "customer-7" }
    "#;

    #[test]
    fn everything_that_is_configured_is_granted_to_the_role() {
        let policies = Policies::new(
            &config(ALL),
            PolicyOptions { principal: Some("arn:aws:iam::210987654321:user/edge"), verify: true },
        );
        let role = json!({ "AWS": "arn:aws:iam::123456789012:role/clicks" });
        let objects = "arn:aws:s3:::clicks/brand/raw/*";
        assert_eq!(
            policies.bucket,
            json!({ "Version": "2012-10-17", "Statement": [
                { "Sid": "ClickedgeDelivers", "Effect": "Allow", "Principal": role,
                  "Action": ["s3:PutObject", "s3:PutObjectAcl", "s3:PutObjectTagging"], "Resource": objects },
                { "Sid": "ClickedgeComparesAndTests", "Effect": "Allow", "Principal": role,
                  "Action": ["s3:GetObject"], "Resource": objects },
                { "Sid": "ClickedgeVerifies", "Effect": "Allow", "Principal": role, "Action": ["s3:ListBucket"],
                  "Resource": "arn:aws:s3:::clicks", "Condition": { "StringLike": { "s3:prefix": "brand/raw/*" } } },
            ] })
        );
        assert_eq!(
            policies.kms_key.unwrap(),
            json!({ "Sid": "ClickedgeEncrypts", "Effect": "Allow", "Principal": role,
                    "Action": ["kms:GenerateDataKey", "kms:Decrypt"], "Resource": "*",
                    "Condition": { "StringEquals": { "kms:ViaService": "s3.eu-west-1.amazonaws.com" } } })
        );
        assert_eq!(
            policies.trust.unwrap(),
            json!({ "Version": "2012-10-17", "Statement": [
                { "Sid": "ClickedgeAssumes", "Effect": "Allow",
                  "Principal": { "AWS": "arn:aws:iam::210987654321:user/edge" }, "Action": "sts:AssumeRole",
                  "Condition": { "StringEquals": { "sts:ExternalId": "customer-7" } } },
            ] })
        );
    }

    #[test]
    fn nothing_is_granted_that_the_configuration_does_not_need() {
        let policies = Policies::new(&config("region = \"cn-north-1\""), PolicyOptions::default());
        let principal = json!({ "AWS": PRINCIPAL });
        let objects = "arn:aws-cn:s3:::clicks/*";
        assert_eq!(
            policies.bucket["Statement"],
            json!([
                { "Sid": "ClickedgeDelivers", "Effect": "Allow", "Principal": principal,
                  "Action": ["s3:PutObject"], "Resource": objects },
                { "Sid": "ClickedgeComparesAndTests", "Effect": "Allow", "Principal": principal,
                  "Action": ["s3:GetObject"], "Resource": objects },
            ])
        );
        assert_eq!((policies.kms_key, policies.trust), (None, None));
    }

    #[test]
    fn a_prefix_is_taken_literally() {
        let policies = Policies::new(&config("region = \"eu-west-1\"\nprefix = \"a*/$b\""), PolicyOptions::default());
        assert_eq!(policies.bucket["Statement"][0]["Resource"], "arn:aws:s3:::clicks/a${*}/${$}b/*");
    }
}
