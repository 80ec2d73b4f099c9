//! Enrichment: worker threads turn raw clicks into click events, and send them to the spool in batches.
//!
//! Each worker owns one end of the rings ([`Inlet`]) and all of its caches and buffers. The only thing that workers
//! share and write is the table of [`session`](crate::session), in which two workers rarely need the same place. They
//! poll their rings and sleep for [`NAP`] when these are empty: waking a worker would cost the redirect a system
//! call.
//!
//! A worker that fails on a click counts it as dropped, logs it, and continues with the next.
//!
//! | module | content |
//! |---|---|
//! | `worker` | the loop from the rings to the spool |
//! | [`encoder`] | from the facts of a click to its event and its tally |
//! | `fragments` | JSON that the catalog has rendered, checked once and cached |
//! | [`privacy`], [`route`] | what events reveal of visitors, which feeds take them |

pub mod encoder;
mod fragments;
#[cfg(debug_assertions)]
mod leak;
pub mod metrics;
pub mod privacy;
pub mod route;
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

use metrics::EnrichMetrics;
pub use route::Router;
use worker::Worker;

use crate::{
    capture::{Inlet, RingPosition},
    click::EventId,
    config, quality,
    runtime::PanicWatch,
    session::Sessions,
    stats::metrics::StatsMetrics,
    visitor::{Sources, bot::CrawlerStore, geo::GeoStore},
};

/// How long a worker sleeps when its rings are empty. They must hold what arrives in that time. Under load a worker
/// then wakes for hundreds of clicks at a time, and rarely takes the processor from a listener.
pub const NAP: Duration = Duration::from_millis(10);

/// Events on their way from a worker to the spool.
#[derive(Default)]
pub struct Batch {
    /// Tallies and encoded events, one after the other.
    pub text: Vec<u8>,
    pub entries: Vec<Entry>,
    /// The feeds of all entries.
    feeds: Vec<u16>,
    /// How far each ring has been read with this batch, including clicks that became no event.
    pub ring_positions: Vec<RingPosition>,
}

/// One event.
#[derive(Clone, Copy)]
pub struct Entry {
    pub id: EventId,
    /// When the click was answered, microseconds since the Unix epoch.
    pub micros: u64,
    /// Where the click lies in its ring.
    pub ring_position: RingPosition,
    /// Where in [`Batch::text`] its tally begins, the event follows, and both end.
    start: u32,
    event: u32,
    end: u32,
    /// Range of its feeds, see [`Batch::feeds_of`].
    feeds: (u32, u32),
}

impl Batch {
    /// Adds an event whose tally was appended from `start` on, and its text from `event` on.
    pub fn add(
        &mut self,
        id: EventId,
        micros: u64,
        ring_position: RingPosition,
        (start, event): (usize, usize),
        feeds: &[u16],
    ) {
        let first = self.feeds.len() as u32;
        self.feeds.extend_from_slice(feeds);
        let (end, feeds) = (self.text.len() as u32, (first, self.feeds.len() as u32));
        self.entries.push(Entry { id, micros, ring_position, start: start as u32, event: event as u32, end, feeds });
    }

    /// Whether it holds neither events nor positions of rings.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.ring_positions.is_empty()
    }

    /// Records that a ring has been read up to here.
    pub fn read(&mut self, ring_position: RingPosition) {
        match self.ring_positions.iter_mut().find(|known| known.ring == ring_position.ring) {
            Some(known) => known.end = ring_position.end,
            None => self.ring_positions.push(ring_position),
        }
    }

    /// The tally of an entry; empty when clicks are not counted.
    pub fn tally_of(&self, entry: &Entry) -> &[u8] {
        &self.text[entry.start as usize..entry.event as usize]
    }

    /// The event as JSON; empty when no feed takes it.
    pub fn event_of(&self, entry: &Entry) -> &[u8] {
        &self.text[entry.event as usize..entry.end as usize]
    }

    /// The feeds that an entry goes to.
    pub fn feeds_of(&self, entry: &Entry) -> &[u16] {
        &self.feeds[entry.feeds.0 as usize..entry.feeds.1 as usize]
    }
}

/// What all workers share.
pub struct Shared {
    pub geo: Arc<GeoStore>,
    pub sources: Arc<Sources>,
    pub sessions: Arc<Sessions>,
    /// The operator's lists: crawlers, and agents that are not crawlers.
    pub crawlers: Arc<CrawlerStore>,
    pub router: Router,
    pub pop: String,
    pub config: config::Enrich,
    pub metrics: Arc<EnrichMetrics>,
    pub stats: Arc<StatsMetrics>,
    /// State of the detectors of abuse, shared with the redirect.
    pub quality: Arc<quality::State>,
    /// Events made for each feed, in the order of the configuration.
    pub feeds: Vec<IntCounter>,
    /// Whether clicks are counted.
    pub counts: bool,
}

/// The running workers.
pub struct Enrich {
    threads: Vec<JoinHandle<()>>,
    stopping: Arc<AtomicBool>,
}

impl Enrich {
    /// Starts one worker for each inlet. Workers send batches to `spool`, and wait while it is full.
    ///
    /// # Errors
    /// When the system cannot start a thread.
    pub fn start(shared: Shared, inlets: Vec<Inlet>, spool: &Sender<Batch>, panics: &PanicWatch) -> io::Result<Self> {
        let shared = Arc::new(shared);
        let stopping = Arc::new(AtomicBool::new(false));
        let spawn = |(number, inlet)| {
            let worker = Worker::new(Arc::clone(&shared), spool.clone());
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
