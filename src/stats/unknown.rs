//! Counts requests for unknown slashtags, so that an operator notices a misprint or a link that was deleted too early.
//!
//! Anyone can request anything, so memory is bounded: [`MAX_DOMAINS`] domains, and of each the [`MAX_SLASHTAGS`] that
//! were requested most, cut to [`MAX_BYTES`] bytes. When these are all taken, a new slashtag takes the place of the one
//! with the lowest count and continues that count (space-saving, Metwally et al. 2005). So a count may be too high, by
//! what is shown as `error`, and is never too low. A slashtag with more than a hundredth of its domain's requests is
//! always listed.
//!
//! A request never waits: it is put into a queue. The one that finds `BATCH` in the queue counts them, unless another
//! thread does so. A request that finds the queue full is only counted as missed.
//!
//! Counts begin with the process, and end with it.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crossbeam_channel::{Receiver, Sender};

/// Most domains.
pub const MAX_DOMAINS: usize = 1_000;

/// Most slashtags of a domain.
pub const MAX_SLASHTAGS: usize = 100;

/// Longest slashtag, in bytes.
pub const MAX_BYTES: usize = 64;

/// Requests in the queue that are worth being counted.
const BATCH: usize = 64;

/// Most requests in the queue.
const QUEUE: usize = 1_024;

/// The counts of unknown slashtags.
pub struct UnknownSlashtags {
    /// Seconds since the Unix epoch.
    since: u64,
    queue: (Sender<Request>, Receiver<Request>),
    domains: Mutex<HashMap<Box<str>, Domain, ahash::RandomState>>,
    /// Requests that were not counted.
    missed: AtomicU64,
}

struct Request {
    domain: Box<str>,
    slashtag: Box<str>,
    /// Seconds since the Unix epoch.
    at: u64,
}

#[derive(Default)]
struct Domain {
    requests: u64,
    slashtags: HashMap<Box<str>, Count, ahash::RandomState>,
}

#[derive(Clone, Copy)]
struct Count {
    requests: u64,
    error: u64,
    last: u64,
}

/// The unknown slashtags of a domain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UnknownOfDomain {
    pub domain: String,
    /// Requests for any unknown slashtag.
    pub requests: u64,
    /// Those that were requested most, most requested first.
    pub slashtags: Vec<UnknownSlashtag>,
}

/// An unknown slashtag.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UnknownSlashtag {
    pub slashtag: String,
    pub requests: u64,
    /// By how much `requests` may be too high.
    pub error: u64,
    /// Time of the last request, seconds since the Unix epoch.
    pub last: u64,
}

impl UnknownSlashtags {
    /// No request yet, at `now` in seconds since the Unix epoch.
    pub fn new(now: u64) -> Self {
        Self {
            since: now,
            queue: crossbeam_channel::bounded(QUEUE),
            domains: Mutex::default(),
            missed: AtomicU64::new(0),
        }
    }

    /// Counts a request for a slashtag that the domain does not have. `slashtag` is decoded, `now` in seconds since the
    /// Unix epoch.
    pub fn note(&self, domain: &str, slashtag: &[u8], now: u64) {
        let request = Request { domain: domain.into(), slashtag: cut(slashtag).into(), at: now };
        if self.queue.0.try_send(request).is_err() {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
        if self.queue.1.len() >= BATCH
            && let Ok(mut domains) = self.domains.try_lock()
        {
            self.count(&mut domains);
        }
    }

    /// When counting began, in seconds since the Unix epoch.
    pub fn since(&self) -> u64 {
        self.since
    }

    /// Requests that were not counted: there were too many at a time, or for too many domains.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    /// The domains with unknown slashtags, most requests first, each with its `top` slashtags.
    pub fn top(&self, top: usize) -> Vec<UnknownOfDomain> {
        let domains = self.counted();
        let mut all: Vec<_> = domains.iter().map(|(name, domain)| domain.top(name, top)).collect();
        all.sort_by(|a, b| b.requests.cmp(&a.requests).then_with(|| a.domain.cmp(&b.domain)));
        all
    }

    /// The `top` unknown slashtags of a domain.
    pub fn of_domain(&self, name: &str, top: usize) -> UnknownOfDomain {
        let domains = self.counted();
        domains.get(name).map_or_else(|| Domain::default().top(name, top), |domain| domain.top(name, top))
    }

    fn counted(&self) -> MutexGuard<'_, HashMap<Box<str>, Domain, ahash::RandomState>> {
        let mut domains = self.domains.lock().unwrap_or_else(PoisonError::into_inner);
        self.count(&mut domains);
        domains
    }

    /// Counts what is in the queue, without waiting for what comes meanwhile.
    fn count(&self, domains: &mut HashMap<Box<str>, Domain, ahash::RandomState>) {
        for Request { domain, slashtag, at } in self.queue.1.try_iter().take(QUEUE) {
            let is_known = domains.contains_key(&domain);
            if is_known || domains.len() < MAX_DOMAINS {
                domains.entry(domain).or_default().add(slashtag, at);
            } else {
                self.missed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Domain {
    fn add(&mut self, slashtag: Box<str>, at: u64) {
        self.requests += 1;
        if let Some(count) = self.slashtags.get_mut(&slashtag) {
            count.requests += 1;
            count.last = count.last.max(at);
            return;
        }
        let error = if self.slashtags.len() < MAX_SLASHTAGS { 0 } else { self.evict() };
        self.slashtags.insert(slashtag, Count { requests: error + 1, error, last: at });
    }

    /// Removes the slashtag with the lowest count, of several the one that was requested longest ago, and returns its
    /// count.
    fn evict(&mut self) -> u64 {
        let least = self.slashtags.iter().min_by_key(|(_, count)| (count.requests, count.last));
        let Some((slashtag, count)) = least.map(|(slashtag, count)| (slashtag.clone(), *count)) else { return 0 };
        self.slashtags.remove(&slashtag);
        count.requests
    }

    fn top(&self, domain: &str, top: usize) -> UnknownOfDomain {
        let mut slashtags: Vec<_> = self
            .slashtags
            .iter()
            .map(|(slashtag, &Count { requests, error, last })| UnknownSlashtag {
                slashtag: slashtag.to_string(),
                requests,
                error,
                last,
            })
            .collect();
        // One that was certainly requested more often stands before one that may have been.
        let certain = |slashtag: &UnknownSlashtag| slashtag.requests - slashtag.error;
        slashtags.sort_by(|a, b| certain(b).cmp(&certain(a)).then_with(|| a.slashtag.cmp(&b.slashtag)));
        slashtags.truncate(top);
        UnknownOfDomain { domain: domain.into(), requests: self.requests, slashtags }
    }
}

/// The beginning of a slashtag, as text.
fn cut(slashtag: &[u8]) -> String {
    let text = String::from_utf8_lossy(&slashtag[..slashtag.len().min(MAX_BYTES + 3)]);
    text[..text.floor_char_boundary(MAX_BYTES)].to_owned()
}

#[cfg(test)]
mod tests {
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    fn names(of: &UnknownOfDomain) -> Vec<(&str, u64, u64)> {
        of.slashtags.iter().map(|of| (of.slashtag.as_str(), of.requests, of.error)).collect()
    }

    #[test]
    fn what_is_requested_most_comes_first() {
        let unknown = UnknownSlashtags::new(1_000);
        for (domain, slashtag, at) in
            [("a.example", "sprng", 7), ("a.example", "x", 8), ("b.example", "", 9), ("a.example", "sprng", 6)]
        {
            unknown.note(domain, slashtag.as_bytes(), at);
        }
        let top = unknown.top(10);
        assert_eq!(
            top.iter().map(|of| (of.domain.as_str(), of.requests)).collect::<Vec<_>>(),
            [("a.example", 3), ("b.example", 1)]
        );
        assert_eq!(names(&top[0]), [("sprng", 2, 0), ("x", 1, 0)]);
        assert_eq!(top[0].slashtags[0].last, 7);
        assert_eq!(names(&unknown.of_domain("a.example", 1)), [("sprng", 2, 0)]);
        assert_eq!(unknown.of_domain("c.example", 1).requests, 0);
        assert_eq!((unknown.since(), unknown.missed()), (1_000, 0));
    }

    #[test]
    fn a_misprint_is_found_among_a_hundred_thousand_random_slashtags() {
        let unknown = UnknownSlashtags::new(0);
        for n in 0..100_000_u32 {
            unknown.note("a.example", format!("{n:x}").as_bytes(), 1);
            if n % 50 == 0 {
                unknown.note("a.example", b"sprng", 1);
            }
        }
        let of = unknown.of_domain("a.example", 3);
        assert_eq!((of.requests, of.slashtags[0].slashtag.as_str()), (102_000, "sprng"));
        assert!(of.slashtags[0].requests >= 2_000 && of.slashtags[0].requests - of.slashtags[0].error <= 2_000);
    }

    #[test]
    fn domains_and_bytes_are_bounded() {
        let unknown = UnknownSlashtags::new(0);
        for n in 0..MAX_DOMAINS + 5 {
            unknown.note(&format!("{n}.example"), "é".repeat(40).as_bytes(), 1);
        }
        let top = unknown.top(1);
        assert_eq!((top.len(), unknown.missed()), (MAX_DOMAINS, 5));
        assert_eq!(top[0].slashtags[0].slashtag, "é".repeat(32));
        assert_eq!(cut(b"\xff\xc3"), "\u{fffd}\u{fffd}");
        assert!(cut(&[b'\xff'; 100]).len() <= MAX_BYTES);
        assert_eq!(cut(format!("{}éx", "a".repeat(63)).as_bytes()), "a".repeat(63));
    }

    #[test]
    fn requests_never_wait_and_each_is_counted_or_missed() {
        let unknown = UnknownSlashtags::new(0);
        let reader = unknown.domains.lock().unwrap();
        for _ in 0..QUEUE + 7 {
            unknown.note("a.example", b"x", 1);
        }
        drop(reader);
        assert_eq!((unknown.of_domain("a.example", 1).requests, unknown.missed()), (QUEUE as u64, 7));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| unknown.note("b.example", b"x", 1)));
            }
        });
        assert_eq!(unknown.of_domain("b.example", 1).requests + unknown.missed(), 40_007);
    }

    proptest! {
        #[test]
        fn a_count_is_never_too_low_and_its_error_is_known(
            requests in proptest::collection::vec(0..400_u16, 0..3_000)
        ) {
            let (mut domain, mut exact) = (Domain::default(), HashMap::<String, u64>::new());
            for slashtag in requests {
                // Half of the requests are for a few of them.
                let name = format!("{}", if slashtag % 2 == 0 { slashtag % 7 } else { slashtag });
                domain.add(name.as_str().into(), 1);
                *exact.entry(name).or_default() += 1;
            }
            let top = domain.top("a.example", MAX_SLASHTAGS);
            prop_assert_eq!(top.requests, exact.values().sum::<u64>());
            for of in &top.slashtags {
                prop_assert!(of.requests - of.error <= exact[&of.slashtag] && exact[&of.slashtag] <= of.requests);
            }
            for (name, count) in exact {
                let is_listed = top.slashtags.iter().any(|of| of.slashtag == name);
                prop_assert!(is_listed || count <= top.requests / MAX_SLASHTAGS as u64);
            }
        }
    }
}
