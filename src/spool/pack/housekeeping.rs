//! What the packer does between two rounds: frees segments, forgets old hours, and takes up replays.

use std::{collections::BTreeSet, io, sync::atomic::Ordering};

use super::{Packer, Setup, pending::Pending};
use crate::{
    object::{Object, ObjectKind},
    runtime::{Hour, clock},
    spool::{
        journal::{note::note_path, segment_path},
        outbox::hour_of,
        record::Record,
        unclaimed,
    },
};

impl Packer {
    /// Removes the segments that are no longer needed, except the open one.
    pub(in crate::spool) fn free_unneeded(&mut self) {
        self.free(self.known.0);
    }

    /// Removes the segments before `open` that are no longer needed, oldest first.
    pub(in crate::spool) fn free(&mut self, open: u64) {
        if open == u64::MAX {
            // First: a note on a segment that is missing means that it was lost.
            match self.setup.disk.remove(&note_path(&self.setup.dir.join("journal"))) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return tracing::warn!(%error, "cannot remove the journal's note; its segments stay until the next start");
                }
                _ => {}
            }
        }
        let needed = self.feeds.iter().filter_map(Pending::first_segment).min();
        let mut needed = needed.unwrap_or(u64::MAX).min(open);
        if let Some(aggregator) = &mut self.setup.aggregator {
            aggregator.give_up_beyond(self.setup.limits.journal_max_bytes() / 2, &self.setup.segments, needed);
            needed = aggregator.first_segment().unwrap_or(u64::MAX).min(needed);
        }
        while let Some((&number, &bytes)) = self.setup.segments.first_key_value()
            && number < needed
        {
            let path = segment_path(&self.setup.dir.join("journal"), number);
            match self.setup.disk.remove(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return tracing::warn!(%error, path = %path.display(), "cannot remove a journal segment");
                }
                _ => {}
            }
            self.setup.segments.remove(&number);
            self.setup.journal_size.fetch_sub(bytes, Ordering::AcqRel);
        }
    }

    /// Drops the objects of the feeds that an operator has asked to drop.
    pub(super) fn drop_asked(&mut self) {
        let Setup { disk, dir, outbox, feeds, metrics, delivery, .. } = &mut self.setup;
        let give_up = |number| delivery.give_up(number);
        unclaimed::drop_asked(&**disk, dir, outbox, feeds, metrics, give_up);
    }

    /// Moves the objects that an operator sends again into the outbox.
    pub(super) fn take_replays(&mut self) {
        let ready = self.setup.dir.join("replay");
        // Replays must not take the room of new events.
        if self.setup.outbox.bytes() > self.setup.outbox.max_bytes() / 2 {
            return;
        }
        for file in self.setup.disk.files_below(&ready).unwrap_or_default() {
            let Ok(below) = file.path.strip_prefix(&ready) else { continue };
            let below = below.to_string_lossy();
            let Some((name, key)) = below.split_once('/') else { continue };
            let mut feeds = (0_u16..).zip(&self.setup.feeds);
            let feed = feeds.find(|(_, spec)| spec.configured && spec.name == name).map(|(number, _)| number);
            let Some(feed) = feed.filter(|_| ObjectKind::of(key) == Some(ObjectKind::Replay)) else {
                continue;
            };
            let object = Object {
                key: key.to_owned(),
                path: self.setup.outbox.path(name, key),
                bytes: file.bytes,
                kind: ObjectKind::Replay,
                summary: None,
                finished_at: clock::unix_secs(),
            };
            match self.setup.outbox.take_in(&file.path, name, &object) {
                Ok(()) => {
                    self.setup.feeds[usize::from(feed)].metrics.add_object(object.bytes);
                    self.setup.delivery.finished(feed, object);
                }
                Err(error) => tracing::warn!(%error, key, "cannot move a replayed object into the outbox"),
            }
            self.setup.disk.tidy(file.path.parent(), &ready);
        }
    }

    /// Forgets the records of hours that are over, listed and delivered.
    pub(in crate::spool) fn forget_old_hours(&mut self) {
        let old = self.setup.schedule.old(&self.setup.feeds, Hour::of_micros(clock::trusted_micros()));
        if old.is_empty() {
            return;
        }
        let Ok(keys) = self.setup.outbox.keys() else { return };
        let unpacked: BTreeSet<Hour> = self.feeds.iter().flat_map(|feed| feed.hours.keys().copied()).collect();
        let waiting: BTreeSet<Hour> = keys.iter().filter_map(|(_, key)| hour_of(key)).collect();
        // Keys of a sequence do not have the hour: the records do.
        let unknown = keys.iter().any(|(_, key)| hour_of(key).is_none());
        let Setup { records, disk, .. } = &self.setup;
        let is_waiting = |hour: Hour| {
            let waits = |record: Record| keys.contains(&(record.feed, record.key));
            unknown && records.read(&**disk, hour).map_or(true, |records| records.into_iter().any(waits))
        };
        let old: Vec<_> = old.into_iter().filter(|hour| !is_waiting(*hour)).collect();
        for hour in old {
            if waiting.contains(&hour)
                || unpacked.contains(&hour)
                || self.setup.state.objects.iter().any(|object| object.hour == hour)
            {
                continue;
            }
            match self.setup.records.remove(&*self.setup.disk, hour) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(%hour, %error, "cannot remove the records of an hour");
                }
                _ => self.setup.schedule.forget(hour),
            }
        }
    }
}
