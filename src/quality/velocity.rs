//! Velocity rules: floods of clicks on one link, and bursts of many links at once.
//!
//! All clicks of one address come to one worker, so each worker counts alone, in tables of a fixed size (`FLOODS`,
//! `BURSTS`, `NATS`, about 3 MB together); a full set of four entries evicts the least recently used. A visitor is an
//! address (IPv6: its first 64 bits) with an agent string, as a randomly keyed 64-bit hash; the key lives in this
//! process only and is never stored, and so are the hashes.
//!
//! | finding | when | in the event |
//! |---|---|---|
//! | flood | more than `flood_clicks` clicks of one visitor on one link within `flood_secs`; or ten times as many of one address, whatever its agents | reason `click-flood` |
//! | burst | `burst_links` different links by one visitor within `burst_secs`, as mail gateways ask for every link of a message; then for `burst_bot_secs` | bot, reason `behaviour` |
//!
//! Events are written one by one, so the clicks before the one that exceeds a threshold are written already: as a
//! human's, without the reason. A consumer who wants to exclude them compares the session or the time.
//!
//! Many visitors share an address: a household, a company, a mobile network. With different agents they are different
//! visitors here. Those of a company with one kind of computer are not, and may well open five links of one newsletter
//! within three seconds. So where at least `NAT_AGENTS` agents were seen behind an address within ten minutes,
//! thresholds are `NAT_FACTOR` times as high. Two cases remain: many humans with the same agent, all at once, count as
//! a bot; and a gateway that changes its agent with each link does not.
//!
//! Visitors who opted out are counted, too: this is for security, in memory, for minutes, and says nothing about them
//! except whether they are a machine.

use std::{hint::black_box, sync::Arc};

use ahash::RandomState;

use crate::{click::Facts, config, files::Cached, quality::State};

/// Visitors and links, and addresses and links, that are remembered, 16 bytes each.
const FLOODS: usize = 1 << 15;
/// Visitors whose last links are remembered, 128 bytes each.
const BURSTS: usize = 1 << 14;
/// Addresses whose agents are remembered, 32 bytes each.
const NATS: usize = 1 << 13;

/// Different links of one visitor that are remembered, and the most that `burst_links` can be.
pub const MAX_LINKS: usize = 16;

/// Agents behind one address from which on it counts as shared.
const NAT_AGENTS: u32 = 8;
/// Factor of the thresholds behind a shared address.
const NAT_FACTOR: u32 = 3;
/// Factor of the threshold of an address, whatever its agents, against that of a visitor.
const ADDRESS_FACTOR: u32 = 10;
/// Time in which the agents behind an address are counted, in milliseconds.
const NAT_MILLIS: u32 = 600_000;

/// The counts of one worker.
pub struct VelocityTracker {
    state: Arc<State>,
    config: Cached<config::Quality>,
    keyed: RandomState,
    /// A day before the first click, in microseconds since the Unix epoch: the origin of all times here, which are in
    /// milliseconds.
    began: u64,
    floods: VisitorTable<Rate>,
    bursts: VisitorTable<Burst>,
    nats: VisitorTable<Agents>,
}

/// What a click and those before it amount to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct VelocityFindings {
    pub flood: bool,
    pub bot: bool,
}

impl VelocityTracker {
    pub fn new(state: Arc<State>) -> Self {
        Self {
            config: state.config.cached(),
            state,
            keyed: RandomState::new(),
            began: 0,
            floods: VisitorTable::new(FLOODS),
            bursts: VisitorTable::new(BURSTS),
            nats: VisitorTable::new(NATS),
        }
    }

    /// Counts a click.
    pub fn click(&mut self, facts: &Facts<'_>) -> VelocityFindings {
        let texts = &facts.texts;
        let client = facts.client.hash_input();
        let now = self.now(facts.micros);
        let address = self.keyed.hash_one(client);
        let agent = self.keyed.hash_one(texts.user_agent);
        let visitor = self.keyed.hash_one((address, agent));
        let link = self.keyed.hash_one((texts.host, texts.link_id));
        let [by_visitor, by_address] = [visitor, address].map(|who| self.keyed.hash_one((who, link)));
        // Touched together, they are fetched from memory in parallel.
        black_box([self.nats.touch(address), self.floods.touch(by_visitor), self.floods.touch(by_address)]);
        black_box(self.bursts.touch(visitor));
        let is_nat = self.nats.entry(address, now).add(agent, now) >= NAT_AGENTS;
        let factor = if is_nat { NAT_FACTOR } else { 1 };
        let mut found = VelocityFindings::default();
        let config = self.config.load();
        if config.flood_clicks > 0 {
            let (limit, millis) = (u32::from(config.flood_clicks), millis(config.flood_secs));
            let by_visitor = self.floods.entry(by_visitor, now).add(now, millis);
            let by_address = self.floods.entry(by_address, now).add(now, millis);
            let is_visitors = by_visitor > limit * factor;
            found.flood = is_visitors || by_address > (limit * ADDRESS_FACTOR).min(MAX_RATE);
            // Only the visitor is blocked: blocking the address would block a company.
            if is_visitors && let Some(penalties) = self.state.penalties() {
                penalties.add(client, texts.user_agent, facts.micros / 1_000_000);
            }
        }
        if config.burst_links > 0 {
            let burst = self.bursts.entry(visitor, now);
            let limit = (u32::from(config.burst_links) * factor).min(MAX_LINKS as u32);
            if burst.add(link, now, millis(config.burst_secs)) >= limit {
                burst.bot_since = Some(now);
            }
            found.bot =
                burst.bot_since.is_some_and(|since| now.saturating_sub(since) < millis(config.burst_bot_secs));
        }
        found
    }

    /// A time has room for seven weeks. After that, everything is forgotten.
    fn now(&mut self, micros: u64) -> u32 {
        let since = |began: u64| u32::try_from(micros.saturating_sub(began) / 1_000).ok();
        since(self.began).unwrap_or_else(|| {
            self.began = micros.saturating_sub(DAY);
            (self.floods, self.bursts, self.nats) =
                (VisitorTable::new(FLOODS), VisitorTable::new(BURSTS), VisitorTable::new(NATS));
            since(self.began).unwrap_or(0)
        })
    }
}

/// A day, in microseconds.
const DAY: u64 = 86_400_000_000;

/// Seconds as milliseconds: at most a day, as configured.
fn millis(secs: u64) -> u32 {
    secs.saturating_mul(1_000).min(DAY / 1_000) as u32
}

/// A hash table of a fixed size that evicts the least recently used entry of a set.
struct VisitorTable<T> {
    sets: Box<[Set<T>]>,
}

const WAYS: usize = 4;

/// Tags and values lie together, in as few cache lines as possible.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Set<T> {
    tags: [Tag; WAYS],
    values: [T; WAYS],
}

#[derive(Clone, Copy, Default)]
struct Tag {
    /// Part of the hash, odd; 0 when the entry is free.
    hash: u32,
    touched: u32,
}

impl<T: Copy + Default> VisitorTable<T> {
    /// `entries` is a power of two.
    fn new(entries: usize) -> Self {
        debug_assert!(entries.is_power_of_two() && entries >= WAYS);
        Self { sets: vec![Set::default(); entries / WAYS].into() }
    }

    fn touch(&self, hash: u64) -> u32 {
        self.sets[(hash >> 32) as usize & (self.sets.len() - 1)].tags[0].hash
    }

    /// The entry of a hash; a new one replaces the least recently used.
    fn entry(&mut self, hash: u64, now: u32) -> &mut T {
        let at = (hash >> 32) as usize & (self.sets.len() - 1);
        let Set { tags, values } = &mut self.sets[at];
        let hash = hash as u32 | 1;
        let known = tags.iter().position(|tag| tag.hash == hash);
        let oldest = || (0..WAYS).min_by_key(|way| tags[*way].touched).unwrap_or(0);
        let way = known.unwrap_or_else(oldest);
        if known.is_none() {
            tags[way] = Tag { hash, touched: 0 };
            values[way] = T::default();
        }
        tags[way].touched = tags[way].touched.max(now);
        &mut values[way]
    }
}

/// Clicks within a time, estimated from this window and a share of the one before.
#[derive(Clone, Copy, Default)]
struct Rate {
    began: u32,
    /// At least 1 after the first click.
    current: u16,
    previous: u16,
}

/// The highest rate that is counted.
const MAX_RATE: u32 = u16::MAX as u32 - 1;

impl Rate {
    /// Counts a click, and returns how many there were within `millis`.
    fn add(&mut self, now: u32, millis: u32) -> u32 {
        let elapsed = now.saturating_sub(self.began);
        if self.current == 0 || elapsed >= 2 * millis {
            *self = Self { began: now, current: 0, previous: 0 };
        } else if elapsed >= millis {
            *self = Self { began: self.began + millis, current: 0, previous: self.current };
        }
        self.current = self.current.saturating_add(1);
        let (current, previous) = (u32::from(self.current), u64::from(self.previous));
        if previous == 0 {
            return current;
        }
        let left = u64::from(millis.saturating_sub(now.saturating_sub(self.began)));
        current + (previous * left / u64::from(millis)) as u32
    }
}

/// The last different links of a visitor.
#[derive(Clone, Copy, Default)]
struct Burst {
    bot_since: Option<u32>,
    known: u8,
    /// Parts of their hashes.
    links: [u16; MAX_LINKS],
    clicked: [u32; MAX_LINKS],
}

impl Burst {
    /// Counts a link, and returns how many different ones there were within `millis`.
    fn add(&mut self, link: u64, now: u32, millis: u32) -> u32 {
        let link = (link >> 48) as u16;
        let known = usize::from(self.known).min(MAX_LINKS);
        let oldest = || (0..MAX_LINKS).max_by_key(|at| now.saturating_sub(self.clicked[*at])).unwrap_or(0);
        let at = match self.links[..known].iter().position(|other| *other == link) {
            Some(at) => at,
            None if known < MAX_LINKS => known,
            None => oldest(),
        };
        (self.links[at], self.clicked[at]) = (link, now);
        let known = known.max(at + 1);
        self.known = known as u8;
        self.clicked[..known].iter().filter(|clicked| now.saturating_sub(**clicked) <= millis).count() as u32
    }
}

/// The agents behind an address, a bit each.
#[derive(Clone, Copy, Default)]
struct Agents {
    current: u64,
    previous: u64,
    began: u32,
}

impl Agents {
    /// Counts an agent, and returns how many there are, minus those that share a bit.
    fn add(&mut self, agent: u64, now: u32) -> u32 {
        let elapsed = now.saturating_sub(self.began);
        if self.current == 0 || elapsed >= NAT_MILLIS {
            let previous = if elapsed < 2 * NAT_MILLIS { self.current } else { 0 };
            *self = Self { current: 0, previous, began: now };
        }
        self.current |= 1 << (agent % 64);
        (self.current | self.previous).count_ones()
    }
}

#[cfg(test)]
mod tests;
