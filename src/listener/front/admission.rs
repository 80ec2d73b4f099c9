//! How much of the edge one address may use, and all of them together: connections at a time, requests a second.
//!
//! Fixed tables of numbers, without a lock or an allocation. An address (of an IPv6 address, its first 64 bits) has two
//! places, chosen by a keyed hash whose key lives in this process only; the lower of the two numbers counts. So two
//! addresses that share one place do not count as one, and nothing here can name an address.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

use ahash::RandomState;

use crate::click::ClientAddr;

/// Places of each table.
const PLACES: usize = 1 << 16;

/// Limits of a second and more are kept in nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// What addresses may use.
#[derive(Clone, Copy, Debug)]
pub struct Quota {
    /// Connections in total.
    pub connections: usize,
    /// Connections of one address; 0 for any number.
    pub per_address: u32,
    /// Requests a second of one address, for as long as it likes; 0 for any number.
    pub requests: u32,
    /// Requests that it may have saved up.
    pub burst: u32,
}

/// Why a connection is not accepted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refused {
    Total,
    Address,
}

/// The use that is made of the edge.
pub struct Admission {
    quota: LiveQuota,
    keyed: [RandomState; 2],
    open: AtomicUsize,
    connections: Box<[AtomicU32]>,
    /// When the requests so far will be paid for, in nanoseconds after `began` (GCRA).
    paid: Box<[AtomicU64]>,
    began: Instant,
}

/// A [`Quota`] that can be replaced.
struct LiveQuota {
    connections: AtomicUsize,
    per_address: AtomicU32,
    requests: AtomicU32,
    burst: AtomicU32,
}

/// The places of an address.
#[derive(Clone, Copy)]
pub struct Places([usize; 2]);

/// An accepted connection: gives back its share when dropped.
pub struct Admitted {
    admission: Arc<Admission>,
    places: Option<Places>,
}

impl Admission {
    pub fn new(quota: Quota, now: Instant) -> Self {
        let Quota { connections, per_address, requests, burst } = quota;
        let quota = LiveQuota {
            connections: connections.into(),
            per_address: per_address.into(),
            requests: requests.into(),
            burst: burst.into(),
        };
        Self {
            quota,
            keyed: [RandomState::new(), RandomState::new()],
            open: AtomicUsize::new(0),
            connections: (0..PLACES).map(|_| AtomicU32::new(0)).collect(),
            paid: (0..PLACES).map(|_| AtomicU64::new(0)).collect(),
            began: now,
        }
    }

    /// Replaces what addresses may use. Open connections stay open. With another rate of requests, each address begins
    /// with all that it may have saved up.
    pub fn set_quota(&self, quota: Quota) {
        let Quota { connections, per_address, requests, burst } = quota;
        self.quota.connections.store(connections, Relaxed);
        self.quota.per_address.store(per_address, Relaxed);
        let former = [self.quota.requests.swap(requests, Relaxed), self.quota.burst.swap(burst, Relaxed)];
        if former != [requests, burst] {
            // What is paid for at one rate says nothing at another.
            self.paid.iter().for_each(|paid| paid.store(0, Relaxed));
        }
    }

    /// Accepts a connection, of this address if it is limited.
    ///
    /// # Errors
    /// When a limit is reached.
    pub fn admit(self: &Arc<Self>, address: Option<Places>) -> Result<Admitted, Refused> {
        if self.open.fetch_add(1, Relaxed) >= self.quota.connections.load(Relaxed) {
            self.open.fetch_sub(1, Relaxed);
            return Err(Refused::Total);
        }
        let mut admitted = Admitted { admission: Arc::clone(self), places: None };
        // Dropped on the way out, it gives back what it took.
        address.map_or(Ok(()), |places| admitted.count(places))?;
        Ok(admitted)
    }

    /// Whether an address may make one more request now.
    pub fn allows_request(&self, places: Places, now: Instant) -> bool {
        let requests = self.quota.requests.load(Relaxed);
        if requests == 0 {
            return true;
        }
        let price = SECOND / u64::from(requests);
        let saved = price * u64::from(self.quota.burst.load(Relaxed).max(1));
        let now = now.saturating_duration_since(self.began).as_nanos() as u64 + saved;
        let pay = |paid: u64| {
            let paid = paid.max(now - saved) + price;
            (paid <= now).then_some(paid)
        };
        // Both pay, where they can; one is enough.
        let paid = places.0.map(|place| self.paid[place].fetch_update(Relaxed, Relaxed, pay).is_ok());
        paid[0] || paid[1]
    }

    /// Where an address is counted.
    pub fn places(&self, address: &ClientAddr) -> Places {
        let input = address.hash_input();
        let [first, second] = [0, 1].map(|n| self.keyed[n].hash_one(input) as usize % PLACES);
        // In one place it would count twice.
        Places([first, if first == second { second ^ 1 } else { second }])
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        self.open.load(Relaxed)
    }
}

impl Admitted {
    /// Counts the connection as one of this address.
    ///
    /// # Errors
    /// When the address has as many as it may have.
    pub fn count(&mut self, places: Places) -> Result<(), Refused> {
        let most = self.admission.quota.per_address.load(Relaxed);
        if most == 0 || self.places.is_some() {
            return Ok(());
        }
        self.places = Some(places);
        let least = places.0.map(|place| self.admission.connections[place].fetch_add(1, Relaxed)).into_iter().min();
        if least.is_some_and(|least| least >= most) { Err(Refused::Address) } else { Ok(()) }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.admission.open.fetch_sub(1, Relaxed);
        if let Some(places) = self.places {
            for place in places.0 {
                self.admission.connections[place].fetch_sub(1, Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, time::Duration};

    use super::*;

    fn admission(quota: Quota) -> (Arc<Admission>, Instant) {
        let now = Instant::now();
        (Arc::new(Admission::new(quota, now)), now)
    }

    fn address(text: &str) -> ClientAddr {
        ClientAddr::from_ip(text.parse::<IpAddr>().unwrap())
    }

    const QUOTA: Quota = Quota { connections: 10, per_address: 3, requests: 10, burst: 5 };

    #[test]
    fn an_address_has_so_many_connections_and_all_of_them_so_many() {
        let (admission, _) = admission(QUOTA);
        let one = admission.places(&address("192.0.2.1"));
        let mut held: Vec<_> = (0..3).map(|_| admission.admit(Some(one)).unwrap()).collect();
        assert_eq!(admission.admit(Some(one)).err(), Some(Refused::Address));
        assert_eq!(admission.open(), 3, "what was refused is given back");
        held.pop();
        held.push(admission.admit(Some(one)).unwrap());
        // A trusted proxy has no limit of its own.
        held.extend((0..7).map(|_| admission.admit(None).unwrap()));
        let other = admission.places(&address("192.0.2.2"));
        assert_eq!(admission.admit(Some(other)).err(), Some(Refused::Total));
        held.clear();
        assert_eq!(admission.open(), 0);
        assert!(admission.admit(Some(one)).is_ok());
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_as_one() {
        let (admission, _) = admission(QUOTA);
        let of = |text| admission.places(&address(text)).0;
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
    }

    #[test]
    fn each_address_has_two_places() {
        let (admission, _) = admission(QUOTA);
        for number in 0..1_000_000_u32 {
            let [first, second] = admission.places(&ClientAddr::from_ip(IpAddr::V4(number.into()))).0;
            assert!(first != second && first.max(second) < PLACES);
        }
    }

    #[test]
    fn requests_are_paid_for_over_time() {
        let (admission, now) = admission(QUOTA);
        let one = admission.places(&address("192.0.2.1"));
        let made = |now| (0..100).filter(|_| admission.allows_request(one, now)).count();
        assert_eq!(made(now), 5);
        assert_eq!(made(now + Duration::from_millis(100)), 1);
        assert_eq!(made(now + Duration::from_millis(150)), 0);
        assert_eq!(made(now + Duration::from_secs(60)), 5);
        assert_eq!(
            (0..100).filter(|_| admission.allows_request(admission.places(&address("192.0.2.9")), now)).count(),
            5
        );
    }

    #[test]
    fn another_quota_holds_from_now_on() {
        let (admission, now) = admission(QUOTA);
        let one = admission.places(&address("192.0.2.1"));
        let made = |now| (0..100).filter(|_| admission.allows_request(one, now)).count();
        let mut held: Vec<_> = (0..3).map(|_| admission.admit(Some(one)).unwrap()).collect();
        assert_eq!(made(now), 5);
        admission.set_quota(Quota { connections: 4, per_address: 5, requests: 1_000, burst: 50 });
        assert_eq!(made(now), 50, "what was paid for at the former rate is forgotten");
        held.push(admission.admit(Some(one)).unwrap());
        assert_eq!(admission.admit(Some(one)).err(), Some(Refused::Total));
        admission.set_quota(Quota { per_address: 1, ..QUOTA });
        held.truncate(1);
        assert_eq!(admission.admit(Some(one)).err(), Some(Refused::Address));
        held.clear();
        assert_eq!(admission.open(), 0);
    }

    #[test]
    fn no_limit_is_no_limit() {
        let (admission, now) = admission(Quota { per_address: 0, requests: 0, ..QUOTA });
        let one = admission.places(&address("192.0.2.1"));
        assert!((0..1_000).all(|_| admission.allows_request(one, now)));
        let held: Vec<_> = (0..10).map(|_| admission.admit(Some(one)).unwrap()).collect();
        assert_eq!((held.len(), admission.open()), (10, 10));
    }
}
