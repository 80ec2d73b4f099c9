//! The answers, built from values that were made once.

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use pingora::{Error, ErrorType, Result, http::ResponseHeader};
use pingora_proxy::Session;

use crate::{config, event::Reason};

const NO_STORE: HeaderValue = HeaderValue::from_static("private, no-store");
const NOTHING: HeaderValue = HeaderValue::from_static("0");
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const ALLOWED: HeaderValue = HeaderValue::from_static("GET, HEAD");

/// What a refused visitor sees; not a byte of it is from the request.
const BLOCKED: &str = "<!DOCTYPE html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Refused</title>\n\
    <h1>This request was refused</h1>\n\
    <p>It looks like an attack or like automated traffic, so this link was not followed.</p>\n</html>\n";

/// The same for a link that leads to a bad place.
const BLOCKED_DESTINATION: &str = "<!DOCTYPE html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Refused</title>\n\
    <h1>This link was not followed</h1>\n\
    <p>Its destination is on a block list, because it may be harmful.</p>\n</html>\n";

/// Headers that an answer has when it is written: at most four of ours, `Date` and `Connection`.
const HEADERS: usize = 6;

/// What every answer shares.
pub struct Answers {
    permanent: HeaderValue,
    keepalive_secs: Option<u64>,
}

/// An answer that is ready to be written.
pub struct Answer {
    header: Box<ResponseHeader>,
    body: &'static str,
}

impl Answers {
    pub fn new(config: &config::Redirect) -> Self {
        let permanent = format!("private, max-age={}", config.permanent_max_age_secs);
        Self {
            permanent: HeaderValue::try_from(permanent).unwrap_or(NO_STORE),
            keepalive_secs: (config.keepalive_secs > 0).then_some(config.keepalive_secs),
        }
    }

    /// A redirect. 301 and 308 may be stored for the configured time, 302 and 307 never.
    pub fn redirect(&self, status: u16, location: Bytes) -> Result<Answer> {
        let location = HeaderValue::from_maybe_shared(location)
            .map_err(|error| Error::because(ErrorType::InternalError, "a destination is no header value", error))?;
        let mut header = Box::new(ResponseHeader::build_no_case(status, Some(HEADERS))?);
        header.insert_header(header::LOCATION, location)?;
        let permanent = matches!(status, 301 | 308);
        header.insert_header(header::CACHE_CONTROL, if permanent { self.permanent.clone() } else { NO_STORE })?;
        header.insert_header(header::CONTENT_LENGTH, NOTHING)?;
        Ok(Answer { header, body: "" })
    }

    pub fn not_found(&self) -> Result<Answer> {
        plain(StatusCode::NOT_FOUND, "There is no such link.\n")
    }

    pub fn gone(&self) -> Result<Answer> {
        plain(StatusCode::GONE, "This link has expired.\n")
    }

    pub fn method_not_allowed(&self) -> Result<Answer> {
        let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "Links are for GET and HEAD.\n")?;
        answer.header.insert_header(header::ALLOW, ALLOWED)?;
        Ok(answer)
    }

    /// For a click that `quality.block` refuses.
    pub fn blocked(&self, reason: Reason) -> Result<Answer> {
        let is_destination = reason == Reason::BlockedDestination;
        let mut answer = plain(StatusCode::FORBIDDEN, if is_destination { BLOCKED_DESTINATION } else { BLOCKED })?;
        answer.header.insert_header(header::CONTENT_TYPE, HTML)?;
        Ok(answer)
    }

    pub fn bad_request(&self) -> Result<Answer> {
        plain(StatusCode::BAD_REQUEST, "The request cannot be understood.\n")
    }

    /// Pingora's default keeps an idle connection for ever. A client that asked to close stays closed.
    pub fn limit_idle(&self, session: &mut Session) {
        let downstream = session.as_downstream_mut();
        if downstream.get_keepalive().is_some() {
            downstream.set_keepalive(self.keepalive_secs);
            downstream.set_pipelining_enabled(true);
        }
    }

    /// Writes an answer. The connection is closed afterwards when `close` says so or keep-alive is off.
    ///
    /// # Errors
    /// When the client is gone.
    pub async fn write(&self, session: &mut Session, answer: Answer, close: bool) -> Result<()> {
        let body = if session.req_header().method == Method::HEAD { "" } else { answer.body };
        if close {
            session.as_downstream_mut().set_keepalive(None);
        } else {
            self.limit_idle(session);
        }
        session.write_response_header(answer.header, body.is_empty()).await?;
        if !body.is_empty() {
            session.write_response_body(Some(Bytes::from_static(body.as_bytes())), true).await?;
        }
        Ok(())
    }
}

fn plain(status: StatusCode, body: &'static str) -> Result<Answer> {
    let mut header = Box::new(ResponseHeader::build_no_case(status, Some(HEADERS))?);
    header.insert_header(header::CONTENT_TYPE, PLAIN)?;
    header.insert_header(header::CACHE_CONTROL, NO_STORE)?;
    header.insert_header(header::CONTENT_LENGTH, HeaderValue::from(body.len()))?;
    Ok(Answer { header, body })
}
