//! The tries of addresses, in a table of bounded size.
//!
//! Only wrong words and those that wait have an entry. One thread computes some dozens of hashes a second, so that the
//! table holds the wrong words of a whole window; when it is full, entries that are over make room, then the oldest.

use std::{
    collections::HashMap,
    io,
    time::{Duration, Instant},
};

use super::{Verdict, Who};

/// Wrong tries that an address has for a link.
pub const MOST: u8 = 5;

/// Time in which they count, from the first of them.
pub const WINDOW: Duration = Duration::from_secs(15 * 60);

/// Most entries.
const CAPACITY: usize = 1 << 16;

/// A keyed hash of an address, or of an address and a link.
type Key = [u8; 16];

/// Tries of addresses for links.
pub struct Tries {
    key: [u8; 32],
    /// By address and link.
    counted: HashMap<Key, Counted>,
    /// Number of words in the queue, by address.
    waiting: HashMap<Key, usize>,
    /// Most of them of an address.
    most_waiting: usize,
}

/// The tries of an address for a link.
struct Counted {
    /// The first of them.
    first: Instant,
    wrong: u8,
    /// Those whose word is being checked.
    checked: u8,
}

/// A try that has been counted.
pub struct Try {
    link: Key,
    client: Key,
}

impl Tries {
    /// An empty table. An address may have `most_waiting` words in the queue.
    ///
    /// # Errors
    /// When the system has no random key.
    pub fn new(most_waiting: usize) -> io::Result<Self> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Self { key, counted: HashMap::new(), waiting: HashMap::new(), most_waiting })
    }

    /// Counts a try, if there is one left.
    ///
    /// # Errors
    /// When there is not, or when too many words of this address wait.
    pub fn start(&mut self, who: &Who<'_>, now: Instant) -> Result<Try, Verdict> {
        let started = self.keys(who);
        if self.waiting.get(&started.client).is_some_and(|waiting| *waiting >= self.most_waiting) {
            return Err(Verdict::Busy);
        }
        if !self.counted.contains_key(&started.link) {
            self.make_room(now);
        }
        let counted = self.counted.entry(started.link).or_insert(Counted { first: now, wrong: 0, checked: 0 });
        let age = now.saturating_duration_since(counted.first);
        if age >= WINDOW {
            (counted.first, counted.wrong) = (now, 0);
        } else if counted.wrong >= MOST {
            return Err(Verdict::TooMany { retry_after: WINDOW.saturating_sub(age) });
        }
        // Those may all be right.
        if counted.wrong.saturating_add(counted.checked) >= MOST {
            return Err(Verdict::Busy);
        }
        counted.checked += 1;
        *self.waiting.entry(started.client).or_default() += 1;
        Ok(started)
    }

    /// Ends a try that counts.
    pub fn keep(&mut self, ended: &Try) {
        if let Some(counted) = self.counted.get_mut(&ended.link) {
            counted.checked = counted.checked.saturating_sub(1);
            counted.wrong = counted.wrong.saturating_add(1);
        }
        self.leave_queue(ended);
    }

    fn leave_queue(&mut self, ended: &Try) {
        if let Some(waiting) = self.waiting.get_mut(&ended.client) {
            *waiting = waiting.saturating_sub(1);
            if *waiting == 0 {
                self.waiting.remove(&ended.client);
            }
        }
    }

    /// Ends a try that does not count.
    pub fn give_back(&mut self, ended: &Try) {
        if let Some(counted) = self.counted.get_mut(&ended.link) {
            counted.checked = counted.checked.saturating_sub(1);
            if counted.checked == 0 && counted.wrong == 0 {
                self.counted.remove(&ended.link);
            }
        }
        self.leave_queue(ended);
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.counted.is_empty() && self.waiting.is_empty()
    }

    fn keys(&self, who: &Who<'_>) -> Try {
        let hash = |parts: &[&[u8]]| {
            let mut hasher = blake3::Hasher::new_keyed(&self.key);
            for part in parts {
                hasher.update(&(part.len() as u64).to_le_bytes());
                hasher.update(part);
            }
            let mut key = Key::default();
            hasher.finalize_xof().fill(&mut key);
            key
        };
        let client = who.client.hash_input();
        Try { link: hash(&[client, who.host, who.link]), client: hash(&[client]) }
    }

    fn make_room(&mut self, now: Instant) {
        if self.counted.len() < CAPACITY {
            return;
        }
        self.counted.retain(|_, counted| now.saturating_duration_since(counted.first) < WINDOW);
        if self.counted.len() >= CAPACITY
            && let Some(oldest) = self.counted.iter().min_by_key(|(_, counted)| counted.first).map(|(key, _)| *key)
        {
            self.counted.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::click::ClientAddr;

    fn start(tries: &mut Tries, ip: &str, now: Instant) -> Result<Try, Verdict> {
        let client = ClientAddr::from_ip(ip.parse::<IpAddr>().unwrap());
        tries.start(&Who { client: &client, host: b"go.brand.com", link: b"a" }, now)
    }

    fn is_too_many(result: &Result<Try, Verdict>) -> bool {
        matches!(result, Err(Verdict::TooMany { .. }))
    }

    #[test]
    fn tries_come_back_when_the_window_is_over() {
        let mut tries = Tries::new(9).unwrap();
        let begin = Instant::now();
        for second in 0..5 {
            let started = start(&mut tries, "192.0.2.1", begin + Duration::from_secs(second)).unwrap();
            tries.keep(&started);
        }
        let Err(Verdict::TooMany { retry_after }) = start(&mut tries, "192.0.2.1", begin + Duration::from_secs(60))
        else {
            panic!("a sixth try")
        };
        assert_eq!(retry_after, WINDOW.checked_sub(Duration::from_secs(60)).unwrap());
        assert!(start(&mut tries, "192.0.2.1", begin + WINDOW).is_ok());
    }

    #[test]
    fn tries_at_the_same_time_count_before_their_verdict() {
        let mut tries = Tries::new(9).unwrap();
        let now = Instant::now();
        let mut started: Vec<_> = (0..5).map(|_| start(&mut tries, "192.0.2.1", now).unwrap()).collect();
        assert!(matches!(start(&mut tries, "192.0.2.1", now), Err(Verdict::Busy)), "all may be right");
        tries.give_back(&started.pop().unwrap());
        let fifth = start(&mut tries, "192.0.2.1", now).unwrap();
        started.iter().chain([&fifth]).for_each(|wrong| tries.keep(wrong));
        assert!(is_too_many(&start(&mut tries, "192.0.2.1", now)));
    }

    #[test]
    fn addresses_of_one_household_share_their_tries() {
        let mut tries = Tries::new(9).unwrap();
        let now = Instant::now();
        for last in 0..5 {
            let started = start(&mut tries, &format!("2001:db8:1:2::{last}"), now).unwrap();
            tries.keep(&started);
        }
        assert!(is_too_many(&start(&mut tries, "2001:db8:1:2:ffff::1", now)));
        assert!(start(&mut tries, "2001:db8:1:3::1", now).is_ok());
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_oldest() {
        let mut tries = Tries::new(9).unwrap();
        let begin = Instant::now();
        for number in 0..CAPACITY as u32 + 10 {
            let ip = Ipv4Addr::from(0x0a00_0000 + number).to_string();
            let started = start(&mut tries, &ip, begin + Duration::from_millis(u64::from(number))).unwrap();
            tries.keep(&started);
        }
        assert_eq!(tries.counted.len(), CAPACITY);
        assert!(tries.waiting.is_empty());
        start(&mut tries, "192.0.2.1", begin + WINDOW * 2).unwrap();
        assert_eq!(tries.counted.len(), 1);
    }
}
