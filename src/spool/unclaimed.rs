//! Objects of feeds that the configuration does not have any more, from the start or since a change.
//!
//! They wait in the outbox until the feed is configured again, or an operator drops them: a file `drop/{feed}` asks the
//! process that owns the spool to do so, or the next one. A feed that is configured is never dropped. In the account of
//! their feed, their events are pending until they are dropped.

use std::{
    collections::BTreeSet,
    io::{self, Write},
    path::Path,
};

use super::{
    disk::{Disk, FileEntry},
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
pub(super) fn report(
    disk: &dyn Disk,
    spool: &Path,
    outbox: &Outbox,
    feeds: &[FeedSpec],
    metrics: &SpoolMetrics,
) -> io::Result<()> {
    let waiting: BTreeSet<String> = outbox.keys()?.into_iter().map(|(feed, _)| feed).collect();
    for feed in waiting.into_iter().filter(|feed| !is_configured(feeds, feed)) {
        let (objects, backlog) = (objects_of(disk, spool, &feed)?, metrics.feed(&feed));
        for object in &objects {
            backlog.add_object(object.bytes);
            backlog.recover_finished(outbox.recall(&feed, &object.key));
        }
        metrics.unclaim(&feed);
        let objects = objects.len();
        tracing::warn!(
            feed,
            objects,
            "objects of a feed that is not configured wait in the outbox; configure the feed again to deliver them, or \
             drop them with `clickedge spool drop-feed`"
        );
    }
    Ok(())
}

/// Drops the objects of the feeds that an operator has asked to drop. Before, `give_up` gets the number of the feed, if
/// it has one; while it returns false, the request waits.
pub(super) fn drop_asked(
    disk: &dyn Disk,
    spool: &Path,
    outbox: &Outbox,
    feeds: &[FeedSpec],
    metrics: &SpoolMetrics,
    mut give_up: impl FnMut(u16) -> bool,
) {
    for request in disk.files_below(&spool.join("drop")).unwrap_or_default() {
        let feed = request.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let known = (0_u16..).zip(feeds).find(|(_, spec)| spec.name == feed);
        match known {
            Some((_, spec)) if spec.configured => {
                tracing::warn!(feed, "feed is configured; its objects are not dropped");
                let _ = disk.remove(&request.path);
                continue;
            }
            Some((number, _)) if !give_up(number) => continue,
            _ => {}
        }
        match drop_objects(disk, spool, outbox, &metrics.feed(&feed), &feed) {
            Ok(objects) => tracing::warn!(feed, objects, "objects of a feed that is not configured dropped"),
            Err(error) => {
                tracing::warn!(feed, %error, "cannot drop the objects of a feed; retrying");
                continue;
            }
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
) -> io::Result<usize> {
    let objects = objects_of(disk, spool, feed)?;
    for object in &objects {
        let events = outbox.events_in(feed, &object.key);
        disk.remove(&object.path)?;
        metrics.drop_finished(DropReason::Removed, events);
        metrics.remove_object(object.bytes);
        disk.tidy(object.path.parent(), &spool.join("outbox"));
        outbox.forget(object);
    }
    Ok(objects.len())
}

/// The objects in the outbox of a feed that nothing delivers.
fn objects_of(disk: &dyn Disk, spool: &Path, feed: &str) -> io::Result<Vec<Object>> {
    let root = spool.join("outbox");
    let object = |FileEntry { path, bytes, modified }| {
        let (_, key) = feed_and_key(&root, &path)?;
        let kind = ObjectKind::of(&key)?;
        Some(Object { key, path, bytes, kind, summary: None, finished_at: modified })
    };
    Ok(disk.files_below(&root.join(feed))?.into_iter().filter_map(object).collect())
}

fn is_configured(feeds: &[FeedSpec], name: &str) -> bool {
    feeds.iter().any(|spec| spec.configured && spec.name == name)
}
