//! One attempt to deliver one object.

use std::{sync::Arc, time::Duration};

use super::{
    error::{Details, SinkError},
    metrics::FeedMetrics,
    queue::Place,
    sink::{Sink, Stored},
};
use crate::{
    object::{Object, reader::summarize},
    runtime::clock,
};

/// An attempt.
pub struct Upload {
    pub place: Place,
    /// Round of [`super::pace`] in which it begins.
    pub round: u64,
    pub object: Object,
}

/// The outcome of an attempt.
pub struct Ended {
    pub upload: Upload,
    /// Time that the sink took.
    pub took: Duration,
    pub result: Result<Stored, SinkError>,
}

impl Upload {
    /// Summarizes the object if it has no summary yet, and sends it.
    pub async fn run(mut self, sink: Arc<dyn Sink>, metrics: Arc<FeedMetrics>) -> Ended {
        let prepared = ensure_summary(&mut self.object, &metrics).await;
        let began = clock::monotonic();
        let result = match prepared {
            Ok(()) => sink.put(&self.object).await,
            Err(error) => Err(error),
        };
        Ended { upload: self, took: began.elapsed(), result }
    }
}

/// Summarizes an object that an earlier process finished, on another thread, as all feeds' uploads share this one.
pub async fn ensure_summary(object: &mut Object, metrics: &FeedMetrics) -> Result<(), SinkError> {
    if object.summary.is_some() {
        return Ok(());
    }
    let path = object.path.clone();
    match tokio::task::spawn_blocking(move || summarize(&path)).await {
        Ok(Ok(summary)) if summary.events == 0 && !object.kind.is_companion() => {
            Err(SinkError::damaged("the object holds no event"))
        }
        Ok(Ok(summary)) => {
            metrics.backlog.recover_finished(summary.events);
            object.summary = Some(summary);
            Ok(())
        }
        Ok(Err(error)) => Err(SinkError::of_file(error)),
        Err(failure) => Err(SinkError::damaged(Details::new("reading the object panicked").with_source(failure))),
    }
}
