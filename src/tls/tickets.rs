//! Session tickets: what a returning client brings, so that the server keeps nothing.
//!
//! A ticket is encrypted with a key that is derived (BLAKE3) from a secret and the number of a period of twelve hours.
//! So a ticket is good after a restart, and at every edge that has the same secret, without any communication; the
//! keys of this period and the one before are accepted, older ones are never derived again. Anyone who has the secret
//! can decrypt the tickets of its whole life: without a configured one it is made at each start of the machine, and
//! lies in memory only, next to the rings. A secret that is replaced while the process runs makes no more tickets, and
//! those that it has made are accepted for their time.
//!
//! ```text
//! ticket: period (8 bytes, little endian), nonce (12), sealed session (AES-256-GCM)
//! ```

#[cfg(feature = "server")]
mod seal;

use std::{
    fmt, fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::ArcSwapOption;
use ring::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use zeroize::Zeroizing;

use crate::{
    config::{Secret, SecretError},
    runtime::{Class, Classified, clock},
};

/// Separates this use of a secret from any other.
const CONTEXT: &str = "clickedge tls ticket key";

/// Seconds of a period.
const PERIOD: u64 = 12 * 3_600;

/// Makes and reads tickets; none before it has a secret.
pub struct Tickets {
    /// Locked when a period begins, and by reloads.
    secrets: Mutex<Secrets>,
    keys: ArcSwapOption<Keys>,
    now: fn() -> u64,
}

#[derive(Default)]
struct Secrets {
    current: Option<Secret>,
    /// The secret before it, and the period in which it was replaced: tickets that it made may be as young as that.
    former: Option<(Secret, u64)>,
}

/// The keys of a period and of the one before.
struct Keys {
    period: u64,
    current: [LessSafeKey; 2],
    /// Those of the former secret.
    former: Option<[LessSafeKey; 2]>,
}

/// Why there is no secret for tickets.
#[derive(Debug, thiserror::Error)]
pub enum TicketsError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("cannot store the secret of TLS tickets in {}: {source}", path.display())]
    Store {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the system has no random numbers")]
    Random,
}

impl Classified for TicketsError {
    fn class(&self) -> Class {
        match self {
            Self::Secret(error) => error.class(),
            Self::Store { source, .. } => Class::of_io(source),
            Self::Random => Class::Internal,
        }
    }
}

impl Default for Tickets {
    fn default() -> Self {
        Self { secrets: Mutex::default(), keys: ArcSwapOption::empty(), now: clock::unix_secs }
    }
}

impl Tickets {
    /// Makes this the current secret. Tickets of the previous one stay good for their time.
    pub fn set_secret(&self, secret: Secret) {
        let mut secrets = self.secrets();
        let Secrets { current, former } = &mut *secrets;
        let period = (self.now)() / PERIOD;
        match current.replace(secret) {
            Some(same) if current.as_ref().is_some_and(|current| current.bytes() == same.bytes()) => return,
            previous => *former = previous.map(|previous| (previous, period)),
        }
        self.keys.store(secrets.keys(period));
    }

    /// Takes the secret of this machine, in `dir`, which is a folder in memory that only this user may read.
    ///
    /// # Errors
    /// When it can be neither read nor made.
    pub fn use_secret_of_this_machine(&self, dir: &Path) -> Result<(), TicketsError> {
        self.set_secret(secret_of_this_machine(dir)?);
        Ok(())
    }

    /// The keys of now.
    fn keys(&self) -> Option<Arc<Keys>> {
        let period = (self.now)() / PERIOD;
        let keys = self.keys.load_full()?;
        if keys.period == period {
            return Some(keys);
        }
        let keys = self.secrets().keys(period);
        self.keys.store(keys.clone());
        keys
    }

    fn secrets(&self) -> MutexGuard<'_, Secrets> {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Secrets {
    /// The keys of this period. Wipes a former secret whose tickets are all too old.
    fn keys(&mut self, period: u64) -> Option<Arc<Keys>> {
        self.former.take_if(|(_, replaced)| period.abs_diff(*replaced) > 1);
        let both = |secret: &Secret| [key(secret, period), key(secret, period.wrapping_sub(1))];
        let current = both(self.current.as_ref()?);
        Some(Arc::new(Keys { period, current, former: self.former.as_ref().map(|(secret, _)| both(secret)) }))
    }
}

/// The secret of this machine, in `dir`, which is a folder in memory that only this user may read.
///
/// # Errors
/// When it can be neither read nor made.
pub fn secret_of_this_machine(dir: &Path) -> Result<Secret, TicketsError> {
    of_this_machine(&dir.join("tickets"))
}

/// The secret of this machine, if it is made, and this user may read it.
pub fn known_secret_of_this_machine(dir: &Path) -> Option<Secret> {
    Secret::read(&dir.join("tickets")).ok()
}

/// The secret in this file, made if it is missing or no secret.
fn of_this_machine(path: &Path) -> Result<Secret, TicketsError> {
    if let Ok(secret) = Secret::read(path) {
        return Ok(secret);
    }
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes).map_err(|_| TicketsError::Random)?;
    let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value)]);
    let text: Zeroizing<String> =
        Zeroizing::new(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect());
    let store = || {
        _ = fs::remove_file(path);
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(text.as_bytes())
    };
    store().map_err(|source| TicketsError::Store { path: path.to_owned(), source })?;
    Ok(Secret::read(path)?)
}

impl Keys {
    /// The keys of a period, of each secret.
    fn of(&self, period: u64) -> impl Iterator<Item = &LessSafeKey> {
        let age = self.period.wrapping_sub(period);
        let at = move |keys| <[LessSafeKey]>::get(keys, usize::try_from(age).ok()?);
        [at(&self.current), self.former.as_ref().and_then(|keys| at(keys))].into_iter().flatten()
    }
}

#[allow(clippy::expect_used, reason = "32 bytes are the length of such a key")]
fn key(secret: &Secret, period: u64) -> LessSafeKey {
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    hasher.update(&period.to_le_bytes()).update(secret.bytes());
    let bytes = Zeroizing::new(*hasher.finalize().as_bytes());
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &*bytes).expect("a key of 32 bytes"))
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::fs::PermissionsExt,
        sync::atomic::{AtomicU64, Ordering::Relaxed},
    };

    use rustls::server::ProducesTickets;

    use super::*;

    fn secret(dir: &Path, byte: u8) -> Secret {
        let file = dir.join("secret");
        fs::write(&file, [byte; 40]).unwrap();
        Secret::read(&file).unwrap()
    }

    fn tickets(secret: Secret, now: fn() -> u64) -> Tickets {
        let tickets = Tickets { now, ..Tickets::default() };
        assert!(!tickets.enabled() && tickets.encrypt(b"a session").is_none());
        tickets.set_secret(secret);
        assert!(tickets.enabled());
        tickets
    }

    #[test]
    fn a_ticket_of_a_replaced_secret_is_good_for_its_time() {
        static NOW: AtomicU64 = AtomicU64::new(1_795_000_000);
        let dir = tempfile::tempdir().unwrap();
        let of = |byte| tickets(secret(dir.path(), byte), || NOW.load(Relaxed));
        let (edge, old, new) = (of(1), of(1), of(2));
        let ticket = edge.encrypt(b"a session").unwrap();
        edge.set_secret(secret(dir.path(), 2));
        edge.set_secret(secret(dir.path(), 2));
        assert!(edge.decrypt(&ticket).is_some(), "the same secret again replaces nothing");
        assert!(new.decrypt(&edge.encrypt(b"a session").unwrap()).is_some());
        NOW.fetch_add(PERIOD, Relaxed);
        assert!(edge.decrypt(&ticket).is_some());
        let young = old.encrypt(b"a session").unwrap();
        NOW.fetch_add(PERIOD, Relaxed);
        assert!(edge.decrypt(&ticket).is_none());
        assert!(old.decrypt(&young).is_some() && edge.decrypt(&young).is_none(), "the former secret is wiped");
        assert!(edge.secrets().former.is_none());
        assert!(edge.decrypt(&new.encrypt(b"a session").unwrap()).is_some());
    }

    #[test]
    fn a_ticket_is_good_at_another_edge_with_the_same_secret_only() {
        let dir = tempfile::tempdir().unwrap();
        let of = |byte| tickets(secret(dir.path(), byte), || 1_795_000_000);
        let ticket = of(1).encrypt(b"a session").unwrap();
        assert_eq!(of(1).decrypt(&ticket).as_deref(), Some(&b"a session"[..]));
        assert_eq!(of(2).decrypt(&ticket), None);
        for at in 0..ticket.len() {
            let mut other = ticket.clone();
            other[at] ^= 1;
            assert_eq!(of(1).decrypt(&other), None, "{at}");
            assert_eq!(of(1).decrypt(&ticket[..at]), None, "{at}");
        }
    }

    #[test]
    fn a_ticket_is_good_for_this_period_and_the_next() {
        static NOW: AtomicU64 = AtomicU64::new(1_795_000_000);
        let dir = tempfile::tempdir().unwrap();
        let tickets = tickets(secret(dir.path(), 1), || NOW.load(Relaxed));
        let ticket = tickets.encrypt(b"a session").unwrap();
        NOW.fetch_add(PERIOD, Relaxed);
        assert!(tickets.decrypt(&ticket).is_some());
        NOW.fetch_add(PERIOD, Relaxed);
        assert!(tickets.decrypt(&ticket).is_none());
    }

    #[test]
    fn without_a_configured_secret_the_machine_has_one_that_outlives_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let open = || {
            let tickets = Tickets::default();
            tickets.use_secret_of_this_machine(dir.path()).unwrap();
            tickets
        };
        let ticket = open().encrypt(b"a session").unwrap();
        assert!(open().decrypt(&ticket).is_some());
        let file = dir.path().join("tickets");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&file, "cut").unwrap();
        assert!(open().decrypt(&ticket).is_none(), "what is no secret is replaced");
    }
}
