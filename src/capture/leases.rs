//! Leases: which thread writes into which rings.
//!
//! A ring has one producer, so each thread that captures has producers of its own, one for each worker. It leases them
//! with its first click, the only time that it takes a lock, and returns them when it ends. A lease is bound to one
//! [`Capture`](super::Capture), of which a process may have several.

use std::{
    cell::RefCell,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use super::{Shared, memory::Mapped, ring::Producer};

/// The producers of one thread, in the order of the workers.
pub(super) type Producers = Box<[Producer<Arc<Mapped>>]>;

/// Time after which a thread that got no producers tries again.
const RETRY: Duration = Duration::from_secs(1);

struct Lease {
    /// Also keeps the address of a `Capture` that was dropped from being reused by another one.
    owner: Weak<Shared>,
    producers: Option<Producers>,
    /// When producers were last asked for; used while it has no producers.
    tried: Instant,
}

thread_local! {
    static LEASES: RefCell<Vec<Lease>> = const { RefCell::new(Vec::new()) };
}

/// Runs `act` with this thread's producer for a worker. `None` when this thread cannot have one.
pub(super) fn with_producer<R>(
    shared: &Arc<Shared>,
    worker: usize,
    act: impl FnOnce(&mut Producer<Arc<Mapped>>) -> R,
) -> Option<R> {
    // Fails on a thread that is ending.
    let done = LEASES.try_with(|leases| {
        let mut leases = leases.borrow_mut();
        let known = leases.iter_mut().position(|lease| std::ptr::eq(lease.owner.as_ptr(), Arc::as_ptr(shared)));
        let lease = match known {
            Some(at) => &mut leases[at],
            None => begin(shared, &mut leases),
        };
        if lease.producers.is_none() && lease.tried.elapsed() >= RETRY {
            lease.producers = shared.lease();
            lease.tried = Instant::now();
        }
        lease.producers.as_mut().and_then(|producers| producers.get_mut(worker)).map(act)
    });
    done.ok().flatten()
}

#[cold]
fn begin<'a>(shared: &Arc<Shared>, leases: &'a mut Vec<Lease>) -> &'a mut Lease {
    leases.retain(|lease| lease.owner.strong_count() > 0);
    leases.push_mut(Lease { owner: Arc::downgrade(shared), producers: shared.lease(), tried: Instant::now() })
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let (Some(owner), Some(producers)) = (self.owner.upgrade(), self.producers.take()) {
            owner.end_lease(producers);
        }
    }
}
