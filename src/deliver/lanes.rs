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
        for feed in feeds.into_iter().map(Box::new) {
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
            backlog.recover_finished(object.summary.as_ref().map_or(0, |summary| summary.events));
        }
        if let Some(open) = self.open().as_mut() {
            self.add(open, Box::new(feed), waiting);
        }
        Ok(())
    }

    /// Takes no more objects. What the lanes have is delivered.
    pub(super) fn close(&self) {
        *self.open() = None;
    }

    fn add(&self, open: &mut Open, feed: Box<FeedSink>, waiting: Vec<Object>) {
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

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, thread, time::Duration};

    use super::*;
    use crate::{
        config,
        deliver::{CustomSinks, Deliver, metrics::DeliverMetrics},
        object::{Maker, ObjectKind},
        runtime::PanicWatch,
        spool::{Limits, disk::RealDisk, metrics::SpoolMetrics},
        stats::metrics::StatsMetrics,
        telemetry::metrics::Registry,
    };

    fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
        let until = Instant::now() + Duration::from_secs(20);
        while !condition() {
            assert!(Instant::now() < until, "{what}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// A finished object of the feed `f` in the outbox.
    fn object(outbox: &Outbox, seq: u64) -> Object {
        let key = Maker { feed: "f", pop: "test", spool: "k3j9x0ab" }.sequence_key(seq, "ndjson");
        let path = outbox.path("f", &key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "{\"id\":\"01a207af-f4ce-7747-b59e-e9bb12afe699\"}\n").unwrap();
        let bytes = path.metadata().unwrap().len();
        Object { key, path, bytes, kind: ObjectKind::Events, summary: None, finished_at: 7 }
    }

    #[test]
    fn a_feed_that_is_removed_keeps_its_objects_and_one_that_is_back_delivers_them() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path();
        let config = config::Spool { retain_secs: 0, ..config::Spool::default() };
        let disk = Arc::new(RealDisk::new(dir).unwrap());
        let outbox = Arc::new(Outbox::open(disk, dir, Arc::new(Limits::new(&config))).unwrap());
        let registry = Registry::new();
        let spool = SpoolMetrics::new(&registry, Arc::new(StatsMetrics::new(&registry)));
        let metrics = Arc::new(DeliverMetrics::new(&registry).feed("f", spool.feed("f")));
        let sink = |bucket: &Path| {
            let text = format!("name = \"f\"\nworkspaces = [\"*\"]\nsink.dir.path = {bucket:?}");
            FeedSink::new(
                3,
                &toml::from_str(&text).unwrap(),
                Arc::clone(&metrics),
                Arc::default(),
                &CustomSinks::default(),
            )
        };
        let [one, two] = ["one", "two"].map(|bucket| dir.join(bucket));
        let deliver = Deliver::start([sink(&one)], ("test", "k3j9x0ab"), &outbox, &PanicWatch::default()).unwrap();
        let mut lanes = deliver.lanes();

        let first = object(&outbox, 1);
        let stored = one.join(&first.key);
        lanes.finished(3, first);
        wait_until("it is delivered", || stored.exists());
        assert!(!lanes.give_up(3), "it delivers");

        lanes.change(Vec::new(), &[3]);
        let second = object(&outbox, 2);
        let [not_stored, stored] = [&one, &two].map(|bucket| bucket.join(&second.key));
        lanes.finished(3, second);
        assert!(lanes.retries().retry("f").is_err());
        lanes.change(vec![sink(&two)], &[]);
        wait_until("it is back", || stored.exists());

        lanes.change(Vec::new(), &[3]);
        wait_until("its objects are given up", || lanes.give_up(3));
        let third = object(&outbox, 3);
        let (path, stored) = (third.path.clone(), two.join(&third.key));
        lanes.finished(3, third);
        assert!(path.exists() && lanes.give_up(3));
        // It finds what waits in the outbox.
        lanes.change(vec![sink(&two)], &[]);
        wait_until("it is back again", || stored.exists());
        deliver.drain(Instant::now() + Duration::from_secs(20));
        assert_eq!((metrics.delivered.get(), not_stored.exists()), (3, false));
    }
}
