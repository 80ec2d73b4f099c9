//! One feed's delivery: object after object, until each is acknowledged.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use super::{
    metrics::{FeedMetrics, UploadResult},
    pace::{Pace, Trouble},
    queue::Queue,
    sink::{Sink, SinkError, Stored},
    upload::{Ended, Upload},
};
use crate::{object::Object, runtime::failpoint::fail_point, spool::Outbox, telemetry::drops::DropReason};

pub struct FeedTask {
    pub name: String,
    pub outbox: Arc<Outbox>,
    pub metrics: Arc<FeedMetrics>,
    /// Set when a stop has begun: the time by which to end.
    pub stopping: watch::Receiver<Option<Instant>>,
    /// Uploads at a time, at the most.
    pub uploads: usize,
}

impl FeedTask {
    /// Delivers until the intake is closed and everything is delivered, or the stop's deadline has passed. What is
    /// under way then is abandoned: it lies in the outbox until the sink has acknowledged it.
    pub async fn run(self, sink: Arc<dyn Sink>, mut intake: mpsc::UnboundedReceiver<Object>) {
        let mut queue = Queue::default();
        let mut pace = Pace::new(self.uploads, Instant::now());
        let mut uploads = JoinSet::new();
        let mut open = true;
        let mut stopping = self.stopping.clone();
        let stop = deadline(&mut stopping);
        tokio::pin!(stop);
        while open || !queue.is_empty() {
            while queue.ready()
                && let Some(round) = pace.begin(queue.under_way(), Instant::now())
                && let Some((place, object)) = queue.begin()
            {
                let upload = Upload { place, round, object };
                uploads.spawn(upload.run(Arc::clone(&sink), Arc::clone(&self.metrics)));
            }
            self.metrics.oldest.set(queue.oldest().unwrap_or_default() as i64);
            self.metrics.upload_limit.set(pace.limit() as i64);
            let resume = pace.resume().filter(|at| *at > Instant::now() && queue.ready());
            tokio::select! {
                () = &mut stop => {
                    let waiting = queue.len() + intake.len();
                    tracing::warn!(feed = self.name, waiting, "objects wait for the next start");
                    return;
                }
                object = intake.recv(), if open => match object {
                    Some(object) => queue.push(object),
                    None => open = false,
                },
                Some(ended) = uploads.join_next() => match ended {
                    Ok(ended) => self.ended(ended, &mut queue, &mut pace),
                    Err(failure) => match failure.try_into_panic() {
                        Ok(panic) => std::panic::resume_unwind(panic),
                        Err(_) => return,
                    },
                },
                () = sleep_until(resume), if resume.is_some() => {}
            }
        }
        self.metrics.oldest.set(0);
    }

    fn ended(&self, ended: Ended, queue: &mut Queue, pace: &mut Pace) {
        let Ended { upload: Upload { place, round, object }, result } = ended;
        let (trouble, error) = match result {
            Ok(stored) => {
                fail_point("put_acknowledged");
                if pace.succeeded(round) {
                    tracing::info!(feed = self.name, key = object.key, "the sink takes objects again");
                }
                self.metrics.parked.set(pace.parked().into());
                self.acknowledged(&object, stored);
                return queue.done(place);
            }
            Err(SinkError::Gone) => {
                pace.ended(round);
                self.gone(&object);
                return queue.done(place);
            }
            Err(SinkError::Damaged(error)) => {
                pace.ended(round);
                self.damaged(&object, &error);
                return queue.done(place);
            }
            Err(SinkError::Busy(error)) => (Trouble::Busy, error),
            Err(SinkError::Failed(error)) => (Trouble::Failed, error),
            Err(SinkError::Refused(error)) => (Trouble::Refused, error),
        };
        self.failed(&object, round, trouble, &error, pace);
        queue.put_back(place, object);
    }

    fn failed(&self, object: &Object, round: u64, trouble: Trouble, error: &str, pace: &mut Pace) {
        let setback = pace.failed(round, trouble, Instant::now());
        let refused = trouble == Trouble::Refused;
        self.metrics.parked.set(pace.parked().into());
        self.metrics.upload(if refused { UploadResult::Refused } else { UploadResult::Retried });
        let (feed, key, failures) = (&self.name, &object.key, setback.failures);
        // An operator must act on a refusal; of a long outage every tenth failure is told.
        match failures {
            _ if setback.newly_parked => {
                tracing::error!(feed, key, %error, "the sink refuses objects; they wait in the outbox");
            }
            1 => tracing::warn!(feed, key, %error, "cannot deliver; trying again"),
            n if n > 0 && n % 10 == 0 => tracing::warn!(feed, key, %error, failures, "still cannot deliver"),
            _ => tracing::debug!(feed, key, %error, failures, "cannot deliver"),
        }
    }

    /// Somebody took the object away; whether its events went anywhere, nobody here can tell.
    fn gone(&self, object: &Object) {
        let events = events(object);
        self.metrics.backlog.remove_object(object.bytes);
        self.metrics.backlog.drop_events(DropReason::Removed, events);
        self.outbox.forget(object);
        tracing::error!(feed = self.name, key = object.key, events, "an object was taken out of the outbox");
    }

    /// No retry would mend the object: it is moved aside, and delays no other.
    fn damaged(&self, object: &Object, error: &str) {
        let events = events(object);
        self.metrics.backlog.remove_object(object.bytes);
        self.metrics.backlog.drop_events(DropReason::Damaged, events);
        match self.outbox.quarantine(&self.name, object) {
            Ok(aside) => {
                tracing::error!(feed = self.name, error, events, aside = %aside.display(), "a damaged object");
            }
            Err(failed) => {
                tracing::error!(feed = self.name, error, events, %failed, key = object.key, "a damaged object");
            }
        }
    }

    fn acknowledged(&self, object: &Object, stored: Stored) {
        let events = events(object);
        self.metrics.upload(match stored {
            Stored::Now => UploadResult::Stored,
            Stored::Before => UploadResult::Present,
        });
        self.metrics.delivered.inc_by(events);
        self.metrics.delivered_bytes.inc_by(object.bytes);
        self.metrics.backlog.remove_object(object.bytes);
        tracing::debug!(feed = self.name, key = object.key, events, "delivered");
        match self.outbox.remove(object) {
            Ok(()) => fail_point("deleted"),
            // It is sent once more at the next start, and the sink says that it has it.
            Err(error) => {
                tracing::warn!(feed = self.name, key = object.key, %error, "cannot remove a delivered object");
            }
        }
    }
}

fn events(object: &Object) -> u64 {
    object.summary.as_ref().map_or(0, |summary| summary.events)
}

/// Ends when the stop's deadline has passed; never, while there is no stop.
async fn deadline(stopping: &mut watch::Receiver<Option<Instant>>) {
    let at = match stopping.wait_for(Option::is_some).await {
        Ok(at) => *at,
        Err(_) => None,
    };
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    let at = at.unwrap_or_else(|| Instant::now() + Duration::from_secs(1));
    tokio::time::sleep_until(at.into()).await;
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, sync::Mutex};

    use async_trait::async_trait;

    use super::*;
    use crate::{
        deliver::metrics::DeliverMetrics,
        object::{ObjectKind, reader::Summary},
        spool::metrics::SpoolMetrics,
        stats::metrics::StatsMetrics,
        telemetry::metrics::Registry,
    };

    /// Takes some time for everything, and fails as it is told.
    struct Fake<F> {
        fails: F,
        under_way: Mutex<usize>,
        tries: Mutex<Vec<(String, usize)>>,
        stored: Mutex<Vec<String>>,
    }

    impl<F: Fn(usize) -> Option<SinkError> + Send + Sync> Fake<F> {
        /// `fails` gets the number of the try, from 0.
        fn new(fails: F) -> Arc<Self> {
            let (under_way, tries, stored) = (Mutex::default(), Mutex::default(), Mutex::default());
            Arc::new(Self { fails, under_way, tries, stored })
        }
    }

    #[async_trait]
    impl<F: Fn(usize) -> Option<SinkError> + Send + Sync> Sink for Fake<F> {
        async fn put(&self, object: &Object) -> Result<Stored, SinkError> {
            *self.under_way.lock().unwrap() += 1;
            let number = {
                let mut tries = self.tries.lock().unwrap();
                tries.push((object.key.clone(), *self.under_way.lock().unwrap()));
                tries.len() - 1
            };
            tokio::time::sleep(Duration::from_millis(fastrand::u64(1..10))).await;
            *self.under_way.lock().unwrap() -= 1;
            if let Some(error) = (self.fails)(number) {
                return Err(error);
            }
            self.stored.lock().unwrap().push(object.key.clone());
            Ok(Stored::Now)
        }
    }

    /// A feed whose outbox holds these objects; `m` is a manifest.
    fn feed(
        dir: &Path,
        keys: &[String],
    ) -> (FeedTask, mpsc::UnboundedReceiver<Object>, watch::Sender<Option<Instant>>) {
        let outbox = {
            let disk = Arc::new(crate::spool::disk::RealDisk::new(dir).unwrap());
            Arc::new(Outbox::open(disk, &dir.join("spool"), 1 << 20, 0).unwrap())
        };
        let (queue, intake) = mpsc::unbounded_channel();
        for key in keys {
            let path = dir.join("spool/outbox").join(key);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, key).unwrap();
            let kind = if key == "m" { ObjectKind::Manifest } else { ObjectKind::Events };
            let summary = Some(Summary { events: 1, ..Summary::default() });
            let _ = queue.send(Object { key: key.clone(), path, bytes: 1, kind, summary, finished_at: 7 });
        }
        let (stop, stopping) = watch::channel(None);
        let registry = Registry::new();
        let spool = SpoolMetrics::new(&registry, Arc::new(StatsMetrics::new(&registry)));
        let metrics = Arc::new(DeliverMetrics::new(&registry).feed("f", spool.feed("f")));
        (FeedTask { name: "f".into(), outbox, metrics, stopping, uploads: 4 }, intake, stop)
    }

    fn keys(count: usize, last: &str) -> Vec<String> {
        (0..count).map(|n| format!("{n:02}")).chain([last.to_owned()]).collect()
    }

    #[tokio::test]
    async fn everything_arrives_once_and_a_manifest_after_all_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut keys = keys(20, "m");
        keys.extend(["x".to_owned(), "y".to_owned()]);
        let (feed, intake, _stop) = feed(dir.path(), &keys);
        let metrics = Arc::clone(&feed.metrics);
        let sink = Fake::new(|number| [2, 9].contains(&number).then(|| SinkError::Failed("no luck".into())));
        feed.run(sink.clone(), intake).await;
        let stored = sink.stored.lock().unwrap().clone();
        let at = stored.iter().position(|key| key == "m").unwrap();
        assert!((0..20).all(|n| stored[..at].contains(&keys[n])), "{stored:?}");
        let mut sorted = stored.clone();
        sorted.sort();
        assert_eq!(sorted, keys);
        let tries = sink.tries.lock().unwrap();
        assert_eq!(tries.len(), keys.len() + 2);
        assert_eq!(tries.iter().map(|(_, under_way)| *under_way).max(), Some(4));
        assert_eq!(metrics.delivered.get(), 23);
        assert_eq!(fs::read_dir(dir.path().join("spool/outbox")).map_or(0, Iterator::count), 0);
    }

    #[tokio::test]
    async fn a_parked_feed_sends_one_probe_at_a_time_and_then_all() {
        let dir = tempfile::tempdir().unwrap();
        let (feed, intake, _stop) = feed(dir.path(), &keys(12, "z"));
        let metrics = Arc::clone(&feed.metrics);
        let sink = Fake::new(|number| (6..9).contains(&number).then(|| SinkError::Refused("no access".into())));
        let (probed, running) = (Arc::clone(&sink), Arc::clone(&metrics));
        let watching = tokio::spawn(async move {
            while running.parked.get() == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            probed.stored.lock().unwrap().len()
        });
        feed.run(sink.clone(), intake).await;
        assert!(watching.await.unwrap() < 13, "it was parked meanwhile");
        assert_eq!((metrics.parked.get(), sink.stored.lock().unwrap().len()), (0, 13));
        // Three refusals at the most are of a time before it was known.
        let tries = sink.tries.lock().unwrap();
        assert_eq!(tries.len(), 16);
    }

    #[tokio::test]
    async fn what_is_under_way_at_the_stop_s_deadline_stays_in_the_outbox() {
        let dir = tempfile::tempdir().unwrap();
        let (feed, intake, stop) = feed(dir.path(), &keys(1, "b"));
        stop.send_replace(Some(Instant::now() + Duration::from_millis(100)));
        let sink = Fake::new(|_| Some(SinkError::Refused("no access".into())));
        tokio::time::timeout(Duration::from_secs(5), feed.run(sink, intake)).await.unwrap();
        assert_eq!(fs::read_dir(dir.path().join("spool/outbox")).unwrap().count(), 2);
    }
}
