//! Hand-over: another process takes over the listening sockets, the rings and the spool of this one, and no request
//! fails.
//!
//! ```text
//! predecessor                                     successor
//! starts it, passes the listening sockets  ─────► checks its configuration, opens rings of its own
//!                                          ◄───── Ready          (or it ends: the predecessor stays active)
//! accepts no more                  Accept  ─────► accepts
//!                                          ◄───── Accepting
//! watches it for a second (if it ends: the predecessor accepts again, and takes over its rings)
//! journals what its rings hold,
//! releases spool and rings       Released  ─────► opens the spool, reads the rings of both
//!                                          ◄───── Serving
//! answers what it has accepted, and ends          removes the rings of the predecessor when it has ended
//! ```
//! Connections that arrive while no process accepts wait in the backlog of the sockets, which both processes have. What
//! the predecessor still answers is captured in its rings, which the successor reads from `Released` on; the locks of
//! their files say when no process writes into them any more. If the
//! successor fails between `Released` and `Serving`, the predecessor accepts again and starts another process of its
//! own release, which then takes the place of the successor.
//!
//! The two talk over a pair of sockets that nothing else can reach: it is the successor's standard input. Each message
//! is a JSON text; of two releases, the older one decides what is said ([`PROTOCOL`]).

pub mod predecessor;
pub mod successor;

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    net::{SocketAddr, TcpListener},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    time::Duration,
};

use rustix::{
    cmsg_space,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
        sockopt::{Timeout, set_socket_timeout},
    },
};
use serde::{Deserialize, Serialize};

/// Version of the messages. A predecessor states the latest that it knows, and the successor which one it speaks.
pub const PROTOCOL: u32 = 1;

/// Environment variable of a successor: its [`Inheritance`].
pub const VARIABLE: &str = "CLICKEDGE_PREDECESSOR";

/// What a predecessor leaves, besides its sockets.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Inheritance {
    /// The latest version of the messages that it knows.
    pub protocol: u32,
    /// The folder of its rings.
    pub rings: PathBuf,
    /// The folder of its spool.
    pub spool: PathBuf,
    /// Links of its catalog.
    pub links: usize,
}

/// Sockets in one message; the kernel passes up to 253.
const SOCKETS: usize = 128;

/// Longest message, in bytes.
const MESSAGE: usize = 16 * 1024;

/// What the two processes say.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "is", rename_all = "camelCase")]
pub enum Message {
    /// Listening sockets, by address. Others follow if `more`.
    Sockets {
        addresses: Vec<SocketAddr>,
        more: bool,
    },
    /// The successor can accept, and speaks this version of the messages, at most that of the predecessor.
    Ready {
        protocol: u32,
    },
    /// It cannot, for this reason.
    Failed {
        error: String,
    },
    Accept,
    Accepting,
    Released,
    Serving,
    /// To the predecessor: what it has accepted must be answered at once, because this edge ends for good.
    Finish,
}

/// One end of the pair.
pub struct Channel(OwnedFd);

impl Channel {
    /// A new pair.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        let (here, there) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self(here), there))
    }

    /// Another descriptor of this end.
    pub fn duplicate(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    pub fn send(&self, message: &Message) -> io::Result<()> {
        self.send_with(message, &[])
    }

    /// Passes listening sockets.
    pub fn send_sockets(&self, sockets: &[(SocketAddr, OwnedFd)]) -> io::Result<()> {
        let mut chunks = sockets.chunks(SOCKETS).peekable();
        while let Some(chunk) = chunks.next() {
            let addresses = chunk.iter().map(|(address, _)| *address).collect();
            let descriptors: Vec<_> = chunk.iter().map(|(_, socket)| socket.as_fd()).collect();
            self.send_with(&Message::Sockets { addresses, more: chunks.peek().is_some() }, &descriptors)?;
        }
        Ok(())
    }

    fn send_with(&self, message: &Message, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(SOCKETS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::Error::other("too many sockets in one message"));
        }
        sendmsg(&self.0, &[IoSlice::new(&text)], &mut ancillary, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// The next message. `None` when the other process has ended.
    ///
    /// # Errors
    /// `TimedOut` when none has come within `timeout`, `InvalidData` for a message that this release does not know.
    pub fn receive(&self, timeout: Option<Duration>) -> io::Result<Option<Message>> {
        Ok(self.receive_with(timeout)?.map(|(message, _)| message))
    }

    /// Listening sockets.
    pub fn receive_sockets(&self, timeout: Duration) -> io::Result<Vec<(SocketAddr, TcpListener)>> {
        let mut sockets = Vec::new();
        loop {
            match self.receive_with(Some(timeout))? {
                Some((Message::Sockets { addresses, more }, descriptors)) if addresses.len() == descriptors.len() => {
                    sockets.extend(addresses.into_iter().zip(descriptors.into_iter().map(TcpListener::from)));
                    if !more {
                        return Ok(sockets);
                    }
                }
                Some((message, _)) => return Err(unexpected(&message)),
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }

    fn receive_with(&self, timeout: Option<Duration>) -> io::Result<Option<(Message, Vec<OwnedFd>)>> {
        set_socket_timeout(&self.0, Timeout::Recv, timeout)?;
        let mut text = vec![0; MESSAGE];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(SOCKETS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = match recvmsg(&self.0, &mut [IoSliceMut::new(&mut text)], &mut ancillary, flags) {
            Ok(received) => received.bytes,
            Err(rustix::io::Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
            Err(rustix::io::Errno::CONNRESET) => 0,
            Err(error) => return Err(error.into()),
        };
        if received == 0 {
            return Ok(None);
        }
        let mut descriptors = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                descriptors.extend(received);
            }
        }
        Ok(Some((serde_json::from_slice(&text[..received])?, descriptors)))
    }
}

impl From<OwnedFd> for Channel {
    fn from(socket: OwnedFd) -> Self {
        Self(socket)
    }
}

fn unexpected(message: &Message) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("unexpected message {message:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Channel, Channel) {
        let (here, there) = Channel::pair().unwrap();
        (here, Channel::from(there))
    }

    #[test]
    fn messages_arrive_one_by_one_and_an_end_is_noticed() {
        let (here, there) = pair();
        here.send(&Message::Ready { protocol: 1 }).unwrap();
        here.send(&Message::Failed { error: "no".into() }).unwrap();
        assert_eq!(there.receive(None).unwrap(), Some(Message::Ready { protocol: 1 }));
        assert_eq!(there.receive(None).unwrap(), Some(Message::Failed { error: "no".into() }));
        let late = there.receive(Some(Duration::from_millis(1))).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        drop(here);
        assert_eq!(there.receive(None).unwrap(), None);
    }

    #[test]
    fn sockets_arrive_with_their_addresses_and_listen() {
        let (here, there) = pair();
        let listeners: Vec<_> = (0..SOCKETS + 2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let addresses: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
        let sockets: Vec<_> = addresses.iter().copied().zip(listeners.into_iter().map(OwnedFd::from)).collect();
        here.send_sockets(&sockets).unwrap();
        drop(sockets);
        let received = there.receive_sockets(Duration::from_secs(5)).unwrap();
        assert_eq!(received.iter().map(|(address, _)| *address).collect::<Vec<_>>(), addresses);
        for (address, listener) in received {
            let client = std::net::TcpStream::connect(address).unwrap();
            assert_eq!(listener.accept().unwrap().1, client.local_addr().unwrap());
        }
    }

    #[test]
    fn an_unknown_message_is_an_error() {
        let (here, there) = pair();
        rustix::net::send(&here.0, br#"{"is":"dance"}"#, SendFlags::empty()).unwrap();
        assert_eq!(there.receive(None).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
