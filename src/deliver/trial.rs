//! A trial of a feed, for `clickedge feed test`: stores an object of sample events below `_test/`, with the code that
//! delivers, and reads it back.
//!
//! The object has the feed's format and compression, a key of its own for each run, and metadata that marks it. Its
//! events are click events with ids of their own, and `"test": true`. No manifest lists it, and table engines skip
//! names that begin with `_`. It stays there: deliveries have no permission to delete.

use std::{fmt, fs, io, sync::Arc, time::Duration};

use super::{
    custom::CustomSinks,
    error::SinkError,
    metrics::ClockSkew,
    policy,
    probe::ProbeError,
    sample::{EVENTS, Sample},
    secrets::read_secrets,
    sink::Sink,
};
use crate::{
    config::{self, Feed},
    runtime::{Class, Classified},
};

/// Longest trial.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A trial that went well.
#[derive(Debug)]
pub struct Trial {
    /// Key of the object, below the feed's prefix or folder.
    pub key: String,
    pub events: u64,
    pub bytes: u64,
    /// Whether it was read back and compared, byte by byte. False for sinks that cannot be read.
    pub read_back: bool,
}

/// Why a trial failed.
#[derive(Debug)]
pub enum TrialError {
    /// The object was not delivered.
    Put(ProbeError),
    /// The object was delivered, and cannot be read back.
    Get { key: String, error: ProbeError },
    /// The object that was read back has other bytes.
    Differs { key: String, sent: u64, read: u64 },
    /// The system provides no file, socket or thread.
    System(io::Error),
}

impl fmt::Display for TrialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put(error) => write!(f, "not delivered: {error}"),
            Self::Get { key, error } => write!(f, "delivered {key}, and cannot read it back: {error}"),
            Self::Differs { key, sent, read } => write!(
                f,
                "delivered {key}, and read back other bytes ({sent} sent, {read} read); check proxies between this \
                 machine and the store, and what changes objects there"
            ),
            Self::System(error) => write!(f, "cannot try the feed: {error}"),
        }
    }
}

impl Classified for TrialError {
    fn class(&self) -> Class {
        match self {
            Self::Put(error) | Self::Get { error, .. } => error.class(),
            Self::Differs { .. } => Class::Data,
            Self::System(error) => Class::of_io(error),
        }
    }
}

/// Tries a feed, with a runtime of its own. `pop` is the name of this edge.
///
/// # Errors
/// See [`TrialError`].
pub fn run(feed: &Feed, pop: &str) -> Result<Trial, TrialError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(TrialError::System)?;
    let sample = Sample::write(feed, pop).map_err(TrialError::System)?;
    let secrets = match &feed.sink {
        config::Sink::Webhook(config) => read_secrets(config),
        _ => Ok(Arc::default()),
    };
    let secrets = secrets.map_err(|error| TrialError::Put(ProbeError { lacks: None, error }))?;
    let outcome = runtime.block_on(async {
        let sink = {
            let custom = CustomSinks::default();
            super::order::open(&feed.name, &feed.sink, secrets, &custom, ClockSkew::default()).await
        };
        trial(&*sink, &sample, |attempt, error| lacks(&feed.sink, attempt, error)).await
    });
    // A folder may hang in a system call, which cannot be interrupted.
    runtime.shutdown_background();
    outcome
}

/// Delivers the sample and reads it back. `lacks` gets what was attempted and the error, and names the permission that
/// is missing.
async fn trial(
    sink: &dyn Sink,
    sample: &Sample,
    lacks: impl Fn(Attempt, &SinkError) -> Option<String>,
) -> Result<Trial, TrialError> {
    let object = &sample.object;
    let late = || SinkError::slow_down(format!("no answer within {TIMEOUT:?}"));
    let put = tokio::time::timeout(TIMEOUT, sink.put(object)).await.unwrap_or_else(|_| Err(late()));
    put.map_err(|error| TrialError::Put(ProbeError { lacks: lacks(Attempt::Put, &error), error }))?;
    let there = tokio::time::timeout(TIMEOUT, sink.read_back(&object.key)).await.unwrap_or_else(|_| Err(late()));
    let there = there.map_err(|error| TrialError::Get {
        key: object.key.clone(),
        error: ProbeError { lacks: lacks(Attempt::Get, &error), error },
    })?;
    let sent = fs::read(&object.path).map_err(TrialError::System)?;
    let (key, bytes) = (object.key.clone(), object.bytes);
    match there {
        Some(read) if read != sent => Err(TrialError::Differs { key, sent: bytes, read: read.len() as u64 }),
        there => Ok(Trial { key, events: EVENTS, bytes, read_back: there.is_some() }),
    }
}

/// What a trial attempts.
#[derive(Clone, Copy)]
enum Attempt {
    Put,
    Get,
}

/// The permission that an attempt lacks, in words.
fn lacks(sink: &config::Sink, attempt: Attempt, error: &SinkError) -> Option<String> {
    let config::Sink::S3(config) = sink else { return None };
    let actions = match attempt {
        Attempt::Put => policy::put_actions(config),
        Attempt::Get => vec!["s3:GetObject"],
    };
    policy::lacks(config, &actions, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{Object, reader::summarize};

    fn feed(more: &str) -> Feed {
        toml::from_str(&format!("name = \"all\"\nworkspaces = [\"*\"]\n{more}")).unwrap()
    }

    #[test]
    fn a_folder_gets_an_object_of_the_feed_s_format_and_it_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        for (format, suffix) in [
            ("compression = { gzip = { level = 3 } }", "ndjson.gz"),
            ("format = \"envelope\"\ncompression = { zstd = { level = 3 } }", "json.zst"),
            ("format = \"json\"\ncompression = \"none\"", "json"),
        ] {
            let feed = feed(&format!("{format}\nsink.dir.path = {:?}", dir.path().join("out")));
            let trial = run(&feed, "fra1").unwrap();
            assert!(trial.read_back && trial.key.starts_with("_test/all-fra1-") && trial.key.ends_with(suffix));
            let path = dir.path().join("out").join(&trial.key);
            let summary = summarize(&path).unwrap();
            assert_eq!((summary.events, trial.events, fs::metadata(path).unwrap().len()), (3, 3, trial.bytes));
            assert_ne!(run(&feed, "fra1").unwrap().key, trial.key, "each run has a key of its own");
        }
    }

    #[test]
    fn an_object_that_comes_back_changed_or_not_at_all_is_an_error() {
        struct Changes(Option<Vec<u8>>);

        #[async_trait::async_trait]
        impl Sink for Changes {
            async fn put(&self, _: &Object) -> Result<crate::deliver::Stored, SinkError> {
                Ok(crate::deliver::Stored::Now)
            }

            async fn read_back(&self, _: &str) -> Result<Option<Vec<u8>>, SinkError> {
                Ok(self.0.clone())
            }
        }

        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let sample = Sample::write(&feed("sink.dir.path = \"out\""), "fra1").unwrap();
        let path = sample.object.path.clone();
        let attempt = |there| runtime.block_on(trial(&Changes(there), &sample, |_, _| None));
        let error = attempt(Some(b"other".to_vec())).unwrap_err();
        assert_eq!(error.class(), Class::Data);
        assert!(error.to_string().contains("5 read"), "{error}");
        assert!(!attempt(None).unwrap().read_back, "a sink that cannot be read");
        drop(sample);
        assert!(!path.exists(), "the file is removed");
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_a_matter_of_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = run(&feed(&format!("sink.dir.path = {:?}", file.join("out"))), "fra1").unwrap_err();
        assert_eq!(error.class(), Class::Config);
        assert!(error.to_string().starts_with("not delivered: cannot write "), "{error}");
    }
}
