//! The server that a TLS client has named, and which hosts it may ask for on that connection.
//!
//! A connection is for the hosts that its certificate covers. A request for another host that has a certificate of its
//! own is answered with 421 (RFC 9110, 7.4 and 15.5.20), which makes the client ask again on a connection of that host.
//! It is answered as usual where that would not help: the host has no certificate here; the client names no server, and
//! would get the same certificate again; it is a trusted proxy, whose connections carry the requests of many hosts.

use std::{any::Any, sync::Arc};

use pingora::{http::ResponseHeader, protocols::raw_connect::ProxyDigest};
use rustls::ServerConnection;

use crate::{listener::request::Request, tls::CertificateStore};

/// What the proxy has to know of an HTTP/2 connection.
pub struct Named {
    server: Box<str>,
    certificates: Arc<CertificateStore>,
}

impl Named {
    /// Finds it among what Pingora knows of a connection.
    pub fn of(digest: &ProxyDigest) -> Option<&Self> {
        digest.user_data.as_ref()?.downcast_ref()
    }

    /// Whether a request for this authority belongs on another connection.
    pub fn is_misdirected(&self, authority: &[u8]) -> bool {
        self.certificates.is_misdirected(&self.server, authority)
    }

    /// In the one place that Pingora keeps for data of a connection. `None` when the client has named no server.
    pub(super) fn digest(tls: &ServerConnection, certificates: &Arc<CertificateStore>) -> Option<Arc<ProxyDigest>> {
        let named = Self { server: tls.server_name()?.into(), certificates: Arc::clone(certificates) };
        let unused = Box::new(ResponseHeader::build(200, None).ok()?);
        let named: Box<dyn Any + Send + Sync> = Box::new(named);
        Some(Arc::new(ProxyDigest::new(unused, Some(named))))
    }
}

/// Whether a request belongs on another connection.
pub fn is_misdirected(request: &Request<'_, '_>, tls: &ServerConnection, certificates: &CertificateStore) -> bool {
    let Some(server) = tls.server_name() else { return false };
    request.host().is_some_and(|host| certificates.is_misdirected(server, host))
}
