//! A sink: the place where a feed's objects go.

use async_trait::async_trait;
use bytes::Bytes;

/// The place where a feed's objects go.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Stores an object under `key`, and never overwrites one.
    ///
    /// # Errors
    /// See [`SinkError`]: whether trying again helps.
    async fn put(&self, key: &str, body: Bytes) -> Result<Stored, SinkError>;
}

/// How an object came to be in the sink.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stored {
    /// This call stored it.
    Now,
    /// It was there already: an earlier call stored it, and its answer was lost.
    Before,
}

/// Why an object was not stored.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The network, the store or the disk failed: trying again may help.
    #[error("{0}")]
    Failed(String),
    /// Access, bucket or credentials are wrong: somebody must mend them.
    #[error("{0}")]
    Refused(String),
    /// The object is no longer in the outbox: somebody took it away.
    #[error("the object is no longer in the outbox")]
    Gone,
}
