//! Takes changes to the bucket: a delta, then the head by compare-and-set, then the catalog of this edge.
//!
//! Requests that wait while a delta is written go into the next one together. When another edge was faster, the edge
//! catches up, checks the changes again, and tries again. An answer that was lost is found out from the head: it names
//! the delta, or it can still be replaced. So a change that was answered is in the bucket, and once only.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use tokio::{
    sync::{mpsc, oneshot},
    time::sleep,
};

use super::{
    bucket::{BucketError, Looked},
    delta::Delta,
    error::SyncError,
    head::Head,
    replica::{Known, Replica, blocking},
};
use crate::catalog::change::{Accepted, Change, Changes, Position, Refused, Unavailable};

/// Requests that may wait.
pub const WAITING: usize = 1_024;

/// Most changes of a delta, unless a single request has more.
const MOST_CHANGES: usize = 10_000;

/// Longest time until a request is answered, whatever the bucket does.
const LONGEST: Duration = Duration::from_secs(10);

/// Pause before an outcome that is unknown is looked up again.
const PAUSE: Duration = Duration::from_millis(100);

/// Times that a delta is sent.
const TRIES: u32 = 3;

pub type Outcomes = Vec<Result<Accepted, Refused>>;
type Answer = Result<Outcomes, Unavailable>;

/// Why changes were not made, or are not known to be: for each request that waits.
type Failure = (fn(String) -> Unavailable, String);

/// Changes that wait for the bucket.
pub struct Request {
    changes: Vec<Change>,
    answer: oneshot::Sender<Answer>,
    since: Instant,
}

/// The way of changes to the bucket. Cheap to clone.
#[derive(Clone)]
pub struct FleetChanges(pub(super) Option<mpsc::Sender<Request>>);

#[async_trait]
impl Changes for FleetChanges {
    async fn change(&self, changes: Vec<Change>) -> Answer {
        let Some(requests) = &self.0 else {
            return Err(Unavailable::Off("the edge takes no changes: set `catalog.fleet.write` to true"));
        };
        let (answer, answered) = oneshot::channel();
        let request = Request { changes, answer, since: Instant::now() };
        requests.try_send(request).map_err(|error| {
            Unavailable::Bucket(match error {
                mpsc::error::TrySendError::Full(_) => "too many changes wait for it".into(),
                mpsc::error::TrySendError::Closed(_) => "the edge is stopping".into(),
            })
        })?;
        match tokio::time::timeout(LONGEST * 2, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Unavailable::Unknown("the edge is stopping".into())),
            Err(_) => Err(Unavailable::Unknown("the bucket does not answer".into())),
        }
    }
}

/// What a delta has made current.
pub struct Written {
    pub position: Position,
    pub delta: Vec<u8>,
}

/// Takes the requests that wait, the first one included, and answers them. Returns what was written, if anything.
pub async fn serve(replica: &mut Replica, first: Request, requests: &mut mpsc::Receiver<Request>) -> Option<Written> {
    let mut group = vec![first];
    let mut count = group[0].changes.len();
    while count < MOST_CHANGES
        && let Ok(request) = requests.try_recv()
    {
        count += request.changes.len();
        group.push(request);
    }
    // Requests wait for a snapshot that is being installed, and their clients not for ever.
    let (mut group, late): (Vec<_>, Vec<_>) =
        group.into_iter().partition(|request| !request.answer.is_closed() && request.since.elapsed() < LONGEST);
    for request in late {
        // The client may have gone.
        _ = request.answer.send(Err(Unavailable::Bucket("it did not take the change in time".into())));
    }
    if group.is_empty() {
        return None;
    }
    let deadline = Instant::now() + LONGEST;
    let changes: Vec<_> = group.iter_mut().flat_map(|request| request.changes.clone()).collect();
    match commit(replica, changes, deadline).await {
        Ok((outcomes, written)) => {
            let mut outcomes = outcomes.into_iter();
            for request in group {
                let own = outcomes.by_ref().take(request.changes.len()).collect();
                // The client has gone.
                _ = request.answer.send(Ok(own));
            }
            written
        }
        Err((kind, reason)) => {
            for request in group {
                _ = request.answer.send(Err(kind(reason.clone())));
            }
            None
        }
    }
}

/// Makes changes, or returns why not.
async fn commit(
    replica: &mut Replica,
    changes: Vec<Change>,
    deadline: Instant,
) -> Result<(Outcomes, Option<Written>), Failure> {
    let changes: Arc<[Change]> = changes.into();
    loop {
        if Instant::now() >= deadline {
            return Err((Unavailable::Bucket, "other edges changed it all the time".into()));
        }
        let Some(known) = replica.current() else {
            replica.sync().await.map_err(unchanged)?;
            continue;
        };
        let (store, wanted) = (Arc::clone(&replica.store), Arc::clone(&changes));
        let prepared = blocking(move || store.prepare(&wanted)).await.map_err(unchanged)?;
        if prepared.from != known.head.position {
            continue;
        }
        if prepared.entries.is_empty() {
            // That nothing is to be done holds only if this edge has all that the bucket has.
            if !replica.sync().await.map_err(unchanged)? {
                return Ok((prepared.outcomes, None));
            }
            continue;
        }
        let delta = Delta {
            generation: known.head.position.generation,
            from: prepared.from.into(),
            to: prepared.to.into(),
            previous: known.head.last.clone(),
            entries: prepared.entries,
        };
        let key = delta.key(&format!("{:016x}", fastrand::u64(..)));
        let bytes = delta.to_bytes();
        put_delta(replica, &key, &bytes).await.map_err(unchanged)?;
        let moved = Move { key: &key, delta: &delta, from: known };
        let Some(moved) = moved.make(replica, deadline).await? else {
            replica.sync().await.map_err(unchanged)?;
            continue;
        };
        let position = prepared.to;
        let applied = replica.apply_entries(delta.entries, position).await;
        if moved.head.position == position {
            replica.moved(moved);
        }
        if let Err(error) = applied {
            // The replica tries again at its next look.
            return Err((Unavailable::Ahead, error.to_string()));
        }
        return Ok((prepared.outcomes, Some(Written { position, delta: bytes })));
    }
}

/// Stores a delta. Repeats it when the store did not answer: a connection may be as old as its last restart.
async fn put_delta(replica: &Replica, key: &str, bytes: &[u8]) -> Result<(), BucketError> {
    let mut tries = 1;
    loop {
        match replica.bucket.put_delta(key, bytes.to_vec()).await {
            Err(BucketError::Store(error)) if error.is_retryable() && tries < TRIES => {
                tries += 1;
                sleep(PAUSE).await;
            }
            result => return result,
        }
    }
}

fn unchanged(error: impl Into<SyncError>) -> Failure {
    (Unavailable::Bucket, error.into().to_string())
}

/// A move of the head to a delta that is stored.
struct Move<'m> {
    key: &'m str,
    delta: &'m Delta,
    from: Known,
}

impl Move<'_> {
    /// Moves the head. Returns `None` if another edge was faster.
    async fn make(&self, replica: &Replica, deadline: Instant) -> Result<Option<Known>, Failure> {
        let head = Arc::new(self.from.head.with(self.key, self.delta));
        let mut certain = true;
        loop {
            match replica.bucket.put_head(&head, Some(&self.from.etag)).await {
                Ok(etag) => return Ok(Some(Known { etag, head })),
                Err(BucketError::Conflict) if certain => return Ok(None),
                Err(BucketError::Conflict) => {}
                Err(error) if error.is_rejection() && certain => return Err(unchanged(error)),
                Err(_) => certain = false,
            }
            // An earlier try may have moved it without an answer.
            if let Some(found) = self.find_out(replica, deadline, &head).await? {
                return Ok(found);
            }
        }
    }

    /// Looks whether the head has the delta: itself, or in its past. `None` if it can still be moved.
    async fn find_out(
        &self,
        replica: &Replica,
        deadline: Instant,
        wanted: &Arc<Head>,
    ) -> Result<Option<Option<Known>>, Failure> {
        let mut reason = "the bucket did not answer in time".to_owned();
        while Instant::now() < deadline {
            match replica.bucket.head(None).await {
                Ok(Looked::Found { etag, .. }) if etag == self.from.etag => return Ok(None),
                Ok(Looked::Found { etag, head }) if head == *wanted => return Ok(Some(Some(Known { etag, head }))),
                Ok(Looked::Found { etag, head }) => {
                    match replica.has(&head, self.key, self.delta.from.revision).await {
                        Ok(true) => return Ok(Some(Some(Known { etag, head }))),
                        Ok(false) => return Ok(Some(None)),
                        Err(error) => reason = error.to_string(),
                    }
                }
                Ok(Looked::Missing | Looked::Unchanged) => return Ok(Some(None)),
                Err(error) => reason = error.to_string(),
            }
            sleep(PAUSE).await;
        }
        Err((Unavailable::Unknown, reason))
    }
}
