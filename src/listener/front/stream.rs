//! A connection as Pingora takes it: with the bytes already read in front, and not one byte more than the request has.
//!
//! Pingora may read ahead, and would have to give back what belongs to the next request. It cannot read ahead here: of
//! an HTTP/1 request with a known length it sees that much. What the client sends meanwhile waits in `ahead`, and is
//! read from there when the connection comes back.

use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use async_trait::async_trait;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest,
    UniqueID, raw_connect::ProxyDigest, tls::SslDigest,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::transport::Transport;

/// Most that is read ahead of a request that a proxy still answers.
const MAX_AHEAD: usize = 16 * 1024;

/// A connection on loan to Pingora.
pub struct FrontStream {
    pub transport: Transport,
    /// Read already, and the request's.
    pub prefix: Vec<u8>,
    /// How much of it was read again.
    pub taken: usize,
    /// Bytes that the request has beyond the prefix; `None` for as many as there are.
    pub left: Option<u64>,
    /// Bytes that follow the request.
    pub ahead: Vec<u8>,
    pub socket: Arc<SocketDigest>,
    pub tls: Option<Arc<SslDigest>>,
}

impl AsyncRead for FrontStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let waiting = &this.prefix[this.taken..];
        if !waiting.is_empty() {
            let some = &waiting[..waiting.len().min(into.remaining())];
            into.put_slice(some);
            this.taken += some.len();
            return Poll::Ready(Ok(()));
        }
        if this.left == Some(0) {
            return this.poll_ahead(cx);
        }
        let most = this.left.map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX));
        let room = into.remaining().min(most);
        let read = ready!(this.transport.poll_read(cx, into.initialize_unfilled_to(room)))?;
        into.advance(read);
        this.left = this.left.map(|left| left.saturating_sub(read as u64));
        Poll::Ready(Ok(()))
    }
}

impl FrontStream {
    /// The request is read: ready only when the client hangs up.
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.ahead.len() < MAX_AHEAD {
            let from = self.ahead.len();
            self.ahead.resize(from + 1_024, 0);
            let read = self.transport.poll_read(cx, &mut self.ahead[from..]);
            self.ahead.truncate(from + if let Poll::Ready(Ok(read)) = read { read } else { 0 });
            match ready!(read) {
                Ok(0) => return Poll::Ready(Ok(())),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Pending
    }
}

impl AsyncWrite for FrontStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.transport.poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.transport.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.transport.close();
        self.transport.poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for FrontStream {
    async fn shutdown(&mut self) {
        _ = std::future::poll_fn(|cx| Pin::new(&mut *self).poll_shutdown(cx)).await;
    }
}

impl UniqueID for FrontStream {
    fn id(&self) -> i32 {
        self.transport.fd()
    }
}

impl Ssl for FrontStream {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.tls.clone()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.tls.as_ref().map(|_| if self.transport.is_http2() { ALPN::H2 } else { ALPN::H1 })
    }
}

impl GetTimingDigest for FrontStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for FrontStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for FrontStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(Arc::clone(&self.socket))
    }
}

impl Peek for FrontStream {}

impl fmt::Debug for FrontStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrontStream").finish_non_exhaustive()
    }
}
