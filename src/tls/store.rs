//! The current certificates of a listener, replaced while it accepts connections, each pair by itself: a pair that is
//! rejected at a reload keeps its previous version, and no other pair from being renewed.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::{Certificates, Pair};
use crate::files::Reloadable;

/// The current certificates of a listener; without any, every handshake fails.
pub struct CertificateStore {
    current: Reloadable<Certificates>,
    /// In the order of the configuration. Locked by reloads only.
    pairs: Mutex<Vec<Option<Pair>>>,
}

impl CertificateStore {
    /// For so many pairs, none of which has been read yet.
    pub fn new(pairs: usize) -> Self {
        Self { current: Reloadable::default(), pairs: Mutex::new((0..pairs).map(|_| None).collect()) }
    }

    /// Makes this the current pair at its place in the configuration. Connections that are established keep theirs.
    pub fn publish(&self, place: usize, pair: Pair) {
        let mut pairs = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(current) = pairs.get_mut(place) {
            *current = Some(pair);
        }
        self.current.publish(Certificates::of(pairs.iter().flatten()));
    }
}

impl ResolvesServerCert for CertificateStore {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current.peek().resolve(hello)
    }
}

impl fmt::Debug for CertificateStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CertificateStore").field(&self.current.peek()).finish()
    }
}
