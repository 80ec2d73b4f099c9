//! The tap: events as the workers make them, for an operator who watches.
//!
//! It is off when no one watches, and costs a worker one relaxed load for each event then. When someone does, a worker
//! never waits: an event that finds no room, comes too fast or is too long is left out, and the next one that is shown
//! says how many were. What is delivered is another way, and does not change.
//!
//! Events have no client address in them, here as everywhere.

use std::{
    num::NonZeroU32,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::mpsc::{Receiver, Sender, channel, error::TrySendError};

use crate::{click::Texts, runtime::clock};

/// Most watchers at a time.
pub const WATCHERS: usize = 4;

/// Events that wait for a watcher: at most 16 MiB with [`LONGEST`].
const WAITING: usize = 256;

/// Longest event that is shown, in bytes.
const LONGEST: usize = 64 << 10;

/// Most events that a watcher gets in a second.
const PER_SECOND: u64 = 1_000;

/// See the module.
#[derive(Default)]
pub struct Tap {
    is_on: AtomicBool,
    watchers: ArcSwap<Vec<Arc<Watcher>>>,
    /// For those that come and go.
    turn: Mutex<()>,
}

/// Which events a watcher sees.
#[derive(Clone, Debug)]
pub struct Filter {
    /// Number of a feed that takes them.
    pub feed: Option<u16>,
    /// Id of their workspace.
    pub workspace: Option<String>,
    pub link: Option<LinkFilter>,
    /// One event of so many.
    pub sample: NonZeroU32,
}

/// The link that a watcher looks at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LinkFilter {
    /// By its domain and its slashtag, as the catalog writes it.
    Named {
        domain: String,
        slashtag: String,
    },
    Id(String),
}

struct Watcher {
    filter: Filter,
    lines: Sender<Bytes>,
    /// Events that the filter has let through.
    passed: AtomicU64,
    /// Events that were left out, and not yet reported.
    missed: AtomicU64,
    /// The current second, and the events shown in it.
    second: AtomicU64,
    shown: AtomicU64,
}

impl Tap {
    /// Whether someone watches.
    pub fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Watches from now on, until the receiver is dropped. `None` when as many watch as may. The first message is
    /// an empty line. Each other one is one or two lines: an event, and before it `{"dropped":3}` if so many were left
    /// out.
    pub fn watch(&self, filter: Filter) -> Option<Receiver<Bytes>> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut watchers = self.remaining();
        if watchers.len() >= WATCHERS {
            return None;
        }
        let (lines, receiver) = channel(WAITING);
        // An answer begins with its first part, and the client then knows that it watches.
        _ = lines.try_send(Bytes::from_static(b"\n"));
        let [passed, missed, second, shown] = [0; 4].map(AtomicU64::new);
        watchers.push(Arc::new(Watcher { filter, lines, passed, missed, second, shown }));
        self.watchers.store(Arc::new(watchers));
        self.is_on.store(true, Ordering::Relaxed);
        Some(receiver)
    }

    /// Shows an event that these feeds take. Never waits.
    pub fn offer(&self, event: &[u8], texts: &Texts<'_>, feeds: &[u16]) {
        let watchers = self.watchers.load();
        let is_gone = |watcher: &Arc<Watcher>| watcher.filter.wants(texts, feeds) && watcher.offer(event);
        // Each of them gets it, whichever has left.
        let gone = watchers.iter().filter(|watcher| is_gone(watcher)).count();
        if gone > 0 || watchers.is_empty() {
            self.tidy();
        }
    }

    /// Removes those that have left.
    fn tidy(&self) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let watchers = self.remaining();
        self.is_on.store(!watchers.is_empty(), Ordering::Relaxed);
        self.watchers.store(Arc::new(watchers));
    }

    fn remaining(&self) -> Vec<Arc<Watcher>> {
        self.watchers.load().iter().filter(|watcher| !watcher.lines.is_closed()).cloned().collect()
    }
}

impl Filter {
    fn wants(&self, texts: &Texts<'_>, feeds: &[u16]) -> bool {
        let Self { feed, workspace, link, .. } = self;
        feed.is_none_or(|feed| feeds.contains(&feed))
            && workspace.as_ref().is_none_or(|workspace| workspace.as_bytes() == texts.workspace)
            && link.as_ref().is_none_or(|link| link.is_of(texts))
    }
}

impl LinkFilter {
    /// Parses `go.brand.com/spring`, or the id of a link.
    pub fn parse(text: &str) -> Self {
        match text.split_once('/') {
            Some((domain, slashtag)) => {
                Self::Named { domain: domain.to_ascii_lowercase(), slashtag: slashtag.to_owned() }
            }
            None => Self::Id(text.to_owned()),
        }
    }

    fn is_of(&self, texts: &Texts<'_>) -> bool {
        match self {
            Self::Named { domain, slashtag } => {
                domain.as_bytes() == texts.host && slashtag.as_bytes() == texts.slashtag
            }
            Self::Id(id) => id.as_bytes() == texts.link_id,
        }
    }
}

impl Watcher {
    /// Returns whether the watcher has left.
    fn offer(&self, event: &[u8]) -> bool {
        let passed = self.passed.fetch_add(1, Ordering::Relaxed);
        if !passed.is_multiple_of(u64::from(self.filter.sample.get())) {
            return false;
        }
        if event.len() > LONGEST || !self.has_time(clock::coarse_secs()) || self.lines.capacity() == 0 {
            self.missed.fetch_add(1, Ordering::Relaxed);
            return self.lines.is_closed();
        }
        let missed = self.missed.swap(0, Ordering::Relaxed);
        let mut message = Vec::with_capacity(event.len() + 32);
        if missed > 0 {
            message.extend_from_slice(format!("{{\"dropped\":{missed}}}\n").as_bytes());
        }
        message.extend_from_slice(event);
        message.push(b'\n');
        match self.lines.try_send(message.into()) {
            Ok(()) => false,
            Err(TrySendError::Full(_)) => {
                self.missed.fetch_add(missed + 1, Ordering::Relaxed);
                false
            }
            Err(TrySendError::Closed(_)) => true,
        }
    }

    /// Whether another event may be shown in this second. Workers that meet here may show a few more.
    fn has_time(&self, now: u64) -> bool {
        if self.second.swap(now, Ordering::Relaxed) != now {
            self.shown.store(0, Ordering::Relaxed);
        }
        self.shown.fetch_add(1, Ordering::Relaxed) < PER_SECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Filter = Filter { feed: None, workspace: None, link: None, sample: NonZeroU32::MIN };

    fn texts() -> Texts<'static> {
        Texts { workspace: b"w-1", host: b"go.brand.com", slashtag: b"spring", link_id: b"l-1", ..Texts::default() }
    }

    fn lines(receiver: &mut Receiver<Bytes>) -> Vec<String> {
        let mut text = String::new();
        while let Ok(message) = receiver.try_recv() {
            text += std::str::from_utf8(&message).unwrap();
        }
        text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn it_is_off_until_someone_watches_and_once_the_last_has_left() {
        let tap = Tap::default();
        assert!(!tap.is_on());
        let mut receiver = tap.watch(ALL).unwrap();
        assert!(tap.is_on());
        tap.offer(b"{}", &texts(), &[0]);
        assert_eq!(lines(&mut receiver), ["{}"]);
        drop(receiver);
        tap.offer(b"{}", &texts(), &[0]);
        assert!(!tap.is_on());
    }

    #[test]
    fn a_watcher_sees_what_it_asks_for() {
        let tap = Tap::default();
        let filters = [(ALL, 1), (Filter { feed: Some(2), ..ALL }, 1), (Filter { feed: Some(3), ..ALL }, 0)];
        for (filter, count) in filters {
            let mut receiver = tap.watch(filter).unwrap();
            tap.offer(b"{}", &texts(), &[1, 2]);
            assert_eq!(lines(&mut receiver).len(), count);
        }
        for (link, wanted) in
            [("go.BRAND.com/spring", true), ("go.brand.com/Spring", false), ("l-1", true), ("l-2", false)]
        {
            assert_eq!(LinkFilter::parse(link).is_of(&texts()), wanted, "{link}");
        }
        let of = |workspace: &str| Filter { workspace: Some(workspace.into()), ..ALL }.wants(&texts(), &[]);
        assert!(of("w-1") && !of("w-2"));
        let mut receiver = tap.watch(Filter { sample: NonZeroU32::new(3).unwrap(), ..ALL }).unwrap();
        (0..7).for_each(|_| tap.offer(b"{}", &texts(), &[]));
        assert_eq!(lines(&mut receiver).len(), 3);
    }

    #[test]
    fn a_slow_watcher_learns_how_many_events_it_has_missed_and_no_one_waits() {
        let tap = Tap::default();
        let mut receiver = tap.watch(ALL).unwrap();
        assert!(lines(&mut receiver).is_empty(), "it watches");
        let all = WAITING + 50;
        for n in 0..all {
            tap.offer(format!("{n}").as_bytes(), &texts(), &[]);
        }
        assert_eq!(lines(&mut receiver).len(), WAITING);
        tap.offer(&vec![b'9'; LONGEST + 1], &texts(), &[]);
        tap.offer(b"last", &texts(), &[]);
        assert_eq!(lines(&mut receiver), ["{\"dropped\":51}", "last"]);
    }

    #[test]
    fn watchers_are_few() {
        let tap = Tap::default();
        let mut watching: Vec<_> = (0..WATCHERS).map(|_| tap.watch(ALL).unwrap()).collect();
        assert!(tap.watch(ALL).is_none());
        watching.pop();
        assert!(tap.watch(ALL).is_some(), "the place of one that has left");
    }

    #[test]
    fn a_watcher_gets_so_many_in_a_second_and_not_more() {
        let tap = Tap::default();
        let _receiver = tap.watch(ALL).unwrap();
        let watchers = tap.watchers.load();
        let shown = (0..2 * PER_SECOND).filter(|_| watchers[0].has_time(7)).count();
        assert!(shown == PER_SECOND as usize && watchers[0].has_time(8), "{shown}");
    }
}
