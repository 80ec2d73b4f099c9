//! A connection to the admin listener. Its own reader of heads stands before Pingora's, which would escape what is
//! malformed instead of rejecting it, and wait for the rest of a head for as long as something comes.

use std::{
    fmt,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use async_trait::async_trait;
use pingora::{
    protocols::{
        GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
        http::ServerSession, raw_connect::ProxyDigest,
    },
    server::ShutdownWatch,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::timeout,
};

use super::{
    Admin,
    access::{Via, check_target},
    problem::{Kind, Problem},
    send,
};

/// How long a connection may stay idle between two requests.
pub const IDLE: Duration = Duration::from_secs(60);

/// How long a head may take from its first byte on, and the first one of a connection to begin.
const HEAD: Duration = Duration::from_secs(10);

/// Longest head, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// Most headers of a request.
const MAX_HEADERS: usize = 100;

/// After the answer to a malformed request, what the client still sends is read for so long: closing at once would
/// reset the connection, and with it the answer.
const LINGER: Duration = Duration::from_secs(1);

/// What a connection is made of: TCP, TLS over it, or a Unix socket.
pub trait Transport: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Transport for T {}

/// A connection.
pub struct Connection {
    io: Box<dyn Transport>,
    via: Via,
    /// What was read and not passed on.
    ahead: Vec<u8>,
    /// Bytes of the current request that were not passed on; what follows them is the next request. `None` where the
    /// request alone says where it ends.
    left: Option<u64>,
}

impl Connection {
    pub fn new(io: Box<dyn Transport>, via: Via) -> Self {
        Self { io, via, ahead: Vec::new(), left: None }
    }

    /// Answers its requests, until either side wants no more.
    pub async fn serve(mut self, admin: Arc<Admin>, shutdown: ShutdownWatch) {
        let (via, mut idle, mut stops) = (self.via, HEAD, shutdown.clone());
        loop {
            // Not before the first request: what was accepted is answered.
            let is_idle = idle == IDLE && self.ahead.is_empty();
            let head = tokio::select! {
                head = self.read_head(idle) => head,
                _ = stops.wait_for(|stops| *stops), if is_idle => return,
            };
            match head {
                Ok(true) => {}
                Ok(false) => return,
                Err(problem) => return self.reject(&problem).await,
            }
            self.left = request_bytes(&self.ahead);
            let session = ServerSession::new_http1(Box::new(self));
            let Some(stream) = admin.respond(session, via, &shutdown).await else { return };
            let Ok(connection) = stream.into_any().downcast::<Self>() else { return };
            if connection.left.is_some_and(|left| left > 0) {
                // A body that no route has read.
                return;
            }
            (self, idle) = (*connection, IDLE);
        }
    }

    /// Reads the head of a request. `false` if none comes.
    async fn read_head(&mut self, idle: Duration) -> Result<bool, Problem> {
        if self.ahead.is_empty() && !matches!(timeout(idle, self.read_some()).await, Ok(Ok(1..))) {
            return Ok(false);
        }
        let whole = async {
            while !check_head(&self.ahead)? {
                if self.ahead.len() > MAX_HEAD {
                    let detail = format!("the head of the request has more than {MAX_HEAD} bytes");
                    return Err(Problem::new(Kind::BadRequest, detail));
                }
                if !matches!(self.read_some().await, Ok(1..)) {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        timeout(HEAD, whole).await.unwrap_or_else(|_| {
            Err(Problem::new(Kind::BadRequest, format!("send the head of a request within {} s", HEAD.as_secs())))
        })
    }

    async fn read_some(&mut self) -> io::Result<usize> {
        self.io.read_buf(&mut self.ahead).await
    }

    /// Answers what is no request.
    async fn reject(mut self, problem: &Problem) {
        let sent = async {
            self.io.write_all(&send::closing(problem)).await?;
            self.io.shutdown().await?;
            let mut rest = [0; 4096];
            while self.io.read(&mut rest).await? > 0 {}
            io::Result::Ok(())
        };
        // Whether the client reads it is its own affair.
        _ = timeout(LINGER, sent).await;
    }
}

/// Whether a head is whole.
fn check_head(bytes: &[u8]) -> Result<bool, Problem> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {
            check_target(request.path.unwrap_or_default().as_bytes())?;
            Ok(true)
        }
        Ok(httparse::Status::Partial) => Ok(false),
        Err(error) => Err(Problem::new(Kind::BadRequest, format!("the head of the request is malformed: {error}"))),
    }
}

/// Bytes of a request whose head is whole. `None` if its body alone says where it ends.
fn request_bytes(bytes: &[u8]) -> Option<u64> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let Ok(httparse::Status::Complete(head)) = request.parse(bytes) else { return None };
    let mut body = 0;
    for header in &*request.headers {
        if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return None;
        }
        if header.name.eq_ignore_ascii_case("content-length") {
            body = std::str::from_utf8(header.value).ok()?.trim().parse().ok()?;
        }
    }
    Some((head as u64).saturating_add(body))
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { io, ahead, left, .. } = &mut *self;
        // At the end of the request, only that the client hangs up is seen: what it sends is its next request.
        while ahead.is_empty() || *left == Some(0) {
            if ahead.len() > MAX_HEAD {
                return Poll::Pending;
            }
            let mut bytes = [0; 16 << 10];
            let mut some = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut **io).poll_read(cx, &mut some))?;
            if some.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            ahead.extend_from_slice(some.filled());
        }
        let most = left.map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX));
        let some = ahead.len().min(into.remaining()).min(most);
        into.put_slice(&ahead[..some]);
        ahead.drain(..some);
        *left = left.map(|left| left - some as u64);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.io).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for Connection {
    async fn shutdown(&mut self) {
        _ = self.io.shutdown().await;
    }
}

impl UniqueID for Connection {
    fn id(&self) -> i32 {
        0
    }
}

impl Ssl for Connection {}

impl GetTimingDigest for Connection {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Connection {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

/// Pingora has no use for the address of an operator.
impl GetSocketDigest for Connection {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}

impl Peek for Connection {}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("via", &self.via).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_head_is_whole_partial_or_malformed() {
        let checked = |bytes: &[u8]| check_head(bytes).map_err(|problem| problem.kind);
        assert_eq!(checked(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"), Ok(true));
        assert_eq!(checked(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n"), Ok(false));
        for bytes in [
            &b"\x16\x03\x01\x02\x00"[..],
            b"GET\r\n\r\n",
            b"GET /a b HTTP/1.1\r\n\r\n",
            b"GET /metrics HTTP/9\r\n\r\n",
            b"GET /%zz HTTP/1.1\r\n\r\n",
            b"GET /\x00 HTTP/1.1\r\n\r\n",
            b"GET /\xff HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
            b"GET / HTTP/1.1\r\nX: a\x00b\r\n\r\n",
        ] {
            assert_eq!(checked(bytes), Err(Kind::BadRequest), "{}", bytes.escape_ascii());
        }
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(MAX_HEADERS + 1));
        assert_eq!(checked(many.as_bytes()), Err(Kind::BadRequest));
    }

    #[test]
    fn the_end_of_a_request_is_that_of_its_body() {
        let bytes = |head: &str| request_bytes(format!("{head}\r\n\r\nnext").as_bytes());
        assert_eq!(bytes("GET / HTTP/1.1\r\nHost: localhost"), Some(35));
        assert_eq!(bytes("PUT / HTTP/1.1\r\ncontent-length: 7"), Some(44));
        assert_eq!(bytes("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked"), None);
        assert_eq!(bytes("PUT / HTTP/1.1\r\nContent-Length: x"), None);
        let most = format!("PUT / HTTP/1.1\r\nContent-Length: {}", u64::MAX);
        assert_eq!(bytes(&most), Some(u64::MAX));
    }

    proptest! {
        #[test]
        fn any_bytes_are_checked(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            _ = (check_head(&bytes), request_bytes(&bytes));
        }
    }
}
