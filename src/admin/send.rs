//! Sends answers: whole ones, and streams for as long as the client accepts them.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, Version, header};
use pingora::{
    ErrorType::{ConnectionClosed, WriteTimedout},
    protocols::http::ServerSession,
    server::ShutdownWatch,
};
use tokio::{sync::mpsc, time::timeout};

use super::{
    problem::Problem,
    router::{Body, Reply},
};

/// How long a client may take to accept a part of a stream.
const STALL: Duration = Duration::from_secs(10);

/// Time between two looks at whether a client may have the rest of a stream.
const LOOK: Duration = Duration::from_secs(2);

/// What all answers say unless a route says something else: what they show is of now, and not for other sites.
const COMMON: [(HeaderName, HeaderValue); 5] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
];

/// Sends an answer. A stream ends, too, soon after `may_go_on` is false.
///
/// # Errors
/// When the client hangs up, or does not accept a part of a stream in time.
pub async fn send(
    session: &mut ServerSession,
    reply: Reply,
    is_head: bool,
    shutdown: &ShutdownWatch,
    may_go_on: &(dyn Fn() -> bool + Sync),
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
            stream(session, body, shutdown.clone(), may_go_on).await
        }
    }
}

/// The whole answer to what is no request, after which the connection closes.
pub fn closing(problem: &Problem) -> Vec<u8> {
    let (mut head, body) = problem.response().into_parts();
    head.headers.extend(COMMON);
    head.headers.insert(header::CONTENT_LENGTH, body.len().into());
    head.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    let mut answer = format!("HTTP/1.1 {}\r\n", head.status).into_bytes();
    for (name, value) in &head.headers {
        answer.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    answer.extend(b"\r\n");
    answer.extend(body);
    answer
}

async fn write_head(session: &mut ServerSession, head: Response<()>) -> pingora::Result<()> {
    session.write_response_header(Box::new(head.into_parts().0.into())).await
}

async fn stream(
    session: &mut ServerSession,
    mut body: mpsc::Receiver<Bytes>,
    mut shutdown: ShutdownWatch,
    may_go_on: &(dyn Fn() -> bool + Sync),
) -> pingora::Result<()> {
    let mut looked = Instant::now();
    loop {
        if looked.elapsed() >= LOOK {
            looked = Instant::now();
            if !may_go_on() {
                body.close();
                return session.write_response_body(Bytes::new(), true).await;
            }
        }
        let part = tokio::select! {
            () = tokio::time::sleep(LOOK.saturating_sub(looked.elapsed())) => continue,
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

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        sync::watch,
    };

    use super::*;
    use crate::admin::{access::Via, connection::Connection};

    /// A client and the session of its request.
    async fn requested(head: &str) -> (DuplexStream, ServerSession) {
        let (mut client, io) = duplex(64 * 1024);
        client.write_all(head.as_bytes()).await.unwrap();
        let mut session = ServerSession::new_http1(Box::new(Connection::new(Box::new(io), Via::Tcp)));
        assert!(session.read_request().await.unwrap());
        (client, session)
    }

    /// What comes until it ends like this.
    async fn until(client: &mut DuplexStream, end: &str) -> String {
        let mut text = Vec::new();
        while !text.ends_with(end.as_bytes()) {
            text.push(client.read_u8().await.unwrap());
        }
        String::from_utf8(text).unwrap()
    }

    #[tokio::test]
    async fn each_part_of_a_stream_is_sent_as_it_comes_and_a_stop_ends_it() {
        let (mut client, mut session) = requested("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        let (stop, stopped) = watch::channel(false);
        let (parts, body) = mpsc::channel(1);
        let sent = tokio::spawn(async move {
            send(&mut session, Reply::stream("text/plain", body), false, &stopped, &|| true).await
        });
        let head = until(&mut client, "\r\n\r\n").await.to_lowercase();
        assert!(
            head.contains("transfer-encoding: chunked\r\n") && head.contains("x-frame-options: deny\r\n"),
            "{head}"
        );
        for part in ["one", "two"] {
            parts.send(Bytes::from(part)).await.unwrap();
            assert_eq!(until(&mut client, &format!("{part}\r\n")).await, format!("3\r\n{part}\r\n"));
        }
        stop.send_replace(true);
        assert_eq!(until(&mut client, "0\r\n\r\n").await, "0\r\n\r\n");
        assert!(sent.await.unwrap().is_ok() && parts.is_closed());
    }

    #[tokio::test]
    async fn a_client_that_hangs_up_ends_a_stream() {
        let (mut client, mut session) = requested("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        let (_stop, stopped) = watch::channel(false);
        let (parts, body) = mpsc::channel::<Bytes>(1);
        let sent = tokio::spawn(async move {
            send(&mut session, Reply::stream("text/plain", body), false, &stopped, &|| true).await
        });
        until(&mut client, "\r\n\r\n").await;
        drop(client);
        parts.closed().await;
        assert!(sent.await.unwrap().is_err());
    }

    #[tokio::test]
    async fn the_body_of_an_answer_to_head_is_counted_and_not_sent() {
        let (mut client, mut session) = requested("HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        let (_stop, stopped) = watch::channel(false);
        send(&mut session, Reply::new(200, "text/plain", "four"), true, &stopped, &|| true).await.unwrap();
        drop(session);
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        let text = text.to_lowercase();
        assert!(text.contains("content-length: 4\r\n") && text.ends_with("\r\n\r\n"), "{text}");
    }
}
