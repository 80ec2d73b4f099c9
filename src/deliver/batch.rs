//! The events of an object in batches, for sinks that take events and no files.
//!
//! Where a batch ends depends on the object and on the limits alone, so that an object that is read again, by another
//! process, has the same batches. The file is read on a thread for files, one batch at a time: no thread and no more
//! memory than a batch is held while a sink is slow.

use std::{io, path::Path};

use bytes::Bytes;

use super::error::{Details, SinkError};
use crate::object::{Object, digest::sha256, reader::EventReader};

/// An event of an object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Event {
    pub id: String,
    /// The event as JSON, in a line.
    pub text: Bytes,
}

/// Where a batch ends.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub events: usize,
    /// Most bytes of the events' texts and one byte between two. A batch has at least one event.
    pub bytes: usize,
}

/// Consecutive events of an object.
#[derive(Debug, Default)]
pub struct Batch {
    /// Number of events before it in the object.
    pub offset: u64,
    pub events: Vec<Event>,
}

/// The batches of an object.
pub struct Batches(Option<Reading>);

struct Reading {
    reader: EventReader,
    limits: Limits,
    /// Events that the object has.
    expected: Option<u64>,
    offset: u64,
    /// The event that did not fit into the batch before.
    left: Option<Event>,
}

impl Batches {
    /// Opens an object's file, and checks that it is what it was when it was finished.
    pub async fn open(object: &Object, limits: Limits) -> Result<Self, SinkError> {
        let (path, expected) = (object.path.clone(), object.summary.as_ref().map(|summary| summary.sha256.clone()));
        let reader = on_a_thread(move || open(&path, expected.as_deref())).await??;
        let expected = object.summary.as_ref().map(|summary| summary.events);
        Ok(Self(Some(Reading { reader, limits, expected, offset: 0, left: None })))
    }

    /// The next batch. `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Batch>, SinkError> {
        let Some(mut reading) = self.0.take() else {
            return Ok(None);
        };
        let (batch, reading) = on_a_thread(move || {
            let batch = reading.next();
            (batch, reading)
        })
        .await?;
        let batch = batch.map_err(SinkError::of_file)?;
        if batch.events.is_empty() {
            return reading.all_were_read().map(|()| None);
        }
        self.0 = Some(reading);
        Ok(Some(batch))
    }
}

impl Reading {
    /// An object is acknowledged with its last batch: no event may be left behind.
    fn all_were_read(&self) -> Result<(), SinkError> {
        match self.expected {
            Some(expected) if expected != self.offset => Err(SinkError::damaged(format!(
                "the object has {expected} events, of which {} were read",
                self.offset
            ))),
            _ => Ok(()),
        }
    }

    fn next(&mut self) -> io::Result<Batch> {
        let mut batch = Batch { offset: self.offset, events: Vec::new() };
        let mut bytes = 0;
        while batch.events.len() < self.limits.events {
            let event = match self.left.take() {
                Some(event) => event,
                None => match self.reader.next_event()? {
                    Some((id, text)) => Event { id: id.to_owned(), text: Bytes::copy_from_slice(text) },
                    None => break,
                },
            };
            bytes += event.text.len() + 1;
            if bytes > self.limits.bytes.saturating_add(1) && !batch.events.is_empty() {
                self.left = Some(event);
                break;
            }
            batch.events.push(event);
        }
        self.offset += batch.events.len() as u64;
        Ok(batch)
    }
}

fn open(path: &Path, expected: Option<&str>) -> Result<EventReader, SinkError> {
    let now = sha256(path).map_err(SinkError::of_file)?;
    if let Some(expected) = expected
        && now != expected
    {
        return Err(SinkError::damaged(format!("the object has changed: its SHA-256 is {now}, and was {expected}")));
    }
    EventReader::open(path).map_err(SinkError::of_file)
}

async fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, SinkError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|failure| SinkError::retry(Details::new("reading the object panicked").with_source(failure)))
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use super::*;
    use crate::object::{
        ObjectKind,
        reader::{Summary, summarize},
    };

    /// Texts that look like events, of so many bytes.
    fn events(lengths: &[usize]) -> Vec<String> {
        let text = |(n, length): (usize, &usize)| {
            let start = format!("{{\"id\":\"01a2085b-d4e1-7645-b01b-{n:012}\",\"pad\":\"");
            format!("{start}{}\"}}", "x".repeat(length - start.len() - 2))
        };
        lengths.iter().enumerate().map(text).collect()
    }

    fn object(dir: &Path, name: &str, content: &[u8]) -> Object {
        let path = dir.join(name);
        let mut file = fs::File::create(&path).unwrap();
        match name.rsplit_once('.').unwrap().1 {
            "gz" => {
                let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
                encoder.write_all(content).unwrap();
                encoder.finish().unwrap();
            }
            "zst" => file.write_all(&zstd::encode_all(content, 1).unwrap()).unwrap(),
            _ => file.write_all(content).unwrap(),
        }
        let summary = Some(summarize(&path).unwrap());
        Object { key: name.into(), path, bytes: 1, kind: ObjectKind::Events, summary, finished_at: 0 }
    }

    async fn batches(object: &Object, limits: Limits) -> Vec<(u64, Vec<String>)> {
        let (mut batches, mut all) = (Batches::open(object, limits).await.unwrap(), Vec::new());
        while let Some(batch) = batches.next().await.unwrap() {
            let texts = batch.events.iter().map(|event| {
                let text = String::from_utf8(event.text.to_vec()).unwrap();
                assert!(text.contains(&event.id));
                text
            });
            all.push((batch.offset, texts.collect()));
        }
        all
    }

    #[tokio::test]
    async fn objects_of_every_format_have_the_same_batches() {
        let dir = tempfile::tempdir().unwrap();
        let events = events(&[100, 120, 300, 90, 90, 90]);
        let limits = Limits { events: 3, bytes: 221 };
        let expected: Vec<_> = [(0, 0..2), (2, 2..3), (3, 3..5), (5, 5..6)]
            .map(|(offset, range)| (offset, events[range].to_vec()))
            .into();
        let lines = events.join("\n") + "\n";
        let json = format!("[\n{}\n]\n", events.join(",\n"));
        let envelope = format!("{{\"data\":[\n{}\n],\"key\":\"k\"}}\n", events.join(",\n"));
        for (name, content) in [
            ("a.ndjson", &lines),
            ("b.ndjson.gz", &lines),
            ("c.ndjson.zst", &lines),
            ("d.json", &json),
            ("e.json.gz", &json),
            ("f.json.zst", &envelope),
        ] {
            let object = object(dir.path(), name, content.as_bytes());
            assert_eq!(batches(&object, limits).await, expected, "{name}");
            assert_eq!(batches(&object, Limits { events: 100, bytes: 1 << 20 }).await.len(), 1, "{name}");
            assert_eq!(batches(&object, Limits { events: 1, bytes: 1 << 20 }).await.len(), 6, "{name}");
            assert_eq!(batches(&object, Limits { events: 9, bytes: 1 }).await.len(), 6, "{name}: one event at least");
        }
    }

    #[tokio::test]
    async fn an_object_that_changed_since_it_was_finished_has_no_batches() {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits { events: 3, bytes: 1_000 };
        let object = object(dir.path(), "a.ndjson", b"{\"id\":\"01a2085b-d4e1-7645-b01b-77c6bdce7f10\"}\n");
        fs::write(&object.path, "{\"id\":\"01a2085b-d4e1-7645-b01b-77c6bdce7f11\"}\n").unwrap();
        assert!(matches!(Batches::open(&object, limits).await, Err(SinkError::Damaged(_))));
        let summary = Summary { events: 2, ..summarize(&object.path).unwrap() };
        let mut batches = Batches::open(&Object { summary: Some(summary), ..object.clone() }, limits).await.unwrap();
        assert_eq!(batches.next().await.unwrap().unwrap().events.len(), 1);
        assert!(matches!(batches.next().await, Err(SinkError::Damaged(_))), "one event is missing");
        fs::remove_file(&object.path).unwrap();
        assert!(matches!(Batches::open(&object, limits).await, Err(SinkError::Missing(_))));
    }
}
