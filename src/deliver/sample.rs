//! Sample events of a feed, in an object for `_test/`: what `clickedge feed test` and `check --probe-put` deliver.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use serde_json::json;

use crate::{
    click::EventId,
    config::Feed,
    event::{self, Rendering, Shape},
    object::{
        Object, ObjectKind, Summary,
        key::TESTS,
        writer::{ObjectWriter, extension},
    },
    runtime::clock,
};

/// Events in the object.
pub const EVENTS: u64 = 3;

/// A file with sample events, removed when dropped.
pub struct Sample {
    pub object: Object,
}

impl Sample {
    /// Writes the events as the feed's objects are, at an edge with this name.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(feed: &Feed, pop: &str) -> io::Result<Self> {
        let now = clock::unix_micros();
        let ids: Vec<_> = (0..EVENTS).map(|n| EventId::at(now + n)).collect();
        let end = extension(feed.format, feed.compression);
        let key = format!("{TESTS}/{}-{pop}-{}.{end}", feed.name, ids[0]);
        // Sinks that take events read them by the name's extension.
        let path = std::env::temp_dir().join(format!("clickedge-test-{}.{end}", ids[0]));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let written = write_events(file, feed, pop, now, &ids, &key);
        let (summary, bytes) = written.inspect_err(|_| remove(&path))?;
        let summary = Some(summary);
        Ok(Self {
            object: Object { key, path, bytes, kind: ObjectKind::Test, summary, finished_at: now / 1_000_000 },
        })
    }
}

impl Drop for Sample {
    fn drop(&mut self) {
        remove(&self.object.path);
    }
}

fn remove(path: &Path) {
    let _ = fs::remove_file(path);
}

fn write_events(
    file: File,
    feed: &Feed,
    pop: &str,
    micros: u64,
    ids: &[EventId],
    key: &str,
) -> io::Result<(Summary, u64)> {
    let mut writer = ObjectWriter::new(file, feed.format, feed.compression)?;
    let rendering = Rendering::new(feed.shape, &feed.fields.paths());
    let mut buffer = Vec::new();
    for (n, id) in (0..).zip(ids) {
        let event = sample_event(id, micros + n, pop).into_bytes();
        let rendered =
            rendering.apply(&event, &mut buffer).ok_or_else(|| io::Error::other("a sample is no event"))?;
        writer.add(*id, rendered)?;
    }
    let written = writer.finish(if feed.shape == Shape::Clickstream { &feed.name } else { key })?;
    Ok((written.summary, written.bytes))
}

/// A click event with every field that an event must have, and those whose shape a feed can choose. `.invalid` is no
/// domain of anyone.
fn sample_event(id: &EventId, micros: u64, pop: &str) -> String {
    let time = i64::try_from(micros).ok().and_then(|micros| jiff::Timestamp::from_microsecond(micros).ok());
    json!({
        "id": id.to_string(),
        "schema": event::SCHEMA,
        "timestamp": format!("{:.6}", time.unwrap_or_default()),
        "client": { "agent": { "type": "human", "os": { "name": "android", "version": "15" } } },
        "route": {
            "id": "test",
            "slashtag": "test",
            "domain": { "raw": "test.invalid" },
            "tags": [{ "id": "test", "name": "Test" }],
            "params": { "query": [{ "name": "utm_source", "value": "test" }] },
            "destination": {
                "raw": "https://test.invalid/",
                "protocol": "https",
                "hostname": "test.invalid",
                "path": "/",
            },
        },
        "quality": { "verdict": "clean" },
        "edge": { "pop": pop },
        "test": true,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sample_events_fit_the_published_schema_but_for_their_mark() {
        let id = EventId::at(1_795_424_462_000_042);
        let mut sample: serde_json::Value =
            serde_json::from_str(&sample_event(&id, 1_795_424_462_000_042, "fra1")).unwrap();
        assert_eq!(sample["timestamp"], "2026-11-23T09:01:02.000042Z");
        assert_eq!(sample.as_object_mut().unwrap().remove("test"), Some(true.into()));
        let schema: serde_json::Value = serde_json::from_str(event::JSON_SCHEMA).unwrap();
        let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
        let errors: Vec<_> = validator.iter_errors(&sample).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
    }
}
