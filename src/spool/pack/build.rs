//! The first half of a round: builds files in `build/` from the journal. No state names them yet.

mod rollups;

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use super::{
    Packer, Setup,
    round::{Round, UnreadableSegment},
    schedule::manifests::BuiltManifest,
};
use crate::{
    click::EventId,
    object::{
        object_key,
        writer::{ObjectWriter, extension},
    },
    runtime::{Hour, clock},
    spool::{
        disk::DiskFile,
        feed::FeedSpec,
        journal::{
            Run,
            frame::{Frames, Piece},
            segment_path,
        },
        record::Record,
    },
    telemetry::drops::DropReason,
};

/// Up to this many files are synced one by one. Beyond that, the whole file system is synced once.
const SYNC_EACH: usize = 16;

/// Attempts to read the journal, about five seconds, before an unreadable part is skipped.
const READ_TRIES: u32 = 25;

impl Packer {
    /// Builds the objects, manifests and rollups of a round, and syncs them.
    pub(super) fn build(&mut self, due: &[u16]) -> io::Result<Round> {
        let mut round = Round::default();
        let each = due.len() <= SYNC_EACH;
        for feed in due {
            // During a stop the rest waits for the next start.
            if round.feeds > 0 && self.setup.retry.has_passed() {
                break;
            }
            self.build_feed(*feed, each, &mut round)?;
            round.feeds += 1;
        }
        let Setup { disk, records, feeds, dir, schedule, .. } = &self.setup;
        let manifests = schedule.manifests.build(feeds, &**disk, records, &round.records, clock::monotonic())?;
        let rollups = self.rollups_due();
        let each = each && manifests.len() + rollups.values().map(Vec::len).sum::<usize>() <= SYNC_EACH;
        for BuiltManifest { feed, record, text } in manifests {
            let mut file = disk.create(&dir.join("build").join(record.build_name()))?;
            file.write_all(&text)?;
            if each {
                file.sync()?;
            }
            round.records.push((feed, record));
        }
        let packed = &due[..round.feeds];
        self.build_rollups(&rollups, packed, each, &mut round)?;
        if round.records.is_empty() && self.setup.state.objects.is_empty() {
            return Ok(round);
        }
        if !each {
            self.setup.disk.sync_all()?;
        }
        // This also makes the last round's renames out of the folder durable: the next state no longer names its
        // objects.
        self.setup.disk.sync_dir(&self.setup.dir.join("build"))?;
        Ok(round)
    }

    fn build_feed(&self, feed: u16, sync: bool, round: &mut Round) -> io::Result<()> {
        let (pending, spec) = (&self.feeds[usize::from(feed)], &self.setup.feeds[usize::from(feed)]);
        // Over the quota, only feeds with more than their share drop events: the backlog of a feed whose sink rejects
        // uploads costs no other feed an event.
        let outbox = &self.setup.outbox;
        let share = outbox.max_bytes() / self.setup.feeds.len().max(1) as u64;
        if outbox.is_full() && spec.metrics.waiting_bytes() >= share {
            round.dropped.push((feed, DropReason::SpoolQuota, pending.events));
            return Ok(());
        }
        let mut by_hour: BTreeMap<Hour, Vec<&Run>> = BTreeMap::new();
        for run in &pending.runs {
            by_hour.entry(run.hour).or_default().push(run);
        }
        let mut seq = self.setup.state.feeds.get(&spec.name).map_or(1, |state| state.seq);
        let (mut packed, mut bytes) = (0, 0);
        for (hour, runs) in by_hour {
            let mut builder = ObjectBuilder { setup: &self.setup, spec, hour, sync, writer: None, seq: &mut seq };
            let mut records = Vec::new();
            self.read(feed, &runs, |id, event| {
                records.extend(builder.add(id, event)?);
                Ok(())
            })?;
            records.extend(builder.finish()?);
            packed += records.iter().map(|record| record.events).sum::<u64>();
            bytes += records.iter().map(|record| record.bytes).sum::<u64>();
            round.records.extend(records.into_iter().map(|record| (feed, record)));
        }
        if packed < pending.events {
            // Frames that were valid when they were written or recovered are damaged now.
            round.dropped.push((feed, DropReason::Damaged, pending.events - packed));
        }
        if pending.bytes > 0 && bytes > 0 {
            round.ratios.push((feed, bytes as f64 / pending.bytes as f64));
        }
        Ok(())
    }

    /// Reads a feed's events in runs, which are in the order of the journal.
    fn read(
        &self,
        feed: u16,
        runs: &[&Run],
        mut visit: impl FnMut(EventId, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let journal = self.setup.dir.join("journal");
        for of_segment in runs.chunk_by(|a, b| a.segment == b.segment) {
            let segment = of_segment[0].segment;
            let path = segment_path(&journal, segment);
            let numbers = self.numbers.get(&segment);
            let ours = |number: u16| match numbers {
                Some(numbers) => numbers.get(usize::from(number)) == Some(&Some(feed)),
                None => number == feed,
            };
            let unreadable = |source: io::Error| {
                let kind = source.kind();
                io::Error::new(kind, UnreadableSegment { path: path.display().to_string(), source })
            };
            let file = match self.setup.disk.open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    tracing::error!(path = %path.display(), "journal segment is missing; its events are lost");
                    continue;
                }
                Err(error) => return Err(unreadable(error)),
            };
            for run in of_segment {
                let mut frames = Frames::new(&*file, run.start, run.end);
                loop {
                    let piece = match frames.read() {
                        Ok(Some((_, _, piece))) => piece,
                        Ok(None) => break,
                        Err(error) if self.unreadable < READ_TRIES => return Err(unreadable(error)),
                        Err(error) => {
                            let (start, end) = frames.skip_unreadable();
                            let path = path.display();
                            tracing::error!(%path, start, end, %error, "unreadable part of the journal; its events are lost");
                            continue;
                        }
                    };
                    // A loose run has events of other feeds and hours, too.
                    if let Piece::Event(event) = piece
                        && event.feeds().any(ours)
                        && Hour::of_micros(event.micros) == run.hour
                    {
                        visit(event.id, event.event)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Removes all files of a round that failed.
    pub(super) fn remove_builds(&self) {
        let build = self.setup.dir.join("build");
        for file in self.setup.disk.files_below(&build).unwrap_or_default() {
            let _ = self.setup.disk.remove(&file.path);
        }
    }
}

/// Builds the objects of one feed and hour.
struct ObjectBuilder<'a> {
    setup: &'a Setup,
    spec: &'a FeedSpec,
    hour: Hour,
    sync: bool,
    writer: Option<ObjectWriter<Box<dyn DiskFile>>>,
    seq: &'a mut u64,
}

impl ObjectBuilder<'_> {
    /// Adds an event. Returns the object if it is full.
    fn add(&mut self, id: EventId, event: &[u8]) -> io::Result<Option<Record>> {
        let writer = if let Some(writer) = &mut self.writer {
            writer
        } else {
            let name = format!("{}.{}.{:08}", self.spec.name, self.hour, self.seq);
            let file = self.setup.disk.create(&self.setup.dir.join("build").join(name))?;
            let writer = ObjectWriter::new(file, self.spec.format, self.spec.compression)?;
            self.writer.insert(writer.limited_to(self.spec.max_bytes, None))
        };
        writer.add(id, event)?;
        if writer.is_full() { self.finish() } else { Ok(None) }
    }

    fn finish(&mut self) -> io::Result<Option<Record>> {
        let Some(writer) = self.writer.take() else { return Ok(None) };
        let first = writer.first().map(|id| id.to_string()).unwrap_or_default();
        let end = extension(self.spec.format, self.spec.compression);
        let key = object_key(self.hour, &self.spec.name, &self.spec.pop, &first, *self.seq, end);
        let mut written = writer.finish(&key)?;
        if self.sync {
            written.file.sync()?;
        }
        let summary = written.summary;
        let record = Record {
            feed: self.spec.name.clone(),
            hour: self.hour,
            key,
            seq: *self.seq,
            events: summary.events,
            bytes: written.bytes,
            sha256: summary.sha256,
            first: summary.first,
            last: summary.last,
            manifest: None,
            rollup: None,
        };
        *self.seq += 1;
        Ok(Some(record))
    }
}
