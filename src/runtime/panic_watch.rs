//! Reports that a thread of the pipeline has panicked, which is a bug.
//!
//! What the thread held is safe, in the rings and on the disk, but only another process can continue with it. So the
//! process stops, and its supervisor starts another.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// The panic flag that all threads of a pipeline share. Cheap to clone.
#[derive(Clone, Default)]
pub struct PanicWatch(Arc<AtomicBool>);

/// Held by a thread for as long as it runs.
pub struct PanicGuard(PanicWatch);

impl PanicWatch {
    /// Watches the thread that holds the guard.
    pub fn guard(&self) -> PanicGuard {
        PanicGuard(self.clone())
    }

    /// Whether a thread has panicked.
    pub fn has_panicked(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.0.store(true, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_reported_and_a_regular_end_is_not() {
        let watch = PanicWatch::default();
        let run = |fails: bool| {
            let guard = watch.guard();
            let thread = std::thread::spawn(move || {
                let _guard = guard;
                assert!(!fails, "this thread is meant to fail");
            });
            let _ = thread.join();
            watch.has_panicked()
        };
        assert!(!run(false));
        assert!(run(true));
    }
}
