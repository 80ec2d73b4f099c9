//! Enrichment: worker threads turn raw clicks into click events and hand them on, feed by feed.
//!
//! Each worker owns one queue and everything it needs to know: caches, sessions, buffers. Workers share nothing that
//! is written, so none waits for another. They poll their queue and sleep for [`NAP`] when it is empty: waking a worker
//! would cost the redirect a system call.
//!
//! A worker that fails on one click counts it as dropped, says so, and goes on with the next.

pub mod agent;
pub mod bot;
pub mod geo;
pub mod language;
pub mod quality;
pub mod query;
pub mod referrer;
pub mod route;
pub mod session;
pub mod worker;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use crossbeam::channel::Sender;

pub use geo::GeoStore;
pub use route::Router;
use worker::Worker;

use crate::{
    capture::Capture,
    capture::EventId,
    config,
    telemetry::metrics::{FeedMetrics, Metrics},
};

/// How long a worker sleeps when its queue is empty. A queue must hold what arrives meanwhile. Under load a worker
/// then wakes for hundreds of clicks at a time, and seldom takes the processor from a listener.
pub const NAP: Duration = Duration::from_millis(10);

/// Events on their way from a worker to the spool.
#[derive(Default)]
pub struct Batch {
    /// Encoded events, each ended by a line feed.
    pub text: Vec<u8>,
    /// Which part of `text` goes to which feed. An event of several feeds stands once and is referred to often.
    pub entries: Vec<Entry>,
}

/// One event for one feed.
#[derive(Clone, Copy)]
pub struct Entry {
    pub feed: u16,
    pub id: EventId,
    /// When the click was answered, microseconds since the Unix epoch.
    pub micros: u64,
    /// Range in [`Batch::text`].
    pub start: u32,
    pub end: u32,
}

/// What all workers share, and only read.
pub struct Shared {
    pub capture: Capture,
    pub geo: Arc<GeoStore>,
    pub router: Router,
    pub pop: String,
    pub config: config::Enrich,
    pub metrics: Arc<Metrics>,
    /// In the order of the configuration.
    pub feeds: Vec<Arc<FeedMetrics>>,
}

/// The running workers.
pub struct Enrich {
    threads: Vec<JoinHandle<()>>,
    stopping: Arc<AtomicBool>,
}

impl Enrich {
    /// Starts one worker for each queue. They send batches to `spool`, and wait when it takes none.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub fn start(shared: Shared, spool: &Sender<Batch>) -> io::Result<Self> {
        let shared = Arc::new(shared);
        let stopping = Arc::new(AtomicBool::new(false));
        let spawn = |queue| {
            let worker = Worker::new(queue, Arc::clone(&shared), spool.clone());
            let stopping = Arc::clone(&stopping);
            let name = format!("enrich-{queue}");
            std::thread::Builder::new().name(name).spawn(move || worker.run(&stopping))
        };
        let threads = (0..shared.capture.queues()).map(spawn).collect::<io::Result<_>>()?;
        Ok(Self { threads, stopping })
    }

    /// Waits until every captured click was handed to the spool. Call it when nothing is captured any more.
    pub fn drain(self) {
        self.stopping.store(true, Ordering::Release);
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a worker thread has failed; its queue is lost");
            }
        }
    }
}
