//! An object that still grows: a compressed file, fed event by event.

use std::{
    fs::{self, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use flate2::{Compression, write::GzEncoder};

use super::{
    FeedSpec, HOUR_MICROS, Outbox,
    count::count_events,
    patient::{Deadline, PatientFile},
};
use crate::{capture::EventId, config, telemetry::metrics::Metrics};

/// Compressed bytes that are collected before they are written.
const WRITE_BYTES: usize = 64 * 1024;

/// Extension of a file that is to take another one's place.
pub const SALVAGED: &str = "salvaged";

/// An object in `open/`.
pub struct OpenObject {
    feed: String,
    key: String,
    path: PathBuf,
    encoder: GzEncoder<BufWriter<PatientFile>>,
    events: u64,
    opened: Instant,
    max_age: Duration,
}

/// An object whose bytes are complete and on the disk, but still in `open/`.
pub struct Sealed {
    pub feed: String,
    pub key: String,
    pub path: PathBuf,
    pub bytes: u64,
    pub events: u64,
}

impl OpenObject {
    /// Makes the file of a new object, whose first event is `first` and whose events all lie in `hour` (hours since
    /// the Unix epoch).
    ///
    /// # Errors
    /// Those of the file system; nothing is left behind that a later try would not overwrite.
    pub fn create(
        outbox: &Outbox,
        feed: &FeedSpec,
        hour: u64,
        first: EventId,
        deadline: &Deadline,
        metrics: &Arc<Metrics>,
    ) -> io::Result<Self> {
        let seq = outbox.reserve_seq(&feed.name)?;
        let key = key(feed, hour, first, seq);
        let path = outbox.open_path(&feed.name, &key);
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        outbox.use_seq(&feed.name, seq);
        let file = PatientFile::new(file, deadline.clone(), Arc::clone(metrics));
        let config::Compression::Gzip { level } = feed.compression;
        Ok(Self {
            feed: feed.name.clone(),
            key,
            path,
            encoder: GzEncoder::new(BufWriter::with_capacity(WRITE_BYTES, file), Compression::new(level)),
            events: 0,
            opened: Instant::now(),
            max_age: feed.max_age,
        })
    }

    /// Adds an encoded event, line feed included.
    ///
    /// # Errors
    /// When the disk failed until the stop's deadline had passed.
    pub fn append(&mut self, event: &[u8]) -> io::Result<()> {
        self.encoder.write_all(event)?;
        self.events += 1;
        Ok(())
    }

    /// Compressed bytes so far, but for what the compressor still holds.
    pub fn bytes(&self) -> u64 {
        let file = self.encoder.get_ref();
        file.get_ref().bytes() + file.buffer().len() as u64
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn events(&self) -> u64 {
        self.events
    }

    /// When the object is old enough to be finished.
    pub fn due(&self) -> Instant {
        self.opened + self.max_age
    }

    /// Completes the file and brings it to the disk.
    ///
    /// # Errors
    /// When the disk failed until the stop's deadline had passed.
    pub fn seal(self) -> io::Result<Sealed> {
        let file = self.encoder.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        if let Err(error) = file.sync() {
            tracing::error!(%error, key = self.key, "fsync failed; writing the object again");
            let body = file.insist("read an object back", || fs::read(&self.path))?;
            if count_events(&body)? != self.events {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the disk has damaged the object"));
            }
            file.insist("write an object again", || write_again(&self.path, &body))?;
        }
        let bytes = file.bytes();
        Ok(Sealed { feed: self.feed, key: self.key, path: self.path, bytes, events: self.events })
    }
}

/// Writes an object into a new file and puts it in the place of the old one. After a failed fsync the kernel may have
/// let go of what it could not write, and calls the next fsync of that file a success.
fn write_again(path: &Path, body: &[u8]) -> io::Result<()> {
    let copy = path.with_extension(SALVAGED);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&copy)?;
    file.write_all(body)?;
    file.sync_all()?;
    fs::rename(&copy, path)
}

/// `dt=2026-11-23/hour=09/{feed}-{pop}-{first}-{seq}.ndjson.gz`
fn key(feed: &FeedSpec, hour: u64, first: EventId, seq: u64) -> String {
    let time = jiff::Timestamp::from_microsecond((hour * HOUR_MICROS) as i64).unwrap_or_default();
    let partition = jiff::tz::Offset::UTC.to_datetime(time).strftime("dt=%Y-%m-%d/hour=%H");
    format!("{partition}/{}-{}-{first}-{seq:08}.ndjson.gz", feed.name, feed.pop)
}

/// The number in an object's key.
pub fn seq_of(key: &str) -> Option<u64> {
    key.strip_suffix(".ndjson.gz")?.rsplit_once('-')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_tells_hour_feed_pop_first_event_and_number() {
        let feed = FeedSpec {
            name: "brand".into(),
            pop: "fra1".into(),
            compression: config::Compression::default(),
            max_age: Duration::from_secs(1),
            max_bytes: 1,
            metrics: Metrics::new().feed("brand"),
        };
        let micros = 1_795_424_462_000_042;
        let first = EventId::at(micros);
        let key = key(&feed, micros / HOUR_MICROS, first, 42);
        assert_eq!(key, format!("dt=2026-11-23/hour=09/brand-fra1-{first}-00000042.ndjson.gz"));
        assert_eq!(seq_of(&key), Some(42));
        assert_eq!(seq_of("dt=2026-11-23/hour=09/notes.txt"), None);
    }
}
