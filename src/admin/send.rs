//! Sends answers: whole ones, and streams for as long as the client accepts them.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, Version, header};
use pingora::{
    ErrorType::{ConnectionClosed, WriteTimedout},
    protocols::http::ServerSession,
    server::ShutdownWatch,
};
use tokio::{sync::mpsc, time::timeout};

use super::router::{Body, Reply};

/// How long a client may take to accept a part of a stream.
const STALL: Duration = Duration::from_secs(10);

/// What all answers say unless a route says something else: what they show is of now, and not for other sites.
const COMMON: [(HeaderName, HeaderValue); 5] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
];

/// Sends an answer.
///
/// # Errors
/// When the client hangs up, or does not accept a part of a stream in time.
pub async fn send(
    session: &mut ServerSession,
    reply: Reply,
    is_head: bool,
    shutdown: &ShutdownWatch,
) -> pingora::Result<()> {
    let Reply { mut head, body } = reply;
    for (name, value) in COMMON {
        head.headers_mut().entry(name).or_insert(value);
    }
    match body {
        Body::Whole(body) => {
            if !matches!(head.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
                head.headers_mut().entry(header::CONTENT_LENGTH).or_insert(body.len().into());
            }
            write_head(session, head).await?;
            if is_head || body.is_empty() {
                return Ok(());
            }
            session.write_response_body(body.into(), true).await
        }
        Body::Stream(_) if is_head => write_head(session, head).await,
        Body::Stream(body) => {
            if session.req_header().version == Version::HTTP_11 {
                head.headers_mut().insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            } else {
                session.set_keepalive(None);
            }
            write_head(session, head).await?;
            stream(session, body, shutdown.clone()).await
        }
    }
}

async fn write_head(session: &mut ServerSession, head: Response<()>) -> pingora::Result<()> {
    session.write_response_header(Box::new(head.into_parts().0.into())).await
}

async fn stream(
    session: &mut ServerSession,
    mut body: mpsc::Receiver<Bytes>,
    mut shutdown: ShutdownWatch,
) -> pingora::Result<()> {
    loop {
        let part = tokio::select! {
            part = body.recv() => part,
            // Ready only when the client hangs up, or sends what it should not.
            _ = session.read_body_or_idle(true) => return pingora::Error::e_explain(ConnectionClosed, "by the client"),
            _ = shutdown.wait_for(|stops| *stops) => None,
        };
        let (part, is_last) = part.map_or_else(|| (Bytes::new(), true), |part| (part, false));
        let written = timeout(STALL, session.write_response_body(part, is_last)).await;
        written.unwrap_or_else(|_| pingora::Error::e_explain(WriteTimedout, "the client accepts nothing"))?;
        if is_last {
            return Ok(());
        }
    }
}
