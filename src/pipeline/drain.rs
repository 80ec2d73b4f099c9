//! Drain: stops the stages from the left, each after it has passed on what it holds.

use std::{
    fs::File,
    time::{Duration, Instant},
};

use super::{Account, Pipeline};

impl Pipeline {
    /// Stops. Call it when no redirector is called any more. What cannot be packed and delivered within `timeout` stays
    /// in the journal and in the outbox for the next start; with zero, that is everything, and no sink is waited for.
    pub fn drain(self, timeout: Duration) -> Account {
        let capture = self.capture.clone();
        let (account, lock) = self.stop_stages(Instant::now() + timeout);
        capture.close();
        drop(lock);
        account
    }

    /// Stops for a successor, which may open the spool and read all rings from now on. The redirector still captures
    /// clicks, for the successor. Nothing is waited for but the disk.
    pub fn hand_over(self) -> Account {
        let capture = self.capture.clone();
        let (account, lock) = self.stop_stages(Instant::now());
        capture.release();
        drop(lock);
        account
    }

    /// Returns the lock of the spool.
    fn stop_stages(self, deadline: Instant) -> (Account, File) {
        if let Some(fleet) = self.fleet {
            fleet.stop();
        }
        // Set first: workers that wait for a spool that cannot write must end, too.
        self.spool.set_deadline(deadline);
        self.enrich.drain();
        let lock = self.spool.drain();
        self.deliver.drain(deadline);
        self.redirector.save();
        (self.gauges.account(), lock)
    }
}
