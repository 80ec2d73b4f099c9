//! Drain: stops the stages from the left, each after it has passed on what it holds.

use std::time::{Duration, Instant};

use super::{Account, Pipeline};

impl Pipeline {
    /// Stops. Call it when no redirector is called any more. Every captured click becomes part of a finished object;
    /// what cannot be delivered within `timeout` stays in the outbox for the next start.
    pub fn drain(self, timeout: Duration) -> Account {
        let deadline = Instant::now() + timeout;
        // Set first: workers that wait for a spool that cannot write must end, too.
        self.spool.set_deadline(deadline);
        self.enrich.drain();
        let lock = self.spool.drain();
        self.deliver.drain(deadline);
        self.capture.close();
        drop(lock);
        self.gauges.account()
    }
}
