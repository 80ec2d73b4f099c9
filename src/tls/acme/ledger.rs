//! What has been ordered and what has failed: the ledger that edges share, so that a restart, or another edge, does not
//! ask again what the CA has just rejected.
//!
//! A name that fails waits for a random time up to a ceiling that doubles with each failure, and at least a minute:
//! Let's Encrypt accepts five failures of a name in an hour. A CA that says how long to wait is believed, for that name
//! to the second, and for all others up to [`LONGEST_PAUSE`]: some limits are those of one customer's domain.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Seconds of an hour, the window of `acme.orders_per_hour`.
const HOUR: u64 = 3_600;

/// Seconds that a name waits at least after a failure.
const LEAST_WAIT: u64 = 60;

/// Ceiling of the first wait, in seconds, on top of the least.
const FIRST_WAIT: u64 = 300;

/// Ceiling of every wait, in seconds.
const LONGEST_WAIT: u64 = 43_200;

/// Most seconds that names wait because of another one.
pub const LONGEST_PAUSE: u64 = HOUR;

/// Orders and failures. Times are seconds since the Unix epoch.
#[derive(Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Ledger {
    /// When orders of the last hour were made.
    orders: Vec<u64>,
    /// Until when the CA wants no orders.
    paused_until: u64,
    failing: BTreeMap<String, Failure>,
}

/// The failures of a name in a row.
#[derive(Clone, Debug, Eq, Deserialize, PartialEq, Serialize)]
pub struct Failure {
    pub failures: u32,
    pub retry_at: u64,
}

impl Ledger {
    /// Notes an order.
    pub fn ordered(&mut self, now: u64) {
        self.orders.retain(|at| at + HOUR > now);
        self.orders.push(now);
    }

    /// Notes that a name has its certificate.
    pub fn succeeded(&mut self, name: &str) {
        self.failing.remove(name);
    }

    /// Notes that a name has failed. Returns when it is tried again.
    pub fn failed(&mut self, name: &str, now: u64, wanted: Option<u64>) -> u64 {
        let failures = self.failing.get(name).map_or(0, |failure| failure.failures);
        let ceiling = (FIRST_WAIT << failures.min(16)).min(LONGEST_WAIT);
        let wait = (LEAST_WAIT + fastrand::u64(0..=ceiling)).max(wanted.unwrap_or(0));
        let failure = Failure { failures: failures.saturating_add(1), retry_at: now + wait };
        self.failing.insert(name.to_owned(), failure);
        now + wait
    }

    /// Notes that the CA wants no orders for so many seconds.
    pub fn pause(&mut self, now: u64, secs: u64) {
        self.paused_until = self.paused_until.max(now + secs.min(LONGEST_PAUSE));
    }

    /// From when on an order may be made.
    pub fn open_at(&self, now: u64, orders_per_hour: u32) -> u64 {
        let recent: Vec<_> = self.orders.iter().filter(|at| **at + HOUR > now).collect();
        // The one whose end of an hour makes room.
        let limiting = recent.len().checked_sub(orders_per_hour as usize).and_then(|at| recent.get(at));
        // A clock that jumped back must not make a pause of years.
        let paused_until = self.paused_until.min(now + LONGEST_PAUSE);
        limiting.map_or(0, |at| *at + HOUR).max(paused_until)
    }

    /// When a name that has failed may be tried again; 0 for one that has not.
    pub fn retry_at(&self, name: &str) -> u64 {
        self.failing.get(name).map_or(0, |failure| failure.retry_at)
    }

    /// Forgets names that are not wanted, once they could be tried again: another edge may still want them.
    pub fn retain(&mut self, now: u64, wanted: &BTreeSet<Box<str>>) {
        self.failing.retain(|name, failure| failure.retry_at > now || wanted.contains(name.as_str()));
    }

    /// How many of these names have failed since they last had a certificate.
    pub fn failing(&self, wanted: &BTreeSet<Box<str>>) -> usize {
        wanted.iter().filter(|name| self.failing.contains_key(&***name)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_waits_longer_with_each_failure_and_as_long_as_the_ca_says() {
        let mut ledger = Ledger::default();
        for failures in 0..20 {
            let at = ledger.failed("a.example", 1_000, None);
            let ceiling = (FIRST_WAIT << failures).min(LONGEST_WAIT);
            assert!((1_060..=1_060 + ceiling).contains(&at), "{failures}: {at}");
            assert_eq!(ledger.retry_at("a.example"), at);
        }
        assert!(ledger.failed("a.example", 1_000, Some(1_000_000)) == 1_001_000);
        let wanted = BTreeSet::from(["a.example".into()]);
        assert_eq!((ledger.retry_at("b.example"), ledger.failing(&wanted)), (0, 1));
        ledger.succeeded("a.example");
        assert_eq!((ledger.retry_at("a.example"), ledger.failing(&wanted)), (0, 0));
        ledger.failed("a.example", 1_000, None);
        let at = ledger.failed("b.example", 1_000, None);
        ledger.retain(at - 1, &wanted);
        assert_eq!((ledger.retry_at("b.example"), ledger.failing(&wanted)), (at, 1));
        ledger.retain(at, &wanted);
        assert_eq!((ledger.retry_at("b.example"), ledger.failing(&wanted)), (0, 1));
    }

    #[test]
    fn orders_of_an_hour_are_limited_and_a_pause_has_a_bound() {
        let mut ledger = Ledger::default();
        for now in [10_000, 10_010, 10_020] {
            assert!(ledger.open_at(now, 3) <= now);
            ledger.ordered(now);
        }
        assert_eq!(ledger.open_at(10_030, 3), 13_600);
        assert_eq!(ledger.open_at(10_030, 2), 13_610, "a lower limit counts what was ordered before");
        assert!(ledger.open_at(13_600, 3) <= 13_600);
        ledger.pause(20_000, 100);
        assert_eq!(ledger.open_at(20_000, 3), 20_100);
        ledger.pause(20_000, 1_000_000);
        assert_eq!(ledger.open_at(20_000, 3), 20_000 + LONGEST_PAUSE);
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        let mut ledger = Ledger::default();
        ledger.ordered(5);
        ledger.failed("a.example", 5, None);
        ledger.pause(5, 7);
        let text = serde_json::to_vec(&ledger).unwrap();
        assert_eq!(serde_json::from_slice::<Ledger>(&text).unwrap(), ledger);
    }
}
