//! The listening sockets: new ones, and those of a predecessor or of systemd.

use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use socket2::{Domain, Protocol, SockAddr, SockRef, Type};

use crate::{
    config,
    listener::{ListenError, probe},
    tls::{CertificateStore, ServerConfigs, Tickets},
};

/// Connections that wait to be accepted, for each socket, unless `net.core.somaxconn` is less.
pub const BACKLOG: i32 = 4_096;

/// What holds for the connections of a socket.
pub struct Settings {
    pub tls: Option<ServerConfigs>,
    pub certificates: Arc<CertificateStore>,
    pub proxy_protocol: bool,
    pub redirect_to_https: bool,
}

impl Settings {
    /// The settings of a listener.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(
        listener: &config::Listener,
        tls: &config::Tls,
        certificates: &Arc<CertificateStore>,
        tickets: &Arc<Tickets>,
    ) -> Result<Self, ListenError> {
        let configs = || {
            ServerConfigs::new(listener, certificates, tickets, &tls.key_exchange)
                .map_err(|error| ListenError::Tls { address: listener.address, reason: error.to_string() })
        };
        Ok(Self {
            tls: listener.has_tls().then(configs).transpose()?,
            certificates: Arc::clone(certificates),
            proxy_protocol: listener.proxy_protocol,
            redirect_to_https: listener.redirect_to_https,
        })
    }
}

/// Listening sockets that were open before this process: those of its predecessor, or of systemd.
#[derive(Default)]
pub struct Inherited(BTreeMap<SocketAddr, Vec<TcpListener>>);

impl Inherited {
    /// Adds one, under its address.
    ///
    /// # Errors
    /// When the system does not know its address.
    pub fn add(&mut self, listener: TcpListener) -> io::Result<()> {
        self.0.entry(listener.local_addr()?).or_default().push(listener);
        Ok(())
    }

    /// Takes those of an address.
    pub fn take(&mut self, address: SocketAddr) -> Vec<TcpListener> {
        self.0.remove(&address).unwrap_or_default()
    }

    /// Closes those that are left.
    pub(super) fn close(&mut self) {
        for (address, sockets) in std::mem::take(&mut self.0) {
            let sockets = sockets.len();
            tracing::warn!(%address, sockets, "inherited sockets closed: no listener has their address");
        }
    }

    fn overlaps(&self, address: SocketAddr) -> bool {
        self.0.keys().any(|other| overlaps(*other, address))
    }
}

/// Opens the sockets of each configured address that is not in `open`, at least one a thread: those that were
/// inherited, all of them, or new ones. An inherited socket is never closed while its address stays: what waits in its
/// queue would be reset.
///
/// # Errors
/// When an address is taken or not of this machine. Nothing is open then that was not before.
pub(super) fn open(
    listeners: &[config::Listener],
    threads: usize,
    open: &[SocketAddr],
    inherited: &mut Inherited,
) -> Result<Vec<(SocketAddr, Vec<TcpListener>)>, ListenError> {
    let added = listeners.iter().map(|listener| listener.address).filter(|address| !open.contains(address));
    let mut opened = Vec::new();
    for address in added.clone() {
        // Several sockets of this process may share an address; another process that has it would share it, too.
        let is_ours = inherited.overlaps(address) || open.iter().any(|open| overlaps(*open, address));
        if !is_ours {
            probe(address)?;
        }
    }
    for address in added {
        // A lone `[::]` takes IPv4, too; next to an IPv4 socket of the same port it must not.
        let ipv6_only =
            listeners.iter().any(|other| other.address.is_ipv4() && other.address.port() == address.port());
        let inherited = inherited.take(address);
        let sockets = complete(address, threads, ipv6_only, inherited)
            .map_err(|source| ListenError::Bind { address, source })?;
        opened.push((address, sockets));
    }
    Ok(opened)
}

/// The inherited sockets of an address, which threads share where there are more of them; otherwise a new one a thread.
fn complete(
    address: SocketAddr,
    threads: usize,
    ipv6_only: bool,
    mut sockets: Vec<TcpListener>,
) -> io::Result<Vec<TcpListener>> {
    for socket in &sockets {
        let socket = SockRef::from(socket);
        socket.set_tcp_nodelay(true)?;
        socket.set_nonblocking(true)?;
    }
    // Connections would wait in a new one next to them before this process accepts, and end with it if it fails.
    let inherited = sockets.len();
    while sockets.len() < threads {
        sockets.push(match inherited {
            0 => listen(address, ipv6_only)?,
            _ => sockets[sockets.len() % inherited].try_clone()?,
        });
    }
    Ok(sockets)
}

fn listen(address: SocketAddr, ipv6_only: bool) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    // Inherited by every connection: an answer is one write, and must not wait for an acknowledgement.
    socket.set_tcp_nodelay(true)?;
    if address.is_ipv6() && ipv6_only {
        socket.set_only_v6(true)?;
    }
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Whether a socket of one address keeps another process from opening the other.
fn overlaps(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port() && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
}
