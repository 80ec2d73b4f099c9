//! How visitors behave from click to click: floods of clicks on one link, and many links at once.
//!
//! All clicks of one address come to one worker, so each worker counts alone, in tables of a fixed size
//! (`FLOODS`, `BURSTS`, `CROWDS`, about 4 MB together); in a full set of four entries the one that was touched
//! longest ago makes way. A visitor is an address (IPv6: its first 64 bits) with an agent string, as a randomly keyed
//! 64-bit hash; the key lives in this process only and is never stored, and so are the hashes.
//!
//! | finding | when | in the event |
//! |---|---|---|
//! | flood | more than `flood_clicks` clicks of one visitor on one link within `flood_secs`; or ten times as many of one address, whatever its agents | reason `click-flood` |
//! | burst | `burst_links` different links by one visitor within `burst_secs`, as mail gateways ask for every link of a message; then for `burst_bot_secs` | bot, reason `behaviour` |
//!
//! Events are written one by one, so the clicks before the one that gives a visitor away are written already: as a
//! person's, without the reason. Whoever needs them out compares the session or the time.
//!
//! Many people share an address: a household, a company, a mobile network. With different agents they are different
//! visitors here. A company with one kind of computer is not, and its people may well open five links of one newsletter
//! within three seconds. So where at least `CROWD` agents were seen behind an address within ten minutes, thresholds
//! are `PATIENCE` times as high. What remains: a crowd with one and the same agent, all at once, is taken for a bot;
//! and a gateway that changes its agent with each link is not.
//!
//! Visitors who opted out are counted, too: this is for security, in memory, for minutes, and tells nothing about them
//! but whether they are a machine.

use std::sync::Arc;

use ahash::RandomState;

use crate::{capture::Facts, quality::Watch};

/// Visitors and links, and addresses and links, that are remembered, 32 bytes each.
const FLOODS: usize = 1 << 15;
/// Visitors whose last links are remembered, 152 bytes each.
const BURSTS: usize = 1 << 14;
/// Addresses whose agents are remembered, 40 bytes each.
const CROWDS: usize = 1 << 13;

/// Different links of one visitor that are remembered, and the most that `burst_links` can be.
pub const MAX_LINKS: usize = 16;

/// Agents behind one address that make a crowd.
const CROWD: u32 = 8;
/// How much more a crowd may do.
const PATIENCE: u32 = 3;
/// How much more an address may do than a visitor.
const ADDRESS: u32 = 10;
/// How long the agents behind an address are counted, in milliseconds.
const CROWD_MILLIS: u64 = 600_000;

/// What one worker has seen.
pub struct Conduct {
    watch: Arc<Watch>,
    keyed: RandomState,
    floods: Table<Rate>,
    bursts: Table<Burst>,
    crowds: Table<Agents>,
}

/// What a click adds up to with those before it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Found {
    pub flood: bool,
    pub bot: bool,
}

impl Conduct {
    pub fn new(watch: Arc<Watch>) -> Self {
        Self {
            watch,
            keyed: RandomState::new(),
            floods: Table::new(FLOODS),
            bursts: Table::new(BURSTS),
            crowds: Table::new(CROWDS),
        }
    }

    /// Notes a click.
    pub fn click(&mut self, facts: &Facts<'_>) -> Found {
        let texts = &facts.texts;
        let (client, now) = (facts.client.hash_input(), facts.micros / 1_000);
        let config = &self.watch.config;
        let address = self.keyed.hash_one(client);
        let agent = self.keyed.hash_one(texts.user_agent);
        let visitor = self.keyed.hash_one((address, agent));
        let link = self.keyed.hash_one((texts.host, texts.link_id));
        let is_crowd = self.crowds.entry(address, now).add(agent, now) >= CROWD;
        let patience = if is_crowd { PATIENCE } else { 1 };
        let mut found = Found::default();
        if config.flood_clicks > 0 {
            let (limit, millis) = (u32::from(config.flood_clicks), config.flood_secs * 1_000);
            let by_visitor = self.floods.entry(self.keyed.hash_one((visitor, link)), now).add(now, millis);
            let by_address = self.floods.entry(self.keyed.hash_one((address, link)), now).add(now, millis);
            let is_visitors = by_visitor > limit * patience;
            found.flood = is_visitors || by_address > limit * ADDRESS;
            // Only the visitor is refused: with the whole address a company would be.
            if is_visitors && let Some(penalties) = &self.watch.penalties {
                penalties.add(client, texts.user_agent, facts.micros / 1_000_000);
            }
        }
        if config.burst_links > 0 {
            let burst = self.bursts.entry(visitor, now);
            let limit = (u32::from(config.burst_links) * patience).min(MAX_LINKS as u32);
            if burst.add(link, now, config.burst_secs * 1_000) >= limit {
                burst.bot_until = now + config.burst_bot_secs * 1_000;
            }
            found.bot = now < burst.bot_until;
        }
        found
    }
}

/// A hash table of a fixed size that forgets.
struct Table<T> {
    slots: Box<[Slot<T>]>,
}

#[derive(Clone, Copy, Default)]
struct Slot<T> {
    hash: u64,
    /// When it was last asked for, in milliseconds since the Unix epoch; 0 for never.
    touched: u64,
    value: T,
}

const WAYS: usize = 4;

impl<T: Copy + Default> Table<T> {
    /// `slots` is a power of two.
    fn new(slots: usize) -> Self {
        debug_assert!(slots.is_power_of_two() && slots >= WAYS);
        Self { slots: vec![Slot::default(); slots].into() }
    }

    /// The entry of a hash: a new one in the place of the one that was touched longest ago, if there is none.
    fn entry(&mut self, hash: u64, now: u64) -> &mut T {
        let sets = self.slots.len() / WAYS;
        let set = ((hash >> 32) as usize & (sets - 1)) * WAYS;
        let ways = &self.slots[set..set + WAYS];
        let known = ways.iter().position(|slot| slot.hash == hash && slot.touched > 0);
        let oldest = || ways.iter().enumerate().min_by_key(|(_, slot)| slot.touched).map_or(0, |(way, _)| way);
        let way = known.unwrap_or_else(oldest);
        let slot = &mut self.slots[set + way];
        if known.is_none() {
            *slot = Slot { hash, ..Slot::default() };
        }
        slot.touched = slot.touched.max(now).max(1);
        &mut slot.value
    }
}

/// Clicks within a time, estimated from this window and a share of the one before.
#[derive(Clone, Copy, Default)]
struct Rate {
    began: u64,
    current: u32,
    previous: u32,
}

impl Rate {
    /// Counts a click, and tells how many there were within `millis`.
    fn add(&mut self, now: u64, millis: u64) -> u32 {
        let elapsed = now.saturating_sub(self.began);
        if elapsed >= 2 * millis {
            *self = Self { began: now, current: 0, previous: 0 };
        } else if elapsed >= millis {
            *self = Self { began: self.began + millis, current: 0, previous: self.current };
        }
        self.current = self.current.saturating_add(1);
        if self.previous == 0 {
            return self.current;
        }
        let left = millis.saturating_sub(now.saturating_sub(self.began));
        self.current.saturating_add((u64::from(self.previous) * left / millis) as u32)
    }
}

/// The last different links of a visitor.
#[derive(Clone, Copy, Default)]
struct Burst {
    bot_until: u64,
    links: [(u16, u32); MAX_LINKS],
    known: u8,
}

impl Burst {
    /// Notes a link, and tells how many different ones there were within `millis`.
    fn add(&mut self, link: u64, now: u64, millis: u64) -> u32 {
        let (link, now) = ((link >> 48) as u16, now as u32);
        // The clock's lower half begins again after seven weeks. A click from before the others is as good as now.
        let age = |at: u32| Some(now.wrapping_sub(at)).filter(|age| *age < u32::MAX / 2).unwrap_or(0);
        let known = usize::from(self.known).min(MAX_LINKS);
        let mut links = self.links[..known].iter_mut();
        if let Some((_, at)) = links.find(|(other, _)| *other == link) {
            *at = now;
        } else if known < MAX_LINKS {
            self.links[known] = (link, now);
            self.known += 1;
        } else if let Some(oldest) = self.links.iter_mut().max_by_key(|(_, at)| age(*at)) {
            *oldest = (link, now);
        }
        let known = usize::from(self.known);
        self.links[..known].iter().filter(|(_, at)| u64::from(age(*at)) <= millis).count() as u32
    }
}

/// The agents behind an address, a bit each.
#[derive(Clone, Copy, Default)]
struct Agents {
    began: u64,
    current: u64,
    previous: u64,
}

impl Agents {
    /// Notes an agent, and tells how many there are, give or take those that share a bit.
    fn add(&mut self, agent: u64, now: u64) -> u32 {
        let elapsed = now.saturating_sub(self.began);
        if elapsed >= CROWD_MILLIS {
            let previous = if elapsed < 2 * CROWD_MILLIS { self.current } else { 0 };
            *self = Self { began: now, current: 0, previous };
        }
        self.current |= 1 << (agent % 64);
        (self.current | self.previous).count_ones()
    }
}

#[cfg(test)]
mod tests;
