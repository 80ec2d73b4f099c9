//! Sinks that were not compiled in. A configuration that names one is rejected when it is read or started; feeds that a
//! process adds later are parked.

use async_trait::async_trait;

use super::{
    error::{Details, SinkError},
    sink::{Sink, Stored},
};
use crate::{
    config::{self, Features},
    object::Object,
};

/// Rejects all objects.
pub struct AbsentSink(String);

impl AbsentSink {
    pub fn new(config: &config::Sink) -> Self {
        Self(Features::of_this_build().missing(config).map_or_else(String::new, |missing| missing.to_string()))
    }

    /// Why nothing is delivered.
    pub fn error(&self) -> SinkError {
        SinkError::rejected(
            Details::new(self.0.clone()).with_remedy("choose another sink for the feed, or another build"),
        )
    }
}

#[async_trait]
impl Sink for AbsentSink {
    async fn put(&self, _: &Object) -> Result<Stored, SinkError> {
        Err(self.error())
    }
}
