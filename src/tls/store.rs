//! The current certificates of a listener, replaced as a whole while it accepts connections. What they are made of is
//! replaced part by part: a pair that is rejected at a reload keeps its previous version, and no other pair from being
//! renewed. The index is made once, when all parts have been read ([`CertificateStore::commit`]).

use std::{
    collections::{BTreeSet, HashSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::{Certificates, Pair, certificates::folder::Contents};
use crate::files::Reloadable;

/// The current certificates of a listener; without any, every handshake fails.
pub struct CertificateStore {
    current: Reloadable<Certificates>,
    /// Locked by reloads and metrics only.
    parts: Mutex<Parts>,
}

struct Parts {
    /// In the order of the configuration.
    pairs: Vec<Option<Arc<Pair>>>,
    folder: Option<Arc<Contents>>,
    /// Those that the edge has obtained by itself.
    obtained: Arc<Vec<Arc<Pair>>>,
    /// Whether one has changed since the index was made.
    changed: bool,
}

impl Parts {
    fn pairs(&self) -> impl Iterator<Item = &Arc<Pair>> {
        self.of_operator().chain(self.obtained.iter())
    }

    fn of_operator(&self) -> impl Iterator<Item = &Arc<Pair>> {
        self.pairs.iter().flatten().chain(self.folder.iter().flat_map(|folder| folder.pairs()))
    }
}

impl CertificateStore {
    /// For so many configured pairs, none of which has been read yet.
    pub fn new(pairs: usize) -> Self {
        let pairs = (0..pairs).map(|_| None).collect();
        Self {
            current: Reloadable::default(),
            parts: Mutex::new(Parts { pairs, folder: None, obtained: Arc::default(), changed: false }),
        }
    }

    /// Is for so many configured pairs from now on, and for a folder or none.
    pub fn resize(&self, pairs: usize, has_folder: bool) {
        let mut parts = self.parts();
        if parts.pairs.len() != pairs || parts.folder.is_some() && !has_folder {
            parts.pairs.resize(pairs, None);
            parts.folder = parts.folder.take().filter(|_| has_folder);
            parts.changed = true;
        }
    }

    /// Takes this pair at its place in the configuration.
    pub fn publish(&self, place: usize, pair: Arc<Pair>) {
        let mut parts = self.parts();
        if let Some(current) = parts.pairs.get_mut(place) {
            *current = Some(pair);
            parts.changed = true;
        }
    }

    /// Takes the pairs of the listener's folder.
    pub fn publish_folder(&self, contents: &Arc<Contents>) {
        let mut parts = self.parts();
        parts.folder = Some(Arc::clone(contents));
        parts.changed = true;
    }

    /// Takes the pairs that the edge has obtained by itself.
    pub fn publish_obtained(&self, pairs: &Arc<Vec<Arc<Pair>>>) {
        let mut parts = self.parts();
        parts.obtained = Arc::clone(pairs);
        parts.changed = true;
    }

    /// The names of the operator's own certificates.
    pub fn names_of_operator(&self) -> BTreeSet<String> {
        self.parts().of_operator().flat_map(|pair| pair.inspected.names.iter().cloned()).collect()
    }

    /// Makes what was published the current certificates, if anything was. Connections that are established keep
    /// theirs.
    pub fn commit(&self) {
        let mut parts = self.parts();
        if !std::mem::take(&mut parts.changed) {
            return;
        }
        // A folder's pairs that are good for longer come first: a renewal may have another name.
        let mut of_folder: Vec<_> = parts.folder.iter().flat_map(|folder| folder.pairs()).collect();
        of_folder.sort_by_key(|pair| std::cmp::Reverse(pair.inspected.not_after));
        let default = parts.pairs.first().and_then(Option::as_ref);
        let default = default.or_else(|| parts.folder.as_ref()?.default_pair());
        // Whatever its key: the operator's own pair serves its names.
        let names: HashSet<&str> =
            parts.of_operator().flat_map(|pair| pair.inspected.names.iter().map(String::as_str)).collect();
        let is_new = |pair: &&Arc<Pair>| !pair.inspected.names.iter().any(|name| names.contains(name.as_str()));
        let pairs = parts.pairs.iter().flatten().chain(of_folder).chain(parts.obtained.iter().filter(is_new));
        let previous = self.current.replace(Certificates::of(pairs, default));
        drop(parts);
        // A handshake holds the index for a moment. Thousands of certificates are not for its thread to release.
        for _ in 0..1_000 {
            if Arc::strong_count(&previous) == 1 {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Whether a request for `authority` belongs on another connection than one on which the client named `name`: it
    /// has a certificate, and the connection another one.
    pub fn is_misdirected(&self, name: &str, authority: &[u8]) -> bool {
        let host = host_of(authority);
        !host.eq_ignore_ascii_case(name.as_bytes()) && self.current.peek().is_misdirected(name, host)
    }

    /// Calls `look` with each pair.
    pub fn each(&self, look: impl FnMut(&Arc<Pair>)) {
        self.parts().pairs().for_each(look);
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An authority without port and final dot.
pub(super) fn host_of(authority: &[u8]) -> &[u8] {
    let name = match memchr::memrchr(b':', authority) {
        Some(at) if authority[at + 1..].iter().all(u8::is_ascii_digit) => &authority[..at],
        _ => authority,
    };
    name.strip_suffix(b".").unwrap_or(name)
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
