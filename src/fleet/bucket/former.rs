//! Removes what no edge needs any more.
//!
//! An edge of another generation than the head takes the snapshot of the head, however far it is behind, and then the
//! deltas after that: what lies before is only needed by one that reads it at this moment, or when a former head is
//! restored. So the snapshot before the current one and its deltas stay, and everything for a day.

use aws_sdk_s3::primitives::DateTime;
use tokio::task::JoinSet;

use super::{Bucket, BucketError, DELTA, SMALL, within};
use crate::{
    deliver::SinkError,
    fleet::{
        head::Head,
        malformed::{DELTAS, SNAPSHOTS},
    },
};

/// Seconds for which everything stays, counted from when it was stored.
const STAYS: i64 = 86_400;

/// Objects that are removed at a time.
const AT_A_TIME: usize = 16;

/// An object of the bucket.
struct Object {
    /// Below the prefix of the fleet.
    key: String,
    stored_secs: i64,
}

impl Bucket {
    /// Removes deltas and snapshots from before the last two snapshots that are older than a day. Returns their number.
    ///
    /// # Errors
    /// When the store cannot be reached, or does not allow it. Some may be removed then.
    pub async fn remove_former(&self, head: &Head, now_secs: u64) -> Result<u64, BucketError> {
        let mut objects = self.list(SNAPSHOTS).await?;
        let generations = objects.iter().filter_map(|object| generation(&object.key));
        let Some(former) = generations.filter(|number| *number < head.position.generation).max() else {
            return Ok(0);
        };
        objects.extend(self.list(DELTAS).await?);
        let oldest = i64::try_from(now_secs).unwrap_or(i64::MAX) - STAYS;
        let superseded =
            objects.into_iter().filter(|object| object.stored_secs < oldest && head.supersedes(&object.key, former));
        self.remove(superseded.map(|object| object.key)).await
    }

    async fn list(&self, folder: &str) -> Result<Vec<Object>, BucketError> {
        let (mut objects, mut next, own) = (Vec::new(), None, self.key(""));
        loop {
            let list = self.client.load_full().list_objects_v2().bucket(&self.config.bucket);
            let list = list.prefix(self.key(folder)).set_continuation_token(next);
            let list = list.set_expected_bucket_owner(self.config.expected_bucket_owner.clone());
            let listed = async {
                match Box::pin(list.send()).await {
                    Ok(page) => Ok(page),
                    Err(error) => Err(self.failed(error).await),
                }
            };
            let page = within(DELTA, listed).await?;
            objects.extend(page.contents().iter().filter_map(|object| {
                let key = object.key()?.strip_prefix(&own)?.to_owned();
                Some(Object { key, stored_secs: object.last_modified().map(DateTime::secs)? })
            }));
            next = page.next_continuation_token;
            if next.is_none() {
                return Ok(objects);
            }
        }
    }

    async fn remove(&self, keys: impl Iterator<Item = String>) -> Result<u64, BucketError> {
        let (mut running, mut removed) = (JoinSet::new(), 0);
        let mut keys = keys.peekable();
        while keys.peek().is_some() || !running.is_empty() {
            while running.len() < AT_A_TIME
                && let Some(key) = keys.next()
            {
                let remove = self.client.load_full().delete_object().bucket(&self.config.bucket).key(self.key(&key));
                let remove = remove.set_expected_bucket_owner(self.config.expected_bucket_owner.clone());
                running.spawn(tokio::time::timeout(SMALL, Box::pin(remove.send())));
            }
            match running.join_next().await {
                Some(Ok(Ok(Ok(_)))) => removed += 1,
                Some(Ok(Ok(Err(error)))) => return Err(self.failed(error).await),
                Some(Ok(Err(_)) | Err(_)) => return Err(SinkError::slow_down("the store does not answer").into()),
                None => {}
            }
        }
        Ok(removed)
    }
}

impl Head {
    /// Whether an object is from before the generation `former`, and not on the way from the current snapshot to this
    /// head.
    fn supersedes(&self, key: &str, former: u64) -> bool {
        if generation(key).is_none_or(|generation| generation >= former) {
            return false;
        }
        match first_change(key) {
            Some(first) => first <= self.snapshot.position.revision && !self.names(key),
            None => key.starts_with(SNAPSHOTS) && key != self.snapshot.key,
        }
    }
}

/// The generation of a snapshot, or the one in which a delta was written.
fn generation(key: &str) -> Option<u64> {
    let rest = key.strip_prefix(SNAPSHOTS).or_else(|| key.strip_prefix(DELTAS))?;
    rest.split(['-', '/']).next()?.parse().ok()
}

/// The number of the first change of a delta.
fn first_change(key: &str) -> Option<u64> {
    let (_, name) = key.strip_prefix(DELTAS)?.split_once('/')?;
    name.split_once('-')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::fixture::{delta, snapshot};

    #[test]
    fn what_edges_may_still_need_is_not_superseded() {
        // The snapshot was folded while deltas of the former generation went on.
        let mut head = Head::of(snapshot(9, 100));
        let late = delta(7, 100, 2, None);
        head = head.with(&late.key("late"), &late);
        let superseded = |key: &str| head.supersedes(key, 7);
        for key in [
            "snapshots/5-00.snapshot",
            "deltas/5/00000000000000000001-a.ndjson",
            "deltas/6/00000000000000000100-a.ndjson",
        ] {
            assert!(superseded(key), "{key}");
        }
        for key in [
            "snapshots/7-00.snapshot",
            "snapshots/8-unfinished.snapshot",
            &head.snapshot.key.clone(),
            "deltas/7/00000000000000000001-a.ndjson",
            "deltas/6/00000000000000000101-not-yet-folded.ndjson",
            &late.key("late"),
            "head.json",
            "canary.json",
            "snapshots/notes.txt",
            "deltas/5/notes.txt",
            "other/5-00.snapshot",
        ] {
            assert!(!superseded(key), "{key}");
        }
    }
}
