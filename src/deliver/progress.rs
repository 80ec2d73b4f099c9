//! How far the objects were acknowledged that a sink sends event by event or in parts.
//!
//! In memory alone: after a restart, an object is sent from its beginning, under the same ids.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::error::SinkError;

/// Most objects that are remembered.
const REMEMBERED: usize = 256;

/// For each object that is acknowledged in part, how many of its events are, by its key.
#[derive(Default)]
pub struct Progress(Mutex<BTreeMap<String, u64>>);

impl Progress {
    /// Events of an object that were acknowledged.
    pub fn of(&self, key: &str) -> u64 {
        self.lock().get(key).copied().unwrap_or_default()
    }

    /// Notes that so many events of an object were acknowledged.
    pub fn note(&self, key: &str, events: u64) {
        let mut progress = self.lock();
        if let Some(noted) = progress.get_mut(key) {
            *noted = events;
            return;
        }
        if progress.len() >= REMEMBERED {
            // What is forgotten is sent once more, under the same ids.
            progress.pop_first();
        }
        progress.insert(key.to_owned(), events);
    }

    /// Awaits an attempt to send an object. Its error says whether a part was acknowledged, and what is not sent again
    /// is forgotten.
    pub async fn of_attempt<T>(
        &self,
        key: &str,
        attempt: impl Future<Output = Result<T, SinkError>>,
    ) -> Result<T, SinkError> {
        let before = self.of(key);
        let result = attempt.await;
        let progressed = self.of(key) > before;
        if result.as_ref().err().is_none_or(SinkError::is_about_object) {
            self.lock().remove(key);
        }
        result.map_err(|error| error.with_progress(progressed))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_progress_of_many_objects_is_bounded() {
        let progress = Progress::default();
        for n in 0..1_000 {
            progress.note(&format!("{n:04}"), n);
        }
        let remembered = progress.lock().len();
        assert_eq!((remembered, progress.of("0999"), progress.of("0001")), (REMEMBERED, 999, 0));
    }

    #[tokio::test]
    async fn an_attempt_that_fails_half_way_is_remembered_until_one_succeeds() {
        let progress = Progress::default();
        let attempt = |events, result: Result<(), SinkError>| {
            let progress = &progress;
            async move {
                progress.note("a", events);
                result
            }
        };
        for (events, progressed) in [(3, true), (3, false), (5, true)] {
            let failed = attempt(events, Err(SinkError::retry("reset")));
            let error = progress.of_attempt("a", failed).await.unwrap_err();
            assert_eq!((error.details().progressed, progress.of("a")), (progressed, events));
        }
        progress.of_attempt("a", attempt(7, Ok(()))).await.unwrap();
        assert_eq!(progress.of("a"), 0);
    }
}
