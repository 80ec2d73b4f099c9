//! What clicks, links and connections need, as measured, and the settings that follow. The checks and the tables of the
//! tuning guide use these figures and formulas, and nothing else has them.
//!
//! Where a figure was measured stands next to it; the dates and the machine are in `bench/README.md`. Sizes are those
//! of clicks of browsers; clicks with long queries or many headers are larger.

use crate::config::{Config, Feed};

/// Bytes of a click in a ring (`bench/sizes.py`).
pub const RING_BYTES: u64 = 582;

/// Bytes of a click in the journal: an event (`bench/worker.rs`) and 129 bytes around it (`bench/sizes.py`).
pub const JOURNAL_BYTES: u64 = 1_202 + 129;

/// Bytes of a click in an object that gzip has compressed (`bench/worker.rs`, `bench/sizes.py`).
pub const OBJECT_BYTES: u64 = 127;

/// Bytes of memory of a link from a catalog in NDJSON, once it is loaded (`bench/sizes.py`).
pub const LINK_BYTES: u64 = 107;

/// Memory of such a catalog, in percent of the bytes of its file (`bench/sizes.py`).
pub const CATALOG_PERCENT: u64 = 33;

/// Bytes of memory of a visitor in the table of sessions (`bench/README.md`, Sessions).
pub const SESSION_BYTES: u64 = 51;

/// Bytes of memory of an idle connection over TLS, without the kernel's part (`bench/sizes.py`).
pub const CONNECTION_BYTES: u64 = 7_752;

/// Bytes of the process itself, with buffers of spool and deliveries.
pub const PROCESS_BYTES: u64 = 64 << 20;

/// Processor time of a listener thread for a click on a connection of its own, with a full TLS handshake, in
/// microseconds (`bench/cold.sh`).
pub const COLD_CLICK_MICROS: f64 = 134.4;

/// Processor time of a worker for a click, in microseconds (`bench/worker.rs`).
pub const WORKER_MICROS: f64 = 2.56;

/// Processor time of packer and journal for a click, in microseconds (`bench/redirect.sh`).
pub const SPOOL_MICROS: f64 = 3.05;

/// Share of their time that threads are busy at the planned peak: the rest is for bursts.
pub const BUSY: f64 = 0.5;

/// Seconds of clicks that the rings have room for while the disk accepts no writes.
pub const STALL_SECS: u64 = 30;

/// Share of the journal at which objects are made before their time: three quarters.
const JOURNAL_EARLY: (u64, u64) = (3, 4);

/// Seconds for which the kernel remembers a closed connection when it tracks connections.
pub const TRACKED_SECS: u64 = 120;

/// Connections that an edge may have: the most open files that it asks for, less some for everything else.
pub const MOST_CONNECTIONS: u64 = 1_000_000;

/// What an edge is planned for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Plan {
    /// Clicks a second at the peak.
    pub clicks_per_second: u64,
    /// Hours for which sinks may not be reachable.
    pub outage_hours: u64,
}

impl Plan {
    /// Threads that answer clicks.
    pub fn threads(&self) -> u64 {
        self.busy(COLD_CLICK_MICROS)
    }

    /// Threads that turn clicks into events.
    pub fn workers(&self) -> u64 {
        self.busy(WORKER_MICROS)
    }

    /// Processors that everything together keeps busy, at half of their time.
    pub fn processors(&self) -> u64 {
        self.busy(COLD_CLICK_MICROS + WORKER_MICROS + SPOOL_MICROS)
    }

    /// Bytes of the rings.
    pub fn rings(&self) -> u64 {
        self.clicks(STALL_SECS) * RING_BYTES
    }

    /// Bytes of the journal when the slowest feed packs events after `wait_secs`. However many feeds take a click, the
    /// journal has its event once.
    pub fn journal(&self, wait_secs: u64) -> u64 {
        let (early, of) = JOURNAL_EARLY;
        self.clicks(wait_secs) * JOURNAL_BYTES / early * of
    }

    /// Bytes of the objects that wait during the outage, when each click is taken by `copies` feeds.
    pub fn outbox(&self, copies: u64) -> u64 {
        self.clicks(self.outage_hours * 3_600) * copies * OBJECT_BYTES
    }

    /// Connections, when each click comes on one of its own, which then stays open for `keepalive_secs`.
    pub fn connections(&self, keepalive_secs: u64) -> u64 {
        self.clicks(keepalive_secs.max(1))
    }

    /// The longest `redirect.keepalive_secs`, of at most a minute, with which connections have enough open files.
    pub fn keepalive_secs(&self) -> u64 {
        (MOST_CONNECTIONS / self.clicks_per_second.max(1)).clamp(1, 60)
    }

    /// Entries of connection tracking.
    pub fn tracked(&self, keepalive_secs: u64) -> u64 {
        self.connections(keepalive_secs) + self.clicks(TRACKED_SECS)
    }

    fn clicks(&self, secs: u64) -> u64 {
        self.clicks_per_second.saturating_mul(secs)
    }

    fn busy(&self, micros: f64) -> u64 {
        ((self.clicks_per_second as f64 * micros / 1e6 / BUSY).ceil() as u64).max(1)
    }
}

/// Bytes of all rings of an edge: each pair of a listener thread and a worker has one of at least 1 MiB, with a page in
/// front.
pub fn ring_bytes(config: &Config) -> u64 {
    let pairs = (config.listener_threads() * config.workers()) as u64;
    (config.capture.ring_bytes / pairs).max(1 << 20) * pairs + 4_096 * pairs
}

/// Bytes of the table of sessions.
pub fn session_bytes(config: &Config) -> u64 {
    config.enrich.session_visitors as u64 * SESSION_BYTES
}

/// How many feeds take each click: those of all workspaces, at least one if there is any feed.
pub fn copies(feeds: &[Feed]) -> u64 {
    let all = feeds.iter().filter(|feed| feed.workspaces.iter().any(|workspace| workspace == "*")).count();
    (all as u64).max(u64::from(!feeds.is_empty()))
}

/// Seconds until the slowest feed has packed an event.
pub fn wait_secs(feeds: &[Feed]) -> u64 {
    feeds.iter().map(|feed| feed.max_age_secs.max(feed.hold_back_secs)).max().unwrap_or(0)
}

/// Rows of the guide's table of settings for some rates, for one feed that takes everything and the defaults of the
/// rest.
pub fn settings() -> impl Iterator<Item = Vec<String>> {
    [100, 1_000, 5_000, 10_000, 20_000, 50_000].into_iter().map(|clicks_per_second| {
        let plan = Plan { clicks_per_second, outage_hours: 24 };
        let keepalive = plan.keepalive_secs();
        let gib = |bytes: u64| format!("{} GiB", bytes.div_ceil(1 << 30));
        vec![
            clicks_per_second.to_string(),
            plan.processors().to_string(),
            plan.threads().to_string(),
            plan.workers().to_string(),
            format!("{} MiB", plan.rings().max(128 << 20).div_ceil(1 << 20).next_power_of_two()),
            gib(plan.journal(300).max(4 << 30)),
            gib(plan.outbox(1)),
            keepalive.to_string(),
            plan.connections(keepalive).to_string(),
            plan.tracked(keepalive).to_string(),
        ]
    })
}

/// The head of that table.
pub const SETTINGS: [&str; 10] = [
    "clicks a second",
    "processors",
    "`edge.threads`",
    "`enrich.workers`",
    "`capture.ring_bytes`",
    "`spool.journal_max_bytes`",
    "`spool.max_bytes`, for a day",
    "`redirect.keepalive_secs`",
    "connections",
    "tracked connections",
];

/// Rows of the guide's table of outages: hours, and `spool.max_bytes` at some rates, for one feed.
pub fn outages() -> impl Iterator<Item = Vec<String>> {
    [1, 8, 24, 72, 168].into_iter().map(|outage_hours| {
        let gib = |clicks_per_second| {
            let bytes = Plan { clicks_per_second, outage_hours }.outbox(1) as f64;
            format!("{:.1} GiB", bytes / f64::from(1 << 30))
        };
        vec![outage_hours.to_string(), gib(100), gib(1_000), gib(10_000), gib(50_000)]
    })
}

/// The head of that table.
pub const OUTAGES: [&str; 5] = ["hours", "100 clicks a second", "1,000", "10,000", "50,000"];

/// Rows of the guide's table of measured figures.
pub fn figures() -> Vec<Vec<String>> {
    let row = |what: &str, figure: String, bench: &str| vec![what.to_owned(), figure, format!("`bench/{bench}`")];
    let bytes = |bytes: u64| format!("{bytes} bytes");
    let micros = |micros: f64| format!("{micros} us");
    vec![
        row("click in a ring", bytes(RING_BYTES), "sizes.py"),
        row("click in the journal", bytes(JOURNAL_BYTES), "sizes.py"),
        row("click in an object, gzip", bytes(OBJECT_BYTES), "worker.rs"),
        row("link in memory", bytes(LINK_BYTES), "sizes.py"),
        row("idle connection over TLS, in the process", bytes(CONNECTION_BYTES), "sizes.py"),
        row("visitor in the table of sessions", bytes(SESSION_BYTES), "README.md"),
        row("listener thread, cold HTTPS click", micros(COLD_CLICK_MICROS), "cold.sh"),
        row("worker, a click", micros(WORKER_MICROS), "worker.rs"),
        row("packer and journal, a click", micros(SPOOL_MICROS), "redirect.sh"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan = Plan { clicks_per_second: 10_000, outage_hours: 24 };

    #[test]
    fn needs_grow_with_the_rate() {
        assert_eq!(PLAN.rings(), 10_000 * 30 * RING_BYTES);
        assert_eq!(PLAN.outbox(2), 10_000 * 86_400 * 2 * OBJECT_BYTES);
        assert_eq!(PLAN.journal(300) / 4 * 3, 10_000 * 300 * JOURNAL_BYTES);
        assert_eq!((PLAN.threads(), PLAN.workers()), (3, 1));
        assert_eq!((PLAN.connections(60), PLAN.tracked(60)), (600_000, 1_800_000));
        assert_eq!(PLAN.connections(0), 10_000, "a connection that is closed at once lasts for a moment");
    }

    #[test]
    fn connections_stay_open_as_long_as_there_are_files_for_them() {
        let keepalive = |clicks_per_second| Plan { clicks_per_second, ..PLAN }.keepalive_secs();
        assert_eq!([1, 1_000, 20_000, 10_000_000].map(keepalive), [60, 60, 50, 1]);
    }

    #[test]
    fn the_defaults_suit_a_thousand_clicks_a_second() {
        let (config, plan) = (Config::default(), Plan { clicks_per_second: 1_000, ..PLAN });
        assert!(config.capture.ring_bytes >= plan.rings());
        assert!(config.spool.journal_max_bytes >= plan.journal(300));
        assert!(config.spool.max_bytes >= plan.outbox(1));
    }
}
