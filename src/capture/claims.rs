//! Which thread writes into which rings.
//!
//! A ring has one producer, so each thread that captures has a set of them, one ring for each worker. It claims a set
//! with its first click, the only time it takes a lock, and gives it back when it ends. A set is bound to one
//! [`Capture`](super::Capture), of which a process may have several.

use std::{
    cell::RefCell,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use super::{Shared, memory::Mapped, ring::Producer};

/// The producers of one thread, in the order of the workers.
pub(super) type Set = Box<[Producer<Arc<Mapped>>]>;

/// How long a thread that could get no set goes without before it tries again.
const RETRY: Duration = Duration::from_secs(1);

struct Claim {
    /// Also keeps the address of a `Capture` that is gone from being another one's.
    owner: Weak<Shared>,
    set: Option<Set>,
    /// When this was last tried; of a claim without a set.
    tried: Instant,
}

thread_local! {
    static CLAIMS: RefCell<Vec<Claim>> = const { RefCell::new(Vec::new()) };
}

/// Does something with this thread's producer for a worker. `None` when there is none to be had.
pub(super) fn with_producer<R>(
    shared: &Arc<Shared>,
    worker: usize,
    act: impl FnOnce(&mut Producer<Arc<Mapped>>) -> R,
) -> Option<R> {
    // Fails on a thread that is ending.
    let done = CLAIMS.try_with(|claims| {
        let mut claims = claims.borrow_mut();
        let known = claims.iter_mut().position(|claim| std::ptr::eq(claim.owner.as_ptr(), Arc::as_ptr(shared)));
        let claim = match known {
            Some(at) => &mut claims[at],
            None => claim(shared, &mut claims),
        };
        if claim.set.is_none() && claim.tried.elapsed() >= RETRY {
            claim.set = shared.claim();
            claim.tried = Instant::now();
        }
        claim.set.as_mut().and_then(|set| set.get_mut(worker)).map(act)
    });
    done.ok().flatten()
}

#[cold]
fn claim<'a>(shared: &Arc<Shared>, claims: &'a mut Vec<Claim>) -> &'a mut Claim {
    claims.retain(|claim| claim.owner.strong_count() > 0);
    claims.push_mut(Claim { owner: Arc::downgrade(shared), set: shared.claim(), tried: Instant::now() })
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let (Some(owner), Some(set)) = (self.owner.upgrade(), self.set.take()) {
            owner.give_back(set);
        }
    }
}
