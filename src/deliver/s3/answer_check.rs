//! Whether an answer is a store's.
//!
//! Any web server can answer an upload with 200: a console on the port next to the store's, a proxy's page, a captive
//! portal. The SDK takes every 2xx for a success and hides what answered, so a [`AnswerCheck`] looks at the raw answer.

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_s3::{
    config::{
        ConfigBag, Intercept, RuntimeComponents, http::HttpResponse,
        interceptors::AfterDeserializationInterceptorContextRef,
    },
    error::BoxError,
};
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;

use super::headers::SHA256;
use crate::deliver::{
    answer::Answer,
    error::{Details, SinkError},
    metrics::ClockSkew,
};

/// Headers that stores send with every answer, or with every answer about an object.
const OF_STORES: [&str; 8] = [
    "x-amz-request-id",
    "x-amz-id-2",
    "x-amz-bucket-region",
    "x-amz-version-id",
    "x-amz-server-side-encryption",
    "x-goog-hash",
    "x-guploader-uploadid",
    "x-oss-request-id",
];

/// Looks at the answer of one request. Cheap to clone; clones share what was found.
#[derive(Clone, Debug)]
pub struct AnswerCheck {
    /// What is missing in the answer, if it is not a store's.
    missing: fn(&HttpResponse) -> Option<&'static str>,
    found: Arc<Mutex<Option<Details>>>,
    clock: ClockSkew,
}

impl AnswerCheck {
    /// Of an upload: a store's answer has the ETag of the object that it stored, and no page.
    pub fn of_upload() -> Self {
        Self::new(|answer| {
            if header(answer, "etag").is_none() {
                Some("has no ETag")
            } else {
                has_foreign_body(answer).then_some("has a body that is not a store's")
            }
        })
    }

    /// Of a look at an object, or of reading it.
    pub fn of_object() -> Self {
        Self::new(|answer| {
            let is_known = header(answer, "etag").is_some()
                || header(answer, &format!("x-amz-meta-{SHA256}")).is_some()
                || has_header_of_a_store(answer);
            (!is_known).then_some("has no ETag and no header of a store")
        })
    }

    /// Of a look at a bucket, which many stores answer with nothing.
    pub fn of_bucket() -> Self {
        Self::new(|answer| (!has_header_of_a_store(answer) && answer_of(answer).is_html()).then_some("is a page"))
    }

    fn new(missing: fn(&HttpResponse) -> Option<&'static str>) -> Self {
        Self { missing, found: Arc::default(), clock: ClockSkew::default() }
    }

    /// Notes the date of the answer, too, whatever it says.
    #[must_use]
    pub fn with_clock(self, clock: ClockSkew) -> Self {
        Self { clock, ..self }
    }

    /// Fails if the answer was a success and not a store's.
    ///
    /// # Errors
    /// [`SinkError::Rejected`], with what answered.
    pub fn result(&self) -> Result<(), SinkError> {
        match self.found.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(details) => Err(SinkError::rejected(details)),
            None => Ok(()),
        }
    }
}

#[dyn_dispatch_hint]
impl Intercept for AnswerCheck {
    fn name(&self) -> &'static str {
        "AnswerCheck"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let answer = context.response();
        self.clock.note(header(answer, "date"));
        if answer.status().is_success()
            && let Some(missing) = (self.missing)(answer)
        {
            *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(foreign(answer, missing));
        }
        Ok(())
    }
}

/// Whether an answer has a header that only stores send.
pub fn has_header_of_a_store(answer: &HttpResponse) -> bool {
    OF_STORES.iter().any(|name| header(answer, name).is_some())
}

/// The parts of an answer that show what answered.
pub fn answer_of(answer: &HttpResponse) -> Answer {
    let body = answer.body().bytes().unwrap_or_default();
    Answer::new(header(answer, "content-type"), header(answer, "server"), body)
}

fn foreign(response: &HttpResponse, missing: &str) -> Details {
    let (status, answer) = (response.status().as_u16(), answer_of(response));
    let summary = format!("no store answered: {status} that {missing} ({answer})");
    Details { status: Some(status), answer: Some(answer), ..Details::new(summary) }
}

fn header<'a>(answer: &'a HttpResponse, name: &str) -> Option<&'a str> {
    answer.headers().get(name).filter(|value| !value.trim().is_empty())
}

/// A store answers an upload without a body, or with XML. An error may follow a 200, too.
fn has_foreign_body(answer: &HttpResponse) -> bool {
    let body = answer.body().bytes().unwrap_or_default().trim_ascii();
    let start = String::from_utf8_lossy(&body[..body.len().min(256)]).to_ascii_lowercase();
    let is_page = ["<!doctype", "<html", "<head", "<body"].iter().any(|tag| start.starts_with(tag));
    !start.is_empty() && (!start.starts_with('<') || is_page || start.contains("<error"))
}

#[cfg(test)]
mod tests {
    use aws_smithy_runtime_api::http::StatusCode;
    use aws_smithy_types::body::SdkBody;

    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &'static str)], body: &'static str) -> HttpResponse {
        let mut answer = HttpResponse::new(StatusCode::try_from(status).unwrap(), SdkBody::from(body));
        for (name, value) in headers {
            answer.headers_mut().insert(*name, *value);
        }
        answer
    }

    #[test]
    fn an_upload_is_stored_when_the_answer_has_an_etag_and_no_page() {
        const ETAG: (&str, &str) = ("etag", "\"5d41402a\"");
        const HTML: (&str, &str) = ("content-type", "text/html; charset=utf-8");
        let missing = AnswerCheck::of_upload().missing;
        for (headers, body) in [
            (&[ETAG][..], ""),
            (&[ETAG, HTML], ""),
            (&[ETAG, ("content-type", "application/xml")], "<?xml version=\"1.0\"?><PutObjectResult/>"),
        ] {
            assert_eq!(missing(&answer(200, headers, body)), None, "{headers:?} {body}");
        }
        for (headers, body) in [
            (&[][..], ""),
            (&[HTML], "<!DOCTYPE html><title>Console</title>"),
            (&[("etag", "")], ""),
            (&[ETAG], "<html></html>"),
            (&[ETAG], "  <!DOCTYPE HTML>"),
            (&[ETAG], "{\"ok\":true}"),
            (&[ETAG], "OK"),
            (&[ETAG], "<?xml version=\"1.0\"?><Error><Code>InternalError</Code></Error>"),
        ] {
            assert!(missing(&answer(200, headers, body)).is_some(), "{headers:?} {body}");
        }
    }

    #[test]
    fn an_object_or_a_bucket_is_known_by_the_headers_of_stores() {
        let missing = AnswerCheck::of_object().missing;
        for header in [("etag", "\"a\""), ("x-amz-meta-sha256", "a"), ("x-amz-request-id", "a")] {
            assert_eq!(missing(&answer(200, &[header], "")), None, "{header:?}");
        }
        for headers in [&[][..], &[("content-type", "text/html")], &[("x-amz-cf-id", "of a CDN")]] {
            assert!(missing(&answer(200, headers, "")).is_some(), "{headers:?}");
        }
        let missing = AnswerCheck::of_bucket().missing;
        assert_eq!(missing(&answer(200, &[], "")), None);
        assert!(missing(&answer(200, &[("content-type", "text/html")], "")).is_some());
    }

    #[test]
    fn what_answered_is_in_the_summary() {
        let page = answer(200, &[("content-type", "text/html"), ("server", "nginx")], "<!DOCTYPE html>\n<title>");
        let details = foreign(&page, "has no ETag");
        assert_eq!(
            details.summary,
            "no store answered: 200 that has no ETag (text/html, server nginx: <!DOCTYPE html> <title>)"
        );
        assert_eq!(details.answer.unwrap().server.as_deref(), Some("nginx"));
    }
}
