//! Enrichment: worker threads turn raw clicks into click events, and send them to the spool in batches.
//!
//! Each worker owns one end of the rings ([`Inlet`]) and all of its caches and buffers. The only thing that workers
//! share and write is the table of [`session`](crate::session), in which two workers rarely need the same place. They
//! poll their rings and sleep for [`NAP`] when these are empty: waking a worker would cost the redirect a system
//! call.
//!
//! What workers are configured with ([`Routing`]) is replaced while they work. They look for another one with each
//! click, and a feed has one number as long as the process runs, so a batch on its way keeps its meaning.
//!
//! A worker that fails on a click counts it as dropped, logs it, and continues with the next.
//!
//! | module | content |
//! |---|---|
//! | `worker` | the loop from the rings to the spool |
//! | [`encoder`] | from the facts of a click to its event and its tally |
//! | `batch`, [`frame`] | events on their way to the journal, in its format |
//! | `fragments` | JSON that the catalog has rendered, checked once and cached |
//! | [`route`] | which feeds take events |
//! | [`tap`] | events for those who watch |

mod batch;
pub mod encoder;
mod fragments;
pub mod frame;
#[cfg(debug_assertions)]
mod leak;
pub mod metrics;
pub mod route;
pub mod tap;
mod worker;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use crossbeam_channel::Sender;
use prometheus::IntCounter;

pub use batch::Batch;
use metrics::EnrichMetrics;
pub use route::Router;
use tap::Tap;
use worker::Worker;

use crate::{
    capture::Inlet,
    config,
    files::Reloadable,
    quality,
    runtime::PanicWatch,
    session::Sessions,
    stats::metrics::StatsMetrics,
    visitor::{Sources, bot::CrawlerStore, geo::GeoStore, privacy::Policies},
};

/// How long a worker sleeps when its rings are empty. They must hold what arrives in that time. Under load a worker
/// then wakes for hundreds of clicks at a time, and rarely takes the processor from a listener.
pub const NAP: Duration = Duration::from_millis(10);

/// What all workers share.
pub struct Shared {
    pub geo: Arc<GeoStore>,
    pub sources: Arc<Sources>,
    pub sessions: Arc<Sessions>,
    /// The operator's lists: crawlers, and agents that are not crawlers.
    pub crawlers: Arc<CrawlerStore>,
    /// What a change of the configuration replaces.
    pub routing: Arc<Reloadable<Routing>>,
    pub pop: String,
    pub metrics: Arc<EnrichMetrics>,
    pub stats: Arc<StatsMetrics>,
    /// State of the detectors of abuse, shared with the redirect.
    pub quality: Arc<quality::State>,
    /// Whether clicks are counted.
    pub counts: bool,
    /// Where events are shown to those who watch.
    pub tap: Arc<Tap>,
}

/// Where events go, and what they reveal.
pub struct Routing {
    pub router: Router,
    /// Events made for each feed, by number.
    pub routed: Vec<IntCounter>,
    pub policies: Arc<Policies>,
}

impl Routing {
    /// Routes to no feed.
    pub fn nowhere(config: &config::Enrich) -> Self {
        Self { router: Router::new([]), routed: Vec::new(), policies: Arc::new(Policies::new(config)) }
    }
}

/// The running workers.
pub struct Enrich {
    threads: Vec<JoinHandle<()>>,
    stopping: Arc<AtomicBool>,
}

impl Enrich {
    /// Starts one worker for each inlet. Workers send batches to `spool`, and wait while it is full. Only they own the
    /// sender: it is dropped when the last one ends.
    ///
    /// # Errors
    /// When the system cannot start a thread.
    pub fn start<M: From<Batch> + Send + 'static>(
        shared: Shared,
        inlets: Vec<Inlet>,
        spool: &Arc<Sender<M>>,
        panics: &PanicWatch,
    ) -> io::Result<Self> {
        let shared = Arc::new(shared);
        let stopping = Arc::new(AtomicBool::new(false));
        let spawn = |(number, inlet)| {
            let worker = Worker::new(Arc::clone(&shared), Arc::clone(spool));
            let stopping = Arc::clone(&stopping);
            let name = format!("enrich-{number}");
            let guard = panics.guard();
            std::thread::Builder::new().name(name).spawn(move || {
                let _guard = guard;
                worker.run(inlet, &stopping);
            })
        };
        let threads = inlets.into_iter().enumerate().map(spawn).collect::<io::Result<_>>()?;
        Ok(Self { threads, stopping })
    }

    /// Waits until every captured click is in the spool. Call it when no clicks are captured any more.
    pub fn drain(self) {
        self.stopping.store(true, Ordering::Release);
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!(
                    "internal error: an enrichment worker has failed; its clicks stay in the rings; please report this bug"
                );
            }
        }
    }
}

/// Text that is ours and therefore UTF-8.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}
