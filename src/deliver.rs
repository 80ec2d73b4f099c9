//! Delivery: from the outbox to each customer's sink.
//!
//! Each feed has its own task. The task takes the feed's objects in order, keeps as many uploads under way as the
//! sink allows ([`pace`]), and removes each object from the outbox when the sink has acknowledged it. A feed whose
//! sink fails waits, longer each time, and delays no other feed. A feed whose sink rejects uploads is parked: one
//! upload now and then probes it, until an operator has acted. All tasks share one thread, as they mostly wait. Feeds
//! come, change and go while they run ([`lanes`], [`lane`]).
//!
//! An object's key and bytes never change, and sinks never overwrite: an upload that is repeated, because an answer was
//! lost or the process died, never makes a second object. Sinks that take events ([`webhook`], [`nats`]) read them from
//! the object in [`batch`]es, which never change either. A program that embeds the pipeline can have sinks of its own
//! ([`custom`]). A manifest is delivered after every object of its feed before
//! it, so that it never lists an object that is not there. The trouble of a manifest or rollup delays no events
//! ([`companions`]).

#[cfg(not(all(feature = "nats", feature = "s3", feature = "webhook")))]
mod absent;
pub mod answer;
pub mod backoff;
pub mod batch;
pub mod companions;
pub mod custom;
pub mod dir;
pub mod error;
pub mod feed;
pub mod lane;
pub mod lanes;
pub mod limit;
pub mod metrics;
#[cfg(feature = "nats")]
pub mod nats;
pub mod neighbours;
pub mod order;
pub mod pace;
pub mod policy;
#[cfg(feature = "server")]
pub mod probe;
pub mod progress;
pub mod queue;
pub mod remedy;
pub mod report;
pub mod retries;
#[cfg(feature = "s3")]
pub mod s3;
#[cfg(feature = "server")]
pub mod sample;
pub mod secrets;
pub mod sink;
#[cfg(feature = "server")]
pub mod trial;
pub mod upload;
#[cfg(feature = "webhook")]
pub mod webhook;

use std::{
    collections::HashMap,
    io,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

pub use custom::CustomSinks;
pub use error::SinkError;
pub use lanes::Lanes;
pub use order::FeedSink;
pub use retries::FeedRetries;
pub use sink::{Sink, Stored};

use crate::{runtime::PanicWatch, spool::Outbox};
use lane::Lane;

/// Threads that write into folders and read files, for all feeds.
const FOLDER_THREADS: usize = 32;

/// The running delivery.
pub struct Deliver {
    thread: JoinHandle<()>,
    lanes: Lanes,
    stop: watch::Sender<Option<Instant>>,
}

impl Deliver {
    /// Starts the lanes of these feeds, with the objects that already wait in the outbox. `edge` are the names of the
    /// edge and of its spool in keys.
    ///
    /// # Errors
    /// When the outbox cannot be read, or the system provides no thread.
    pub fn start(
        feeds: impl IntoIterator<Item = FeedSink>,
        edge: (&str, &str),
        outbox: &Arc<Outbox>,
        panics: &PanicWatch,
    ) -> io::Result<Self> {
        let (stop, stopping) = watch::channel(None);
        let (new, to_run) = mpsc::unbounded_channel();
        let lanes = Lanes::new(outbox, edge, stopping, new);
        feeds.into_iter().try_for_each(|feed| lanes.begin(feed))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            // For folder sinks. Thousands of feeds become due together; their files need not be open together.
            .max_blocking_threads(FOLDER_THREADS)
            .enable_all()
            .build()?;
        let guard = panics.guard();
        let thread = std::thread::Builder::new().name("deliver".into()).spawn(move || {
            let _guard = guard;
            runtime.block_on(run(to_run));
            // A folder sink may hang in a system call, which cannot be interrupted.
            runtime.shutdown_timeout(Duration::from_secs(1));
        })?;
        Ok(Self { thread, lanes, stop })
    }

    /// The way to each feed's deliveries, for the spool and for changes of the feeds.
    pub fn lanes(&self) -> Lanes {
        self.lanes.clone()
    }

    /// Delivers waiting objects until `deadline`; the others stay in the outbox.
    pub fn drain(self, deadline: Instant) {
        let Self { thread, lanes, stop } = self;
        stop.send_replace(Some(deadline));
        lanes.close();
        if thread.join().is_err() {
            tracing::error!("delivery thread failed; objects stay in the outbox until the next start");
        }
    }
}

/// Runs lanes until there will be no more of them, and all have ended.
async fn run(mut to_run: mpsc::UnboundedReceiver<Lane>) {
    let mut running = JoinSet::new();
    let mut feeds = HashMap::new();
    let mut open = true;
    while open || !running.is_empty() {
        tokio::select! {
            lane = to_run.recv(), if open => match lane {
                Some(lane) => {
                    let feed = (lane.name.clone(), Arc::clone(&lane.metrics));
                    feeds.insert(running.spawn(lane.run()).id(), feed);
                }
                None => open = false,
            },
            Some(ended) = running.join_next_with_id() => match ended {
                Ok((id, ())) => _ = feeds.remove(&id),
                Err(failure) => if let Some((feed, metrics)) = feeds.remove(&failure.id()) {
                    metrics.parked.set(1);
                    tracing::error!(feed, %failure, "delivery of the feed failed; its objects stay in the outbox until the next start");
                },
            },
        }
    }
}
