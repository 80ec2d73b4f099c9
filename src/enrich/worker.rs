//! The loop of a worker: reads clicks from its rings, and sends batches of events to the spool.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::Sender;

use super::{
    Batch, NAP, Routing, Shared,
    encoder::{Encoded, Enricher},
    frame::Origin,
    text,
};
use crate::{
    capture::{Inlet, RingPosition},
    click::{RawClick, Visit},
    event::MAX_EVENT,
    files::Cached,
    runtime::{clock, failpoint::fail_point},
    telemetry::drops::DropReason,
};

/// A batch is sent when its frames have grown to this many bytes, or when the rings are empty.
const BATCH_BYTES: usize = 128 * 1024;

/// A batch is sent when it is this old.
const BATCH_AGE: Duration = Duration::from_millis(100);

pub struct Worker<M> {
    shared: Arc<Shared>,
    journal: Arc<Sender<M>>,
    /// Where events go.
    routing: Arc<Routing>,
    newest: Cached<Routing>,
    enricher: Enricher,
    batch: Batch,
    /// The feeds that take the click at hand.
    chosen: Vec<u16>,
}

impl<M: From<Batch>> Worker<M> {
    pub fn new(shared: Arc<Shared>, journal: Arc<Sender<M>>) -> Self {
        let (enricher, newest) = (Enricher::new(&shared), shared.routing.cached());
        let routing = shared.routing.load();
        Self { shared, journal, routing, newest, enricher, batch: Batch::default(), chosen: Vec::new() }
    }

    /// Works until `stopping` is set and the rings are empty.
    pub fn run(mut self, mut inlet: Inlet, stopping: &AtomicBool) {
        let mut batch_began = Instant::now();
        loop {
            // Read before the rings, so that every click that was pushed before the flag was set is seen.
            let last_round = stopping.load(Ordering::Acquire);
            while let Some((click, position)) = inlet.pop() {
                if self.batch.is_empty() {
                    batch_began = Instant::now();
                }
                self.renew();
                let visit = self.take(&click, position);
                self.batch.read(position);
                if let Some(visit) = visit {
                    inlet.note(position, visit);
                }
                if self.batch.frames.len() >= BATCH_BYTES || batch_began.elapsed() >= BATCH_AGE {
                    self.flush();
                }
            }
            self.flush();
            for _ in 0..inlet.take_damaged() {
                self.shared.metrics.dropped.count(DropReason::Damaged);
            }
            if last_round {
                return;
            }
            std::thread::sleep(NAP);
        }
    }

    /// Takes up the newest routing, if there is another one: a comparison of two pointers for each click. A batch may
    /// then name feeds of both, and it is sent after the change of the feeds, which was sent before the routing was
    /// published.
    fn renew(&mut self) {
        let newest = self.newest.load();
        if !Arc::ptr_eq(newest, &self.routing) {
            self.routing = Arc::clone(newest);
            self.enricher.set_policies(&self.routing.policies);
        }
    }

    /// Makes an event of a click. Returns the visit that the click belongs to, if any.
    fn take(&mut self, click: &RawClick<'_>, position: RingPosition) -> Option<Visit> {
        fail_point("click_read");
        let facts = click.facts();
        let tally = self.shared.counts;
        let feeds = self.routing.router.feeds(text(facts.texts.workspace));
        if !tally && feeds.is_empty() {
            self.shared.metrics.dropped.count(DropReason::NoFeed);
            return None;
        }
        let begun = self.batch.begin(feeds.len());
        let encoded = catch_unwind(AssertUnwindSafe(|| {
            let takes = |traffic| {
                self.routing.router.choose(feeds, traffic, &mut self.chosen);
                !self.chosen.is_empty()
            };
            let encoded = self.enricher.encode(&facts, tally, takes, click.visit(), &mut self.batch.frames)?;
            #[cfg(debug_assertions)]
            super::leak::spill(&facts.client, &mut self.batch.frames, &self.shared.metrics);
            fail_point("enriched");
            serde_json::Result::Ok(encoded)
        }));
        if let Ok(Ok(Encoded { event, .. })) = encoded
            && self.batch.frames.len() - event > MAX_EVENT
        {
            self.batch.discard(begun);
            self.shared.metrics.dropped.count(DropReason::TooLarge);
            tracing::error!(id = %facts.id, limit = MAX_EVENT, "event dropped: too large");
        } else if let Ok(Ok(Encoded { event, visit })) = encoded {
            let feeds = &self.chosen;
            if feeds.is_empty() && !tally {
                // Feeds of its workspace choose other clicks.
                self.batch.discard(begun);
                self.shared.metrics.dropped.count(DropReason::NoFeed);
                return visit;
            }
            for &feed in feeds {
                self.routing.routed[usize::from(feed)].inc();
            }
            if self.shared.tap.is_on() && !feeds.is_empty() {
                self.shared.tap.offer(&self.batch.frames[event..], &facts.texts, feeds);
            }
            let origin = Origin { ring_position: position, micros: facts.micros, id: facts.id };
            self.batch.end(begun, event, &origin, feeds);
            let metrics = &self.shared.metrics;
            metrics.enriched.inc();
            metrics.unfed.inc_by(feeds.is_empty().into());
            self.shared.stats.tallied.inc_by(tally.into());
        } else {
            self.batch.discard(begun);
            self.shared.metrics.dropped.count(DropReason::WorkerFailed);
            tracing::error!(id = %facts.id, "internal error: click dropped; please report this bug");
        }
        encoded.ok()?.ok()?.visit
    }

    fn flush(&mut self) {
        // Keys must be wiped in time even without clicks.
        self.shared.sessions.tick(clock::unix_micros());
        if self.batch.is_empty() {
            return;
        }
        let next = Batch::with_capacity(BATCH_BYTES + 8_192);
        // The journal outlives the workers, and takes batches even when it cannot write any more.
        if self.journal.send(std::mem::replace(&mut self.batch, next).into()).is_err() {
            tracing::error!(
                "internal error: the journal has failed; clicks stay in the rings until the next start; please report this bug"
            );
        }
    }
}
