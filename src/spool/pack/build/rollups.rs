//! Builds the rollups of a round.

use std::{collections::BTreeMap, io};

use crate::{
    config::{Compression, Format},
    object::writer::ObjectWriter,
    runtime::{Hour, clock},
    spool::{
        pack::{Packer, round::Round, source::RollupSource},
        record::Record,
    },
    stats::{
        rollup,
        store::{Snapshot, StoreError},
    },
};

impl Packer {
    /// Feeds whose rollups are due, by hour.
    pub(in crate::spool::pack) fn rollups_due(&self) -> BTreeMap<Hour, Vec<u16>> {
        let source = self.setup.rollups.as_ref();
        source.map_or_else(BTreeMap::new, |source| {
            self.setup.schedule.rollups.due(&self.setup.feeds, source, clock::monotonic())
        })
    }

    /// Builds the rollups that are due, for feeds all of whose packed events are counted. If the store of counts fails,
    /// rollups wait and objects do not.
    ///
    /// # Errors
    /// Those of the spool's disk.
    pub(super) fn build_rollups(
        &self,
        due: &BTreeMap<Hour, Vec<u16>>,
        sync: bool,
        round: &mut Round,
    ) -> io::Result<()> {
        let Some(source) = self.setup.rollups.as_ref().filter(|_| !due.is_empty()) else { return Ok(()) };
        let built = self.try_rollups(source, due, sync, round);
        built.or_else(|error| {
            if error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<StoreError>) {
                tracing::warn!(%error, "counts cannot be read; rollups are retried");
                source.retry_later(true);
                return Ok(());
            }
            Err(error)
        })
    }

    fn try_rollups(
        &self,
        source: &RollupSource,
        due: &BTreeMap<Hour, Vec<u16>>,
        sync: bool,
        round: &mut Round,
    ) -> io::Result<()> {
        // One snapshot for all of them.
        let mut reader = source.reader()?;
        let snapshot = source.snapshot(&mut reader)?;
        let counted = snapshot.counted()?.map(|counted| counted.position).unwrap_or_default();
        for (hour, feeds) in due.iter().filter(|(hour, _)| source.is_complete(**hour)) {
            for feed in feeds {
                if self.setup.retry.has_passed() {
                    return Ok(());
                }
                let state = self.setup.state.feeds.get(&self.setup.feeds[usize::from(*feed)].name);
                let needed = round.packed_up_to(*feed).or(state.map(|state| state.packed)).unwrap_or_default();
                if counted < needed {
                    source.retry_later(false);
                    continue;
                }
                let record = self.build_rollup(source, &snapshot, *feed, *hour, sync)?;
                round.records.push((*feed, record));
            }
        }
        Ok(())
    }

    fn build_rollup(
        &self,
        source: &RollupSource,
        snapshot: &Snapshot<'_>,
        feed: u16,
        hour: Hour,
        sync: bool,
    ) -> io::Result<Record> {
        let spec = &self.setup.feeds[usize::from(feed)];
        let version = self.setup.schedule.rollups.next_version(feed, hour);
        let mut record = Record {
            feed: spec.name.clone(),
            hour,
            key: spec.maker(&self.setup.identity).rollup_key(hour, version),
            rollup: Some(version),
            ..Record::default()
        };
        let path = self.setup.dir.join("build").join(record.build_name());
        let write = || {
            let file = self.setup.disk.create(&path)?;
            let mut object = ObjectWriter::new(file, Format::Ndjson, Compression::default())?;
            let text = object.text();
            if let Some(workspaces) = &spec.rollups {
                rollup::write(snapshot, hour, workspaces, source.owner(), text)?;
            }
            object.finish(&record.key)
        };
        // A partial file that no record names must not remain.
        let mut written = write().inspect_err(|_| _ = self.setup.disk.remove(&path))?;
        if sync {
            written.file.sync()?;
        }
        (record.bytes, record.sha256) = (written.bytes, written.summary.sha256);
        Ok(record)
    }
}
