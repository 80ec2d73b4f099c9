//! One try to deliver one object.

use std::sync::Arc;

use super::{
    metrics::FeedMetrics,
    queue::Place,
    sink::{Sink, SinkError, Stored},
};
use crate::object::{Object, ObjectKind, reader::summarize};

/// What is to be done.
pub struct Upload {
    pub place: Place,
    /// The round of [`super::pace`] in which it begins.
    pub round: u64,
    pub object: Object,
}

/// What came of it.
pub struct Ended {
    pub upload: Upload,
    pub result: Result<Stored, SinkError>,
}

impl Upload {
    /// Looks into the object if nobody has, and sends it.
    pub async fn run(mut self, sink: Arc<dyn Sink>, metrics: Arc<FeedMetrics>) -> Ended {
        let result = match look_into(&mut self.object, &metrics).await {
            Ok(()) => sink.put(&self.object).await,
            Err(error) => Err(error),
        };
        Ended { upload: self, result }
    }
}

/// Summarises an object that an earlier process finished. Other feeds' uploads share this thread, so another one reads.
async fn look_into(object: &mut Object, metrics: &FeedMetrics) -> Result<(), SinkError> {
    if object.summary.is_some() {
        return Ok(());
    }
    let path = object.path.clone();
    match tokio::task::spawn_blocking(move || summarize(&path)).await {
        Ok(Ok(summary))
            if summary.events == 0 && !matches!(object.kind, ObjectKind::Manifest | ObjectKind::Rollup) =>
        {
            Err(SinkError::Damaged("the object holds no event".into()))
        }
        Ok(Ok(summary)) => {
            metrics.backlog.recovered.inc_by(summary.events);
            object.summary = Some(summary);
            Ok(())
        }
        Ok(Err(error)) => Err(SinkError::of_file(&error)),
        Err(failure) => Err(SinkError::Damaged(format!("nobody can look into the object: {failure}"))),
    }
}
