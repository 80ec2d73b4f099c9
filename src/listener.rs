//! The listeners: sockets that answer clicks, and the [front] behind them.

#[cfg(feature = "server")]
pub mod front;
pub mod request;

use std::{io, net::TcpListener};

use crate::runtime::{Class, Classified};

/// Why the listeners cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("cannot listen on {address}: {source}")]
    Bind {
        address: std::net::SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("cannot set up TLS on {address}: {reason}")]
    Tls { address: std::net::SocketAddr, reason: String },
}

impl Classified for ListenError {
    fn class(&self) -> Class {
        match self {
            // No restart opens a port below 1024.
            Self::Bind { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => Class::Config,
            Self::Bind { source, .. } => Class::of_io(source),
            Self::Tls { .. } => Class::Internal,
        }
    }
}

/// Checks that an address is free: several sockets of this process may share one, and Pingora, which binds the admin
/// listener, panics in a thread of its own when it cannot.
///
/// # Errors
/// When it is in use, or not an address of this machine.
pub fn probe(address: std::net::SocketAddr) -> Result<(), ListenError> {
    TcpListener::bind(address).map(drop).map_err(|source| ListenError::Bind { address, source })
}
