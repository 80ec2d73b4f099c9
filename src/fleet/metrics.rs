//! Metrics of an edge's part in a fleet.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::{IntCounter, IntGauge};

use crate::{catalog::change::Position, runtime::clock, telemetry::metrics::Registry};

/// All reasons for which an edge does not take what the bucket has.
pub const REASONS: [&str; 10] = [
    "went_back",
    "canary",
    "canary_failed",
    "shrunk",
    "grown",
    "rejected",
    "diverged",
    "malformed",
    "no_head",
    "missing",
];

/// How far this edge follows the catalog of its fleet. All at zero where no fleet is configured.
pub struct FleetMetrics {
    pub generation: IntGauge,
    pub revision: IntGauge,
    head_revision: IntGauge,
    lag: IntGauge,
    /// When the edge was last known to have everything, in seconds since the Unix epoch; 0 without a fleet.
    current_at_secs: AtomicU64,
    pub unchanged: IntCounter,
    pub moved: IntCounter,
    pub failed: IntCounter,
    pub announced: IntCounter,
    pub deltas_applied: IntCounter,
    pub snapshots_installed: IntCounter,
    halted: [IntGauge; REASONS.len()],
}

impl FleetMetrics {
    /// Registers the metrics, at zero.
    pub fn new(registry: &Registry) -> Self {
        let polls = registry.counters(
            "fleet_polls_total",
            "Looks at the head in the bucket, by result; `announced`: changes that came with a message instead.",
            &["result"],
        );
        let halted = registry.gauges(
            "fleet_halted",
            "1 while this edge keeps its catalog and does not take the fleet's, by reason; action required.",
            "reason",
        );
        Self {
            generation: registry.gauge("fleet_generation", "Generation of the catalog that this edge has."),
            revision: registry.gauge("fleet_revision", "Number of the last change that this edge has."),
            head_revision: registry.gauge(
                "fleet_head_revision",
                "Number of the last change of the fleet that this edge knows of, whether it has it or not.",
            ),
            lag: registry.gauge(
                "fleet_lag_seconds",
                "Seconds since this edge last had all that the bucket has; 0 without a fleet.",
            ),
            current_at_secs: AtomicU64::new(0),
            unchanged: polls.with_label_values(&["unchanged"]),
            moved: polls.with_label_values(&["moved"]),
            failed: polls.with_label_values(&["failed"]),
            announced: polls.with_label_values(&["announced"]),
            deltas_applied: registry.counter("fleet_deltas_applied_total", "Deltas that this edge has applied."),
            snapshots_installed: registry
                .counter("fleet_snapshots_installed_total", "Snapshots of the bucket that this edge has installed."),
            halted: REASONS.map(|reason| halted.with_label_values(&[reason])),
        }
    }

    /// The edge has this state.
    pub(super) fn at(&self, position: Position) {
        self.generation.set(i64::try_from(position.generation).unwrap_or(i64::MAX));
        self.revision.set(i64::try_from(position.revision).unwrap_or(i64::MAX));
    }

    /// The fleet has this state.
    pub(super) fn head_at(&self, position: Position) {
        let revision = i64::try_from(position.revision).unwrap_or(i64::MAX);
        // A message may announce less than the head that is known already.
        self.head_revision.set(revision.max(self.head_revision.get()));
    }

    /// The edge begins to follow, or has all that the bucket has.
    pub(super) fn current(&self) {
        self.current_at_secs.store(clock::unix_secs(), Ordering::Relaxed);
    }

    /// The roll-out is halted for this reason, or for none.
    pub(super) fn halt(&self, now: Option<&'static str>) {
        for (gauge, reason) in self.halted.iter().zip(REASONS) {
            gauge.set(i64::from(now == Some(reason)));
        }
    }

    /// Sets the gauges that change with time.
    pub fn update(&self) {
        self.lag.set(i64::try_from(self.lag_secs().unwrap_or(0)).unwrap_or(i64::MAX));
    }

    /// Seconds since this edge last had all that the bucket has. `None` without a fleet.
    pub fn lag_secs(&self) -> Option<u64> {
        match self.current_at_secs.load(Ordering::Relaxed) {
            0 => None,
            at => Some(clock::unix_secs().saturating_sub(at)),
        }
    }

    /// Why this edge keeps its catalog and does not take the fleet's, if it does.
    pub fn halted(&self) -> Option<&'static str> {
        self.halted.iter().zip(REASONS).find(|(gauge, _)| gauge.get() != 0).map(|(_, reason)| reason)
    }
}
