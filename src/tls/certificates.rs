//! Certificates by server name (SNI).
//!
//! Each certificate serves the DNS names that it carries. A name may have one with an RSA key and one with another,
//! such as ECDSA, which is chosen where the client can verify it: it costs much less. A certificate for the name itself
//! comes before one with a wildcard, whatever their keys. Clients that name no server or an unknown one get the
//! default. A certificate that clients would reject, because it has expired for example, is rejected when it is read
//! ([`pair`]).

pub mod folder;
pub mod pair;

use std::{collections::HashMap, ptr, sync::Arc};

use ahash::RandomState;
pub use pair::{CertificateError, CertificateWarning, Inspected, Pair};
use rustls::{
    SignatureScheme,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

/// Longest name in DNS.
const MAX_NAME: usize = 253;

/// The certificates of a listener: an index that is made once and never changes.
#[derive(Debug, Default)]
pub struct Certificates {
    exact: HashMap<Box<str>, Slot, RandomState>,
    /// By what follows `*.` in the name.
    wildcard: HashMap<Box<str>, Slot, RandomState>,
    default: Slot,
}

/// The certificates of a name, the preferred one first: one with a small key, and one with an RSA key.
#[derive(Clone, Debug, Default)]
struct Slot([Option<Arc<Pair>>; 2]);

impl Slot {
    fn add(&mut self, pair: &Arc<Pair>) {
        self.0[usize::from(pair.is_rsa())].get_or_insert_with(|| Arc::clone(pair));
    }

    fn pairs(&self) -> impl Iterator<Item = &Arc<Pair>> {
        self.0.iter().flatten()
    }
}

impl Certificates {
    /// The certificates of these pairs. Where several of a kind carry the same name, the first one serves it. The
    /// default is the given one, with that of the other kind for its first name if there is one.
    pub fn of<'a>(pairs: impl IntoIterator<Item = &'a Arc<Pair>>, default: Option<&Arc<Pair>>) -> Self {
        let mut certificates = Self::default();
        for pair in pairs {
            for name in &pair.inspected.names {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut certificates.wildcard, parent),
                    None => (&mut certificates.exact, name.as_str()),
                };
                if let Some(slot) = names.get_mut(name) {
                    slot.add(pair);
                } else {
                    names.entry(name.into()).or_default().add(pair);
                }
            }
        }
        if let Some(default) = default {
            let of_name = default.inspected.names.first().and_then(|name| match name.strip_prefix("*.") {
                Some(parent) => certificates.wildcard.get(parent),
                None => certificates.exact.get(name.as_str()),
            });
            certificates.default.add(default);
            for pair in of_name.into_iter().flat_map(Slot::pairs) {
                certificates.default.add(pair);
            }
        }
        certificates
    }

    /// The certificate for a client that names this server and verifies these schemes. Without any that it can verify,
    /// one whose handshake fails with the reason.
    fn find(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<&Arc<Pair>> {
        let mut buffer = [0; MAX_NAME];
        let known = name.and_then(|name| lower_case(name.as_bytes(), &mut buffer)).map(|name| self.slots(name));
        let known = known.filter(|slots| slots.iter().any(Option::is_some)).unwrap_or([Some(&self.default), None]);
        let pairs = || known.into_iter().flatten().flat_map(Slot::pairs);
        pairs().find(|pair| pair.signs(schemes)).or_else(|| pairs().next())
    }

    /// Whether a connection on which the client named `name` has another certificate than one for `host`, although
    /// there is one. Both are names without port.
    pub fn is_misdirected(&self, name: &str, host: &[u8]) -> bool {
        let (mut one, mut two) = ([0; MAX_NAME], [0; MAX_NAME]);
        let Some(host) = lower_case(host, &mut one) else { return false };
        let [exact, wildcard] = self.slots(host);
        let Some(right) = exact.or(wildcard) else { return false };
        let served = lower_case(name.as_bytes(), &mut two).and_then(|name| {
            let [exact, wildcard] = self.slots(name);
            exact.or(wildcard)
        });
        let served = served.unwrap_or(&self.default);
        !ptr::eq(served, right) && !served.pairs().any(|pair| pair.covers(host))
    }

    /// What there is for a name in lower case: exactly, and with a wildcard.
    fn slots(&self, name: &str) -> [Option<&Slot>; 2] {
        let wildcard = || self.wildcard.get(name.split_once('.')?.1);
        [self.exact.get(name), wildcard()]
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let pair = self.find(hello.server_name(), hello.signature_schemes())?;
        Some(Arc::clone(&pair.certified))
    }
}

/// A name in lower case; `None` when it cannot be that of a certificate.
fn lower_case<'b>(name: &[u8], buffer: &'b mut [u8; MAX_NAME]) -> Option<&'b str> {
    let lower = buffer.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    std::str::from_utf8(lower).ok()
}

#[cfg(test)]
mod tests;
