//! Objects of feeds that the configuration does not have any more.
//!
//! They wait in the outbox until the feed is configured again, or an operator drops them: a file `drop/{feed}` asks the
//! process that owns the spool to do so, or the next one. A feed that is configured is never dropped. In the account of
//! their feed, their events are pending until they are dropped.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::Path,
};

use super::{
    disk::Disk,
    feed::FeedSpec,
    metrics::{BacklogMetrics, SpoolMetrics},
    outbox::{Outbox, feed_and_key},
};
use crate::{
    object::{Object, ObjectKind},
    telemetry::drops::DropReason,
};

/// Asks to drop all objects of a feed.
///
/// # Errors
/// Those of the file system.
pub fn ask(disk: &dyn Disk, spool: &Path, feed: &str) -> io::Result<()> {
    let requests = spool.join("drop");
    disk.make_dir(&requests)?;
    let mut file = disk.create(&requests.join(feed))?;
    file.flush()?;
    disk.sync_dir(&requests)
}

/// Reports the objects that wait for feeds without a configuration.
pub(super) fn report(outbox: &Outbox, feeds: &[FeedSpec], metrics: &SpoolMetrics) -> io::Result<()> {
    let mut waiting: BTreeMap<String, u64> = BTreeMap::new();
    for (feed, key) in outbox.keys()? {
        if !is_configured(feeds, &feed) && ObjectKind::of(&key).is_some() {
            metrics.feed(&feed).recovered.inc_by(outbox.events_in(&feed, &key));
            *waiting.entry(feed).or_default() += 1;
        }
    }
    for (feed, objects) in waiting {
        metrics.unclaimed(&feed).set(objects as i64);
        tracing::warn!(
            feed,
            objects,
            "objects of a feed that is not configured wait in the outbox; configure the feed again to deliver them, or \
             drop them with `clickedge spool drop-feed`"
        );
    }
    Ok(())
}

/// Drops the objects of the feeds that an operator has asked to drop.
pub(super) fn drop_asked(disk: &dyn Disk, spool: &Path, outbox: &Outbox, feeds: &[FeedSpec], metrics: &SpoolMetrics) {
    for request in disk.files_below(&spool.join("drop")).unwrap_or_default() {
        let feed = request.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if is_configured(feeds, &feed) {
            tracing::warn!(feed, "feed is configured; its objects are not dropped");
        } else {
            match drop_objects(disk, spool, outbox, &metrics.feed(&feed), &feed) {
                Ok(objects) => tracing::warn!(feed, objects, "objects of a feed that is not configured dropped"),
                Err(error) => {
                    tracing::warn!(feed, %error, "cannot drop the objects of a feed; retrying");
                    continue;
                }
            }
            metrics.unclaimed(&feed).set(0);
        }
        let _ = disk.remove(&request.path);
    }
}

fn drop_objects(
    disk: &dyn Disk,
    spool: &Path,
    outbox: &Outbox,
    metrics: &BacklogMetrics,
    feed: &str,
) -> io::Result<u64> {
    let root = spool.join("outbox");
    let mut objects = 0;
    for file in disk.files_below(&root.join(feed))? {
        let Some((_, key)) = feed_and_key(&root, &file.path) else { continue };
        let Some(kind) = ObjectKind::of(&key) else { continue };
        let events = outbox.events_in(feed, &key);
        disk.remove(&file.path)?;
        metrics.drop_events(DropReason::Removed, events);
        disk.tidy(file.path.parent(), &root);
        let (path, bytes) = (file.path, file.bytes);
        outbox.forget(&Object { key, path, bytes, kind, summary: None, finished_at: file.modified });
        objects += 1;
    }
    Ok(objects)
}

fn is_configured(feeds: &[FeedSpec], name: &str) -> bool {
    feeds.iter().any(|spec| spec.configured && spec.name == name)
}
