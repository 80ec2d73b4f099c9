//! A TLS connection over a socket, driven by hand: what rustls has to send waits until there is nothing left to read.
//! So the end of a handshake, its ticket and the answer to a request that came with the client's Finished go out in one
//! write, and in one poll.

use std::{
    future::poll_fn,
    io::{self, IoSlice, Read, Write},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use rustls::{
    ServerConnection,
    server::{Accepted, AcceptedAlert, Acceptor},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::tls::{ServerConfigs, acme::challenge::Challenges};

/// A socket and its TLS state.
pub struct TlsStream {
    pub tcp: TcpStream,
    tls: ServerConnection,
    /// The client has closed its side.
    eof: bool,
}

impl TlsStream {
    /// Shakes hands. The last messages may not have been sent yet.
    ///
    /// # Errors
    /// When the client hangs up, or does not agree. [`io::ErrorKind::ConnectionAborted`] when it was a certificate
    /// authority that has checked a name, and wants no more.
    pub async fn accept(mut tcp: TcpStream, configs: &ServerConfigs, challenges: &Challenges) -> io::Result<Self> {
        let accepted = hello(&mut tcp).await?;
        let challenge = match challenges.named(&accepted.client_hello()) {
            Some(name) => challenges.tls(&name).await,
            None => None,
        };
        let config = challenge.as_ref().unwrap_or_else(|| configs.preferred(accepted.client_hello().cipher_suites()));
        let tls = match accepted.into_connection(Arc::clone(config)) {
            Ok(tls) => tls,
            Err((error, alert)) => return Err(rejected(&mut tcp, error, alert).await),
        };
        let mut stream = Self { tcp, tls, eof: false };
        poll_fn(|cx| stream.poll_handshake(cx)).await?;
        if challenge.is_some() {
            stream.close();
            poll_fn(|cx| stream.poll_send(cx)).await?;
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(stream)
    }

    pub fn connection(&self) -> &ServerConnection {
        &self.tls
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tls.is_handshaking() {
            ready!(self.poll_send(cx))?;
            if self.eof {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            ready!(self.poll_receive(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads plain text. Sends what waits before it waits itself.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            match self.tls.reader().read(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Without a close_notify: browsers and probes hang up like this all the time.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Poll::Ready(Ok(0)),
                read => return Poll::Ready(read),
            }
            ready!(self.poll_send(cx))?;
            if self.eof {
                return Poll::Ready(Ok(0));
            }
            ready!(self.poll_receive(cx))?;
        }
    }

    /// Takes plain text for sending. Less than all of it when much waits already.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let taken = self.tls.writer().write(bytes)?;
        if taken > 0 || bytes.is_empty() {
            return Poll::Ready(Ok(taken));
        }
        ready!(self.poll_send(cx))?;
        Poll::Ready(self.tls.writer().write(bytes))
    }

    /// Sends everything that waits.
    pub fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tls.wants_write() {
            ready!(self.tls.write_tls(&mut Socket { tcp: &mut self.tcp, cx }).would_block()?);
        }
        Poll::Ready(Ok(()))
    }

    /// Says that nothing follows; sent with what waits.
    pub fn close(&mut self) {
        self.tls.send_close_notify();
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(self.tls.read_tls(&mut Socket { tcp: &mut self.tcp, cx }).would_block()?) {
            0 => self.eof = true,
            _ => {
                if let Err(error) = self.tls.process_new_packets() {
                    // The alert says why; whether it arrives changes nothing here.
                    _ = self.poll_send(cx);
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Reads the first message of a client.
async fn hello(tcp: &mut TcpStream) -> io::Result<Accepted> {
    let mut acceptor = Acceptor::default();
    loop {
        let read = poll_fn(|cx| match acceptor.read_tls(&mut Socket { tcp: &mut *tcp, cx }).would_block() {
            Ok(poll) => poll.map(Ok),
            Err(error) => Poll::Ready(Err(error)),
        });
        if read.await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => return Ok(accepted),
            Err((error, alert)) => return Err(rejected(tcp, error, alert).await),
        }
    }
}

/// The alert says why; whether it arrives changes nothing here.
async fn rejected(tcp: &mut TcpStream, error: rustls::Error, mut alert: AcceptedAlert) -> io::Error {
    poll_fn(|cx| {
        _ = alert.write_all(&mut Socket { tcp: &mut *tcp, cx });
        Poll::Ready(())
    })
    .await;
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// A socket as rustls wants it. Where it would block, the task is woken later.
struct Socket<'a, 'c> {
    tcp: &'a mut TcpStream,
    cx: &'a mut Context<'c>,
}

impl Read for Socket<'_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut into = ReadBuf::new(into);
        match Pin::new(&mut *self.tcp).poll_read(self.cx, &mut into) {
            Poll::Ready(read) => read.map(|()| into.filled().len()),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for Socket<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        blocking(Pin::new(&mut *self.tcp).poll_write(self.cx, bytes))
    }

    fn write_vectored(&mut self, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        blocking(Pin::new(&mut *self.tcp).poll_write_vectored(self.cx, bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn blocking(poll: Poll<io::Result<usize>>) -> io::Result<usize> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

trait WouldBlock<T> {
    /// `Pending` instead of an error that says so.
    fn would_block(self) -> io::Result<Poll<T>>;
}

impl<T> WouldBlock<T> for io::Result<T> {
    fn would_block(self) -> io::Result<Poll<T>> {
        match self {
            Ok(value) => Ok(Poll::Ready(value)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Poll::Pending),
            Err(error) => Err(error),
        }
    }
}
