//! Patience with the disk: what fails is tried again until it works or the stop's deadline has passed.
//!
//! A full disk is emptied, a lost mount comes back: an event that waits is better than one that is gone. While the
//! spool waits, the workers wait for it, and the rings fill up to their bound.

use std::{
    io,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use crate::telemetry::metrics::Metrics;

/// Time between two tries.
pub const PAUSE: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 200 });

/// When to lose patience: never, until a stop sets it.
#[derive(Clone, Default)]
pub struct Deadline(Arc<OnceLock<Instant>>);

impl Deadline {
    /// Sets the deadline, once.
    pub fn set(&self, at: Instant) {
        let _ = self.0.set(at);
    }

    /// Whether it has passed.
    pub fn passed(&self) -> bool {
        self.0.get().is_some_and(|at| Instant::now() >= *at)
    }

    /// Does `what` until it works.
    ///
    /// # Errors
    /// The last error, when the deadline has passed.
    pub fn insist<T>(&self, what: &str, metrics: &Metrics, mut f: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        let mut waiting = false;
        loop {
            match f() {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    if !std::mem::replace(&mut waiting, true) {
                        metrics.spool_stalled.inc();
                        tracing::error!(%error, "cannot {what}; trying again until it works");
                    }
                    if is_full(&error) {
                        metrics.disk_full.set(1);
                    }
                    if self.passed() {
                        return Err(error);
                    }
                    std::thread::sleep(PAUSE);
                }
                Err(_) => {}
                Ok(done) => {
                    if waiting {
                        metrics.spool_stalled.dec();
                        metrics.disk_full.set(0);
                        tracing::info!("the spool can be written again");
                    }
                    return Ok(done);
                }
            }
        }
    }
}

/// Whether the disk has no room, or a quota of the system's is used up. Our own bounds have no number of the system.
fn is_full(error: &io::Error) -> bool {
    error.raw_os_error().is_some()
        && matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
