//! Bodies of requests: their size, their type, and how long they may take.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, header};
use pingora::protocols::http::ServerSession;
use tokio::time::timeout;

use super::problem::{Kind, Problem};

/// Longest link or domain, in bytes.
pub const MAX_ITEM: usize = 1024 * 1024;

/// Largest batch, in bytes.
pub const MAX_BATCH: usize = 64 * 1024 * 1024;

/// How long a body may take.
const READ: Duration = Duration::from_secs(60);

/// How much is read and dropped of a body that is not wanted, so that the client gets to read the answer.
const DISCARDED: usize = 1024 * 1024;

/// How long that may take.
const DISCARD: Duration = Duration::from_secs(1);

/// Where the body of a request comes from.
#[async_trait]
pub trait Body: Send {
    /// The whole body.
    ///
    /// # Errors
    /// When it has more than `limit` bytes, takes too long, or ends within.
    async fn read(&mut self, limit: usize) -> Result<Vec<u8>, Problem>;
}

/// The body of a request to a listener.
pub struct SessionBody<'s>(pub &'s mut ServerSession);

#[async_trait]
impl Body for SessionBody<'_> {
    async fn read(&mut self, limit: usize) -> Result<Vec<u8>, Problem> {
        let length = self.header(&header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
        if length.is_some_and(|length| length > limit as u64) {
            return Err(too_large(limit));
        }
        timeout(READ, self.read_chunks(limit)).await.unwrap_or_else(|_| {
            Err(Problem::new(Kind::Timeout, format!("send the body within {} s, or a smaller one", READ.as_secs())))
        })
    }
}

impl SessionBody<'_> {
    async fn read_chunks(&mut self, limit: usize) -> Result<Vec<u8>, Problem> {
        let broken = |_| Problem::new(Kind::BadRequest, "the body ends within: send it again, whole");
        if self.expects_continue() {
            // Pingora would end the connection, as this comes before the body.
            let keepalive = self.0.get_keepalive();
            self.0.write_continue_response().await.map_err(broken)?;
            self.0.set_keepalive(keepalive);
        }
        let mut body = Vec::new();
        while let Some(chunk) = self.read_chunk().await.map_err(broken)? {
            if body.len() + chunk.len() > limit {
                return Err(too_large(limit));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// Drops what was not read. The connection ends after the answer if that is much.
    pub async fn discard(&mut self) {
        if self.0.is_body_done() {
            return;
        }
        // A client that waits for `100 Continue` has not sent its body, and is not to.
        if self.expects_continue() || !timeout(DISCARD, self.discard_some()).await.unwrap_or(false) {
            self.0.set_keepalive(None);
        }
    }

    /// Whether that was all.
    async fn discard_some(&mut self) -> bool {
        let mut discarded = 0;
        loop {
            match self.read_chunk().await {
                Ok(Some(chunk)) => discarded += chunk.len(),
                Ok(None) => return self.0.is_body_done(),
                Err(_) => return false,
            }
            if discarded > DISCARDED {
                return false;
            }
        }
    }

    /// A part of the body. After one that is malformed the connection ends: what follows it is no request.
    async fn read_chunk(&mut self) -> pingora::Result<Option<Bytes>> {
        let chunk = self.0.read_request_body().await;
        if chunk.is_err() {
            self.0.set_keepalive(None);
        }
        chunk
    }

    fn expects_continue(&self) -> bool {
        self.header(&header::EXPECT).is_some_and(|value| value.eq_ignore_ascii_case("100-continue"))
    }

    fn header(&self, name: &header::HeaderName) -> Option<&str> {
        self.0.req_header().headers.get(name)?.to_str().ok()
    }
}

/// Checks the content type of a body; one without is taken as the right one.
pub fn require_type(headers: &HeaderMap, wanted: &'static str) -> Result<(), Problem> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let given = value.to_str().unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(wanted) {
        return Ok(());
    }
    Err(Problem::new(Kind::MediaType, format!("send `Content-Type: {wanted}`, or none")))
}

pub fn too_large(limit: usize) -> Problem {
    Problem::new(Kind::TooLarge, format!("at most {limit} bytes are possible; send less, or in several requests"))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_content_type_is_checked_where_there_is_one() {
        let check = |value: &'static str| {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(value))]);
            require_type(&headers, "application/json").map_err(|problem| problem.kind)
        };
        assert_eq!(check("application/json"), Ok(()));
        assert_eq!(check("Application/JSON; charset=utf-8"), Ok(()));
        for wrong in
            ["", "text/plain", "application/x-ndjson", "application/jsonx", "application/x-www-form-urlencoded"]
        {
            assert_eq!(check(wrong), Err(Kind::MediaType), "{wrong}");
        }
        assert_eq!(require_type(&HeaderMap::new(), "application/json"), Ok(()));
    }
}
