//! The sockets: bound before the server starts, so that what is wrong with one is an error of the start.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use socket2::{Domain, Protocol, SockAddr, Type};

use crate::{
    config,
    listener::{ListenError, probe},
    tls::{CertificateStore, ServerConfigs, Tickets},
};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4_096;

/// A listening socket of one thread.
pub struct Socket {
    pub(super) listener: TcpListener,
    pub(super) settings: Arc<Settings>,
}

/// What holds for the connections of a socket.
pub struct Settings {
    pub tls: Option<ServerConfigs>,
    pub certificates: Arc<CertificateStore>,
    pub proxy_protocol: bool,
    pub redirect_to_https: bool,
}

/// Binds the configured sockets for each listener thread.
///
/// # Errors
/// When an address is taken or not of this machine, or TLS cannot be set up.
pub fn bind(
    config: &config::Config,
    certificates: &[Arc<CertificateStore>],
    tickets: &Arc<Tickets>,
) -> Result<Vec<Vec<Socket>>, ListenError> {
    let (listeners, threads) = (&config.listeners, config.listener_threads());
    let mut sockets: Vec<Vec<Socket>> = (0..threads).map(|_| Vec::new()).collect();
    for (listener, certificates) in listeners.iter().zip(certificates) {
        let address = listener.address;
        // Several sockets of this process may share an address; another process that has it would share it, too.
        probe(address)?;
        let tls = || {
            ServerConfigs::new(listener, certificates, tickets, &config.tls.key_exchange)
                .map_err(|error| ListenError::Tls { address, reason: error.to_string() })
        };
        let tls = listener.has_tls().then(tls).transpose()?;
        // A lone `[::]` takes IPv4, too; next to an IPv4 socket of the same port it must not.
        let shared = listeners.iter().any(|other| other.address.is_ipv4() && other.address.port() == address.port());
        let settings = Arc::new(Settings {
            tls,
            certificates: Arc::clone(certificates),
            proxy_protocol: listener.proxy_protocol,
            redirect_to_https: listener.redirect_to_https,
        });
        for sockets in &mut sockets {
            let listener = listen(address, shared).map_err(|source| ListenError::Bind { address, source })?;
            sockets.push(Socket { listener, settings: Arc::clone(&settings) });
        }
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
