//! Classification of failed requests: from an error of the SDK to a [`SinkError`].

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};

use super::{
    answer_check::{answer_of, has_header_of_a_store},
    remedy,
};
use crate::deliver::error::{Details, SinkError};

/// A variant of [`SinkError`].
type Variant = fn(Box<Details>) -> SinkError;

/// Decides what has to happen after an error of the SDK, and keeps it as the source. A [`SinkError::Conflict`] means
/// that an object with this key exists; which one, its caller has to find out.
pub fn classify<E>(error: SdkError<E, HttpResponse>) -> SinkError
where
    E: Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    let (variant, details) = if let Some(response) = error.raw_response() {
        of_response(response, &error)
    } else {
        let variant: Variant = match &error {
            error if timed_out(error) => SinkError::SlowDown,
            error if credentials_are_wrong(error) => SinkError::Rejected,
            _ => SinkError::Retry,
        };
        let remedy = remedy::of_cause(&error).map(Into::into);
        (variant, Details { remedy, ..Details::new("no answer from the store") })
    };
    variant(Box::new(details.with_source(error)))
}

fn of_response(response: &HttpResponse, metadata: &impl ProvideErrorMetadata) -> (Variant, Details) {
    let status = response.status().as_u16();
    let present = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
    let code = present(metadata.code());
    let mut summary = format!("the store answered {status}");
    if let Some(code) = &code {
        summary = format!("{summary} {code}");
    }
    if let Some(message) = present(metadata.message()) {
        summary = format!("{summary}: {message}");
    }
    let body = std::str::from_utf8(response.body().bytes().unwrap_or_default()).unwrap_or_default();
    if let Some(endpoint) = element(body, "Endpoint").filter(|endpoint| is_name(endpoint)) {
        summary = format!("{summary} (endpoint {endpoint})");
    }
    let answer = (code.is_none() && !has_header_of_a_store(response))
        .then(|| answer_of(response))
        .filter(|answer| answer.is_html() || !answer.body.is_empty() || (300..400).contains(&status));
    if let Some(answer) = &answer {
        summary = format!("no store answered: {status} ({answer})");
    }
    let variant = of_answer(status, code.as_deref().unwrap_or_default());
    let request_id = present(response.headers().get("x-amz-request-id"));
    let region = present(response.headers().get("x-amz-bucket-region"));
    let region = region.filter(|region| is_name(region)).or_else(|| region_in(body).map(str::to_owned));
    (variant, Details { status: Some(status), code, request_id, region, answer, ..Details::new(summary) })
}

/// The region that the body of an error names: `<Region>eu-central-1</Region>`, in the message of a malformed
/// signature, or as a part of `<Endpoint>`.
fn region_in(body: &str) -> Option<&str> {
    let in_message = || {
        let message = element(body, "Message")?;
        Some(message.split_once("expecting '")?.1.split_once('\'')?.0)
    };
    let named = element(body, "Region").or_else(in_message).filter(|region| is_name(region) && !region.contains('.'));
    named.or_else(|| element(body, "Endpoint").and_then(region_of_host))
}

/// The region in a name such as `clicks.s3.eu-central-1.amazonaws.com` or `clicks.s3-eu-west-1.amazonaws.com`.
fn region_of_host(host: &str) -> Option<&str> {
    let front = host.strip_suffix(".cn").unwrap_or(host).strip_suffix(".amazonaws.com")?;
    let last = front.rsplit('.').next()?;
    let region = last.strip_prefix("s3-").unwrap_or(last);
    let is_region = is_name(region) && region.contains('-') && region.ends_with(|c: char| c.is_ascii_digit());
    is_region.then_some(region)
}

/// The text of the first element with this name.
fn element<'a>(body: &'a str, name: &str) -> Option<&'a str> {
    let text = body.split_once(&format!("<{name}>"))?.1;
    Some(text.split_once(&format!("</{name}>"))?.0.trim())
}

/// Whether a text can be the name of a region or a host.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 255
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte))
}

fn of_answer(status: u16, code: &str) -> Variant {
    match (status, code) {
        (412, _) => SinkError::Conflict,
        // The store waited for the rest of the body.
        (400, "RequestTimeout") | (408 | 429 | 503, _) => SinkError::SlowDown,
        // The store lacks a feature that the upload needs, be it `If-None-Match` or the checksum.
        (501, _) => SinkError::Rejected,
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
        ) => SinkError::Retry,
        (300.., _) => SinkError::Rejected,
        // A success that the SDK cannot parse.
        _ => SinkError::Retry,
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

    fn response(status: u16, body: &'static str) -> HttpResponse {
        HttpResponse::new(StatusCode::try_from(status).unwrap(), SdkBody::from(body))
    }

    fn answer(code: &str, message: &str, response: HttpResponse) -> SinkError {
        let metadata = ErrorMetadata::builder().code(code).message(message).build();
        classify(Failure::service_error(PutObjectError::generic(metadata), response))
    }

    /// The name of the variant.
    fn variant(error: &SinkError) -> &'static str {
        match error {
            SinkError::Retry(_) => "retry",
            SinkError::SlowDown(_) => "slow down",
            SinkError::Rejected(_) => "rejected",
            SinkError::Conflict(_) => "conflict",
            SinkError::Damaged(_) | SinkError::Missing(_) => "object",
        }
    }

    #[test]
    fn answers_are_classified_by_what_has_to_happen() {
        for (status, code, expected) in [
            (412, "PreconditionFailed", "conflict"),
            (400, "BadDigest", "retry"),
            (400, "XAmzContentSHA256Mismatch", "retry"),
            (400, "RequestTimeout", "slow down"),
            (503, "SlowDown", "slow down"),
            (429, "TooManyRequests", "slow down"),
            (500, "InternalError", "retry"),
            (409, "ConditionalRequestConflict", "retry"),
            (307, "TemporaryRedirect", "retry"),
            (400, "IncompleteBody", "retry"),
            (200, "", "retry"),
            (301, "PermanentRedirect", "rejected"),
            (400, "ExpiredToken", "rejected"),
            (403, "AccessDenied", "rejected"),
            (403, "SignatureDoesNotMatch", "rejected"),
            (404, "NoSuchBucket", "rejected"),
            (501, "NotImplemented", "rejected"),
        ] {
            let error = answer(code, "", response(status, ""));
            assert_eq!(variant(&error), expected, "{status} {code}");
            assert_eq!(error.details().status, Some(status));
            assert_eq!(error.details().code.as_deref().unwrap_or_default(), code);
        }
    }

    #[test]
    fn the_facts_of_an_answer_and_the_sdk_error_are_kept() {
        let mut slow = response(503, "");
        slow.headers_mut().insert("x-amz-request-id", "4442587FB7D0A2F9");
        let error = answer("SlowDown", "Please reduce your request rate.", slow);
        assert_eq!(error.chain(), "the store answered 503 SlowDown: Please reduce your request rate.");
        assert_eq!(error.details().request_id.as_deref(), Some("4442587FB7D0A2F9"));
        let source = error.source().unwrap().downcast_ref::<Failure>().unwrap();
        assert_eq!(source.code(), Some("SlowDown"));
    }

    #[test]
    fn the_bucket_s_region_comes_from_the_header_or_the_body() {
        let mut redirect = response(301, "");
        redirect.headers_mut().insert("x-amz-bucket-region", "eu-central-1");
        let error = answer("PermanentRedirect", "", redirect);
        assert_eq!(error.details().region.as_deref(), Some("eu-central-1"));
        let body = "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-3</Region></Error>";
        let error = answer("AuthorizationHeaderMalformed", "", response(400, body));
        assert_eq!(error.details().region.as_deref(), Some("eu-west-3"));
        assert!(error.remedy().contains("\"eu-west-3\""), "{}", error.remedy());
        let error = answer("PermanentRedirect", "", response(301, "<Region>\u{1b}[2J</Region>"));
        assert_eq!(error.details().region, None, "text that is no name of a region");
        for (body, expected) in [
            ("<Endpoint>clicks.s3-ap-northeast-1.amazonaws.com</Endpoint>", Some("ap-northeast-1")),
            ("<Endpoint>clicks.s3.eu-central-1.amazonaws.com</Endpoint>", Some("eu-central-1")),
            ("<Endpoint>s3.dualstack.us-gov-west-1.amazonaws.com</Endpoint>", Some("us-gov-west-1")),
            ("<Endpoint>clicks.s3.cn-north-1.amazonaws.com.cn</Endpoint>", Some("cn-north-1")),
            ("<Endpoint>clicks.s3.amazonaws.com</Endpoint>", None),
            ("<Endpoint>minio.example.com</Endpoint>", None),
            ("<Message>the region 'us-east-1' is wrong; expecting 'eu-west-3'</Message>", Some("eu-west-3")),
        ] {
            let error = answer("AuthorizationHeaderMalformed", "", response(400, body));
            assert_eq!(error.details().region.as_deref(), expected, "{body}");
            if let Some(host) = element(body, "Endpoint") {
                assert!(error.chain().contains(host), "{}", error.chain());
            }
        }
    }

    #[test]
    fn an_error_that_is_no_store_s_shows_what_answered() {
        for (status, expected) in [(403, "rejected"), (404, "rejected"), (405, "rejected"), (502, "retry")] {
            let mut page = response(status, "<html><title>Sign in</title>");
            page.headers_mut().insert("server", "proxy");
            let error = classify(Failure::service_error(PutObjectError::unhandled("not XML"), page));
            assert_eq!(variant(&error), expected, "{status}");
            let text =
                format!("no store answered: {status} (no content type, server proxy: <html><title>Sign in</title>)");
            assert_eq!(error.chain(), text);
            assert!(expected == "retry" || error.remedy().contains("`endpoint`"), "{}", error.remedy());
        }
        let mut of_store = response(403, "denied");
        of_store.headers_mut().insert("x-amz-request-id", "4442587FB7D0A2F9");
        let error = classify(Failure::service_error(PutObjectError::unhandled("not XML"), of_store));
        assert_eq!(error.details().answer, None);
    }

    #[test]
    fn without_an_answer_only_missing_credentials_park_the_feed() {
        let timeout = || ConnectorError::timeout("late".into());
        let slow = CredentialsError::provider_timed_out(std::time::Duration::from_secs(5));
        for (failure, expected) in [
            (Failure::timeout_error("late"), "slow down"),
            (Failure::dispatch_failure(timeout()), "slow down"),
            (Failure::dispatch_failure(ConnectorError::io("reset".into())), "retry"),
            (Failure::construction_failure(CredentialsError::not_loaded("no file")), "rejected"),
            (Failure::construction_failure(slow), "retry"),
        ] {
            let error = classify(failure);
            assert_eq!(variant(&error), expected, "{}", error.chain());
            assert_eq!(error.details().status, None);
        }
        let error = classify(Failure::dispatch_failure(ConnectorError::io("reset".into())));
        assert_eq!(error.chain(), "no answer from the store: dispatch failure: io error: reset");
    }
}
