//! Sessions: which clicks belong to one visit, without keeping who the visitor is.
//!
//! An individual is recognised by a keyed one-way hash (BLAKE3, 32-byte key, 128 bits of output) over workspace, client
//! address (IPv6 by its first 64 bits) and agent. An address has only 32 bits: without a key anyone could try them all,
//! so the key is the whole protection. It is replaced daily and wiped, with everything that was hashed with it, one
//! idle time later (`keys`). The hash is not in the event.
//!
//! Visits are kept in one table of fixed size that all workers share (`table` describes the eviction), in a file on a
//! tmpfs next to the rings (`file`): they outlive the process, however it ends, and never reach a disk. A visit
//! continues across a restart with any number of workers.
//!
//! **Clicks that are seen twice.** A click stays in its ring until its event is in the journal. When the process dies
//! before that, the next one sees the click again, and the table may know it, and later clicks, already. So the worker
//! notes in the ring to which visit it has assigned a click, and a click with a note belongs to that visit whatever the
//! table says. Between the table and the note there is only the one click at hand; if it began a visit, the table has
//! its time and a part of its id, and it is the first of the visit when it is seen again. So each click belongs to the
//! same visit as if no process had died.
//!
//! **A clock that jumps ahead** ends no visit and wipes no key: both go by a [trusted time](clock::trusted), which is
//! in the file, too, and a click that is ahead of it belongs to the visit of the trusted time.
//!
//! What is forgotten all the same: a visit is lost with its key, in an outage that outlasts rotation and idle time.
//! While no process runs nothing is wiped; the next start does so before it answers a click.

mod file;
mod keys;
pub mod metrics;
mod sticky;
mod table;

use std::{
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;

use file::Opening;
pub use file::SessionError;
use keys::{Key, Keyring, Keys, Schedule};
pub use sticky::StickyKey;
use table::{Memory, Moment, VisitTable};

use crate::{
    click::{ClientAddr, Facts, Visit},
    config::{self, Secret},
    runtime::{
        Words,
        clock::{self, trusted::TrustedTime},
    },
    visitor::agent::AgentDigest,
};

/// How far the time of a click may be ahead of the trusted time, in microseconds.
const AHEAD: u64 = 60_000_000;

/// The visits that this edge remembers.
pub struct Sessions {
    visits: Visits<Arc<Words>>,
    restored: u64,
    memory: Arc<Words>,
    time: Mutex<TrustedTime>,
    /// Trusted time of the last tick.
    now: AtomicU64,
}

impl Sessions {
    /// Takes over the sessions that an earlier process has left in a folder, or starts without any. `now` is the time
    /// of day. Call it while the folder is locked. Keys are derived from `secret`, or are random without one.
    ///
    /// # Errors
    /// When the folder is not in memory or has no room.
    pub fn open(
        dir: &Path,
        config: &config::Enrich,
        secret: Option<Arc<Secret>>,
        now: u64,
    ) -> Result<Self, SessionError> {
        let idle = config.session_idle_secs * 1_000_000;
        let opening = Opening {
            dir,
            buckets: table::buckets(config.session_visitors),
            schedule: Schedule { hour: config.session_rotation_hour, idle },
            secret,
            now,
        };
        let (keyring, table) = opening.open()?;
        let memory = Arc::clone(keyring.memory());
        let mut time = file::trusted_time(&memory, now);
        let now = time.read(now, clock::up_micros());
        let visits = Visits::new(keyring, table, idle);
        visits.tick(now);
        let restored = visits.table.clicked_since(now.saturating_sub(idle));
        if restored > 0 {
            tracing::info!(visits = restored, "visits of an earlier process restored");
        }
        Ok(Self { visits, restored, memory, time: Mutex::new(time), now: AtomicU64::new(now) })
    }

    /// The visit that a click with this agent belongs to. `decided` is the visit that was noted when the click was seen
    /// before.
    pub fn click(&self, facts: &Facts<'_>, agent: &AgentDigest, decided: Option<Visit>) -> Visit {
        self.visits.click(facts, self.plausible(facts.micros), agent, decided)
    }

    /// Whether this visitor has clicked in a workspace before, as far as the edge remembers: since the rotation of the
    /// key before the last, at most. Changes nothing, and takes no lock.
    pub fn knows(&self, workspace: &[u8], client: &ClientAddr, agent: &AgentDigest) -> bool {
        self.visits.knows(workspace, client, agent)
    }

    /// Replaces and wipes keys whose time is up. Call it often, with the time of day.
    pub fn tick(&self, wall: u64) {
        self.visits.tick(self.trusted(wall));
    }

    /// Derives keys from another secret from now on.
    pub fn set_secret(&self, secret: Arc<Secret>, wall: u64) {
        self.visits.set_secret(secret, self.trusted(wall));
    }

    /// Visitors that are remembered, among them those whose visit has ended and whose slot is still free.
    pub fn visitors(&self) -> u64 {
        self.visits.table.used()
    }

    /// Visitors that the table is made for.
    pub fn visitors_limit(&self) -> u64 {
        self.visits.table.limit()
    }

    /// Visits of an earlier process that had not ended at the start.
    pub fn restored(&self) -> u64 {
        self.restored
    }

    /// Visitors whose slot was taken by others during their visit.
    pub fn evictions(&self) -> u64 {
        self.visits.table.evicted()
    }

    /// The trusted part of the time of day.
    fn trusted(&self, wall: u64) -> u64 {
        let mut time = self.time.lock().unwrap_or_else(PoisonError::into_inner);
        let now = time.read(wall, clock::up_micros());
        file::note_time(&self.memory, time.note());
        self.now.store(now, Ordering::Relaxed);
        now
    }

    /// The time of a click, or the trusted time if the clock was ahead of it: such a click ends no visit and no key.
    fn plausible(&self, micros: u64) -> u64 {
        if micros <= self.now.load(Ordering::Relaxed) + AHEAD {
            return micros;
        }
        let trusted = self.trusted(clock::unix_micros());
        if micros > trusted + AHEAD { trusted } else { micros }
    }
}

/// Table and keys, in any memory.
struct Visits<M> {
    table: VisitTable<M>,
    /// What workers see of the keyring. They hold it for no longer than a click.
    keys: ArcSwap<Keys>,
    keyring: Mutex<Keyring<M>>,
    idle: u64,
}

impl<M: Memory> Visits<M> {
    fn new(keyring: Keyring<M>, table: VisitTable<M>, idle: u64) -> Self {
        Self { table, keys: ArcSwap::from_pointee(keyring.keys()), keyring: Mutex::new(keyring), idle }
    }

    /// `micros` is the time of the click, as far as it is plausible.
    fn click(&self, facts: &Facts<'_>, micros: u64, agent: &AgentDigest, decided: Option<Visit>) -> Visit {
        let moment = Moment::of(micros, &facts.id);
        let mut keys = self.keys.load();
        if keys.are_due(moment.micros()) {
            drop(keys);
            self.turn(&mut self.keyring(), moment.micros());
            keys = self.keys.load();
        }
        let workspace = facts.texts.workspace;
        let who = keys.current.individual(workspace, &facts.client, agent);
        let before = || Some(keys.previous.as_ref()?.individual(workspace, &facts.client, agent));
        match decided {
            None => self.table.click(moment, self.idle, who, before),
            Some(visit) => {
                self.table.remember(moment, self.idle, who, before(), visit);
                visit
            }
        }
    }

    fn knows(&self, workspace: &[u8], client: &ClientAddr, agent: &AgentDigest) -> bool {
        let keys = self.keys.load();
        let is_known = |key: &Key| self.table.knows(key.individual(workspace, client, agent));
        is_known(&keys.current) || keys.previous.as_deref().is_some_and(is_known)
    }

    fn tick(&self, now: u64) {
        let keys = self.keys.load();
        if keys.are_due(now) || keys.are_from_the_future(now, self.idle) {
            drop(keys);
            let mut keyring = self.keyring();
            keyring.correct(now);
            self.turn(&mut keyring, now);
        }
    }

    fn set_secret(&self, secret: Arc<Secret>, now: u64) {
        let mut keyring = self.keyring();
        keyring.set_secret(secret, now);
        self.turn(&mut keyring, now);
    }

    fn turn(&self, keyring: &mut Keyring<M>, now: u64) {
        self.retire(keyring, now);
        // Without random bytes the previous key stays active, and the next click tries again.
        if let Err(error) = keyring.replace(now) {
            tracing::warn!(%error, "session key not replaced; the previous key stays active");
        }
        // After a long time without a tick the key that was just replaced is past its idle time already.
        self.retire(keyring, now);
        self.keys.store(Arc::new(keyring.keys()));
    }

    fn retire(&self, keyring: &mut Keyring<M>, now: u64) {
        if let Some(place) = keyring.retire(now) {
            self.keys.store(Arc::new(keyring.keys()));
            self.table.sweep(place);
        }
    }

    fn keyring(&self) -> MutexGuard<'_, Keyring<M>> {
        self.keyring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
