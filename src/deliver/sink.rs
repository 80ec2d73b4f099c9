//! Sinks: the places where the objects of feeds go.
//!
//! A program that embeds the pipeline implements [`Sink`] for a place of its own, and gives it to the
//! [builder](crate::pipeline::Builder::sink) under a name; the chapter [embedding](crate::manual::embedding) has an
//! example.

use async_trait::async_trait;

use super::error::SinkError;
use crate::object::Object;

/// The place where a feed's objects go.
///
/// All methods are called on the one thread that delivers for all feeds, as tasks of a Tokio runtime with timers, I/O
/// and `spawn_blocking`. None may block that thread: work that takes long or waits without `await` belongs into
/// `spawn_blocking`. A call may be dropped at any `await`, as its time is up (`sink.custom.timeout_secs`), the feed has
/// changed, or the process stops. Its object stays in the outbox then, and is stored again later.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Stores an object under its key, and never overwrites one. Returns when the object is durable: it is removed from
    /// the outbox then, and exists nowhere else. The sink reads the object's file itself, piece by piece, so that no
    /// number of waiting objects costs memory. The object has a summary by now.
    ///
    /// The same object comes again when an answer was lost: after an error, a dropped call or a crash. Its key, bytes
    /// and events are the same. A sink that has the key with the same bytes returns [`Stored::Before`], and that is all
    /// that it takes for every event to arrive exactly once. Objects of one feed come in their order; with
    /// `sink.custom.uploads = 1` each follows the acknowledgement of the one before.
    ///
    /// # Errors
    /// [`SinkError::retry`] and [`SinkError::slow_down`] retry the object later, and later each time;
    /// [`SinkError::rejected`] and [`SinkError::conflict`] (the key exists with other bytes) park the feed, so that one
    /// upload now and then probes the sink until it accepts again. [`SinkError::of_file`] is right for a failure to
    /// read the object's own file, and for nothing else: an object that is damaged or missing is dropped, and counted
    /// as such.
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
    /// A sink that has no listings returns none. It is asked for the manifests of other edges, to report two edges of
    /// one name.
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
