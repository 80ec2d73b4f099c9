//! Sinks of the program that embeds the pipeline: by the name that a feed has for one, and with what keeps one that
//! panics or hangs from ending the deliveries of its feed.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use async_trait::async_trait;

use super::{
    error::{Details, SinkError},
    sink::{Sink, Stored},
};
use crate::{config, object::Object};

/// The sinks that a program provides, by name. Cheap to clone.
#[derive(Clone, Default)]
pub struct CustomSinks(Arc<BTreeMap<String, Arc<dyn Sink>>>);

/// The name under which no sink was provided, and those that were.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UnknownSink {
    /// The name that the feed has.
    pub name: String,
    /// All names that there are.
    pub known: Vec<String>,
}

impl CustomSinks {
    /// These sinks, each with its name.
    pub fn new(sinks: BTreeMap<String, Arc<dyn Sink>>) -> Self {
        Self(Arc::new(sinks))
    }

    /// Checks that there is the sink that a feed names, if it names one.
    ///
    /// # Errors
    /// When there is not.
    pub fn check(&self, sink: &config::Sink) -> Result<(), UnknownSink> {
        match sink {
            config::Sink::Custom(custom) if !self.0.contains_key(&custom.name) => {
                Err(UnknownSink { name: custom.name.clone(), known: self.0.keys().cloned().collect() })
            }
            _ => Ok(()),
        }
    }

    /// The sink of a feed. One that rejects every object, so that its feed is parked, if the program has none.
    pub(super) fn open(&self, config: &config::Custom) -> Arc<dyn Sink> {
        let timeout = Duration::from_secs(config.timeout_secs);
        match self.0.get(&config.name) {
            Some(sink) => Arc::new(Bounded { sink: Arc::clone(sink), timeout }),
            None => Arc::new(Missing { name: config.name.clone() }),
        }
    }
}

/// A program's sink, with a time limit, and whose panics are failures that a retry may overcome.
struct Bounded {
    sink: Arc<dyn Sink>,
    timeout: Duration,
}

impl Bounded {
    async fn within<T>(&self, call: impl Future<Output = Result<T, SinkError>> + Send) -> Result<T, SinkError> {
        let limited = tokio::time::timeout(self.timeout, caught(call)).await;
        let late = |_| SinkError::slow_down(format!("the sink has not answered within {:?}", self.timeout));
        limited.map_err(late)?
    }
}

#[async_trait]
impl Sink for Bounded {
    async fn put(&self, object: &Object) -> Result<Stored, SinkError> {
        self.within(async { self.sink.put(object).await }).await
    }

    async fn read_back(&self, key: &str) -> Result<Option<Vec<u8>>, SinkError> {
        self.within(async { self.sink.read_back(key).await }).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, SinkError> {
        self.within(async { self.sink.list(prefix).await }).await
    }
}

/// The result of a call, or that it has panicked.
async fn caught<T>(call: impl Future<Output = Result<T, SinkError>> + Send) -> Result<T, SinkError> {
    let mut call = Box::pin(call);
    poll_fn(move |context| {
        // Nothing of a future that has panicked is used again.
        let polled = catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(context)));
        polled.unwrap_or_else(|_| {
            let details = Details::new("the sink has panicked").with_remedy("correct the program that provides it");
            Poll::Ready(Err(SinkError::retry(details)))
        })
    })
    .await
}

/// In place of a sink that is missing.
struct Missing {
    name: String,
}

#[async_trait]
impl Sink for Missing {
    async fn put(&self, _: &Object) -> Result<Stored, SinkError> {
        let details = Details::new(format!("there is no sink with the name {:?}", self.name));
        let remedy =
            "give the sink to the builder of the pipeline: only the program that embeds it can deliver there";
        Err(SinkError::rejected(details.with_remedy(remedy)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::ObjectKind;

    fn object() -> Object {
        Object {
            key: "k".into(),
            path: "none".into(),
            bytes: 0,
            kind: ObjectKind::Events,
            summary: None,
            finished_at: 0,
        }
    }

    /// Panics, hangs, or stores.
    struct Moody;

    #[async_trait]
    impl Sink for Moody {
        async fn put(&self, object: &Object) -> Result<Stored, SinkError> {
            tokio::task::yield_now().await;
            match &*object.key {
                "panic" => panic!("as the test wants it"),
                "hang" => std::future::pending().await,
                _ => Ok(Stored::Now),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_sink_that_panics_or_hangs_has_failed_and_is_tried_again() {
        let sinks = CustomSinks::new(BTreeMap::from([("archive".to_owned(), Arc::new(Moody) as Arc<dyn Sink>)]));
        let sink = sinks.open(&config::Custom { timeout_secs: 3, ..config::Custom::new("archive") });
        let put = async |key: &str| sink.put(&Object { key: key.into(), ..object() }).await;
        assert_eq!(put("k").await.unwrap(), Stored::Now);
        let error = put("panic").await.unwrap_err();
        assert!(matches!(error, SinkError::Retry(_)) && error.to_string() == "the sink has panicked", "{error:?}");
        let error = put("hang").await.unwrap_err();
        assert!(matches!(error, SinkError::SlowDown(_)) && error.to_string().ends_with("within 3s"), "{error:?}");
        assert_eq!(put("k").await.unwrap(), Stored::Now);
    }

    #[tokio::test]
    async fn a_sink_that_is_missing_is_reported_and_parks_its_feed() {
        let sinks = CustomSinks::new(BTreeMap::from([("archive".to_owned(), Arc::new(Moody) as Arc<dyn Sink>)]));
        let custom = |name: &str| config::Sink::Custom(config::Custom::new(name));
        assert_eq!(sinks.check(&custom("archive")), Ok(()));
        assert_eq!(sinks.check(&config::Sink::Dir(config::Dir { path: "x".into() })), Ok(()));
        let unknown = UnknownSink { name: "attic".into(), known: vec!["archive".into()] };
        assert_eq!(sinks.check(&custom("attic")), Err(unknown));
        let error = sinks.open(&config::Custom::new("attic")).put(&object()).await.unwrap_err();
        assert!(error.parks_feed() && error.to_string().contains("\"attic\""), "{error}");
    }
}
