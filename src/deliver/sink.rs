//! A sink: the place where a feed's objects go.

use async_trait::async_trait;

use crate::object::Object;

/// The place where a feed's objects go.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Stores an object under its key, and never overwrites one. The sink reads the object's file itself, piece by
    /// piece, so that no number of waiting objects costs memory. The object has a summary by now.
    ///
    /// # Errors
    /// See [`SinkError`]: whether trying again helps.
    async fn put(&self, object: &Object) -> Result<Stored, SinkError>;
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
    /// The store asks to slow down, or takes too long: trying again may help, with fewer uploads at a time.
    #[error("{0}")]
    Busy(String),
    /// Access, bucket or credentials are wrong, or the key is taken: somebody must mend it.
    #[error("{0}")]
    Refused(String),
    /// The object is no longer what it was when it was finished: no retry would mend it.
    #[error("{0}")]
    Damaged(String),
    /// The object is no longer in the outbox: somebody took it away.
    #[error("the object is no longer in the outbox")]
    Gone,
}

impl SinkError {
    /// What it means that an object's own file cannot be read.
    pub fn of_file(error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::NotFound => Self::Gone,
            // Not the system says so, but what was read.
            _ if error.raw_os_error().is_none() => Self::Damaged(error.to_string()),
            _ => Self::Failed(format!("cannot read an object: {error}")),
        }
    }
}
