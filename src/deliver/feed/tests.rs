//! The delivery of a feed, to sinks that fail.

use std::{fs, path::Path, sync::Mutex};

use async_trait::async_trait;

use super::*;
use crate::{
    deliver::{metrics::DeliverMetrics, order::Order, retries::FeedRetries},
    object::{ObjectKind, reader::Summary},
    spool::{Limits, metrics::SpoolMetrics},
    stats::metrics::StatsMetrics,
    telemetry::metrics::Registry,
};

/// The error of an attempt, by the key and the number of the attempt, from 0.
type Fails = Box<dyn Fn(&str, usize) -> Option<SinkError> + Send + Sync>;

/// A sink that takes some time for each upload and fails on demand.
struct Fake {
    fails: Fails,
    under_way: Mutex<usize>,
    attempts: Mutex<Vec<(String, usize)>>,
    stored: Mutex<Vec<String>>,
}

impl Fake {
    fn new(fails: impl Fn(usize) -> Option<SinkError> + Send + Sync + 'static) -> Arc<Self> {
        Self::with(Box::new(move |_, number| fails(number)))
    }

    fn of_keys(fails: impl Fn(&str) -> Option<SinkError> + Send + Sync + 'static) -> Arc<Self> {
        Self::with(Box::new(move |key, _| fails(key)))
    }

    fn with(fails: Fails) -> Arc<Self> {
        let (under_way, attempts, stored) = (Mutex::default(), Mutex::default(), Mutex::default());
        Arc::new(Self { fails, under_way, attempts, stored })
    }
}

#[async_trait]
impl Sink for Fake {
    async fn put(&self, object: &Object) -> Result<Stored, SinkError> {
        *self.under_way.lock().unwrap() += 1;
        let number = {
            let mut attempts = self.attempts.lock().unwrap();
            attempts.push((object.key.clone(), *self.under_way.lock().unwrap()));
            attempts.len() - 1
        };
        tokio::time::sleep(Duration::from_millis(fastrand::u64(1..10))).await;
        *self.under_way.lock().unwrap() -= 1;
        if let Some(error) = (self.fails)(&object.key, number) {
            return Err(error);
        }
        self.stored.lock().unwrap().push(object.key.clone());
        Ok(Stored::Now)
    }
}

/// A feed whose outbox holds these objects; `m` is a manifest.
fn feed(dir: &Path, keys: &[String]) -> (FeedTask, mpsc::UnboundedReceiver<Object>, watch::Sender<Option<Instant>>) {
    let outbox = {
        let config = crate::config::Spool { retain_secs: 0, ..Default::default() };
        let disk = Arc::new(crate::spool::disk::RealDisk::new(dir).unwrap());
        Arc::new(Outbox::open(disk, &dir.join("spool"), Arc::new(Limits::new(&config))).unwrap())
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
    let retry = Arc::default();
    (
        FeedTask { name: "f".into(), outbox, metrics, stopping, retry, uploads: 4, asked: AtomicBool::new(false) },
        intake,
        stop,
    )
}

/// Delivers until everything is delivered.
async fn run(feed: &FeedTask, sink: Arc<dyn Sink>, mut intake: mpsc::UnboundedReceiver<Object>) {
    let (_, mut orders) = mpsc::unbounded_channel();
    assert!(feed.run(sink, &mut Queue::default(), &mut intake, &mut orders).await.is_none());
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
    run(&feed, sink.clone(), intake).await;
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
async fn a_manifest_that_is_rejected_delays_neither_events_nor_a_stop() {
    let dir = tempfile::tempdir().unwrap();
    let mut keys = vec!["a".to_owned(), "m".to_owned()];
    keys.extend(["b".to_owned(), "c".to_owned()]);
    let (feed, intake, _stop) = feed(dir.path(), &keys);
    let metrics = Arc::clone(&feed.metrics);
    let sink = Fake::of_keys(|key| (key == "m").then(|| SinkError::conflict("taken by other content")));
    tokio::time::timeout(Duration::from_secs(20), run(&feed, sink.clone(), intake)).await.unwrap();
    let mut stored = sink.stored.lock().unwrap().clone();
    stored.sort();
    assert_eq!(stored, ["a", "b", "c"]);
    assert_eq!((metrics.parked.get(), metrics.set_aside.get(), metrics.delivered.get()), (0, 1, 3));
    let left: Vec<_> = fs::read_dir(dir.path().join("spool/outbox")).unwrap().collect();
    assert_eq!(left.len(), 1, "the manifest stays in the outbox");
}

#[tokio::test]
async fn a_request_to_retry_ends_the_wait_of_a_parked_feed() {
    let dir = tempfile::tempdir().unwrap();
    let (feed, intake, _stop) = feed(dir.path(), &keys(1, "z"));
    let retries = FeedRetries::default();
    retries.add("f", Arc::clone(&feed.retry), Arc::clone(&feed.metrics));
    let metrics = Arc::clone(&feed.metrics);
    let denied = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let still = Arc::clone(&denied);
    let sink = Fake::new(move |_| still.load(Ordering::Relaxed).then(|| SinkError::rejected("no access")));
    let delivering = Arc::clone(&sink);
    let running = tokio::spawn(async move { run(&feed, delivering, intake).await });
    // The waits grow until one is far longer than this test.
    while sink.attempts.lock().unwrap().len() < 12 {
        retries.retry("f").unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    denied.store(false, Ordering::Relaxed);
    while !running.is_finished() {
        let retried = retries.retry("f").unwrap();
        assert_eq!(retried.feed, "f");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!((metrics.parked.get(), sink.stored.lock().unwrap().len()), (0, 2));
    assert!(metrics.retries_requested.get() > 0);
    let unknown = retries.retry("g").unwrap_err().to_string();
    assert_eq!(unknown, "there is no feed \"g\"; there are: f");
}

#[tokio::test]
async fn a_parked_feed_sends_one_probe_at_a_time_and_then_all() {
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
    run(&feed, sink.clone(), intake).await;
    assert!(watching.await.unwrap() < 13, "it was parked meanwhile");
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
    tokio::time::timeout(Duration::from_secs(5), run(&feed, sink, intake)).await.unwrap();
    assert_eq!(fs::read_dir(dir.path().join("spool/outbox")).unwrap().count(), 2);
}

/// A sink that never answers for one key.
struct Silent(Arc<Fake>, &'static str);

#[async_trait]
impl Sink for Silent {
    async fn put(&self, object: &Object) -> Result<Stored, SinkError> {
        let stored = self.0.put(object).await;
        if object.key == self.1 {
            std::future::pending::<()>().await;
        }
        stored
    }
}

#[tokio::test]
async fn an_order_waits_for_answers_and_abandons_uploads_without_one() {
    let dir = tempfile::tempdir().unwrap();
    let (feed, mut intake, _stop) = feed(dir.path(), &keys(3, "z"));
    let (fake, mut queue) = (Fake::new(|_| None), Queue::default());
    let (order, mut orders) = mpsc::unbounded_channel();
    let tried = Arc::clone(&fake);
    let ordering = tokio::spawn(async move {
        while !tried.attempts.lock().unwrap().iter().any(|(key, _)| key == "01") {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        order.send((7, Order::Rest)).unwrap();
    });
    let sink = Arc::new(Silent(Arc::clone(&fake), "01"));
    let ended = feed.run(sink, &mut queue, &mut intake, &mut orders).await;
    ordering.await.unwrap();
    assert!(matches!(ended, Some((7, Order::Rest))));
    // Everything else that had begun is delivered, and nothing is begun any more.
    let begun: Vec<_> = fake.attempts.lock().unwrap().iter().map(|(key, _)| key.clone()).collect();
    let waiting = std::iter::from_fn(|| queue.begin().map(|(_, object)| object));
    let left: Vec<_> =
        waiting.chain(std::iter::from_fn(|| intake.try_recv().ok())).map(|object| object.key).collect();
    let expected = |key: &String| key == "01" || !begun.contains(key);
    assert_eq!(left, keys(3, "z").into_iter().filter(expected).collect::<Vec<_>>());
    assert_eq!(feed.metrics.delivered.get() as usize, begun.len() - 1);
}
