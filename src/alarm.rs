//! Tells when a thread of the pipeline has panicked: a defect.
//!
//! What the thread held is safe, in the rings and on the disk, but only another process can go on with it. So the
//! process stops, and whoever supervises it starts another.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Shared by all threads of a pipeline. Cheap to clone.
#[derive(Clone, Default)]
pub struct Alarm(Arc<AtomicBool>);

/// What a thread holds as long as it runs.
pub struct Watched(Alarm);

impl Alarm {
    /// Watches the thread that holds this.
    pub fn watch(&self) -> Watched {
        Watched(self.clone())
    }

    /// Whether a thread has panicked.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Drop for Watched {
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
    fn a_panic_raises_the_alarm_and_an_end_does_not() {
        let alarm = Alarm::default();
        let run = |fails: bool| {
            let watched = alarm.watch();
            let thread = std::thread::spawn(move || {
                let _watched = watched;
                assert!(!fails, "this thread is meant to fail");
            });
            let _ = thread.join();
            alarm.is_raised()
        };
        assert!(!run(false));
        assert!(run(true));
    }
}
