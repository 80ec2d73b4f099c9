//! Remedies: what an operator can do about an error of a sink, by the store's error code or by the cause.

use std::{borrow::Cow, error::Error, io};

use super::error::{Details, SinkError};

const AUTOMATIC: &str = "none needed: uploads are retried until they succeed";

const KMS: &str = "enable the KMS key, check `encryption.kms.key_id`, and grant kms:GenerateDataKey and kms:Decrypt on \
                   it to the feed's credentials";

const NO_STORE: &str = "check `endpoint` of the feed's sink (a console often listens on the port next to the store's), \
                        and proxies on the way to it";

const FEATURES: &str = "if the store lacks conditional writes (`If-None-Match: *`), set `conditional_writes = \"off\"` in the \
                        feed's sink; if it lacks the checksum header, set \
                        `request_checksum_calculation = \"when_required\"`";

pub(super) const NO_NAME: &str = "check the address of the feed's sink (`endpoint` and `region`, `url`, `servers`), and \
                                  the name resolution of this machine";

impl SinkError {
    /// What an operator can do about it.
    pub fn remedy(&self) -> Cow<'static, str> {
        let details = self.details();
        let known = match self {
            Self::Conflict(_) => Some("remove the other object, or configure another prefix or folder for the feed"),
            Self::Damaged(_) => Some("examine the file in the spool's `quarantine` folder; it is not delivered"),
            Self::Missing(_) => Some("leave the files in the spool's outbox to clickedge"),
            _ => None,
        };
        if let Some(known) = known {
            return known.into();
        }
        if let Some(remedy) = &details.remedy {
            return remedy.clone();
        }
        let found = match details.status {
            Some(status) => of_answer(status, details),
            None => details.source.as_deref().and_then(|source| of_cause(source)).map(Cow::Borrowed),
        };
        found.unwrap_or(Cow::Borrowed(match self {
            Self::SlowDown(_) => "check the network between this machine and the sink, and the sink's load",
            Self::Retry(_) => AUTOMATIC,
            _ => "check bucket, region, endpoint and credentials of the feed's sink, and the policy of the bucket",
        }))
    }
}

fn of_answer(status: u16, details: &Details) -> Option<Cow<'static, str>> {
    let code = details.code.as_deref().unwrap_or_default();
    if let Some(region) = &details.region {
        let remedy = format!(
            "set `region = \"{region}\"` in the feed's sink (and `endpoint`, if there is one, to that region's)"
        );
        return Some(remedy.into());
    }
    if details.answer.is_some() && status < 500 {
        return Some(NO_STORE.into());
    }
    let remedy = match (status, code) {
        (_, "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException")
        | (301, _) => "set `region` (and `endpoint`, if there is one) in the feed's sink to those of the bucket",
        (_, "InvalidStorageClass") => "correct `storage_class` of the feed's sink, or remove it",
        (_, "InvalidTag") => "correct `tags` of the feed's sink",
        (_, "AccessControlListNotSupported") => {
            "remove `acl` from the feed's sink: the bucket's owner owns every object in it already"
        }
        (_, code) if code.starts_with("KMS") => KMS,
        (_, "AccessDenied" | "InvalidArgument") if details.is_about_kms() => KMS,
        (_, "NoSuchBucket") | (404, _) => "create the bucket, or correct `bucket` in the feed's sink",
        (_, "InvalidBucketName") => "correct `bucket` in the feed's sink",
        (_, "InvalidAccessKeyId") => {
            "correct or renew the access key of the feed's sink; credentials are read again without a restart"
        }
        (_, "SignatureDoesNotMatch") => {
            "correct the secret access key of the feed's sink; credentials are read again without a restart"
        }
        (_, "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired") => {
            "renew the session token of the feed's sink, or configure a source of credentials that renews itself"
        }
        (_, "RequestTimeTooSkewed") => "synchronize the clock of this machine (NTP)",
        (_, "AccountProblem" | "AllAccessDisabled" | "NotSignedUp" | "OptInRequired" | "UserSuspended") => {
            "the account of the bucket's owner is restricted: its owner has to contact the provider of the store"
        }
        (_, "EntityTooLarge") => "lower `max_bytes` of the feed",
        (_, "XMinioStorageFull" | "QuotaExceeded") | (507, _) => "free space in the store, or raise its quota",
        (501, _) | (_, "NotImplemented") | (400, "InvalidArgument" | "InvalidRequest" | "UnsupportedHeader") => {
            FEATURES
        }
        (400 | 405 | 422, _) if names_condition(details) => FEATURES,
        (
            400,
            "BadDigest"
            | "IncompleteBody"
            | "InvalidDigest"
            | "XAmzContentChecksumMismatch"
            | "XAmzContentSHA256Mismatch",
        ) => "none needed: the upload is retried; if it persists, look for a proxy that changes requests",
        (401 | 403, _) => return Some(of_denial(details)),
        (429 | 503, _) => "none needed: uploads are retried, fewer at a time",
        _ => return None,
    };
    Some(remedy.into())
}

/// Whether the answer is about the condition of the upload.
fn names_condition(details: &Details) -> bool {
    let summary = details.summary.to_ascii_lowercase();
    ["if-none-match", "conditional"].iter().any(|part| summary.contains(part))
}

/// The remedy for a denied request. Amazon names the permission that is missing, when the account may know it.
fn of_denial(details: &Details) -> Cow<'static, str> {
    let named = details.summary.split_once("not authorized to perform: ").map(|(_, rest)| rest);
    let action = named.and_then(|rest| rest.split(|c: char| c.is_whitespace() || c == ',').next());
    match action.filter(|action| action.contains(':') && action.bytes().all(|b| b.is_ascii_alphanumeric() || b == b':')) {
        Some(action) => format!(
            "grant {action} to the feed's credentials, and check that no policy denies it; `clickedge feed policy` prints \
             the policy"
        )
        .into(),
        None => "grant s3:PutObject on the bucket and prefix to the feed's credentials (s3:PutObjectAcl for `acl`, \
                 s3:PutObjectTagging for `tags`), check `expected_bucket_owner`, and that no policy denies it; \
                 `clickedge feed policy` prints the policy"
            .into(),
    }
}

fn of_cause(source: &(dyn Error + 'static)) -> Option<&'static str> {
    chain(source).find_map(|cause| {
        if let Some(error) = cause.downcast_ref::<rustls::Error>() {
            Some(of_tls(error))
        } else if cause.to_string() == "dns error" {
            Some(NO_NAME)
        } else {
            cause.downcast_ref::<io::Error>().and_then(of_io)
        }
    })
}

fn of_tls(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidCertificate(_) => {
            "check the server's certificate (name, validity, issuer) and the root certificates of this machine"
        }
        rustls::Error::InvalidMessage(_) => {
            "check whether the address of the feed's sink (`endpoint`, `url`, `servers`) begins with http:// or https://"
        }
        _ => "check the TLS settings of the server, and proxies on the way to it",
    }
}

fn of_io(error: &io::Error) -> Option<&'static str> {
    use io::ErrorKind as Kind;
    Some(match error.kind() {
        Kind::PermissionDenied => {
            "give the user that clickedge runs as access to this path; under systemd, add it to `ReadWritePaths=`"
        }
        Kind::ReadOnlyFilesystem => {
            "mount the file system read-write; under systemd, add the path to `ReadWritePaths=`"
        }
        Kind::StorageFull | Kind::QuotaExceeded => "free space on the file system of this path, or raise its quota",
        Kind::NotADirectory => "a part of this path is a file: remove it, or configure another folder",
        Kind::ConnectionRefused | Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::TimedOut => {
            "check the address of the feed's sink (`endpoint`, `url`, `servers`), and the firewalls and routes between this machine \
             and the server"
        }
        _ => return None,
    })
}

/// An error and its causes. An I/O error that wraps another one does not return it as its source.
pub(super) fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| match error.downcast_ref::<io::Error>() {
        Some(io) => io.get_ref().map(|inner| inner as &(dyn Error + 'static)),
        None => error.source(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::answer::Answer;

    fn answered(status: u16, code: &str) -> Details {
        let code = Some(code.to_owned()).filter(|code| !code.is_empty());
        Details { status: Some(status), code, ..Details::new("the store answered") }
    }

    #[test]
    fn each_code_has_its_remedy() {
        for (status, code, part) in [
            (403, "AccessDenied", "s3:PutObject"),
            (403, "", "s3:PutObject"),
            (404, "NoSuchBucket", "create the bucket"),
            (403, "InvalidAccessKeyId", "renew the access key"),
            (403, "SignatureDoesNotMatch", "secret access key"),
            (403, "RequestTimeTooSkewed", "clock"),
            (301, "PermanentRedirect", "set `region`"),
            (400, "AuthorizationHeaderMalformed", "set `region`"),
            (501, "NotImplemented", "conditional_writes = \"off\""),
            (400, "NotImplemented", "conditional_writes = \"off\""),
            (400, "InvalidArgument", "conditional_writes = \"off\""),
            (400, "InvalidStorageClass", "`storage_class`"),
            (400, "InvalidTag", "`tags`"),
            (400, "AccessControlListNotSupported", "remove `acl`"),
            (400, "KMS.DisabledException", "kms:GenerateDataKey"),
            (501, "KMSNotConfigured", "kms:GenerateDataKey"),
            (400, "ExpiredToken", "session token"),
            (400, "SomethingNew", "check bucket, region"),
        ] {
            let remedy = SinkError::rejected(answered(status, code)).remedy();
            assert!(remedy.contains(part), "{status} {code}: {remedy}");
        }
        let details = Details {
            summary: "not authorized to perform: kms:GenerateDataKey".into(),
            ..answered(403, "AccessDenied")
        };
        assert_eq!(SinkError::rejected(details).remedy(), KMS);
        assert_eq!(SinkError::retry(answered(500, "InternalError")).remedy(), AUTOMATIC);
    }

    #[test]
    fn the_region_that_a_store_names_is_in_the_remedy() {
        let details = Details { region: Some("eu-central-1".into()), ..answered(301, "PermanentRedirect") };
        let remedy = SinkError::rejected(details).remedy().into_owned();
        assert!(remedy.starts_with("set `region = \"eu-central-1\"` in the feed's sink"), "{remedy}");
        let details = Details { region: Some("eu-central-1".into()), ..answered(400, "InvalidRequest") };
        let remedy = SinkError::rejected(details).remedy().into_owned();
        assert!(remedy.contains("eu-central-1"), "with any answer: {remedy}");
    }

    #[test]
    fn the_permission_that_an_answer_names_is_in_the_remedy() {
        let summary = "User: arn:aws:iam::123456789012:user/edge is not authorized to perform: s3:PutObjectTagging on \
                       resource: \"arn:aws:s3:::clicks/a\"";
        let details = Details { summary: summary.into(), ..answered(403, "AccessDenied") };
        assert!(SinkError::rejected(details).remedy().starts_with("grant s3:PutObjectTagging to "));
        let refused = Details { summary: "If-None-Match is unknown".into(), ..answered(405, "MethodNotAllowed") };
        assert_eq!(SinkError::rejected(refused).remedy(), FEATURES);
    }

    #[test]
    fn what_is_no_store_is_a_wrong_endpoint() {
        let answer = Some(Answer::new(Some("text/html"), None, b"<html>"));
        let details = Details { answer: answer.clone(), ..answered(404, "") };
        assert_eq!(SinkError::rejected(details).remedy(), NO_STORE);
        let details = Details { answer, ..answered(502, "") };
        assert_eq!(SinkError::retry(details).remedy(), AUTOMATIC, "a proxy whose store is down");
    }

    #[test]
    fn without_an_answer_the_cause_decides() {
        let tls = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
        let causes: [(Box<dyn Error + Send + Sync>, &str); 5] = [
            (Box::new(io::Error::from(io::ErrorKind::PermissionDenied)), "ReadWritePaths="),
            (Box::new(io::Error::from(io::ErrorKind::StorageFull)), "free space"),
            (Box::new(io::Error::from(io::ErrorKind::ReadOnlyFilesystem)), "read-write"),
            (Box::new(io::Error::from(io::ErrorKind::ConnectionRefused)), "firewalls"),
            (Box::new(io::Error::other(tls)), "certificate"),
        ];
        for (cause, part) in causes {
            let remedy = SinkError::rejected(Details::new("no answer").with_source(cause)).remedy();
            assert!(remedy.contains(part), "{remedy}");
        }
        assert_eq!(SinkError::retry(io::ErrorKind::ConnectionReset.to_string()).remedy(), AUTOMATIC);
    }
}
