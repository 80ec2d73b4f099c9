//! Delivery: from the outbox to each customer's sink.
//!
//! Each feed has its own task. The task takes the feed's objects in order, keeps as many uploads under way as the
//! sink allows ([`pace`]), and removes each object from the outbox when the sink has acknowledged it. A feed whose
//! sink fails waits, longer each time, and delays no other feed. A feed whose sink rejects uploads is parked: one
//! upload now and then probes it, until an operator has acted. All tasks share one thread, as they mostly wait.
//!
//! An object's key and bytes never change, and sinks never overwrite: an upload that is repeated, because an answer was
//! lost or the process died, never makes a second object. Sinks that take events ([`webhook`], [`nats`]) read them from
//! the object in [`batch`]es, which never change either. A manifest is delivered after every object of its feed before
//! it, so that it never lists an object that is not there. The trouble of a manifest or rollup delays no events
//! ([`companions`]).

pub mod answer;
pub mod backoff;
pub mod batch;
pub mod companions;
pub mod dir;
pub mod error;
pub mod feed;
pub mod limit;
pub mod metrics;
pub mod nats;
pub mod neighbours;
pub mod pace;
pub mod probe;
pub mod progress;
pub mod queue;
pub mod remedy;
pub mod retries;
pub mod s3;
pub mod sample;
pub mod sink;
pub mod trial;
pub mod upload;
pub mod webhook;

use std::{
    collections::HashMap,
    io,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, Semaphore, mpsc, watch},
    task::JoinSet,
};

pub use error::SinkError;
pub use retries::FeedRetries;
pub use sink::{Sink, Stored};

use crate::{
    config::{self, feeds::Layout},
    object::Object,
    runtime::PanicWatch,
    spool::Outbox,
};
use dir::DirSink;
use feed::FeedTask;
use metrics::FeedMetrics;
use nats::NatsSink;
use s3::S3Sink;
use webhook::{WebhookSink, signature::SecretStore};

/// Threads that write into folders and read files, for all feeds.
const FOLDER_THREADS: usize = 32;

/// The running delivery.
pub struct Deliver {
    thread: JoinHandle<()>,
    queues: Vec<mpsc::UnboundedSender<Object>>,
    metrics: Vec<Arc<FeedMetrics>>,
    stop: watch::Sender<Option<Instant>>,
    retries: FeedRetries,
}

impl Deliver {
    /// Starts one task for each feed, with the objects that already wait in the outbox. `metrics` are those of the
    /// feeds, in their order; `pop` and `spool` are the names of the edge and of its spool in keys; `secrets` those of
    /// webhooks.
    ///
    /// # Errors
    /// When the outbox cannot be read, or the system provides no thread.
    pub fn start(
        feeds: &[config::Feed],
        (pop, spool): (&str, &str),
        outbox: &Arc<Outbox>,
        metrics: Vec<Arc<FeedMetrics>>,
        secrets: &[Arc<SecretStore>],
        panics: &PanicWatch,
    ) -> io::Result<Self> {
        let (stop, stopping) = watch::channel(None);
        let mut queues = Vec::new();
        let mut tasks = Vec::new();
        let mut retries = Vec::new();
        let edge = Arc::new((pop.to_owned(), spool.to_owned()));
        for ((feed, metrics), secrets) in feeds.iter().zip(&metrics).zip(secrets) {
            let (queue, objects) = mpsc::unbounded_channel();
            for object in outbox.waiting(&feed.name)? {
                metrics.backlog.add_object(object.bytes);
                // Objects without a summary are counted when their upload has made one.
                metrics.backlog.recovered.inc_by(object.summary.as_ref().map_or(0, |summary| summary.events));
                let _ = queue.send(object);
            }
            queues.push(queue);
            let retry = Arc::new(Notify::new());
            retries.push((feed.name.clone(), Arc::clone(&retry), Arc::clone(metrics)));
            let task = FeedTask {
                name: feed.name.clone(),
                outbox: Arc::clone(outbox),
                metrics: Arc::clone(metrics),
                stopping: stopping.clone(),
                retry,
                // In a sequence, the next object only after the one before is acknowledged.
                uploads: if feed.layout == Layout::Sequence { 1 } else { feed.sink.uploads() },
            };
            tasks.push((task, feed.sink.clone(), Arc::clone(secrets), objects, feed.manifest_secs > 0));
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            // For folder sinks. Thousands of feeds become due together; their files need not be open together.
            .max_blocking_threads(FOLDER_THREADS)
            .enable_all()
            .build()?;
        let guard = panics.guard();
        let thread = std::thread::Builder::new().name("deliver".into()).spawn(move || {
            let _guard = guard;
            runtime.block_on(async {
                let mut running = JoinSet::new();
                let mut feeds = HashMap::new();
                let looking = Arc::new(Semaphore::new(neighbours::CONCURRENT));
                for (task, sink, secrets, objects, has_manifests) in tasks {
                    let feed = (task.name.clone(), Arc::clone(&task.metrics));
                    let (edge, looking) = (Arc::clone(&edge), Arc::clone(&looking));
                    let handle = running.spawn(async move {
                        let sink = open(&task.name, &sink, secrets).await;
                        if has_manifests {
                            let name = task.name.clone();
                            tokio::spawn(neighbours::report(name, edge, Arc::clone(&sink), looking));
                        }
                        task.run(sink, objects).await;
                    });
                    feeds.insert(handle.id(), feed);
                }
                while let Some(ended) = running.join_next().await {
                    if let Err(failure) = ended
                        && let Some((feed, metrics)) = feeds.get(&failure.id())
                    {
                        metrics.parked.set(1);
                        tracing::error!(feed, %failure, "delivery of the feed failed; its objects stay in the outbox until the next start");
                    }
                }
            });
            // A folder sink may hang in a system call, which cannot be interrupted.
            runtime.shutdown_timeout(Duration::from_secs(1));
        })?;
        Ok(Self { thread, queues, metrics, stop, retries: FeedRetries::new(retries) })
    }

    /// The way to retry a feed now.
    pub fn retries(&self) -> FeedRetries {
        self.retries.clone()
    }

    /// The function that the spool calls for each finished object.
    pub fn intake(&self) -> impl FnMut(usize, Object) + Send + 'static {
        let queues = self.queues.clone();
        let metrics = self.metrics.clone();
        move |feed, object| {
            metrics[feed].backlog.add_object(object.bytes);
            // The objects of a task that has ended stay in the outbox, where the next start finds them.
            let _ = queues[feed].send(object);
        }
    }

    /// Delivers waiting objects until `deadline`; the others stay in the outbox.
    pub fn drain(self, deadline: Instant) {
        let Self { thread, queues, stop, .. } = self;
        stop.send_replace(Some(deadline));
        drop(queues);
        if thread.join().is_err() {
            tracing::error!("delivery thread failed; objects stay in the outbox until the next start");
        }
    }
}

/// Opens the configured sink.
async fn open(feed: &str, config: &config::Sink, secrets: Arc<SecretStore>) -> Arc<dyn Sink> {
    match config {
        config::Sink::Dir(config) => Arc::new(DirSink::new(&config.path)),
        config::Sink::S3(config) => Arc::new(S3Sink::new(feed, config).await),
        config::Sink::Webhook(config) => Arc::new(WebhookSink::new(feed, config, secrets)),
        config::Sink::Nats(config) => Arc::new(NatsSink::new(feed, config)),
    }
}
