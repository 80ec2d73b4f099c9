//! The running spool: its two threads, and how they stop.

use std::{
    fs::File,
    sync::{Arc, atomic::AtomicU64},
    thread::JoinHandle,
    time::Instant,
};

use crate::runtime::retry::RetryUntil;

/// The running spool.
pub struct Spool {
    pub(super) journal: JoinHandle<()>,
    pub(super) packer: JoinHandle<()>,
    pub(super) retry: RetryUntil,
    pub(super) size: Arc<AtomicU64>,
    pub(super) lock: File,
}

impl Spool {
    /// From `deadline` on, what cannot be written waits for the next start.
    pub fn set_deadline(&self, deadline: Instant) {
        self.retry.set_deadline(deadline);
    }

    /// Bytes of the journal, kept up to date.
    pub fn journal_bytes(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.size)
    }

    /// Waits until all events are in finished objects. All senders must be dropped. Returns the lock: drop it once the
    /// outbox is no longer in use.
    pub fn drain(self) -> File {
        for (thread, name) in [(self.journal, "journal"), (self.packer, "packer")] {
            if thread.join().is_err() {
                tracing::error!(thread = name, "spool thread failed; its events wait for the next start");
            }
        }
        self.lock
    }
}
