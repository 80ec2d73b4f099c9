//! What a failed upload means: whose fault it is, and whether trying again helps.

use std::{error::Error, fmt::Write};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};

/// What a failed upload means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// An object with this key is there.
    Present,
    /// The store asks to slow down, or takes too long.
    Busy,
    /// The network or the store failed.
    Failed,
    /// Access, bucket or credentials are wrong.
    Refused,
}

/// Judges an error, and tells it in a line.
pub fn judge<E>(error: &SdkError<E, HttpResponse>) -> (Verdict, String)
where
    E: Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    if let Some(response) = error.raw_response() {
        let status = response.status().as_u16();
        let code = error.code().unwrap_or_default();
        let mut told = format!("{status} {code}").trim_end().to_owned();
        for (name, detail) in [("", error.message()), ("request id ", request_id(response))] {
            if let Some(detail) = detail.filter(|detail| !detail.is_empty()) {
                let _ = write!(told, ", {name}{detail}");
            }
        }
        return (of_answer(status, code), told);
    }
    let verdict = match error {
        error if timed_out(error) => Verdict::Busy,
        error if credentials_are_wrong(error) => Verdict::Refused,
        _ => Verdict::Failed,
    };
    (verdict, with_causes(error))
}

/// What the store's operator wants to know.
fn request_id(response: &HttpResponse) -> Option<&str> {
    response.headers().get("x-amz-request-id")
}

/// An error and its causes, each once.
fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !told.ends_with(&text) {
            let _ = write!(told, ": {text}");
        }
        cause = error.source();
    }
    told
}

fn of_answer(status: u16, code: &str) -> Verdict {
    match (status, code) {
        (412, _) => Verdict::Present,
        // It waited for the rest of the body.
        (400, "RequestTimeout") | (408 | 429 | 503, _) => Verdict::Busy,
        // It does not know what we ask for, be it `If-None-Match` or the checksum.
        (501, _) => Verdict::Refused,
        // 409: another upload of the same key is under way. 307: a new bucket, which is not known everywhere yet.
        // Those of 400: what arrived is not what was sent.
        (307 | 409 | 500.., _)
        | (
            400,
            "BadDigest"
            | "IncompleteBody"
            | "InvalidDigest"
            | "XAmzContentChecksumMismatch"
            | "XAmzContentSHA256Mismatch",
        ) => Verdict::Failed,
        (300.., _) => Verdict::Refused,
        // An answer that nobody understands.
        _ => Verdict::Failed,
    }
}

fn timed_out<E>(error: &SdkError<E, HttpResponse>) -> bool {
    match error {
        SdkError::TimeoutError(_) => true,
        SdkError::DispatchFailure(failure) => failure.is_timeout(),
        _ => false,
    }
}

/// Whether no request was sent because there are no usable credentials.
fn credentials_are_wrong(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<CredentialsError>() {
            return !matches!(error, CredentialsError::ProviderTimedOut(_));
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::{error::ConnectorError, operation::put_object::PutObjectError};
    use aws_smithy_runtime_api::http::StatusCode;
    use aws_smithy_types::{body::SdkBody, error::ErrorMetadata};

    use super::*;

    type Failure = SdkError<PutObjectError, HttpResponse>;

    fn answer(status: u16, code: &str) -> Verdict {
        let error = PutObjectError::generic(ErrorMetadata::builder().code(code).build());
        let response = HttpResponse::new(StatusCode::try_from(status).unwrap(), SdkBody::empty());
        judge(&Failure::service_error(error, response)).0
    }

    #[test]
    fn answers_are_told_apart_by_who_can_mend_them() {
        for (status, code, verdict) in [
            (412, "PreconditionFailed", Verdict::Present),
            (400, "BadDigest", Verdict::Failed),
            (400, "XAmzContentSHA256Mismatch", Verdict::Failed),
            (400, "RequestTimeout", Verdict::Busy),
            (503, "SlowDown", Verdict::Busy),
            (429, "TooManyRequests", Verdict::Busy),
            (500, "InternalError", Verdict::Failed),
            (409, "ConditionalRequestConflict", Verdict::Failed),
            (307, "TemporaryRedirect", Verdict::Failed),
            (400, "IncompleteBody", Verdict::Failed),
            (200, "", Verdict::Failed),
            (301, "PermanentRedirect", Verdict::Refused),
            (400, "ExpiredToken", Verdict::Refused),
            (403, "AccessDenied", Verdict::Refused),
            (403, "SignatureDoesNotMatch", Verdict::Refused),
            (404, "NoSuchBucket", Verdict::Refused),
            (501, "NotImplemented", Verdict::Refused),
        ] {
            assert_eq!(answer(status, code), verdict, "{status} {code}");
        }
    }

    #[test]
    fn an_answer_is_told_in_a_line() {
        let metadata = ErrorMetadata::builder().code("SlowDown").message("Please reduce your request rate.").build();
        let mut response = HttpResponse::new(StatusCode::try_from(503).unwrap(), SdkBody::empty());
        response.headers_mut().insert("x-amz-request-id", "4442587FB7D0A2F9");
        let error = Failure::service_error(PutObjectError::generic(metadata), response);
        let told = "503 SlowDown, Please reduce your request rate., request id 4442587FB7D0A2F9";
        assert_eq!(judge(&error), (Verdict::Busy, told.to_owned()));
        let error = Failure::dispatch_failure(ConnectorError::io("reset".into()));
        assert_eq!(judge(&error).1, "dispatch failure: io error: reset");
    }

    #[test]
    fn without_an_answer_only_missing_credentials_are_for_somebody_to_mend() {
        let timeout = Failure::timeout_error("late");
        assert_eq!(judge(&timeout).0, Verdict::Busy);
        let timeout = Failure::dispatch_failure(ConnectorError::timeout("late".into()));
        assert_eq!(judge(&timeout).0, Verdict::Busy);
        let network = Failure::dispatch_failure(ConnectorError::io("reset".into()));
        assert_eq!(judge(&network).0, Verdict::Failed);
        let none = Failure::construction_failure(CredentialsError::not_loaded("no file"));
        assert_eq!(judge(&none).0, Verdict::Refused);
        let slow = CredentialsError::provider_timed_out(std::time::Duration::from_secs(5));
        assert_eq!(judge(&Failure::construction_failure(slow)).0, Verdict::Failed);
    }
}
