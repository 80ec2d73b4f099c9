//! An operator's request to retry a feed now.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;
use tokio::sync::Notify;

use super::metrics::FeedMetrics;

/// Ends the waits of feeds. Cheap to clone; clones know the same feeds.
#[derive(Clone, Default)]
pub struct FeedRetries(Arc<Mutex<BTreeMap<String, Handle>>>);

/// The way to the task of one feed.
#[derive(Clone)]
struct Handle {
    wake: Arc<Notify>,
    metrics: Arc<FeedMetrics>,
}

/// A feed that was asked to retry, as it was at that moment.
#[derive(Debug, Serialize)]
pub struct Retried {
    pub feed: String,
    /// Whether the sink was rejecting its uploads.
    pub parked: bool,
    /// Objects that were waiting for delivery.
    pub waiting: u64,
}

/// There is no feed with that name.
#[derive(Debug, thiserror::Error)]
#[error("there is no feed {name:?}; there are: {}", known.join(", "))]
pub struct UnknownFeed {
    pub name: String,
    pub known: Vec<String>,
}

impl FeedRetries {
    /// Adds a feed, with what wakes its task, and its metrics.
    pub(super) fn add(&self, feed: &str, wake: Arc<Notify>, metrics: Arc<FeedMetrics>) {
        self.handles().insert(feed.to_owned(), Handle { wake, metrics });
    }

    /// Removes a feed that is not configured any more.
    pub(super) fn remove(&self, feed: &str) {
        self.handles().remove(feed);
    }

    /// Ends the wait of a feed: its next upload begins now, parked or not. Without a wait there is no effect.
    ///
    /// # Errors
    /// When there is no such feed.
    pub fn retry(&self, feed: &str) -> Result<Retried, UnknownFeed> {
        let handles = self.handles();
        let Some(handle) = handles.get(feed) else {
            return Err(UnknownFeed { name: feed.to_owned(), known: handles.keys().cloned().collect() });
        };
        let parked = handle.metrics.parked.get() != 0;
        let waiting = handle.metrics.backlog.waiting_objects();
        handle.metrics.retries_requested.inc();
        handle.wake.notify_one();
        Ok(Retried { feed: feed.to_owned(), parked, waiting })
    }

    fn handles(&self) -> MutexGuard<'_, BTreeMap<String, Handle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
