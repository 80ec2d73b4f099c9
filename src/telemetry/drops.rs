//! Losses, by reason: clicks that became no event, and events that are not delivered.
//!
//! Drops happen only at a stated bound, and are counted where they happen. Several stages count into the same series,
//! so that one sum completes the account.

use prometheus::{IntCounter, IntCounterVec};

use super::metrics::Registry;

/// Why a click never became an event, or an event was never delivered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DropReason {
    /// The ring to the worker was full.
    RingFull,
    /// The click is larger than a ring can hold, or the event longer than an event may be.
    TooLarge,
    /// The ring or the journal was damaged where the click was.
    Damaged,
    /// No feed takes this workspace's clicks, and clicks are not counted.
    NoFeed,
    /// A worker failed on this click: an internal error, which is logged.
    WorkerFailed,
    /// The outbox holds as much as `spool.max_bytes` allows.
    SpoolQuota,
    /// The object was removed from the outbox by another process, or dropped because an operator asked for it.
    Removed,
}

impl DropReason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::RingFull,
        Self::TooLarge,
        Self::Damaged,
        Self::NoFeed,
        Self::WorkerFailed,
        Self::SpoolQuota,
        Self::Removed,
    ];

    /// Value of the label `reason`.
    pub fn label(self) -> &'static str {
        match self {
            Self::RingFull => "ring_full",
            Self::TooLarge => "too_large",
            Self::Damaged => "damaged",
            Self::NoFeed => "no_feed",
            Self::WorkerFailed => "worker_failed",
            Self::SpoolQuota => "spool_quota",
            Self::Removed => "removed",
        }
    }
}

/// One counter for each reason. Clones count into the same series.
#[derive(Clone)]
pub struct Drops([IntCounter; DropReason::ALL.len()]);

impl Drops {
    /// Clicks that became no event. The redirect and the workers share it.
    pub fn of_clicks(registry: &Registry) -> Self {
        let clicks = registry.counters(
            "clicks_dropped_total",
            "Clicks dropped before they became an event, by reason.",
            &["reason"],
        );
        Self(DropReason::ALL.map(|reason| clicks.with_label_values(&[reason.label()])))
    }

    /// Events of one feed. `events` has the labels `feed` and `reason`.
    pub fn of_feed(events: &IntCounterVec, feed: &str) -> Self {
        Self(DropReason::ALL.map(|reason| events.with_label_values(&[feed, reason.label()])))
    }

    /// Counts one loss.
    pub fn count(&self, reason: DropReason) {
        self.add(reason, 1);
    }

    /// Counts several losses.
    pub fn add(&self, reason: DropReason, count: u64) {
        self.0[reason as usize].inc_by(count);
    }

    /// Losses for this reason.
    pub fn of(&self, reason: DropReason) -> u64 {
        self.0[reason as usize].get()
    }

    /// Losses by the label of their reason, zeros included.
    pub fn by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> {
        DropReason::ALL.into_iter().zip(&self.0).map(|(reason, counter)| (reason.label(), counter.get()))
    }

    /// Losses for any reason.
    pub fn total(&self) -> u64 {
        self.0.iter().map(IntCounter::get).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_counted_under_its_own_label() {
        let registry = Registry::new();
        let drops = Drops::of_clicks(&registry);
        for reason in DropReason::ALL {
            drops.count(reason);
        }
        let text = registry.text();
        for reason in DropReason::ALL {
            assert!(text.contains(&format!("clicks_dropped_total{{reason=\"{}\"}} 1", reason.label())), "{text}");
        }
        assert_eq!(drops.total(), 7);
    }
}
