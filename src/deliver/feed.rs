//! One feed's delivery: object after object, until each is acknowledged.

use std::{io, sync::Arc, time::Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::{
    backoff::Backoff,
    sink::{Sink, SinkError, Stored},
};
use crate::{
    spool::{Object, Outbox, count::count_events},
    telemetry::metrics::{DropReason, FeedMetrics, UploadResult},
};

pub struct FeedTask {
    pub name: String,
    pub outbox: Arc<Outbox>,
    pub metrics: Arc<FeedMetrics>,
    /// Set when a stop has begun: the time by which to end.
    pub stopping: watch::Receiver<Option<Instant>>,
}

impl FeedTask {
    /// Delivers until the queue is closed and empty, or the stop's deadline has passed.
    pub async fn run(mut self, sink: Box<dyn Sink>, mut objects: mpsc::UnboundedReceiver<Object>) {
        while let Some(object) = objects.recv().await {
            self.metrics.oldest.set(object.finished_at as i64);
            let mut stopping = self.stopping.clone();
            tokio::select! {
                () = deadline(&mut stopping) => {
                    tracing::warn!(feed = self.name, waiting = objects.len() + 1, "objects wait for the next start");
                    return;
                }
                () = self.deliver(&*sink, object) => {}
            }
            if objects.is_empty() {
                self.metrics.oldest.set(0);
            }
        }
    }

    async fn deliver(&mut self, sink: &dyn Sink, mut object: Object) {
        let mut backoff = Backoff::default();
        if object.events.is_none() {
            match self.count(&object, &mut backoff).await {
                Some(events) => object.events = Some(events),
                None => return,
            }
        }
        loop {
            let error = match self.upload(sink, &object).await {
                Ok(stored) => {
                    if backoff.failures() > 0 {
                        tracing::info!(feed = self.name, key = object.key, "the sink takes objects again");
                    }
                    return self.acknowledged(&object, stored);
                }
                Err(SinkError::Gone) => return self.gone(&object),
                Err(error) => error,
            };
            let refused = matches!(error, SinkError::Refused(_));
            self.metrics.parked.set(refused.into());
            self.metrics.upload(if refused { UploadResult::Refused } else { UploadResult::Retried });
            let (wait, failures) = (backoff.failed(refused), backoff.failures());
            let (feed, key) = (&self.name, &object.key);
            // An operator must act on a refusal; of a long outage every tenth failure is told.
            match (refused, failures) {
                (true, 1) => tracing::error!(feed, key, %error, "the sink refuses objects; they wait in the outbox"),
                (false, 1) => tracing::warn!(feed, key, %error, "cannot deliver; trying again"),
                (_, n) if n % 10 == 0 => tracing::warn!(feed, key, %error, failures, "still cannot deliver"),
                _ => tracing::debug!(feed, key, %error, failures, "cannot deliver"),
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Counts the events of an object that an earlier process finished. `None` when it cannot be delivered: it is
    /// gone, or it is damaged and was moved aside, as no retry would mend it.
    async fn count(&self, object: &Object, backoff: &mut Backoff) -> Option<u64> {
        let body = loop {
            match tokio::fs::read(&object.path).await {
                Ok(body) => break body,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.gone(object);
                    return None;
                }
                Err(error) => {
                    tracing::warn!(feed = self.name, key = object.key, %error, "cannot read an object; trying again");
                    tokio::time::sleep(backoff.failed(false)).await;
                }
            }
        };
        backoff.succeeded();
        // Other feeds' uploads share this thread.
        let counted = tokio::task::spawn_blocking(move || count_events(&body)).await;
        let error = match counted.unwrap_or_else(|failure| Err(io::Error::other(failure))) {
            Ok(events) => {
                self.metrics.recovered.inc_by(events);
                return Some(events);
            }
            Err(error) => error,
        };
        self.metrics.waits_no_more(object.bytes);
        match self.outbox.quarantine(&self.name, object) {
            Ok(aside) => tracing::error!(feed = self.name, %error, aside = %aside.display(), "a damaged object"),
            Err(failed) => tracing::error!(feed = self.name, %error, %failed, key = object.key, "a damaged object"),
        }
        None
    }

    async fn upload(&self, sink: &dyn Sink, object: &Object) -> Result<Stored, SinkError> {
        match tokio::fs::read(&object.path).await {
            Ok(body) => sink.put(&object.key, Bytes::from(body)).await,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(SinkError::Gone),
            Err(error) => Err(SinkError::Failed(format!("cannot read {}: {error}", object.path.display()))),
        }
    }

    /// Somebody took the object away; whether its events went anywhere, nobody here can tell.
    fn gone(&self, object: &Object) {
        let events = object.events.unwrap_or_default();
        self.metrics.waits_no_more(object.bytes);
        self.metrics.drop_events(DropReason::Removed, events);
        self.outbox.forget(object);
        tracing::error!(feed = self.name, key = object.key, events, "an object was taken out of the outbox");
    }

    fn acknowledged(&self, object: &Object, stored: Stored) {
        self.metrics.parked.set(0);
        self.metrics.upload(match stored {
            Stored::Now => UploadResult::Stored,
            Stored::Before => UploadResult::Present,
        });
        self.metrics.delivered.inc_by(object.events.unwrap_or_default());
        self.metrics.delivered_bytes.inc_by(object.bytes);
        self.metrics.waits_no_more(object.bytes);
        tracing::debug!(feed = self.name, key = object.key, events = object.events, "delivered");
        if let Err(error) = self.outbox.remove(object) {
            // It is sent once more at the next start, and the sink says that it has it.
            tracing::warn!(feed = self.name, key = object.key, %error, "cannot remove a delivered object");
        }
    }
}

/// Ends when the stop's deadline has passed; never, while there is no stop.
async fn deadline(stopping: &mut watch::Receiver<Option<Instant>>) {
    let at = match stopping.wait_for(Option::is_some).await {
        Ok(at) => *at,
        Err(_) => None,
    };
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
