//! A connection as Pingora takes it: with the bytes already read in front, and not one byte more than the request has.
//!
//! Pingora may read ahead, and would have to give back what belongs to the next request. It cannot read ahead here: of
//! an HTTP/1 request with a known length it sees that much. What the client sends meanwhile waits in `ahead`, and is
//! read from there when the connection comes back.

use std::{
    fmt,
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use async_trait::async_trait;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest,
    UniqueID, raw_connect::ProxyDigest, tls::SslDigest,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use super::{timer::Deadline, transport::Transport};

/// Most that is read ahead of a request that a proxy still answers.
const MAX_AHEAD: usize = 16 * 1024;

/// How long a client may take to accept or send anything.
pub const STALL: Duration = Duration::from_secs(10);

/// Time that a client earns with each byte of a body: it must send a kilobyte a second, on average.
const PER_BYTE: Duration = Duration::from_millis(1);

/// Bytes with which every HTTP/2 connection begins.
pub const PREFACE: u64 = 24;

/// After an answer to a request whose body was not read, what the client still sends is read for so long: closing at
/// once would reset the connection, and with it the answer.
pub const LINGER: Duration = Duration::from_secs(1);

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
    /// When so many bytes must have been read; none for a connection that both sides may leave silent.
    pub reading: Option<(Deadline, u64)>,
    /// When what waits must have been sent.
    pub writing: Option<Deadline>,
    pub socket: Arc<SocketDigest>,
    pub tls: Option<Arc<SslDigest>>,
    /// Of HTTP/2, whose requests only Pingora sees.
    pub named: Option<Arc<ProxyDigest>>,
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
        let read = match this.transport.poll_read(cx, into.initialize_unfilled_to(room)) {
            Poll::Ready(read) => read?,
            Poll::Pending => {
                let Some((deadline, _)) = &mut this.reading else { return Poll::Pending };
                ready!(deadline.poll(cx));
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        };
        into.advance(read);
        this.left = this.left.map(|left| left.saturating_sub(read as u64));
        this.received(read);
        Poll::Ready(Ok(()))
    }
}

impl FrontStream {
    /// Counts bytes of the client towards what it must send.
    fn received(&mut self, bytes: usize) {
        self.reading = self.reading.take().and_then(|(mut deadline, due)| {
            deadline.extend(PER_BYTE * bytes as u32);
            (due > bytes as u64).then(|| (deadline, due - bytes as u64))
        });
    }

    /// The result of sending, unless the client does not accept anything for too long.
    fn sent<T>(&mut self, cx: &mut Context<'_>, sent: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if sent.is_ready() {
            self.writing = None;
            return sent;
        }
        let deadline = self.writing.get_or_insert_with(|| Deadline::at(Instant::now() + STALL));
        ready!(deadline.poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

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
        let sent = self.transport.poll_write(cx, bytes);
        self.sent(cx, sent)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sent = self.transport.poll_flush(cx);
        self.sent(cx, sent)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.transport.close();
        let sent = self.transport.poll_shutdown(cx);
        self.sent(cx, sent)
    }
}

#[async_trait]
impl Shutdown for FrontStream {
    async fn shutdown(&mut self) {
        if self.left == Some(0) {
            _ = poll_fn(|cx| Pin::new(&mut *self).poll_shutdown(cx)).await;
        } else {
            self.transport.close();
            linger(&mut self.transport).await;
        }
    }
}

/// Closes our side, and reads what the client still sends, for a while.
pub async fn linger(transport: &mut Transport) {
    let mut deadline = Deadline::at(Instant::now() + LINGER);
    let mut buffer = [0; 4 * 1024];
    let mut is_shut = false;
    poll_fn(|cx| {
        if !is_shut {
            is_shut = transport.poll_shutdown(cx).is_ready();
        }
        loop {
            match transport.poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(read)) if read > 0 => {}
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return deadline.poll(cx),
            }
        }
    })
    .await;
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
        self.named.clone()
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
