//! The keys of the hash: how long each is in use, where it comes from, and when it is wiped.
//!
//! ```text
//!            until          until + idle time
//! key A ───────┤ previous ────┤ wiped, and all that was hashed with it
//! key B        ├─ current ───────────────────────────┤ previous ...
//! ```
//! A key is current until the next rotation, which is at one hour of each day. Then it is kept for one idle time, so
//! that the rotation splits no visit: a visitor who comes back within it is found under the previous key, and stored
//! under the current one. There are never more than two keys: a rotation that comes while the previous key is still
//! kept, because a clock went back or a secret was replaced, waits for it.
//!
//! **A clock that goes back** keeps a key current for longer. When that would be longer than a day and an idle time,
//! the key is replaced at the next rotation of the new time instead. Only the trusted time of a running worker counts
//! for this, and not that of a click, which may have waited in its ring for days.
//!
//! **Where a key comes from.** It is 32 random bytes; or, with a secret that several edges share, BLAKE3's key
//! derivation of the secret and the number of the day in which it became current, so that the edges need no
//! communication. The day's number counts days since the Unix epoch, 64 bits, little endian; a day begins at the
//! rotation.
//!
//! In the file (words of 64 bits, in the header of [`super::file`]):
//! ```text
//! word 16            turn: how often the key was replaced; the current one is in place turn % 2
//! words 24, 32       a place: 4 words of key, until, check (CRC32C of the key; where it comes from)
//! ```
//! A key is written completely into the free place before the store of the turn makes it the current one. The previous
//! one always has the earlier `until`.

use std::{ops::Range, sync::Arc};

use zeroize::{Zeroize, Zeroizing};

use super::table::{Individual, Memory};
use crate::{click::ClientAddr, config::Secret, visitor::agent::AgentDigest};

const HOUR: u64 = 3_600_000_000;
pub(super) const DAY: u64 = 24 * HOUR;

/// Separates this use of a secret from any other.
const CONTEXT: &str = "clickedge session key";

const TURN: usize = 16;

/// The input of the hash begins with the lengths of address and workspace, then come the address, the agent, and, from
/// `HEAD` on, the workspace.
const ADDRESS: Range<usize> = 8..24;
const AGENT: Range<usize> = 24..40;
const HEAD: usize = AGENT.end;

type Bytes = Box<Zeroizing<[u8; 32]>>;

/// A key, and its place in the file.
pub(super) struct Key {
    /// In a place of its own, so that moving a key leaves no copy behind.
    bytes: Bytes,
    place: u64,
}

impl Key {
    /// A key outside of the file, derived from a secret for another use.
    pub fn of(secret: &Secret, context: &'static str) -> Self {
        Self { bytes: derive_with(secret, context, b""), place: 0 }
    }

    /// The visitor of a click, as this key hashes it.
    ///
    /// The address comes first, and there always is a second block of 64 bytes: so the block with the address goes from
    /// our buffer straight into the compression, and is wiped here; BLAKE3 keeps a copy of the last block only.
    pub fn individual(&self, workspace: &[u8], client: &ClientAddr, agent: &AgentDigest) -> Individual {
        let address = client.hash_input();
        let len = (HEAD + workspace.len()).max(65);
        let (mut few, mut many) = ([0; 256], Vec::new());
        let input = if len <= few.len() {
            &mut few[..len]
        } else {
            many.resize(len, 0);
            &mut many[..]
        };
        for (place, part) in input.as_chunks_mut().0.iter_mut().zip([address, workspace]) {
            *place = (part.len() as u32).to_le_bytes();
        }
        input[ADDRESS.start..ADDRESS.start + address.len()].copy_from_slice(address);
        input[AGENT].copy_from_slice(agent.bytes());
        input[HEAD..HEAD + workspace.len()].copy_from_slice(workspace);
        let hash = blake3::keyed_hash(&self.bytes, input);
        input[ADDRESS].zeroize();
        let word = |at: usize| hash.as_bytes()[at..].first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
        Individual { hash: [word(0), word(8)], place: self.place }
    }
}

/// The keys at one time.
#[derive(Clone)]
pub(super) struct Keys {
    pub current: Arc<Key>,
    /// When the current key is replaced.
    until: u64,
    pub previous: Option<Arc<Key>>,
    /// When the previous key is wiped. Less than `until` while there is one.
    wipe_at: u64,
}

impl Keys {
    /// Whether a key must be replaced or wiped.
    pub fn are_due(&self, now: u64) -> bool {
        now >= self.until || self.previous.is_some() && now > self.wipe_at
    }

    /// Whether they would be kept for longer than a correct clock can have set.
    pub fn are_from_the_future(&self, now: u64, idle: u64) -> bool {
        self.until.max(self.earliest()) > now.saturating_add(DAY + idle + 1)
    }

    /// Which places hold a key.
    pub fn places(&self) -> [bool; 2] {
        [0, 1].map(|place| self.current.place == place || self.previous.is_some())
    }

    fn earliest(&self) -> u64 {
        if self.previous.is_some() { self.wipe_at + 1 } else { 0 }
    }
}

/// When keys are replaced.
#[derive(Clone, Copy)]
pub(super) struct Schedule {
    /// Hour of the day, UTC.
    pub hour: u8,
    /// Microseconds.
    pub idle: u64,
}

impl Schedule {
    fn day(self, micros: u64) -> i64 {
        (micros as i64 - (u64::from(self.hour) * HOUR) as i64).div_euclid(DAY as i64)
    }

    /// Whether there is a rotation at this time.
    fn has(self, micros: u64) -> bool {
        micros % DAY == u64::from(self.hour) * HOUR
    }

    /// The first rotation after this time.
    fn next(self, micros: u64) -> u64 {
        ((self.day(micros) + 1) * DAY as i64) as u64 + u64::from(self.hour) * HOUR
    }
}

/// Makes, replaces and wipes the keys. One thread at a time.
pub(super) struct Keyring<M> {
    memory: M,
    schedule: Schedule,
    secret: Option<Arc<Secret>>,
    keys: Keys,
}

impl<M: Memory> Keyring<M> {
    /// The first key in memory that holds none.
    pub fn begin(
        memory: M,
        schedule: Schedule,
        secret: Option<Arc<Secret>>,
        now: u64,
    ) -> Result<Self, getrandom::Error> {
        let until = schedule.next(now);
        let bytes = make(secret.as_deref(), schedule.day(now))?;
        write(&memory, 0, &bytes, until, secret.is_some());
        let current = Arc::new(Key { bytes, place: 0 });
        Ok(Self { memory, schedule, secret, keys: Keys { current, until, previous: None, wipe_at: 0 } })
    }

    /// The keys that an earlier process has left. `None` when no key is complete.
    pub fn take_over(memory: M, schedule: Schedule, secret: Option<Arc<Secret>>, now: u64) -> Option<Self> {
        let place = memory.load(TURN) % 2;
        let (current, until, derived) = read(&memory, place)?;
        // A key that was being written when its process died has the later time.
        let previous = read(&memory, 1 - place).filter(|(_, ended, _)| *ended < until);
        if previous.is_none() {
            wipe(&memory, 1 - place);
        }
        let wipe_at = previous.as_ref().map_or(0, |(_, until, _)| until.saturating_add(schedule.idle));
        let previous = previous.map(|(key, ..)| Arc::new(key));
        let mut ring =
            Self { memory, schedule, secret, keys: Keys { current: Arc::new(current), until, previous, wipe_at } };
        ring.correct(now);
        if !schedule.has(ring.keys.until) {
            // The configured hour of the rotation has changed.
            ring.replace_by(schedule.next(now));
        }
        if derived != ring.secret.is_some() || now < ring.keys.until && !ring.is_of_the_secret(now) {
            ring.replace_by(now);
        }
        Some(ring)
    }

    pub fn memory(&self) -> &M {
        &self.memory
    }

    pub fn keys(&self) -> Keys {
        self.keys.clone()
    }

    /// Sets the secret to derive keys from: the current key is replaced as soon as a place is free.
    pub fn set_secret(&mut self, secret: Arc<Secret>, now: u64) {
        self.secret = Some(secret);
        if !self.is_of_the_secret(now) {
            self.replace_by(now);
        }
    }

    /// Shortens times that were set while a clock was far ahead.
    pub fn correct(&mut self, now: u64) {
        let latest = now.saturating_add(DAY + self.schedule.idle);
        if self.keys.previous.is_some() && self.keys.wipe_at > latest {
            self.keys.wipe_at = now.saturating_add(self.schedule.idle);
            self.memory.store(at(1 - self.keys.current.place) + 4, now);
        }
        if self.keys.until > latest {
            self.replace_by(self.schedule.next(now));
        }
    }

    /// Wipes the previous key, if its time is up, and returns its place: what was hashed with it must be wiped, too.
    pub fn retire(&mut self, now: u64) -> Option<u64> {
        let over = self.keys.previous.is_some() && now > self.keys.wipe_at;
        let place = self.keys.previous.take_if(|_| over)?.place;
        wipe(&self.memory, place);
        Some(place)
    }

    /// Replaces the current key, if its time is up.
    pub fn replace(&mut self, now: u64) -> Result<(), getrandom::Error> {
        if now < self.keys.until || self.keys.previous.is_some() {
            return Ok(());
        }
        let bytes = make(self.secret.as_deref(), self.schedule.day(now))?;
        let (until, old) = (self.schedule.next(now), &self.keys.current);
        if bytes == old.bytes {
            self.memory.store(at(old.place) + 4, until);
            self.keys.until = until;
            return Ok(());
        }
        let place = 1 - old.place;
        write(&self.memory, place, &bytes, until, self.secret.is_some());
        self.memory.store(TURN, self.memory.load(TURN).wrapping_add(1));
        let wipe_at = self.keys.until.saturating_add(self.schedule.idle);
        let previous = std::mem::replace(&mut self.keys.current, Arc::new(Key { bytes, place }));
        self.keys = Keys { current: Arc::clone(&self.keys.current), until, previous: Some(previous), wipe_at };
        Ok(())
    }

    /// Ends the time of the current key at `until`, but not before the previous one is wiped.
    fn replace_by(&mut self, until: u64) {
        let until = until.max(self.keys.earliest());
        if until < self.keys.until {
            self.keys.until = until;
            self.memory.store(at(self.keys.current.place) + 4, until);
        }
    }

    /// Whether the current key is derived from the secret for this day. True for random keys.
    fn is_of_the_secret(&self, now: u64) -> bool {
        let Some(secret) = &self.secret else { return true };
        derive(secret, self.schedule.day(now)) == self.keys.current.bytes
    }
}

fn make(secret: Option<&Secret>, day: i64) -> Result<Bytes, getrandom::Error> {
    if let Some(secret) = secret {
        return Ok(derive(secret, day));
    }
    let mut bytes = Bytes::default();
    getrandom::fill(&mut **bytes)?;
    Ok(bytes)
}

#[allow(clippy::unnecessary_box_returns, reason = "moving a key would leave a copy")]
fn derive(secret: &Secret, day: i64) -> Bytes {
    derive_with(secret, CONTEXT, &day.to_le_bytes())
}

#[allow(clippy::unnecessary_box_returns, reason = "moving a key would leave a copy")]
fn derive_with(secret: &Secret, context: &str, detail: &[u8]) -> Bytes {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    hasher.update(secret.bytes()).update(detail);
    let (mut hash, mut bytes) = (hasher.finalize(), Bytes::default());
    bytes.copy_from_slice(hash.as_bytes());
    hash.zeroize();
    hasher.zeroize();
    bytes
}

/// The first word of a place.
fn at(place: u64) -> usize {
    24 + 8 * place as usize
}

fn check(bytes: &[u8; 32], derived: bool) -> u64 {
    let origin = 1 + u64::from(derived);
    origin << 32 | u64::from(crc_fast::crc32_iscsi(bytes))
}

fn write<M: Memory>(memory: &M, place: u64, bytes: &[u8; 32], until: u64, derived: bool) {
    let at = at(place);
    for (word, bytes) in bytes.as_chunks().0.iter().enumerate() {
        memory.store(at + word, u64::from_le_bytes(*bytes));
    }
    memory.store(at + 4, until);
    memory.store(at + 5, check(bytes, derived));
}

fn read<M: Memory>(memory: &M, place: u64) -> Option<(Key, u64, bool)> {
    let at = at(place);
    let mut bytes = Bytes::default();
    for (word, bytes) in bytes.as_chunks_mut().0.iter_mut().enumerate() {
        *bytes = memory.load(at + word).to_le_bytes();
    }
    let (until, found) = (memory.load(at + 4), memory.load(at + 5));
    let derived = [false, true].into_iter().find(|&derived| found == check(&bytes, derived))?;
    // A time that does not fit a signed word is damaged.
    (until < 1 << 62).then_some((Key { bytes, place }, until, derived))
}

fn wipe<M: Memory>(memory: &M, place: u64) {
    // The check last: without the right one a key is incomplete.
    (at(place)..at(place) + 6).for_each(|word| memory.store(word, 0));
}

#[cfg(test)]
impl Key {
    pub fn bytes(&self) -> &[u8; 32] {
        &self.bytes
    }
}
