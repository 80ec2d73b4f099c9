//! The delivery task of one feed: uploads its objects until each is acknowledged.
//!
//! Events follow the feed's [`Pace`]. Manifests and rollups go next to them, and their failures are their own, see
//! [`super::companions`].

#[cfg(test)]
mod tests;

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, mpsc, watch},
    task::{JoinError, JoinSet},
};

use super::{
    error::{SinkError, UploadResult},
    metrics::FeedMetrics,
    order::{NumberedOrder, Orders},
    pace::Pace,
    queue::Queue,
    sink::{Sink, Stored},
    upload::{Ended, Upload},
};
use crate::{object::Object, runtime::failpoint::fail_point, spool::Outbox, telemetry::drops::DropReason};

/// Longest wait for the answers of a sink that is replaced.
const SETTLE: Duration = Duration::from_millis(if cfg!(test) { 200 } else { 10_000 });

/// What a feed's deliveries need as long as its configuration stays.
pub struct FeedTask {
    pub name: String,
    pub outbox: Arc<Outbox>,
    pub metrics: Arc<FeedMetrics>,
    /// Set when a stop has begun: its deadline.
    pub stopping: watch::Receiver<Option<Instant>>,
    /// Wakes the task when an operator wants it to retry now.
    pub retry: Arc<Notify>,
    /// Most uploads of events at a time.
    pub uploads: usize,
    /// Whether an operator wants to know what comes of a retry.
    pub asked: AtomicBool,
}

/// Logs the failure of an upload with what is known of it.
macro_rules! log_failure {
    ($task:expr, $object:expr, $error:expr, $failures:expr, $level:ident, $($message:tt)+) => {{
        let details = $error.details();
        let answer = details.answer.as_ref();
        tracing::$level!(
            feed = $task.name,
            key = $object.key,
            status = details.status,
            code = details.code,
            request_id = details.request_id,
            content_type = answer.and_then(|answer| answer.content_type.as_deref()),
            server = answer.and_then(|answer| answer.server.as_deref()),
            body = answer.map(|answer| answer.body.as_str()),
            failures = $failures,
            remedy = %$error.remedy(),
            error = $error.chain(),
            $($message)+
        )
    }};
}

impl FeedTask {
    /// Delivers what is in the queue and comes in, until there is another order, which it returns. Without one, until
    /// the intake is closed and everything is delivered, or the stop's deadline has passed. Uploads that are under way
    /// then are abandoned: their objects are still in the outbox.
    pub async fn run(
        &self,
        sink: Arc<dyn Sink>,
        queue: &mut Queue,
        intake: &mut mpsc::UnboundedReceiver<Object>,
        orders: &mut Orders,
    ) -> Option<NumberedOrder> {
        let mut pace = Pace::new(self.uploads, Instant::now());
        let mut uploads = JoinSet::new();
        let mut open = true;
        let mut stopping = self.stopping.clone();
        let stop = deadline(&mut stopping);
        tokio::pin!(stop);
        self.metrics.parked.set(0);
        self.metrics.report.set_failing(false);
        while open || !queue.is_settled() {
            // First: an object that came after an order is not for this sink.
            if let Ok(order) = orders.try_recv() {
                self.settle(&mut uploads, queue, &mut pace, stop).await;
                return Some(order);
            }
            // One moment for both questions: what may begin now, and when the next may.
            let now = Instant::now();
            while queue.ready()
                && let Some(round) = pace.begin(queue.under_way(), now)
                && let Some((place, object)) = queue.begin()
            {
                let upload = Upload { place, round, object };
                uploads.spawn(upload.run(Arc::clone(&sink), Arc::clone(&self.metrics)));
            }
            // Where events fail, companions would, too.
            let accepted = !pace.is_failing() || queue.has_no_events();
            if accepted && let Some((place, object)) = queue.begin_companion(now) {
                let upload = Upload { place, round: 0, object };
                uploads.spawn(upload.run(Arc::clone(&sink), Arc::clone(&self.metrics)));
            }
            self.metrics.oldest.set(queue.oldest().unwrap_or_default() as i64);
            self.metrics.uploading.set(queue.under_way() as i64);
            self.metrics.upload_limit.set(pace.limit() as i64);
            self.metrics.set_aside.set(queue.companions().set_aside() as i64);
            let events = pace.resume().filter(|_| queue.ready());
            let companions = queue.companions().resume().filter(|_| accepted);
            let resume = events.into_iter().chain(companions).filter(|at| *at > now).min();
            tokio::select! {
                () = &mut stop => {
                    let waiting = queue.len() + intake.len();
                    if waiting > 0 {
                        tracing::info!(feed = self.name, waiting, "objects stay in the outbox for the next process");
                    }
                    return None;
                }
                Some(order) = orders.recv() => {
                    self.settle(&mut uploads, queue, &mut pace, stop).await;
                    return Some(order);
                }
                object = intake.recv(), if open => match object {
                    Some(object) => queue.push(object),
                    None => open = false,
                },
                Some(ended) = uploads.join_next() => self.upload_ended(ended, queue, &mut pace),
                () = self.retry.notified() => self.retry_now(queue, &mut pace),
                () = sleep_until(resume), if resume.is_some() => {}
            }
        }
        if !queue.is_empty() {
            tracing::warn!(
                feed = self.name,
                waiting = queue.len(),
                "manifests or rollups were not accepted; they stay in the outbox"
            );
        }
        self.metrics.set_aside.set(queue.companions().set_aside() as i64);
        self.metrics.oldest.set(queue.oldest().unwrap_or_default() as i64);
        self.metrics.uploading.set(0);
        None
    }

    /// Waits for the answers to what is under way, so that no object is on its way to two sinks. Without an answer for
    /// [`SETTLE`], an upload is abandoned: its object is still in the outbox.
    async fn settle(
        &self,
        uploads: &mut JoinSet<Ended>,
        queue: &mut Queue,
        pace: &mut Pace,
        mut stop: Pin<&mut impl Future<Output = ()>>,
    ) {
        let limit = tokio::time::sleep(SETTLE);
        tokio::pin!(limit);
        while !uploads.is_empty() {
            tokio::select! {
                () = &mut stop => break,
                () = &mut limit => break,
                Some(ended) = uploads.join_next() => self.upload_ended(ended, queue, pace),
            }
        }
        if !uploads.is_empty() {
            let abandoned = uploads.len();
            tracing::warn!(feed = self.name, abandoned, "no answer of the previous sink; its uploads are abandoned");
            uploads.abort_all();
            while let Some(ended) = uploads.join_next().await {
                self.upload_ended(ended, queue, pace);
            }
        }
        queue.put_back_all();
    }

    fn upload_ended(&self, ended: Result<Ended, JoinError>, queue: &mut Queue, pace: &mut Pace) {
        match ended {
            Ok(ended) if ended.upload.object.kind.is_companion() => self.companion_ended(ended, queue),
            Ok(ended) => self.ended(ended, queue, pace),
            Err(failure) => {
                if let Ok(panic) = failure.try_into_panic() {
                    std::panic::resume_unwind(panic);
                }
            }
        }
    }

    fn ended(&self, ended: Ended, queue: &mut Queue, pace: &mut Pace) {
        let Ended { upload: Upload { place, round, object }, took, result } = ended;
        let error = match result {
            Ok(stored) => {
                fail_point("put_acknowledged");
                if pace.succeeded(round) {
                    tracing::info!(feed = self.name, key = object.key, "sink accepts uploads again");
                    queue.companions_mut().retry_now();
                }
                self.metrics.parked.set(pace.is_parked().into());
                self.metrics.report.set_failing(pace.is_failing());
                self.asked.store(false, Ordering::Relaxed);
                self.acknowledged(&object, stored, took);
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
        let was_parked = pace.is_parked();
        let failures = pace.failed(round, error, Instant::now());
        self.metrics.parked.set(pace.is_parked().into());
        self.metrics.report.failed(object, error);
        if let Some(result) = error.label() {
            self.metrics.upload(result);
        }
        // A rejection needs an operator; a long outage is logged once, and then with every tenth failure.
        match failures {
            _ if pace.is_parked() && !was_parked => {
                log_failure!(self, object, error, failures, error, "sink rejected the upload; feed parked");
            }
            1 => log_failure!(self, object, error, failures, warn, "upload failed; retrying"),
            n if n > 0 && n % 10 == 0 => {
                log_failure!(self, object, error, failures, warn, "uploads still fail; retrying");
            }
            _ => self.failed_again(object, error, failures),
        }
        self.asked.store(false, Ordering::Relaxed);
    }

    /// Whether an operator has asked for the upload whose end this is: true once for each retry.
    fn was_asked(&self) -> bool {
        self.asked.swap(false, Ordering::Relaxed)
    }

    /// Records what came of a manifest or rollup. Its failure is no failure of the feed.
    fn companion_ended(&self, ended: Ended, queue: &mut Queue) {
        let Ended { upload: Upload { place, object, .. }, took, result } = ended;
        let error = match result {
            Ok(stored) => {
                fail_point("put_acknowledged");
                if queue.companions_mut().succeeded() {
                    tracing::info!(feed = self.name, key = object.key, "sink accepts what was set aside");
                }
                return self.acknowledged(&object, stored, took);
            }
            Err(SinkError::Missing(_)) => {
                queue.companions_mut().succeeded();
                return self.missing(&object);
            }
            Err(error @ SinkError::Damaged(_)) => {
                queue.companions_mut().succeeded();
                return self.damaged(&object, &error);
            }
            Err(error) => error,
        };
        self.metrics.report.set_aside(&object, &error);
        if let Some(result) = error.label() {
            self.metrics.upload(result);
        }
        let failures = queue.set_aside(place, object.clone(), &error, Instant::now());
        match failures {
            1 if error.parks_feed() => {
                log_failure!(self, object, error, failures, error, "sink rejected a manifest or rollup; set aside");
            }
            n if n == 1 || n % 10 == 0 => {
                log_failure!(self, object, error, failures, warn, "upload of a manifest or rollup failed; retrying");
            }
            _ => self.failed_again(&object, &error, failures),
        }
    }

    /// Logs one of the failures between those that are logged as warnings: who asked for a retry wants to know.
    fn failed_again(&self, object: &Object, error: &SinkError, failures: u32) {
        if self.was_asked() {
            log_failure!(self, object, error, failures, warn, "upload failed again in the retry that was asked for");
        } else {
            log_failure!(self, object, error, failures, debug, "upload failed again; retrying");
        }
    }

    /// Ends all waits, as an operator asked for it.
    fn retry_now(&self, queue: &mut Queue, pace: &mut Pace) {
        tracing::info!(
            feed = self.name,
            parked = pace.is_parked(),
            waiting = queue.len(),
            set_aside = queue.companions().set_aside(),
            "retrying now, as an operator asked for it"
        );
        pace.retry_now();
        queue.companions_mut().retry_now();
        self.asked.store(true, Ordering::Relaxed);
    }

    /// Drops an object that was removed from the outbox. Whether its events were delivered is unknown.
    fn missing(&self, object: &Object) {
        let events = events(object);
        self.metrics.backlog.remove_object(object.bytes);
        self.metrics.backlog.drop_finished(DropReason::Removed, events);
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
        self.metrics.backlog.drop_finished(DropReason::Damaged, events);
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

    fn acknowledged(&self, object: &Object, stored: Stored, took: Duration) {
        let events = events(object);
        self.metrics.acknowledged(object, took);
        self.metrics.upload(match stored {
            Stored::Now => UploadResult::Stored,
            Stored::Before => UploadResult::Present,
        });
        self.metrics.delivered.inc_by(events);
        self.metrics.delivered_bytes.inc_by(object.bytes);
        self.metrics.backlog.remove_object(object.bytes);
        self.metrics.report.delivered(object, events);
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
