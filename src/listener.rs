//! The sockets that answer clicks: Pingora's listeners, and certificates by server name.

pub mod certificates;

use std::{io, net::TcpListener, sync::Arc};

use pingora::{
    listeners::tls::TlsSettings,
    proxy::{HttpProxy, ProxyHttp},
    services::listening::Service,
};

pub use certificates::{CertificateError, Certificates};

use crate::config;

/// Why the sockets cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("cannot listen on {address}: {source}")]
    Bind {
        address: std::net::SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("cannot set up TLS on {address}: {reason}")]
    Tls { address: std::net::SocketAddr, reason: String },
}

/// Proves that an address can be had. Pingora binds it later, and panics in a thread of its own when it cannot.
///
/// # Errors
/// When it is in use, or none of this machine's.
pub fn probe(address: std::net::SocketAddr) -> Result<(), ListenError> {
    TcpListener::bind(address).map(drop).map_err(|source| ListenError::Bind { address, source })
}

/// Adds the configured sockets to a proxy service.
///
/// # Errors
/// When an address cannot be had, or a certificate is bad.
pub fn add<P>(service: &mut Service<HttpProxy<P>>, listeners: &[config::Listener]) -> Result<(), ListenError>
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    for listener in listeners {
        let address = listener.address;
        probe(address)?;
        if listener.tls.is_empty() {
            service.add_tcp(&address.to_string());
            continue;
        }
        let certificates = Certificates::load(&listener.tls)?;
        let mut tls = TlsSettings::intermediate("", "")
            .map_err(|error| ListenError::Tls { address, reason: error.to_string() })?;
        tls.set_cert_resolver(Arc::new(certificates));
        service.add_tls_with_settings(&address.to_string(), None, tls);
    }
    Ok(())
}
