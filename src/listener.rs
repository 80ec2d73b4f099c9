//! The listeners: sockets that answer clicks, and certificates by server name.

pub mod certificates;
mod store;

use std::{io, net::TcpListener, sync::Arc};

use pingora::{
    listeners::{TcpSocketOptions, tls::TlsSettings},
    proxy::{HttpProxy, ProxyHttp},
    services::listening::Service,
};

pub use certificates::{CertificateError, CertificateWarning, Certificates, Inspected, Pair};
pub use store::CertificateStore;

use crate::{
    config,
    runtime::{Class, Classified},
};

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

/// Checks that an address is free. Pingora binds it later, and panics in a thread of its own when it cannot.
///
/// # Errors
/// When it is in use, or not an address of this machine.
pub fn probe(address: std::net::SocketAddr) -> Result<(), ListenError> {
    TcpListener::bind(address).map(drop).map_err(|source| ListenError::Bind { address, source })
}

/// Adds the configured sockets to a proxy service, each with its certificates.
///
/// # Errors
/// When an address is taken or not of this machine, or TLS cannot be set up.
pub fn add<P>(
    service: &mut Service<HttpProxy<P>>,
    listeners: &[config::Listener],
    certificates: &[Arc<CertificateStore>],
) -> Result<(), ListenError>
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    for (listener, certificates) in listeners.iter().zip(certificates) {
        let address = listener.address;
        probe(address)?;
        // A lone `[::]` takes IPv4, too; next to an IPv4 socket of the same port it must not.
        let shared = listeners.iter().any(|other| other.address.is_ipv4() && other.address.port() == address.port());
        let mut options = TcpSocketOptions::default();
        options.ipv6_only = (address.is_ipv6() && shared).then_some(true);
        if listener.tls.is_empty() {
            service.add_tcp_with_settings(&address.to_string(), options);
            continue;
        }
        let mut tls = TlsSettings::intermediate("", "")
            .map_err(|error| ListenError::Tls { address, reason: error.to_string() })?;
        tls.set_cert_resolver(Arc::clone(certificates) as _);
        service.add_tls_with_settings(&address.to_string(), Some(options), tls);
    }
    Ok(())
}
