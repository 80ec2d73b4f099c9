//! The lanes of all feeds, by number: where finished objects come in, and where a change of the feeds arrives.

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use tokio::sync::{Notify, Semaphore, mpsc, watch};

use super::{
    lane::Lane,
    neighbours,
    order::{FeedSink, NumberedOrder, Order},
    retries::FeedRetries,
};
use crate::{
    object::Object,
    spool::{Outbox, pack::Delivery},
};

/// See the module. Cheap to clone; clones are the same lanes.
#[derive(Clone)]
pub struct Lanes(Arc<Shared>);

struct Shared {
    outbox: Arc<Outbox>,
    edge: Arc<(String, String)>,
    looking: Arc<Semaphore>,
    stopping: watch::Receiver<Option<Instant>>,
    retries: FeedRetries,
    /// `None` when a stop has begun.
    open: Mutex<Option<Open>>,
}

struct Open {
    by_number: Vec<Option<Entry>>,
    /// To the thread that runs them.
    new: mpsc::UnboundedSender<Lane>,
}

/// The way to a lane.
struct Entry {
    name: String,
    objects: mpsc::UnboundedSender<Object>,
    orders: mpsc::UnboundedSender<NumberedOrder>,
    /// Orders that were sent.
    sent: u64,
    /// See [`Lane::rested`].
    rested: Arc<AtomicU64>,
}

impl Lanes {
    /// No lanes yet. New ones are sent to `new`. `edge` are the names of the edge and of its spool in keys.
    pub(super) fn new(
        outbox: &Arc<Outbox>,
        edge: (&str, &str),
        stopping: watch::Receiver<Option<Instant>>,
        new: mpsc::UnboundedSender<Lane>,
    ) -> Self {
        Self(Arc::new(Shared {
            outbox: Arc::clone(outbox),
            edge: Arc::new((edge.0.to_owned(), edge.1.to_owned())),
            looking: Arc::new(Semaphore::new(neighbours::CONCURRENT)),
            stopping,
            retries: FeedRetries::default(),
            open: Mutex::new(Some(Open { by_number: Vec::new(), new })),
        }))
    }

    /// The way to retry a feed now.
    pub fn retries(&self) -> FeedRetries {
        self.0.retries.clone()
    }

    /// Starts the deliveries of feeds that are new or have changed, and ends those of others. The lanes of all other
    /// feeds notice nothing. Call it between two rounds of the packer: what waits in the outbox then comes in no other
    /// way.
    pub fn change(&self, feeds: Vec<FeedSink>, removed: &[u16]) {
        let mut guard = self.open();
        let Some(open) = guard.as_mut() else { return };
        for number in removed {
            if let Some(Some(entry)) = open.by_number.get_mut(usize::from(*number)) {
                self.0.retries.remove(&entry.name);
                entry.order(Order::Rest);
            }
        }
        for feed in feeds {
            let number = usize::from(feed.number);
            let order = match open.by_number.get_mut(number) {
                Some(Some(entry)) => entry.order(Order::Deliver(feed)),
                _ => Some(Order::Deliver(feed)),
            };
            // There is no lane, or it has failed.
            let Some(Order::Deliver(feed)) = order else { continue };
            let waiting = self.0.outbox.waiting(&feed.name).unwrap_or_else(|error| {
                tracing::error!(feed = feed.name, %error, "outbox not read; objects of the feed wait for the next start");
                Vec::new()
            });
            self.add(open, feed, waiting);
        }
    }

    /// Adds the lane of a feed that an earlier process may have had, at the start.
    ///
    /// # Errors
    /// When the outbox cannot be read.
    pub(super) fn begin(&self, feed: FeedSink) -> io::Result<()> {
        let waiting = self.0.outbox.waiting(&feed.name)?;
        let backlog = &feed.metrics.backlog;
        for object in &waiting {
            backlog.add_object(object.bytes);
            // Objects without a summary are counted when their upload has made one.
            backlog.recovered.inc_by(object.summary.as_ref().map_or(0, |summary| summary.events));
        }
        if let Some(open) = self.open().as_mut() {
            self.add(open, feed, waiting);
        }
        Ok(())
    }

    /// Takes no more objects. What the lanes have is delivered.
    pub(super) fn close(&self) {
        *self.open() = None;
    }

    fn add(&self, open: &mut Open, feed: FeedSink, waiting: Vec<Object>) {
        let Shared { outbox, edge, looking, stopping, retries, .. } = &*self.0;
        let ((objects, intake), (orders, from_us)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        let (retry, rested) = (Arc::new(Notify::new()), Arc::new(AtomicU64::new(0)));
        retries.add(&feed.name, Arc::clone(&retry), Arc::clone(&feed.metrics));
        let lane = Lane {
            name: feed.name.clone(),
            outbox: Arc::clone(outbox),
            metrics: Arc::clone(&feed.metrics),
            stopping: stopping.clone(),
            retry,
            edge: Arc::clone(edge),
            looking: Arc::clone(looking),
            objects: intake,
            orders: from_us,
            rested: Arc::clone(&rested),
        };
        let mut entry = Entry { name: feed.name.clone(), objects, orders, sent: 0, rested };
        for object in waiting {
            let _ = entry.objects.send(object);
        }
        let number = usize::from(feed.number);
        entry.order(Order::Deliver(feed));
        if open.by_number.len() <= number {
            open.by_number.resize_with(number + 1, || None);
        }
        open.by_number[number] = Some(entry);
        let _ = open.new.send(lane);
    }

    fn open(&self) -> MutexGuard<'_, Option<Open>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Delivery for Lanes {
    fn finished(&mut self, feed: u16, object: Object) {
        let open = self.open();
        if let Some(Some(entry)) = open.as_ref().and_then(|open| open.by_number.get(usize::from(feed))) {
            // The objects of a lane that has failed stay in the outbox.
            let _ = entry.objects.send(object);
        }
    }

    fn give_up(&mut self, feed: u16) -> bool {
        let mut open = self.open();
        let Some(entry) = open.as_mut().and_then(|open| open.by_number.get_mut(usize::from(feed))) else {
            return true;
        };
        let rests = entry
            .as_ref()
            .is_none_or(|entry| entry.orders.is_closed() || entry.rested.load(Ordering::Acquire) == entry.sent);
        if rests {
            *entry = None;
        }
        rests
    }
}

impl Entry {
    /// Sends an order. Returns it if the lane has failed.
    fn order(&mut self, order: Order) -> Option<Order> {
        self.sent += 1;
        self.orders.send((self.sent, order)).err().map(|failed| failed.0.1)
    }
}
