//! The first half of a round: builds files in `build/` from the journal. No state names them yet.

mod rollups;

use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

use super::{
    Packer, Setup,
    pending::{Pending, Remainders, Waiting, is_made},
    round::{Packed, Ratios, Round, UnreadableSegment},
    schedule::manifests::BuiltManifest,
};
use crate::{
    config::feeds::Layout,
    enrich::frame::Frame,
    object::writer::{ObjectWriter, extension},
    runtime::{Hour, clock},
    spool::{
        disk::DiskFile,
        feed::FeedSpec,
        journal::{
            Run,
            frames::{Frames, Piece},
            segment_path,
        },
        record::Record,
    },
    telemetry::drops::DropReason,
};

/// Up to this many files are synced one by one. Beyond that, the whole file system is synced once.
const SYNC_EACH: usize = 16;

/// Text of an object that shows how far the feed's events can be compressed.
const TELLING_BYTES: u64 = 128 << 10;

/// Attempts to read the journal, about five seconds, before an unreadable part is skipped.
const READ_TRIES: u32 = 25;

impl Packer {
    /// Builds the objects, manifests and rollups of a round, and syncs them.
    pub(super) fn build(&mut self, due: &[u16], remainders: Remainders) -> io::Result<Round> {
        let mut round = Round::default();
        let each = due.len() <= SYNC_EACH;
        for feed in due {
            // During a stop the rest waits for the next start.
            if !round.packed.is_empty() && self.setup.retry.has_passed() {
                break;
            }
            self.build_feed(*feed, remainders, each, &mut round)?;
        }
        let Setup { disk, dir, schedule, .. } = &self.setup;
        let waits = |feed: u16, hour: Hour| {
            let packed = round.packed.iter().find(|packed| packed.feed == feed);
            self.waits(feed, hour)
                && packed.is_none_or(|packed| packed.stays.as_ref().is_some_and(|(from, _)| hour >= *from))
        };
        let manifests = schedule.manifests.build(&self.setup, &round.records, &waits, clock::monotonic())?;
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
        self.build_rollups(&rollups, each, &mut round)?;
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

    fn build_feed(&self, feed: u16, remainders: Remainders, sync: bool, round: &mut Round) -> io::Result<()> {
        let (pending, spec) = (&self.feeds[usize::from(feed)], &self.setup.feeds[usize::from(feed)]);
        let mut packed = Packed { feed, up_to: self.known, events: pending.events(), stays: None };
        // Over the quota, only feeds with more than their share drop events: the backlog of a feed whose sink rejects
        // uploads costs no other feed an event.
        let outbox = &self.setup.outbox;
        let feeds = self.setup.feeds.iter().filter(|spec| spec.configured).count();
        let share = outbox.max_bytes() / feeds.max(1) as u64;
        if outbox.is_full() && spec.metrics.waiting_bytes() >= share {
            round.dropped.push((feed, DropReason::SpoolQuota, packed.events));
            round.packed.push(packed);
            return Ok(());
        }
        let mut seq = self.setup.state.feeds.get(&spec.name).map_or(1, |state| state.seq);
        let (mut records, mut found, mut expected) = (Vec::new(), 0, 0);
        let (mut read_bytes, mut made_bytes, mut text_ratio) = (0, 0, pending.text_ratio);
        for (hour, waiting) in &pending.hours {
            let mut builder = ObjectBuilder {
                setup: &self.setup,
                spec,
                hour: *hour,
                sync,
                loose: self.is_loose(),
                open: None,
                buffer: Vec::new(),
                added: 0,
                text_ratio,
                seq,
            };
            let first = records.len();
            self.read(feed, &waiting.runs, |run, event| {
                records.extend(builder.add(run, event)?);
                Ok(())
            })?;
            let rest = builder.rest(waiting, records.len() > first);
            records.extend(builder.finish()?);
            found += builder.added;
            (text_ratio, seq) = (builder.text_ratio, builder.seq);
            expected += waiting.events;
            read_bytes += waiting.bytes;
            made_bytes += records[first..].iter().map(|record| record.bytes).sum::<u64>();
            if let Some(rest) = rest.filter(|_| remainders == Remainders::Stay)
                && let Some(record) = records.pop_if(|record| stays(pending, spec, &rest, record))
            {
                self.setup.disk.remove(&self.setup.dir.join("build").join(record.build_name()))?;
                let later = pending.hours.range(hour..).skip(1).map(|(_, waiting)| waiting.events).sum::<u64>();
                packed.up_to = rest.begin();
                packed.events -= rest.events + later;
                packed.stays = Some((*hour, rest));
                break;
            }
        }
        if found < expected {
            // Frames that were valid when they were written or recovered are damaged now, or are no events.
            round.dropped.push((feed, DropReason::Damaged, expected - found));
        }
        if read_bytes > 0 && made_bytes > 0 {
            let ratios = Ratios { of_journal: made_bytes as f64 / read_bytes as f64, of_text: text_ratio };
            round.ratios.push((feed, ratios));
        }
        round.records.extend(records.into_iter().map(|record| (feed, record)));
        round.packed.push(packed);
        Ok(())
    }

    /// Reads a feed's events in runs, which are in the order of the journal.
    fn read(
        &self,
        feed: u16,
        runs: &[Run],
        mut visit: impl FnMut(Run, &Frame<'_>) -> io::Result<()>,
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
                    let (start, end, piece) = match frames.read() {
                        Ok(Some(found)) => found,
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
                        visit(Run { start, end, events: 1, ..*run }, &event)?;
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

/// Whether these events stay in the journal, instead of making this object.
fn stays(pending: &Pending, spec: &FeedSpec, rest: &Waiting, record: &Record) -> bool {
    let now = clock::monotonic();
    !is_made(spec, record.bytes, now.duration_since(rest.since))
        && !pending.is_pushed(record.hour, spec, now)
        && pending.can_end_at(rest.begin(), record.hour)
}

/// Builds the objects of one feed and hour.
struct ObjectBuilder<'a> {
    setup: &'a Setup,
    spec: &'a FeedSpec,
    hour: Hour,
    sync: bool,
    /// Whether runs are merged although other events lie between them.
    loose: bool,
    open: Option<OpenObject>,
    /// The event as the feed asks for it.
    buffer: Vec<u8>,
    /// Events that were added to objects.
    added: u64,
    text_ratio: Option<f64>,
    seq: u64,
}

/// An object that is not full.
struct OpenObject {
    writer: ObjectWriter<Box<dyn DiskFile>>,
    /// Its events in the journal.
    events: Waiting,
    /// When its first event was answered, microseconds since the Unix epoch.
    micros: u64,
}

impl ObjectBuilder<'_> {
    /// Adds an event. Returns the object if it is full.
    fn add(&mut self, run: Run, event: &Frame<'_>) -> io::Result<Option<Record>> {
        let Some(rendered) = self.spec.rendering.apply(event.event, &mut self.buffer) else {
            quarantine(self.setup, &self.spec.name, event)?;
            return Ok(None);
        };
        let open = if let Some(open) = &mut self.open {
            open
        } else {
            let name = format!("{}.{}.{:08}", self.spec.name, self.hour, self.seq);
            let file = self.setup.disk.create(&self.setup.dir.join("build").join(name))?;
            let writer = ObjectWriter::new(file, self.spec.format, self.spec.compression)?
                .limited_to(self.spec.max_bytes, self.text_ratio);
            let events = Waiting { runs: Vec::new(), events: 0, bytes: 0, since: clock::monotonic() };
            self.open.insert(OpenObject { writer, events, micros: event.micros })
        };
        open.events.note(run, self.loose);
        open.writer.add(event.id, rendered)?;
        self.added += 1;
        if open.writer.is_full() { self.finish() } else { Ok(None) }
    }

    /// The events of the object that is not full. `of` are all those of the hour; `more` if objects were made of the
    /// first ones.
    fn rest(&self, of: &Waiting, more: bool) -> Option<Waiting> {
        let OpenObject { events, micros, .. } = self.open.as_ref()?;
        let since = if more { instant_of(*micros) } else { of.since };
        Some(Waiting { since, ..events.clone() })
    }

    fn finish(&mut self) -> io::Result<Option<Record>> {
        let Some(OpenObject { writer, .. }) = self.open.take() else { return Ok(None) };
        let first = writer.first().map(|id| id.to_string()).unwrap_or_default();
        let end = extension(self.spec.format, self.spec.compression);
        let maker = self.spec.maker(&self.setup.identity);
        let key = match self.spec.layout {
            Layout::Hive => maker.hive_key(self.hour, &first, self.seq, end),
            Layout::Sequence => maker.sequence_key(self.seq, end),
        };
        let mut written = writer.finish(self.spec.envelope_key.as_ref().unwrap_or(&key))?;
        if self.sync {
            written.file.sync()?;
        }
        if written.text_bytes >= TELLING_BYTES {
            self.text_ratio = Some(written.bytes as f64 / written.text_bytes as f64);
        }
        let summary = written.summary;
        let record = Record {
            feed: self.spec.name.clone(),
            hour: self.hour,
            key,
            seq: self.seq,
            events: summary.events,
            bytes: written.bytes,
            sha256: summary.sha256,
            first: summary.first,
            last: summary.last,
            ..Record::default()
        };
        self.seq += 1;
        Ok(Some(record))
    }
}

/// Keeps an event that cannot be rendered as its feed asks for it. Delivered as it is, it would have what the feed
/// leaves out. Under a name of its own, so that a round that is repeated keeps it once.
fn quarantine(setup: &Setup, feed: &str, event: &Frame<'_>) -> io::Result<()> {
    let dir = setup.dir.join("quarantine").join(feed).join("_unrendered");
    let path = dir.join(format!("{}.json", event.id));
    setup.disk.make_dir(&dir)?;
    let mut file = setup.disk.create(&path)?;
    file.write_all(event.event)?;
    file.sync()?;
    setup.disk.sync_dir(&dir)?;
    tracing::error!(
        feed,
        id = %event.id,
        aside = %path.display(),
        remedy = "send the event to the feed's receiver by hand, without the fields of `fields.omit`",
        "internal error: event cannot be rendered for its feed; moved to quarantine; please report this bug"
    );
    Ok(())
}

/// The point in time of a click.
fn instant_of(micros: u64) -> Instant {
    let (now, age) = (clock::monotonic(), clock::unix_micros().saturating_sub(micros));
    now.checked_sub(Duration::from_micros(age)).unwrap_or(now)
}
