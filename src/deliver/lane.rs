//! The lane of a feed: its objects, and what becomes of them while the feed's configuration changes.
//!
//! A lane outlives the configuration: a change of the sink ends the [`FeedTask`] and begins another one with the same
//! queue, so that no object is on its way to two sinks. Without a configuration the lane rests, and its objects stay in
//! the outbox; when the feed is configured again, it continues.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use tokio::sync::{Notify, Semaphore, mpsc, watch};

use super::{
    feed::FeedTask,
    metrics::FeedMetrics,
    neighbours,
    order::{FeedSink, NumberedOrder, Order, Orders},
    queue::Queue,
    upload::ensure_summary,
};
use crate::{object::Object, spool::Outbox};

/// See the module.
pub struct Lane {
    pub name: String,
    pub outbox: Arc<Outbox>,
    pub metrics: Arc<FeedMetrics>,
    pub stopping: watch::Receiver<Option<Instant>>,
    pub retry: Arc<Notify>,
    /// The names of the edge and of its spool in keys.
    pub edge: Arc<(String, String)>,
    /// Feeds that look for neighbours at a time.
    pub looking: Arc<Semaphore>,
    pub objects: mpsc::UnboundedReceiver<Object>,
    pub orders: Orders,
    /// The last order to rest after which no upload is under way.
    pub rested: Arc<AtomicU64>,
}

impl Lane {
    /// Runs until the stop's deadline, or until there are no more orders and nothing is left to deliver.
    pub async fn run(mut self) {
        let mut queue = Queue::default();
        let mut next = self.orders.recv().await;
        while let Some((number, order)) = next {
            next = match order {
                Order::Deliver(sink) => self.deliver(&sink, &mut queue).await,
                Order::Rest => self.rest(number, &mut queue).await,
            };
        }
    }

    async fn deliver(&mut self, feed: &FeedSink, queue: &mut Queue) -> Option<NumberedOrder> {
        let sink = feed.open().await;
        if feed.has_manifests {
            let (edge, looking) = (Arc::clone(&self.edge), Arc::clone(&self.looking));
            tokio::spawn(neighbours::report(self.name.clone(), edge, Arc::clone(&sink), looking));
        }
        let task = FeedTask {
            name: self.name.clone(),
            outbox: Arc::clone(&self.outbox),
            metrics: Arc::clone(&self.metrics),
            stopping: self.stopping.clone(),
            retry: Arc::clone(&self.retry),
            uploads: feed.uploads,
            asked: AtomicBool::new(false),
        };
        task.run(sink, queue, &mut self.objects, &mut self.orders).await
    }

    /// Keeps the objects of a feed without a configuration, until there is another order.
    async fn rest(&mut self, number: u64, queue: &mut Queue) -> Option<NumberedOrder> {
        let metrics = &self.metrics;
        let FeedMetrics { parked, oldest, uploading, upload_limit, set_aside, .. } = &**metrics;
        for gauge in [parked, oldest, uploading, upload_limit, set_aside] {
            gauge.set(0);
        }
        // What an earlier process left is counted at its first upload. It may be dropped before that.
        for object in queue.waiting_mut() {
            let _ = ensure_summary(object, metrics).await;
        }
        self.rested.store(number, Ordering::Release);
        loop {
            tokio::select! {
                order = self.orders.recv() => return order,
                Some(object) = self.objects.recv() => queue.push(object),
            }
        }
    }
}
