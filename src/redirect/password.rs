//! Checks passwords of links, in threads of their own.
//!
//! A hash costs milliseconds and megabytes by intention, so the threads that redirect compute none. A check waits in a
//! queue of bounded length, of which one address has at most a quarter; beyond it the answer is [`Verdict::Busy`].
//!
//! An address has five wrong tries for a link in a quarter of an hour. A try counts from the moment it is
//! accepted, so that many at once are no way around, and is given back when the word is right. It counts also when the
//! client leaves before its verdict. Addresses are held as keyed hashes, under a key that is made with the process.
//!
//! Words are wiped from memory when they are checked; neither words nor hashes are in any log, metric or event.

mod tries;

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use self::tries::{Tries, Try};
use crate::{click::ClientAddr, link::password::PasswordHash, runtime::clock};

/// How long a client waits after [`Verdict::Busy`], for `Retry-After`.
pub const BUSY_RETRY: Duration = Duration::from_secs(2);

/// What comes of a try.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    Right,
    Wrong,
    /// The address has had too many wrong words for this link.
    TooMany {
        retry_after: Duration,
    },
    /// Too many are waiting: try again after [`BUSY_RETRY`].
    Busy,
}

/// Who tries which link.
pub struct Who<'a> {
    pub client: &'a ClientAddr,
    /// What identifies the link: its host.
    pub host: &'a [u8],
    /// Its id.
    pub link: &'a [u8],
}

/// Checks passwords. Cheap to clone. The threads end when the last clone is dropped.
#[derive(Clone)]
pub struct Passwords {
    queue: Sender<Job>,
    tries: Arc<Mutex<Tries>>,
}

/// A word that waits for its check.
struct Job {
    hash: PasswordHash,
    word: Zeroizing<Vec<u8>>,
    started: Try,
    verdict: oneshot::Sender<Verdict>,
}

impl Passwords {
    /// Starts `threads` threads, and a queue for `queue` words; at least one of each.
    ///
    /// # Errors
    /// When the system has no thread or no random key.
    pub fn start(threads: usize, queue: usize) -> io::Result<Self> {
        let queue = queue.max(1);
        let tries = Arc::new(Mutex::new(Tries::new(queue.div_ceil(4))?));
        let (sender, receiver) = crossbeam_channel::bounded(queue);
        for number in 0..threads.max(1) {
            let (receiver, tries) = (receiver.clone(), Arc::clone(&tries));
            thread::Builder::new().name(format!("password-{number}")).spawn(move || run(&receiver, &tries))?;
        }
        Ok(Self { queue: sender, tries })
    }

    /// Checks a word. An empty one is wrong, and costs nothing.
    pub async fn check(&self, hash: &PasswordHash, word: Zeroizing<Vec<u8>>, who: &Who<'_>) -> Verdict {
        match self.enter(hash, word, who, clock::monotonic()) {
            // A thread that ends without an answer has panicked.
            Ok(verdict) => verdict.await.unwrap_or(Verdict::Busy),
            Err(verdict) => verdict,
        }
    }

    /// Puts a word into the queue, if it may be tried.
    fn enter(
        &self,
        hash: &PasswordHash,
        word: Zeroizing<Vec<u8>>,
        who: &Who<'_>,
        now: Instant,
    ) -> Result<oneshot::Receiver<Verdict>, Verdict> {
        if word.is_empty() {
            return Err(Verdict::Wrong);
        }
        let started = lock(&self.tries).start(who, now)?;
        let (sender, receiver) = oneshot::channel();
        let job = Job { hash: hash.clone(), word, started, verdict: sender };
        self.queue.try_send(job).map_err(|error| {
            lock(&self.tries).give_back(&error.into_inner().started);
            Verdict::Busy
        })?;
        Ok(receiver)
    }
}

fn run(queue: &Receiver<Job>, tries: &Mutex<Tries>) {
    for Job { hash, word, started, verdict } in queue {
        let is_right = hash.verify(&word);
        drop(word);
        let mut tries = lock(tries);
        if is_right {
            tries.give_back(&started);
        } else {
            tries.keep(&started);
        }
        drop(tries);
        // The client may have left.
        let _ = verdict.send(if is_right { Verdict::Right } else { Verdict::Wrong });
    }
}

/// A table is whole between any two of its lines.
fn lock(tries: &Mutex<Tries>) -> MutexGuard<'_, Tries> {
    tries.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::link::password;

    fn hash() -> PasswordHash {
        let text = "$argon2id$v=19$m=256,t=1,p=1$c29tZSBzYWx0IGhlcmU$q7fIkvv0VnSu3xA5NZT7Qdf2xQSxJ+je0JUsVhl0XrU";
        PasswordHash::parse(text).unwrap()
    }

    fn word(text: &str) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(text.as_bytes().to_vec())
    }

    fn client(ip: &str) -> ClientAddr {
        ClientAddr::from_ip(ip.parse::<IpAddr>().unwrap())
    }

    fn who<'a>(client: &'a ClientAddr, link: &'a str) -> Who<'a> {
        Who { client, host: b"go.brand.com", link: link.as_bytes() }
    }

    #[tokio::test]
    async fn a_sixth_try_after_five_wrong_ones_waits_even_if_it_is_right() {
        let passwords = Passwords::start(1, 8).unwrap();
        let (here, there) = (client("192.0.2.1"), client("192.0.2.2"));
        let check = async |who: &Who<'_>, text| passwords.check(&hash(), word(text), who).await;
        assert_eq!(check(&who(&here, "a"), "").await, Verdict::Wrong);
        for _ in 0..3 {
            assert_eq!(check(&who(&here, "a"), "wrong").await, Verdict::Wrong);
        }
        assert_eq!(check(&who(&here, "a"), "open sesame").await, Verdict::Right);
        for _ in 0..2 {
            assert_eq!(check(&who(&here, "a"), "wrong").await, Verdict::Wrong);
        }
        let Verdict::TooMany { retry_after } = check(&who(&here, "a"), "open sesame").await else { panic!("a try") };
        assert!(retry_after > Duration::from_secs(800) && retry_after <= tries::WINDOW);
        assert_eq!(check(&who(&here, "b"), "open sesame").await, Verdict::Right);
        assert_eq!(check(&who(&there, "a"), "open sesame").await, Verdict::Right);
    }

    #[tokio::test]
    async fn a_full_queue_is_busy_and_costs_no_try() {
        let passwords = Passwords::start(1, 1).unwrap();
        let slow = PasswordHash::parse(&password::hash(b"x", b"0123456789abcdef").unwrap()).unwrap();
        let clients: Vec<_> = (1..=20).map(|number| client(&format!("192.0.2.{number}"))).collect();
        let now = clock::monotonic();
        let enter = |client| passwords.enter(&slow, word("x"), &who(client, "a"), now);
        let entered: Vec<_> = clients.iter().map(enter).collect();
        let busy = entered.iter().filter(|result| matches!(result, Err(Verdict::Busy))).count();
        assert!((1..20).contains(&busy), "{busy}");
        for verdict in entered.into_iter().flatten() {
            assert_eq!(verdict.await, Ok(Verdict::Right));
        }
        assert!(lock(&passwords.tries).is_empty());
    }

    #[tokio::test]
    async fn one_address_leaves_room_for_others() {
        let passwords = Passwords::start(1, 8).unwrap();
        let slow = PasswordHash::parse(&password::hash(b"x", b"0123456789abcdef").unwrap()).unwrap();
        let (here, there) = (client("192.0.2.1"), client("192.0.2.2"));
        let now = clock::monotonic();
        let links: Vec<_> = (0..20).map(|number| number.to_string()).collect();
        let entered: Vec<_> =
            links.iter().map(|link| passwords.enter(&slow, word("x"), &who(&here, link), now)).collect();
        assert!(entered.iter().filter(|result| result.is_ok()).count() <= 2 + 1);
        assert!(passwords.enter(&slow, word("x"), &who(&there, "a"), now).is_ok());
    }

    #[test]
    fn the_threads_end_with_the_last_clone() {
        let passwords = Passwords::start(1, 1).unwrap();
        let tries = Arc::downgrade(&passwords.tries);
        drop(passwords);
        let deadline = Instant::now() + Duration::from_secs(10);
        while tries.strong_count() > 0 {
            assert!(Instant::now() < deadline, "the thread still runs");
            thread::yield_now();
        }
    }
}
