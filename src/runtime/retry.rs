//! Retries disk operations until they work or the deadline of a stop has passed.
//!
//! A full disk is emptied, a lost mount comes back: an event that waits is better than one that is lost. While the
//! spool waits, the workers wait for it, and the rings fill up to their bound.

use std::{
    io,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

/// Time between two tries.
pub const PAUSE: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 200 });

/// Learns when an operation stalls and when it continues, for metrics.
pub trait StallObserver {
    /// An operation failed for the first time, and is retried.
    fn stalled(&self);

    /// It failed because the disk is full.
    fn disk_full(&self);

    /// It has worked.
    fn resumed(&self);
}

/// Retries for ever, until a stop sets a deadline. Cheap to clone; clones share the deadline.
#[derive(Clone, Default)]
pub struct RetryUntil(Arc<OnceLock<Instant>>);

impl RetryUntil {
    /// Sets the deadline, once.
    pub fn set_deadline(&self, at: Instant) {
        let _ = self.0.set(at);
    }

    /// Whether the deadline has passed.
    pub fn has_passed(&self) -> bool {
        self.0.get().is_some_and(|at| Instant::now() >= *at)
    }

    /// Runs `operation` until it works. `what` completes the log line "cannot {what}".
    ///
    /// # Errors
    /// The last error, when the deadline has passed.
    pub fn retry<T>(
        &self,
        what: &str,
        observer: &impl StallObserver,
        mut operation: impl FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        let mut stalled = false;
        loop {
            match operation() {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    if !std::mem::replace(&mut stalled, true) {
                        observer.stalled();
                        tracing::error!(%error, "cannot {what}; retrying until it works");
                    }
                    if is_full(&error) {
                        observer.disk_full();
                    }
                    if self.has_passed() {
                        return Err(error);
                    }
                    std::thread::sleep(PAUSE);
                }
                Err(_) => {}
                Ok(done) => {
                    if stalled {
                        observer.resumed();
                        tracing::info!("the spool can be written again");
                    }
                    return Ok(done);
                }
            }
        }
    }
}

/// Whether the disk has no room, or a quota of the system is used up. Our own bounds carry no error number.
fn is_full(error: &io::Error) -> bool {
    error.raw_os_error().is_some()
        && matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
