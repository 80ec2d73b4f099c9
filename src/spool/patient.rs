//! Patience with the disk: what fails is tried again until it works or the stop's deadline has passed.
//!
//! A full disk is emptied, a lost mount comes back: an event that waits is better than one that is gone. While the
//! spool waits, the workers wait for it, and the queues in memory fill up to their bound.

use std::{
    fs::File,
    io::{self, Write},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use crate::telemetry::metrics::Metrics;

/// Time between two tries.
const PAUSE: Duration = Duration::from_millis(200);

/// When to lose patience: never, until a stop sets it.
#[derive(Clone, Default)]
pub struct Deadline(Arc<OnceLock<Instant>>);

impl Deadline {
    /// Sets the deadline, once.
    pub fn set(&self, at: Instant) {
        let _ = self.0.set(at);
    }

    fn passed(&self) -> bool {
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
                        metrics.spool_stalled.set(1);
                        tracing::error!(%error, "cannot {what}; trying again until it works");
                    }
                    if self.passed() {
                        return Err(error);
                    }
                    std::thread::sleep(PAUSE);
                }
                Err(_) => {}
                Ok(done) => {
                    if waiting {
                        metrics.spool_stalled.set(0);
                        tracing::info!("the spool can be written again");
                    }
                    return Ok(done);
                }
            }
        }
    }
}

/// A file whose writes insist. A write that failed has written nothing, so that trying again repeats nothing.
pub struct PatientFile {
    file: File,
    bytes: u64,
    deadline: Deadline,
    metrics: Arc<Metrics>,
}

impl PatientFile {
    pub fn new(file: File, deadline: Deadline, metrics: Arc<Metrics>) -> Self {
        Self { file, bytes: 0, deadline, metrics }
    }

    /// Bytes that were written.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Does `what` until it works, with this file's patience.
    ///
    /// # Errors
    /// The last error, when the deadline has passed.
    pub fn insist<T>(&self, what: &str, f: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        self.deadline.insist(what, &self.metrics, f)
    }

    /// Brings everything to the disk. A failed fsync is not repeated: the kernel may have dropped the pages that it
    /// could not write, and would then call a second one a success.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

impl Write for PatientFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Self { file, deadline, metrics, .. } = self;
        let written = deadline.insist("write to the spool", metrics, || file.write(bytes))?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
