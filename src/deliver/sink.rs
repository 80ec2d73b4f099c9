//! Sinks: the places where the objects of feeds go.

use async_trait::async_trait;

use super::error::SinkError;
use crate::object::Object;

/// The place where a feed's objects go.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Stores an object under its key, and never overwrites one. The sink reads the object's file itself, piece by
    /// piece, so that no number of waiting objects costs memory. The object has a summary by now.
    ///
    /// # Errors
    /// See [`SinkError`]: whether a retry helps.
    async fn put(&self, object: &Object) -> Result<Stored, SinkError>;

    /// Reads an object back, for `clickedge feed test`. `None` when a sink of this kind cannot be read.
    ///
    /// # Errors
    /// Those of reading; deliveries may work all the same.
    async fn read_back(&self, key: &str) -> Result<Option<Vec<u8>>, SinkError> {
        let _ = key;
        Ok(None)
    }

    /// Lists keys that begin with `prefix`, up to the last `/` of which it is a folder. Bounded: some may be left out.
    /// A sink that has no listings returns none.
    ///
    /// # Errors
    /// When the sink cannot be read, or denies it.
    async fn list(&self, prefix: &str) -> Result<Vec<String>, SinkError> {
        let _ = prefix;
        Ok(Vec::new())
    }
}

/// How an object came to be in the sink.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stored {
    /// This call stored it.
    Now,
    /// It existed already: an earlier call stored it, and its answer was lost.
    Before,
}
