//! The successor: takes over from the process that has started it.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::fd::AsFd,
    time::Duration,
};

use super::{Channel, Message, PROTOCOL, VARIABLE};
use crate::runtime::failpoint::fail_point;

/// How long the sockets of a predecessor may take.
const SOCKETS: Duration = Duration::from_secs(10);

/// The process that has started this one, and will end.
pub struct Predecessor {
    channel: Channel,
}

impl Predecessor {
    /// `None` when this process has no predecessor.
    ///
    /// # Errors
    /// When what should connect the two does not.
    pub fn connect() -> io::Result<Option<Self>> {
        let Some(protocol) = std::env::var_os(VARIABLE) else { return Ok(None) };
        let known = protocol.to_str().and_then(|protocol| protocol.parse::<u32>().ok());
        if known.is_none_or(|known| known == 0) {
            return Err(io::Error::other(format!("{VARIABLE} is set by `clickedge upgrade` only; unset it")));
        }
        let channel = Channel::from(io::stdin().as_fd().try_clone_to_owned()?);
        Ok(Some(Self { channel }))
    }

    /// The listening sockets.
    ///
    /// # Errors
    /// When they do not come.
    pub fn sockets(&self) -> io::Result<Vec<(SocketAddr, TcpListener)>> {
        self.channel.receive_sockets(SOCKETS)
    }

    /// Reports that this process cannot start. The predecessor then stays active.
    pub fn failed(&self, error: &anyhow::Error) {
        _ = self.channel.send(&Message::Failed { error: format!("{error:#}").chars().take(4_000).collect() });
    }

    /// Reports that this process can accept, and returns when it may.
    ///
    /// # Errors
    /// When the predecessor does not want it to, or has ended.
    pub fn ready(&self) -> io::Result<()> {
        self.channel.send(&Message::Ready { protocol: PROTOCOL })?;
        match self.channel.receive(None)? {
            Some(Message::Accept) => {
                fail_point("sockets_taken");
                Ok(())
            }
            Some(message) => Err(super::unexpected(&message)),
            None => Err(io::Error::other("the predecessor stays active, or has ended")),
        }
    }

    /// Reports that this process accepts, and returns when spool and rings are free: the predecessor has released them,
    /// or has ended.
    pub fn accepting(&self) {
        let sent = self.channel.send(&Message::Accepting);
        fail_point("accepting");
        _ = sent.and_then(|()| self.channel.receive(None));
        fail_point("released");
    }

    /// Reports that everything is taken over.
    pub fn serving(&self) {
        _ = self.channel.send(&Message::Serving);
    }
}
