//! The thread that follows the bucket and writes to it.

use std::{
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, mpsc, watch},
    time::{sleep, sleep_until},
};

use super::{
    FleetChanges, Parts,
    announcement::Announcement,
    bucket::{self, Bucket},
    error::SyncError,
    nats::Announcer,
    replica::Replica,
    writer::{self, Request},
};
use crate::{config, runtime::priority};

/// Longest wait for the thread at a stop.
const STOP: Duration = Duration::from_secs(2);

/// Longest wait after failures, unless looks are further apart anyway.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Shortest time between two looks that messages cause.
const SHORTEST_GAP: Duration = Duration::from_millis(20);

/// The part of this edge in its fleet.
pub struct Fleet {
    changes: FleetChanges,
    looked: watch::Receiver<bool>,
    stop: Arc<Notify>,
    stopped: crossbeam_channel::Receiver<()>,
}

impl Fleet {
    /// Begins to follow the bucket, in a thread of its own.
    ///
    /// # Errors
    /// When the system provides no thread or sockets.
    pub fn start(config: &config::Fleet, parts: Parts) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(4).enable_all().build()?;
        let (stop, (done, stopped)) = (Arc::new(Notify::new()), crossbeam_channel::bounded(1));
        let (send, requests) = mpsc::channel(writer::WAITING);
        let (looking, looked) = watch::channel(false);
        let (wanted, config, guard) = (Arc::clone(&stop), config.clone(), parts.panics.guard());
        let changes = FleetChanges(config.write.then_some(send));
        parts.metrics.current();
        thread::Builder::new().name("fleet".into()).spawn(move || {
            let _guard = guard;
            priority::lower(priority::LOW);
            runtime.block_on(async {
                tokio::select! {
                    () = wanted.notified() => {}
                    () = run(&config, parts, requests, &looking) => {}
                }
            });
            _ = done.send(());
            // A snapshot that is being installed cannot be interrupted; it is installed whole or not at all.
            runtime.shutdown_background();
        })?;
        Ok(Self { changes, looked, stop, stopped })
    }

    /// What takes changes to the bucket.
    pub fn changes(&self) -> FleetChanges {
        self.changes.clone()
    }

    /// Waits until the edge has what the bucket has, for an edge that begins without a catalog. Returns whether it has.
    pub fn wait_until_current(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        while !*self.looked.borrow() {
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(Duration::from_millis(10));
        }
        true
    }

    /// Stops at once: a change under way is in the bucket or not, and the next start finds out.
    pub fn stop(self) {
        self.stop.notify_one();
        _ = self.stopped.recv_timeout(STOP);
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.stop.notify_one();
    }
}

/// Follows the bucket and serves requests, for ever.
async fn run(
    config: &config::Fleet,
    parts: Parts,
    mut requests: mpsc::Receiver<Request>,
    looking: &watch::Sender<bool>,
) {
    let Parts { store, dir, metrics, requests: counts, .. } = parts;
    let bucket = Bucket::new(&config.bucket).await;
    let mut replica = Replica::new(config, bucket, store, dir, metrics, counts);
    let (announcer, mut announced) = start_nats(config).await;
    let mut pace = Pace::new(config);
    loop {
        tokio::select! {
            biased;
            Some(first) = requests.recv() => {
                if let Some(written) = writer::serve(&mut replica, first, &mut requests).await
                    && let Some(announcer) = &announcer
                {
                    announcer.announce(written.position, &written.delta).await;
                }
                continue;
            }
            Some(announcement) = announced.recv() => {
                if take(&mut replica, announcement, &mut announced).await {
                    continue;
                }
                sleep(SHORTEST_GAP.saturating_sub(pace.last.elapsed())).await;
            }
            () = sleep_until(pace.next.into()) => {}
        }
        let result = replica.sync().await.map(drop);
        if result.is_ok() {
            looking.send_replace(true);
        }
        pace.looked(result);
    }
}

/// Takes all announcements that wait. Returns whether this edge has all that they announce.
async fn take(
    replica: &mut Replica,
    first: Option<Announcement>,
    others: &mut mpsc::Receiver<Option<Announcement>>,
) -> bool {
    let mut has_all = true;
    let mut next = Some(first);
    while let Some(announcement) = next {
        has_all &= match announcement {
            Some(Announcement { position, delta }) => replica.take(position, delta).await,
            // Of another version, or of another program: nothing is known.
            None => false,
        };
        next = others.try_recv().ok();
    }
    has_all
}

/// Connects to NATS where it is configured. Without it, the bucket is looked at all the same.
async fn start_nats(config: &config::Fleet) -> (Option<Announcer>, mpsc::Receiver<Option<Announcement>>) {
    if let Some(nats) = &config.nats {
        match Announcer::start(nats).await {
            Ok((announcer, announced)) => return (Some(announcer), announced),
            Err(error) => tracing::error!(error, "changes of the catalog are not announced"),
        }
    }
    (None, mpsc::channel(1).1)
}

/// When to look, and what to log about it.
struct Pace {
    poll: Duration,
    next: Instant,
    last: Instant,
    failures: u32,
    /// What was logged last, so that it is logged once.
    trouble: Option<String>,
}

impl Pace {
    fn new(config: &config::Fleet) -> Self {
        let now = Instant::now();
        Self { poll: Duration::from_millis(config.poll_millis), next: now, last: now, failures: 0, trouble: None }
    }

    fn looked(&mut self, result: Result<(), SyncError>) {
        self.failures = if result.is_ok() { 0 } else { self.failures.saturating_add(1) };
        self.last = Instant::now();
        self.next = self.last + self.wait();
        match result {
            Ok(()) => {
                if self.trouble.take().is_some() {
                    tracing::info!("the catalog is that of the fleet again");
                }
            }
            Err(error) => self.report(&error),
        }
    }

    /// The poll interval, more after failures, and a fifth more or less.
    fn wait(&self) -> Duration {
        let longest = LONGEST_WAIT.max(self.poll);
        let wait = self.poll.saturating_mul(1 << self.failures.saturating_sub(1).min(6)).min(longest);
        wait.mul_f64(0.8 + 0.4 * fastrand::f64())
    }

    fn report(&mut self, error: &SyncError) {
        // Ids of requests differ each time; a store that is away is away.
        let class = match error {
            SyncError::Bucket(bucket::BucketError::Store(_)) => "store".to_owned(),
            other => other.to_string(),
        };
        if self.trouble.as_ref() == Some(&class) {
            return;
        }
        self.trouble = Some(class);
        match error {
            SyncError::Halted(halt) if halt.needs_operator() => {
                tracing::error!(reason = halt.reason(), error = %halt, "roll-out halted; the former catalog stays active");
            }
            SyncError::Halted(halt) => {
                tracing::info!(reason = halt.reason(), error = %halt, "roll-out halted; the former catalog stays active");
            }
            other if let Some(reason) = other.reason() => {
                tracing::error!(reason, error = %other, "cannot follow the fleet; the current catalog stays active");
            }
            other => tracing::warn!(error = %other, "cannot follow the fleet; the current catalog stays active"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_spread_and_rarer_after_failures() {
        let config = serde_json::json!({"bucket": {"bucket": "abc", "region": "r"}, "poll_millis": 1_000});
        let mut pace = Pace::new(&serde_json::from_value(config).unwrap());
        let waits = |pace: &Pace| (0..200).map(|_| pace.wait().as_millis()).collect::<Vec<_>>();
        let regular = waits(&pace);
        assert!(regular.iter().all(|wait| (800..=1_200).contains(wait)), "{regular:?}");
        assert!(regular.iter().any(|wait| *wait < 900) && regular.iter().any(|wait| *wait > 1_100), "{regular:?}");
        pace.looked(Err(SyncError::NoHead));
        assert!(waits(&pace).iter().all(|wait| *wait <= 1_200), "the first failure may pass");
        for _ in 0..9 {
            pace.looked(Err(SyncError::NoHead));
        }
        assert!(waits(&pace).iter().all(|wait| (4_000..=6_000).contains(wait)));
        pace.looked(Ok(()));
        assert!(waits(&pace).iter().all(|wait| *wait <= 1_200));
    }
}
