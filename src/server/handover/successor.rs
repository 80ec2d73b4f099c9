//! The successor: takes over from the process that has started it.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::fd::AsFd,
    time::Duration,
};

use super::{Channel, Inheritance, Message, PROTOCOL, VARIABLE};
use crate::{
    catalog::limits::History,
    config::Config,
    runtime::{clock, failpoint::fail_point},
};

/// How long the sockets of a predecessor may take.
const SOCKETS: Duration = Duration::from_secs(10);

/// How long a predecessor may take to end when it must.
const FINISH: Duration = Duration::from_secs(3);

/// The process that has started this one, and will end.
pub struct Predecessor {
    channel: Channel,
    inheritance: Inheritance,
}

impl Predecessor {
    /// `None` when this process has no predecessor.
    ///
    /// # Errors
    /// When what should connect the two does not.
    pub fn connect() -> io::Result<Option<Self>> {
        let Some(inheritance) = std::env::var_os(VARIABLE) else { return Ok(None) };
        let parsed = inheritance.to_str().and_then(|text| serde_json::from_str(text).ok());
        let Some(inheritance) = parsed else {
            return Err(io::Error::other(format!("{VARIABLE} is set by `clickedge upgrade` only; unset it")));
        };
        let channel = Channel::from(io::stdin().as_fd().try_clone_to_owned()?);
        Ok(Some(Self { channel, inheritance }))
    }

    /// Checks that this configuration takes over what the predecessor leaves.
    ///
    /// # Errors
    /// When rings or spool are elsewhere: what waits there would be forgotten.
    pub fn check(&self, config: &Config) -> io::Result<()> {
        let Inheritance { rings, spool, .. } = &self.inheritance;
        for (key, new, old) in [("capture.dir", &config.capture.dir, rings), ("spool.dir", &config.spool.dir, spool)]
        {
            if new != old {
                let (new, old) = (new.display(), old.display());
                return Err(io::Error::other(format!(
                    "`{key}` is {new}, and that of the running process is {old}, with what waits there; run \
                     `clickedge drain` with the former configuration, then start with this one"
                )));
            }
        }
        Ok(())
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
        self.channel.send(&Message::Ready { protocol: PROTOCOL.min(self.inheritance.protocol) })?;
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

    /// Has the predecessor end, and returns when it has, or after a while.
    pub fn finish(&self) {
        _ = self.channel.send(&Message::Finish);
        while matches!(self.channel.receive(Some(FINISH)), Ok(Some(_))) {}
    }

    /// Checks a catalog of so many links against that of the predecessor, as a reload does.
    ///
    /// # Errors
    /// When it is suspiciously small or large.
    pub fn check_catalog(&self, config: &Config, links: usize) -> io::Result<()> {
        let former = self.inheritance.links;
        let checked = History::default().check(clock::monotonic(), former, links, &config.catalog);
        checked.map_err(|_| {
            io::Error::other(format!(
                "the catalog {} has {links} links, and that of the running process {former}; correct the file, or raise \
                 `catalog.max_shrink_ratio` or `catalog.max_growth_ratio` for this upgrade",
                config.catalog.file.display()
            ))
        })
    }
}
