//! Writes objects: compressed files of events, in the format and compression of a feed.
//!
//! | format | content |
//! |---|---|
//! | `ndjson` | an event, line feed, an event, line feed |
//! | `json` | `[`, line feed, events with comma and line feed between them, line feed, `]` |
//! | `envelope` | `{"data":[`, line feed, events likewise, line feed, `],"key":"dt=…"}` |
//!
//! In every format each event has a line of its own, so that line-based tools and [`super::reader`] read all formats.
//! An object is never empty.

use std::io::{self, BufWriter, IntoInnerError, Write};

use flate2::{Compression, write::GzEncoder};
use sha2::{Digest, Sha256};

use super::{Summary, digest::hex};
use crate::{
    click::EventId,
    config::{self, Format},
};

/// Size of the buffers before the file and before the compressor. A compressor that is called for every event, and
/// again for its line end, takes 7 % longer.
const WRITE_BYTES: usize = 64 * 1024;

/// An object that is being written.
pub struct ObjectWriter<F: Write> {
    encoder: BufWriter<Encoder<F>>,
    format: Format,
    events: u64,
    first: Option<EventId>,
    last: Option<EventId>,
}

/// An object that is complete. It may not be synced yet.
pub struct Written<F> {
    pub summary: Summary,
    pub bytes: u64,
    pub file: F,
}

enum Encoder<F: Write> {
    Plain(Out<F>),
    Gzip(GzEncoder<Out<F>>),
    Zstd(zstd::stream::write::Encoder<'static, Out<F>>),
}

impl<F: Write> ObjectWriter<F> {
    /// Begins an object in this file.
    ///
    /// # Errors
    /// When the compressor cannot be created.
    pub fn new(file: F, format: Format, compression: config::Compression) -> io::Result<Self> {
        let out = Out { file, buffer: Vec::with_capacity(WRITE_BYTES), hasher: Sha256::new(), bytes: 0 };
        let encoder = match compression {
            config::Compression::None => Encoder::Plain(out),
            config::Compression::Gzip { level } => Encoder::Gzip(GzEncoder::new(out, Compression::new(level))),
            config::Compression::Zstd { level } => {
                let mut encoder = zstd::stream::write::Encoder::new(out, level as i32)?;
                encoder.include_checksum(true)?;
                Encoder::Zstd(encoder)
            }
        };
        let encoder = BufWriter::with_capacity(WRITE_BYTES, encoder);
        Ok(Self { encoder, format, events: 0, first: None, last: None })
    }

    /// Adds an event.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn add(&mut self, id: EventId, event: &[u8]) -> io::Result<()> {
        let before: &[u8] = match (self.format, self.events) {
            (Format::Ndjson, _) => b"",
            (Format::Json, 0) => b"[\n",
            (Format::Envelope, 0) => b"{\"data\":[\n",
            (Format::Json | Format::Envelope, _) => b",\n",
        };
        let after: &[u8] = if self.format == Format::Ndjson { b"\n" } else { b"" };
        for part in [before, event, after] {
            self.encoder.write_all(part)?;
        }
        self.events += 1;
        self.first.get_or_insert(id);
        self.last = Some(id);
        Ok(())
    }

    /// Writes text other than events: the lines of a rollup.
    pub fn text(&mut self) -> &mut dyn Write {
        &mut self.encoder
    }

    /// Event id of the first event.
    pub fn first(&self) -> Option<EventId> {
        self.first
    }

    /// Compressed bytes so far, without those in the buffers.
    pub fn bytes(&self) -> u64 {
        let out = self.encoder.get_ref().out();
        out.bytes + out.buffer.len() as u64
    }

    /// Completes the object, which will have this key.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn finish(mut self, key: &str) -> io::Result<Written<F>> {
        match self.format {
            Format::Ndjson => {}
            Format::Json => self.encoder.write_all(b"\n]\n")?,
            Format::Envelope => {
                let end = format!("\n],\"key\":{}}}\n", serde_json::to_string(key)?);
                self.encoder.write_all(end.as_bytes())?;
            }
        }
        let mut out = match self.encoder.into_inner().map_err(IntoInnerError::into_error)? {
            Encoder::Plain(out) => out,
            Encoder::Gzip(encoder) => encoder.finish()?,
            Encoder::Zstd(encoder) => encoder.finish()?,
        };
        out.flush()?;
        let text = |id: Option<EventId>| id.map(|id| id.to_string()).unwrap_or_default();
        let sha256 = hex(&out.hasher.finalize());
        let summary = Summary { events: self.events, first: text(self.first), last: text(self.last), sha256 };
        Ok(Written { summary, bytes: out.bytes, file: out.file })
    }
}

impl<F: Write> Write for Encoder<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(out) => out.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.flush(),
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}

impl<F: Write> Encoder<F> {
    fn out(&self) -> &Out<F> {
        match self {
            Self::Plain(out) => out,
            Self::Gzip(encoder) => encoder.get_ref(),
            Self::Zstd(encoder) => encoder.get_ref(),
        }
    }
}

/// The extension of an object's key.
pub fn extension(format: Format, compression: config::Compression) -> &'static str {
    let ndjson = format == Format::Ndjson;
    match compression {
        config::Compression::None if ndjson => "ndjson",
        config::Compression::None => "json",
        config::Compression::Gzip { .. } if ndjson => "ndjson.gz",
        config::Compression::Gzip { .. } => "json.gz",
        config::Compression::Zstd { .. } if ndjson => "ndjson.zst",
        config::Compression::Zstd { .. } => "json.zst",
    }
}

/// The file that the compressor writes to.
struct Out<F> {
    file: F,
    buffer: Vec<u8>,
    hasher: Sha256,
    bytes: u64,
}

impl<F: Write> Write for Out<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > WRITE_BYTES {
            self.flush()?;
        }
        self.buffer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all(&self.buffer)?;
        self.hasher.update(&self.buffer);
        self.bytes += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::object::reader::{summarize, summarize_stream};

    #[test]
    fn every_format_and_compression_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        for compression in [
            config::Compression::None,
            config::Compression::Gzip { level: 3 },
            config::Compression::Zstd { level: 3 },
        ] {
            for format in [Format::Ndjson, Format::Json, Format::Envelope] {
                for events in [1, 2, 5_000] {
                    let path = dir.path().join(format!("object.{}", extension(format, compression)));
                    let mut writer =
                        ObjectWriter::new(std::fs::File::create(&path).unwrap(), format, compression).unwrap();
                    let ids: Vec<_> = (0..events).map(EventId::at).collect();
                    for id in &ids {
                        writer.add(*id, format!("{{\"id\":\"{id}\",\"x\":\"\\n],\"}}").as_bytes()).unwrap();
                    }
                    let written = writer.finish("the \"key\"").unwrap();
                    let summary = summarize(&path).unwrap();
                    assert_eq!(summary, written.summary);
                    assert_eq!(summary.events, events);
                    assert_eq!((summary.first, summary.last), (ids[0].to_string(), ids[ids.len() - 1].to_string()));
                    assert_eq!(written.bytes, std::fs::metadata(&path).unwrap().len());
                    if compression == config::Compression::None && format != Format::Ndjson {
                        let value: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
                        let data = if format == Format::Json { &value } else { &value["data"] };
                        assert_eq!(data.as_array().unwrap().len() as u64, events);
                        assert_eq!(format == Format::Envelope, value["key"] == "the \"key\"");
                    }
                }
            }
        }
    }

    #[test]
    fn a_truncated_object_is_rejected() {
        let dir = tempfile::tempdir().unwrap();
        for compression in [config::Compression::Gzip { level: 3 }, config::Compression::Zstd { level: 3 }] {
            let name = format!("object.{}", extension(Format::Ndjson, compression));
            let path = dir.path().join(&name);
            let mut writer =
                ObjectWriter::new(std::fs::File::create(&path).unwrap(), Format::Ndjson, compression).unwrap();
            for id in (0..500).map(EventId::at) {
                writer.add(id, format!("{{\"id\":\"{id}\"}}").as_bytes()).unwrap();
            }
            writer.finish("key").unwrap();
            let bytes = std::fs::read(&path).unwrap();
            for length in [0, 1, bytes.len() / 2, bytes.len() - 1] {
                let cut = summarize_stream(&bytes[..length], &name, |_, _| {});
                assert!(cut.is_err() || length == 0, "{length} bytes: {cut:?}");
            }
        }
    }
}
