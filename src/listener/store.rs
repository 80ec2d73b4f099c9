//! The current certificates of a listener, replaced as a whole while it accepts connections.

use std::{fmt, sync::Arc};

use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::Certificates;
use crate::files::Reloadable;

/// The current certificates of a listener; without any, every handshake fails.
#[derive(Default)]
pub struct CertificateStore(Reloadable<Certificates>);

impl CertificateStore {
    /// Makes others the current ones. Connections that are established keep theirs.
    pub fn publish(&self, certificates: Certificates) {
        self.0.publish(certificates);
    }
}

impl ResolvesServerCert for CertificateStore {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.peek().resolve(hello)
    }
}

impl fmt::Debug for CertificateStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CertificateStore").field(&self.0.peek()).finish()
    }
}
