//! Sessions: which clicks belong to one visit, without keeping who the visitor is.
//!
//! An individual is recognised by a keyed one-way hash (BLAKE3, 32-byte key) over workspace, client address and agent.
//! An address is only 32 bits: without the key everybody could try them all, so the key is the whole protection. It
//! is random, never leaves the process, is replaced at each UTC midnight, and is wiped when its last session has
//! ended: the previous key is kept for one idle time, so that midnight splits no visit. Each worker has keys of its
//! own, as all clicks of one address come to the same worker. The hash is not in the event.
//!
//! Memory is bounded: visitors are kept in two generations of half the capacity each; when the young one is full the
//! old one is forgotten, and with it only visitors that have not clicked since the generation began.

use std::mem;

use ahash::RandomState;
use hashbrown::HashMap;
use zeroize::Zeroizing;

use crate::capture::ClientAddr;

const DAY_MICROS: u64 = 86_400_000_000;

/// The live sessions of one worker.
pub struct Sessions {
    idle_micros: u64,
    half: usize,
    key: Key,
    previous: Option<Key>,
    young: Generation,
    old: Generation,
}

type Individual = [u8; 16];
type Generation = HashMap<Individual, Visit, RandomState>;

/// A visit, in microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Visit {
    pub started: u64,
    last: u64,
}

struct Key {
    bytes: Zeroizing<[u8; 32]>,
    day: u64,
}

impl Sessions {
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn new(idle_secs: u64, visitors: usize, micros: u64) -> Result<Self, getrandom::Error> {
        Ok(Self {
            idle_micros: idle_secs * 1_000_000,
            half: (visitors / 2).max(1),
            key: Key::random(micros / DAY_MICROS)?,
            previous: None,
            young: Generation::default(),
            old: Generation::default(),
        })
    }

    /// Notes a click at `micros` and tells the visit that it belongs to, and whether it is the visit's first.
    pub fn click(&mut self, micros: u64, workspace: &[u8], client: &ClientAddr, agent: &[u8]) -> (Visit, bool) {
        self.rotate(micros);
        let individual = self.key.individual(workspace, client, agent);
        let known = self.take(&individual).or_else(|| {
            let before = self.previous.as_ref()?.individual(workspace, client, agent);
            self.take(&before)
        });
        // A clock that went back is no reason to end a visit.
        let live = known.filter(|visit| micros.saturating_sub(visit.last) <= self.idle_micros);
        let visit = Visit { started: live.map_or(micros, |visit| visit.started), last: micros };
        self.insert(individual, visit);
        (visit, live.is_none())
    }

    /// Visitors that are remembered.
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether nobody is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Replaces the key when a day has ended, and wipes the one before when its last session has.
    pub(super) fn rotate(&mut self, micros: u64) {
        let day = micros / DAY_MICROS;
        if day > self.key.day {
            // Without random bytes the old key serves on, and the next click asks again.
            if let Ok(key) = Key::random(day) {
                self.previous = Some(mem::replace(&mut self.key, key));
            }
        } else if self.previous.is_some() && micros % DAY_MICROS > self.idle_micros {
            self.previous = None;
        }
    }

    fn take(&mut self, individual: &Individual) -> Option<Visit> {
        self.young.remove(individual).or_else(|| self.old.remove(individual))
    }

    fn insert(&mut self, individual: Individual, visit: Visit) {
        if self.young.len() >= self.half {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(individual, visit);
    }
}

impl Key {
    fn random(day: u64) -> Result<Self, getrandom::Error> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *bytes)?;
        Ok(Self { bytes, day })
    }

    fn individual(&self, workspace: &[u8], client: &ClientAddr, agent: &[u8]) -> Individual {
        let mut hasher = blake3::Hasher::new_keyed(&self.bytes);
        for part in [workspace, client.hash_input(), agent] {
            hasher.update(&(part.len() as u32).to_le_bytes());
            hasher.update(part);
        }
        let mut individual = [0; 16];
        individual.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        zeroize::Zeroize::zeroize(&mut hasher);
        individual
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    const NOON: u64 = 20_000 * DAY_MICROS + DAY_MICROS / 2;
    const MINUTE: u64 = 60_000_000;

    fn sessions(visitors: usize) -> Sessions {
        Sessions::new(30 * 60, visitors, NOON).unwrap()
    }

    fn click(sessions: &mut Sessions, at: u64, workspace: &str, address: &str, agent: &str) -> (u64, bool) {
        let client = ClientAddr::from_ip(address.parse::<IpAddr>().unwrap());
        let (visit, first) = sessions.click(at, workspace.as_bytes(), &client, agent.as_bytes());
        (visit.started, first)
    }

    #[test]
    fn clicks_within_the_idle_time_are_one_visit() {
        let mut sessions = sessions(100);
        assert_eq!(click(&mut sessions, NOON, "w", "192.0.2.1", "a"), (NOON, true));
        assert_eq!(click(&mut sessions, NOON + 30 * MINUTE, "w", "192.0.2.1", "a"), (NOON, false));
        assert_eq!(click(&mut sessions, NOON + 59 * MINUTE, "w", "192.0.2.1", "a"), (NOON, false));
        let later = NOON + 90 * MINUTE;
        assert_eq!(click(&mut sessions, later, "w", "192.0.2.1", "a"), (later, true));
    }

    #[test]
    fn another_workspace_address_or_agent_is_another_visitor() {
        let mut sessions = sessions(100);
        assert!(click(&mut sessions, NOON, "w", "192.0.2.1", "a").1);
        assert!(click(&mut sessions, NOON, "v", "192.0.2.1", "a").1);
        assert!(click(&mut sessions, NOON, "w", "192.0.2.2", "a").1);
        assert!(click(&mut sessions, NOON, "w", "192.0.2.1", "b").1);
        assert!(click(&mut sessions, NOON, "w", "2001:db8::1", "a").1);
        assert!(!click(&mut sessions, NOON, "w", "2001:db8::2", "a").1, "one household in IPv6");
    }

    #[test]
    fn midnight_splits_no_visit_and_ends_the_key() {
        let mut sessions = sessions(100);
        let midnight = (NOON / DAY_MICROS + 1) * DAY_MICROS;
        let before = midnight - 10 * MINUTE;
        assert_eq!(click(&mut sessions, before, "w", "192.0.2.1", "a"), (before, true));
        let old_key = *sessions.key.bytes;
        assert_eq!(click(&mut sessions, midnight + MINUTE, "w", "192.0.2.1", "a"), (before, false));
        assert_ne!(*sessions.key.bytes, old_key);
        assert!(sessions.previous.is_some());
        click(&mut sessions, midnight + 31 * MINUTE, "w", "192.0.2.9", "a");
        assert!(sessions.previous.is_none());
    }

    #[test]
    fn memory_is_bounded_and_the_longest_idle_go_first() {
        let mut sessions = sessions(100);
        let address = |n: u32| IpAddr::from(n.to_be_bytes()).to_string();
        click(&mut sessions, NOON, "w", &address(7), "a");
        for n in 1_000..2_000 {
            click(&mut sessions, NOON, "w", &address(n), "a");
            assert!(!click(&mut sessions, NOON, "w", &address(7), "a").1, "a visitor who keeps clicking is kept");
            assert!(sessions.len() <= 100);
        }
    }
}
