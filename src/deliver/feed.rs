//! The delivery task of one feed: uploads its objects until each is acknowledged.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use super::{
    error::SinkError,
    metrics::{FeedMetrics, UploadResult},
    pace::Pace,
    queue::Queue,
    sink::{Sink, Stored},
    upload::{Ended, Upload},
};
use crate::{object::Object, runtime::failpoint::fail_point, spool::Outbox, telemetry::drops::DropReason};

pub struct FeedTask {
    pub name: String,
    pub outbox: Arc<Outbox>,
    pub metrics: Arc<FeedMetrics>,
    /// Set when a stop has begun: its deadline.
    pub stopping: watch::Receiver<Option<Instant>>,
    /// Most uploads at a time.
    pub uploads: usize,
}

impl FeedTask {
    /// Delivers until the intake is closed and everything is delivered, or the stop's deadline has passed. Uploads that
    /// are under way then are abandoned: their objects are still in the outbox.
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
                    if waiting > 0 {
                        tracing::warn!(feed = self.name, waiting, "shutdown timeout passed; objects stay in the outbox");
                    }
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
        let error = match result {
            Ok(stored) => {
                fail_point("put_acknowledged");
                if pace.succeeded(round) {
                    tracing::info!(feed = self.name, key = object.key, "sink accepts uploads again");
                }
                self.metrics.parked.set(pace.is_suspended().into());
                self.acknowledged(&object, stored);
                return queue.remove(place);
            }
            Err(SinkError::Missing(_)) => {
                pace.ended(round);
                self.missing(&object);
                return queue.remove(place);
            }
            Err(error @ SinkError::Damaged(_)) => {
                pace.ended(round);
                self.damaged(&object, &error);
                return queue.remove(place);
            }
            Err(error) => error,
        };
        self.failed(&object, round, &error, pace);
        queue.put_back(place, object);
    }

    fn failed(&self, object: &Object, round: u64, error: &SinkError, pace: &mut Pace) {
        let was_suspended = pace.is_suspended();
        let failures = pace.failed(round, error, Instant::now());
        self.metrics.parked.set(pace.is_suspended().into());
        if let Some(result) = error.label() {
            self.metrics.upload(result);
        }
        macro_rules! log {
            ($level:ident, $message:literal) => {
                tracing::$level!(
                    feed = self.name,
                    key = object.key,
                    status = error.details().status,
                    code = error.details().code,
                    request_id = error.details().request_id,
                    failures,
                    remedy = %error.remedy(),
                    error = error.chain(),
                    $message
                )
            };
        }
        // A rejection needs an operator; a long outage is logged once, and then with every tenth failure.
        match failures {
            _ if pace.is_suspended() && !was_suspended => log!(error, "sink rejected the upload; feed suspended"),
            1 => log!(warn, "upload failed; retrying"),
            n if n > 0 && n % 10 == 0 => log!(warn, "uploads still fail; retrying"),
            _ => log!(debug, "upload failed again; retrying"),
        }
    }

    /// Drops an object that was removed from the outbox. Whether its events were delivered is unknown.
    fn missing(&self, object: &Object) {
        let events = events(object);
        self.metrics.backlog.remove_object(object.bytes);
        self.metrics.backlog.drop_events(DropReason::Removed, events);
        self.outbox.forget(object);
        tracing::error!(
            feed = self.name,
            key = object.key,
            events,
            "object is missing from the outbox; events dropped"
        );
    }

    /// Moves an object that no retry would deliver aside, so that it delays no other.
    fn damaged(&self, object: &Object, error: &SinkError) {
        let (events, key, error) = (events(object), &object.key, error.chain());
        self.metrics.backlog.remove_object(object.bytes);
        self.metrics.backlog.drop_events(DropReason::Damaged, events);
        match self.outbox.quarantine(&self.name, object) {
            Ok(aside) => {
                let aside = aside.display();
                tracing::error!(feed = self.name, key, error, events, %aside, "object is damaged; moved to quarantine");
            }
            Err(failed) => {
                tracing::error!(feed = self.name, key, error, events, %failed, "object is damaged; cannot move it");
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
        tracing::debug!(feed = self.name, key = object.key, events, "object delivered");
        match self.outbox.remove(object) {
            Ok(()) => fail_point("deleted"),
            // It is sent once more at the next start, and the sink answers that it has the object.
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

    /// A sink that takes some time for each upload and fails on demand.
    struct Fake<F> {
        fails: F,
        under_way: Mutex<usize>,
        attempts: Mutex<Vec<(String, usize)>>,
        stored: Mutex<Vec<String>>,
    }

    impl<F: Fn(usize) -> Option<SinkError> + Send + Sync> Fake<F> {
        /// `fails` gets the number of the attempt, from 0.
        fn new(fails: F) -> Arc<Self> {
            let (under_way, attempts, stored) = (Mutex::default(), Mutex::default(), Mutex::default());
            Arc::new(Self { fails, under_way, attempts, stored })
        }
    }

    #[async_trait]
    impl<F: Fn(usize) -> Option<SinkError> + Send + Sync> Sink for Fake<F> {
        async fn put(&self, object: &Object) -> Result<Stored, SinkError> {
            *self.under_way.lock().unwrap() += 1;
            let number = {
                let mut attempts = self.attempts.lock().unwrap();
                attempts.push((object.key.clone(), *self.under_way.lock().unwrap()));
                attempts.len() - 1
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
    async fn every_object_arrives_once_and_a_manifest_after_all_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut keys = keys(20, "m");
        keys.extend(["x".to_owned(), "y".to_owned()]);
        let (feed, intake, _stop) = feed(dir.path(), &keys);
        let metrics = Arc::clone(&feed.metrics);
        let sink = Fake::new(|number| [2, 9].contains(&number).then(|| SinkError::retry("reset")));
        feed.run(sink.clone(), intake).await;
        let stored = sink.stored.lock().unwrap().clone();
        let at = stored.iter().position(|key| key == "m").unwrap();
        assert!((0..20).all(|n| stored[..at].contains(&keys[n])), "{stored:?}");
        let mut sorted = stored.clone();
        sorted.sort();
        assert_eq!(sorted, keys);
        let attempts = sink.attempts.lock().unwrap();
        assert_eq!(attempts.len(), keys.len() + 2);
        assert_eq!(attempts.iter().map(|(_, under_way)| *under_way).max(), Some(4));
        assert_eq!(metrics.delivered.get(), 23);
        assert_eq!(fs::read_dir(dir.path().join("spool/outbox")).map_or(0, Iterator::count), 0);
    }

    #[tokio::test]
    async fn a_suspended_feed_sends_one_probe_at_a_time_and_then_all() {
        let dir = tempfile::tempdir().unwrap();
        let (feed, intake, _stop) = feed(dir.path(), &keys(12, "z"));
        let metrics = Arc::clone(&feed.metrics);
        let sink = Fake::new(|number| (6..9).contains(&number).then(|| SinkError::rejected("no access")));
        let (probed, running) = (Arc::clone(&sink), Arc::clone(&metrics));
        let watching = tokio::spawn(async move {
            while running.parked.get() == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            probed.stored.lock().unwrap().len()
        });
        feed.run(sink.clone(), intake).await;
        assert!(watching.await.unwrap() < 13, "it was suspended meanwhile");
        assert_eq!((metrics.parked.get(), sink.stored.lock().unwrap().len()), (0, 13));
        // At most three rejections are of uploads that began before the first.
        let attempts = sink.attempts.lock().unwrap();
        assert_eq!(attempts.len(), 16);
    }

    #[tokio::test]
    async fn an_upload_that_is_under_way_at_the_stop_s_deadline_stays_in_the_outbox() {
        let dir = tempfile::tempdir().unwrap();
        let (feed, intake, stop) = feed(dir.path(), &keys(1, "b"));
        stop.send_replace(Some(Instant::now() + Duration::from_millis(100)));
        let sink = Fake::new(|_| Some(SinkError::rejected("no access")));
        tokio::time::timeout(Duration::from_secs(5), feed.run(sink, intake)).await.unwrap();
        assert_eq!(fs::read_dir(dir.path().join("spool/outbox")).unwrap().count(), 2);
    }
}
