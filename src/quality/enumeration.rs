//! Detects link enumeration: addresses that request many unknown slashtags.
//!
//! Answers with 404 are no clicks and reach no worker, so the redirect counts them, in a fixed table of [`CELLS`]
//! numbers, without a lock or an allocation. A 404 changes one cell; a click reads one. A cell belongs to one address
//! at a time and holds half of its hash, the number of a time window, and a count:
//!
//! ```text
//! 63        32 31       12 11    0
//! | hash      | window    | count |
//! ```
//! Of two addresses that share a cell within one window, the one with more than one miss keeps it. So an enumeration
//! may go undetected when far more than [`CELLS`] addresses enumerate at a time, and no address is blamed for the
//! misses of another, except with a probability of one in four thousand million. The hash is keyed: the key is random,
//! lives in this process only and is never stored, and so is the hash (of an IPv6 address, the first 64 bits).
//!
//! A finding holds for the rest of its window and the next one, and as long as the enumeration continues. What browsers
//! and crawlers request from any host (`is_well_known`) is not counted, so that many visitors behind one address do not
//! add up. Repeated requests for one dead link look the same as an enumeration.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use ahash::RandomState;

use crate::{click::ClientAddr, config};

/// Addresses that are remembered at most.
pub const CELLS: usize = 1 << 16;

const COUNT_BITS: u32 = 12;
const WINDOW_BITS: u32 = 20;

/// Most misses that a cell counts, and the highest threshold that makes sense.
pub const MAX_COUNT: u64 = (1 << COUNT_BITS) - 1;

/// The misses of each address.
pub struct Enumeration {
    cells: Box<[AtomicU64]>,
    keyed: RandomState,
    began: Instant,
    limit: u64,
    window_secs: u64,
}

/// The content of a cell.
#[derive(Clone, Copy)]
struct Cell {
    owner: u64,
    window: u64,
    count: u64,
}

impl Enumeration {
    /// `None` when the detection is switched off.
    pub fn new(config: &config::Quality, now: Instant) -> Option<Self> {
        (config.enumeration_links > 0).then(|| Self {
            cells: (0..CELLS).map(|_| AtomicU64::new(0)).collect(),
            keyed: RandomState::new(),
            began: now,
            limit: u64::from(config.enumeration_links),
            window_secs: config.enumeration_secs.max(1),
        })
    }

    /// Whether these are its thresholds.
    pub fn is_of(&self, config: &config::Quality) -> bool {
        self.limit == u64::from(config.enumeration_links) && self.window_secs == config.enumeration_secs.max(1)
    }

    /// Counts a miss: the address requested a path without a link.
    pub fn note(&self, client: &ClientAddr, path: &[u8], now: Instant) {
        if is_well_known(path) {
            return;
        }
        let (cell, owner) = self.cell(client);
        let window = self.window(now);
        let counted = |cell| {
            let known = Cell::unpack(cell);
            let count = if known.owner == owner && known.is_live(window) {
                let goes_on = known.window == window || known.count >= self.limit;
                if goes_on { (known.count + 1).min(MAX_COUNT) } else { 1 }
            } else if known.is_live(window) && known.count > 1 {
                return None;
            } else {
                1
            };
            Some(Cell { owner, window, count }.pack())
        };
        // An error only when another address keeps the cell.
        let _ = cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, counted);
    }

    /// Whether the address has lately enumerated links.
    pub fn is_enumerating(&self, client: &ClientAddr, now: Instant) -> bool {
        let (cell, owner) = self.cell(client);
        let known = Cell::unpack(cell.load(Ordering::Relaxed));
        known.owner == owner && known.count >= self.limit && known.is_live(self.window(now))
    }

    fn cell(&self, client: &ClientAddr) -> (&AtomicU64, u64) {
        let hash = self.keyed.hash_one(client.hash_input());
        (&self.cells[(hash >> 32) as usize % CELLS], hash & 0xffff_ffff)
    }

    /// Counted from 1, so that an empty cell is of no window; begins again after 2^20 windows.
    fn window(&self, now: Instant) -> u64 {
        (now.saturating_duration_since(self.began).as_secs() / self.window_secs) % ((1 << WINDOW_BITS) - 1) + 1
    }
}

impl Cell {
    fn unpack(cell: u64) -> Self {
        let window = (cell >> COUNT_BITS) & ((1 << WINDOW_BITS) - 1);
        Self { owner: cell >> 32, window, count: cell & MAX_COUNT }
    }

    fn pack(self) -> u64 {
        self.owner << 32 | self.window << COUNT_BITS | self.count
    }

    /// Whether it is of this window or the one before.
    fn is_live(self, window: u64) -> bool {
        self.window != 0 && (self.window == window || self.window + 1 == window)
    }
}

/// What browsers, crawlers and visitors of the bare domain request without knowing a link.
pub fn is_well_known(path: &[u8]) -> bool {
    matches!(path, b"/" | b"" | b"/favicon.ico" | b"/robots.txt" | b"/sitemap.xml")
        || path.starts_with(b"/apple-touch-icon")
        || path.starts_with(b"/.well-known/")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn enumeration(limit: u16) -> (Enumeration, Instant) {
        let now = Instant::now();
        let config = config::Quality { enumeration_links: limit, ..config::Quality::default() };
        (Enumeration::new(&config, now).unwrap(), now)
    }

    fn address(n: u32) -> ClientAddr {
        ClientAddr::from_ip((0x0a00_0000 | n).to_be_bytes().into())
    }

    #[test]
    fn an_enumeration_is_detected_and_remembered_for_a_while() {
        let (enumeration, start) = enumeration(30);
        let at = |secs| start + Duration::from_secs(secs);
        for n in 0..29 {
            enumeration.note(&address(1), b"/x", at(n));
            assert!(!enumeration.is_enumerating(&address(1), at(n)));
        }
        enumeration.note(&address(1), b"/x", at(59));
        assert!(enumeration.is_enumerating(&address(1), at(59)) && !enumeration.is_enumerating(&address(2), at(59)));
        assert!(enumeration.is_enumerating(&address(1), at(119)), "for one window more");
        assert!(!enumeration.is_enumerating(&address(1), at(120)));
        enumeration.note(&address(1), b"/x", at(119));
        assert!(enumeration.is_enumerating(&address(1), at(179)), "as long as it continues");
        assert!(!enumeration.is_enumerating(&address(1), at(180)));
    }

    #[test]
    fn a_few_dead_links_a_minute_are_no_enumeration() {
        let (enumeration, start) = enumeration(30);
        for n in 0..3_600 {
            enumeration.note(&address(1), b"/old", start + Duration::from_secs(3 * n));
            assert!(!enumeration.is_enumerating(&address(1), start + Duration::from_secs(3 * n)));
        }
    }

    #[test]
    fn what_software_requests_from_any_host_is_not_counted() {
        let (enumeration, now) = enumeration(1);
        for path in [&b"/favicon.ico"[..], b"/robots.txt", b"/apple-touch-icon-120x120.png", b"/", b"/.well-known/x"]
        {
            enumeration.note(&address(1), path, now);
        }
        assert!(!enumeration.is_enumerating(&address(1), now));
        enumeration.note(&address(1), b"/favicon", now);
        assert!(enumeration.is_enumerating(&address(1), now));
    }

    #[test]
    fn a_household_is_one_visitor_in_ipv6() {
        let (enumeration, now) = enumeration(2);
        let of = |text: &str| ClientAddr::from_ip(text.parse().unwrap());
        enumeration.note(&of("2001:db8::1"), b"/x", now);
        enumeration.note(&of("2001:db8::2"), b"/x", now);
        assert!(
            enumeration.is_enumerating(&of("2001:db8::3"), now)
                && !enumeration.is_enumerating(&of("2001:db8:0:1::1"), now)
        );
    }

    #[test]
    fn no_address_is_blamed_for_the_misses_of_a_hundred_thousand_others() {
        let (enumeration, now) = enumeration(3);
        for round in 0..3 {
            for n in 0..100_000 {
                enumeration.note(&address(n), b"/x", now + Duration::from_secs(round));
            }
        }
        let seen = (0..100_000).filter(|n| enumeration.is_enumerating(&address(*n), now)).count();
        assert!((CELLS / 4..=CELLS).contains(&seen), "{seen}");
        assert_eq!((200_000..300_000).filter(|n| enumeration.is_enumerating(&address(*n), now)).count(), 0);
    }

    #[test]
    fn counts_end_at_what_a_cell_can_hold() {
        let (enumeration, now) = enumeration(MAX_COUNT as u16);
        for _ in 0..2 * MAX_COUNT {
            enumeration.note(&address(1), b"/x", now);
        }
        assert!(enumeration.is_enumerating(&address(1), now) && !enumeration.is_enumerating(&address(2), now));
    }

    #[test]
    fn zero_counts_nothing() {
        assert!(
            Enumeration::new(&config::Quality { enumeration_links: 0, ..config::Quality::default() }, Instant::now())
                .is_none()
        );
    }
}
