//! Capture: from the answered request to a raw click in a queue, without a lock, a system call or a wait.
//!
//! A [`RawClick`] is one allocation that holds everything the event needs of the request and of the link *as it is
//! now*: what changes later (the catalog, the configuration) does not change it. Clicks of one client address always
//! go to the same queue, so that the worker behind it sees all of a visitor's clicks and needs to share nothing.
//!
//! The client address lives in the raw click and nowhere else ([`address`]); it is wiped when the click is dropped.
//!
//! A full queue never delays the redirect: the click is refused, and the caller counts it as dropped.

pub mod address;
pub mod id;
pub mod raw;

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

pub use address::ClientAddr;
pub use id::EventId;
pub use raw::{Facts, RawClick, Texts};

/// The queues between the redirect and the workers. Cheap to clone.
#[derive(Clone)]
pub struct Capture {
    queues: Arc<[ArrayQueue<RawClick>]>,
}

impl Capture {
    /// `workers` queues of `queue_clicks` clicks each.
    pub fn new(workers: usize, queue_clicks: usize) -> Self {
        Self { queues: (0..workers.max(1)).map(|_| ArrayQueue::new(queue_clicks.max(1))).collect() }
    }

    /// Hands a click to the worker that owns its client address. False when that worker's queue is full; the click
    /// is then gone, and the caller counts it.
    pub fn push(&self, facts: &Facts<'_>) -> bool {
        let queue = &self.queues[facts.client.shard(self.queues.len())];
        !queue.is_full() && queue.push(RawClick::encode(facts)).is_ok()
    }

    /// The next click of worker `worker`, oldest first.
    pub fn pop(&self, worker: usize) -> Option<RawClick> {
        self.queues[worker].pop()
    }

    /// Number of queues.
    pub fn queues(&self) -> usize {
        self.queues.len()
    }

    /// Clicks that wait in all queues.
    pub fn depth(&self) -> usize {
        self.queues.iter().map(ArrayQueue::len).sum()
    }

    /// Clicks that all queues together can hold.
    pub fn capacity(&self) -> usize {
        self.queues.iter().map(ArrayQueue::capacity).sum()
    }
}
