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

use std::io::{self, Write};

use sha2::{Digest, Sha256};

use super::{Summary, digest::hex, gzip::GzipEncoder, size::SizeGauge};
use crate::{
    click::EventId,
    config::{self, Format},
};

/// Size of the buffer before the file.
const WRITE_BYTES: usize = 64 * 1024;

/// An object that is being written.
pub struct ObjectWriter<F: Write> {
    encoder: Encoder<Out<F>>,
    compression: config::Compression,
    /// Text that waits for the compressor.
    text: Vec<u8>,
    size: SizeGauge,
    format: Format,
    events: u64,
    first: Option<EventId>,
    last: Option<EventId>,
}

/// An object that is complete. It may not be synced yet.
pub struct Written<F> {
    pub summary: Summary,
    pub bytes: u64,
    /// Bytes before compression.
    pub text_bytes: u64,
    pub file: F,
}

enum Encoder<W: Write> {
    Plain(W),
    Gzip(GzipEncoder<W>),
    Zstd(zstd::stream::write::Encoder<'static, W>),
}

impl<F: Write> ObjectWriter<F> {
    /// Begins an object in this file. It is never full.
    ///
    /// # Errors
    /// When the compressor cannot be created.
    pub fn new(file: F, format: Format, compression: config::Compression) -> io::Result<Self> {
        let out = Out { file, buffer: Vec::with_capacity(WRITE_BYTES), hasher: Sha256::new(), bytes: 0 };
        let encoder = Encoder::new(out, compression)?;
        let size = SizeGauge::unlimited();
        Ok(Self { encoder, compression, text: Vec::new(), size, format, events: 0, first: None, last: None })
    }

    /// Limits its size to about this many bytes. `ratio` is the share of their size that earlier objects of the feed
    /// were compressed to, if there were any.
    pub fn limited_to(mut self, max_bytes: u64, ratio: Option<f64>) -> Self {
        self.size = match self.compression {
            config::Compression::None => SizeGauge::uncompressed(max_bytes),
            _ => SizeGauge::new(max_bytes, ratio),
        };
        self
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
            self.text.extend_from_slice(part);
        }
        self.events += 1;
        self.first.get_or_insert(id);
        self.last = Some(id);
        if self.text.len() < self.size.collected() {
            return Ok(());
        }
        if self.size.wants_sample() {
            self.sample()?;
        }
        self.compress()
    }

    /// Writes text other than events: the lines of a rollup.
    pub fn text(&mut self) -> &mut impl Write {
        self
    }

    /// Event id of the first event.
    pub fn first(&self) -> Option<EventId> {
        self.first
    }

    /// Whether it is as large as its limit, if it were finished now. Exact without compression, else an estimate that
    /// is a few percent wrong at most.
    pub fn is_full(&self) -> bool {
        self.size.is_full(self.text.len())
    }

    /// Completes the object, which will have this key.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn finish(mut self, key: &str) -> io::Result<Written<F>> {
        match self.format {
            Format::Ndjson => {}
            Format::Json => self.text.extend_from_slice(b"\n]\n"),
            Format::Envelope => {
                let end = format!("\n],\"key\":{}}}\n", serde_json::to_string(key)?);
                self.text.extend_from_slice(end.as_bytes());
            }
        }
        self.compress()?;
        let text_bytes = self.size.text_bytes();
        let mut out = self.encoder.finish()?;
        out.flush()?;
        let text = |id: Option<EventId>| id.map(|id| id.to_string()).unwrap_or_default();
        let sha256 = hex(&out.hasher.finalize());
        let summary = Summary { events: self.events, first: text(self.first), last: text(self.last), sha256 };
        Ok(Written { summary, bytes: out.bytes, text_bytes, file: out.file })
    }

    /// Measures how far the text that waits can be compressed.
    fn sample(&mut self) -> io::Result<()> {
        let mut encoder = Encoder::new(Counter::default(), self.compression)?;
        encoder.write_all(&self.text)?;
        self.size.sampled(self.text.len(), encoder.finish()?.0);
        Ok(())
    }

    /// Compresses the text that waits.
    fn compress(&mut self) -> io::Result<()> {
        for part in self.text.chunks(self.size.call()) {
            self.encoder.write_all(part)?;
            let out = self.encoder.get_ref();
            self.size.compressed(part.len(), out.bytes + out.buffer.len() as u64);
        }
        self.text.clear();
        Ok(())
    }
}

impl<F: Write> Write for ObjectWriter<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        if self.text.len() >= self.size.collected() {
            self.compress()?;
        }
        Ok(bytes.len())
    }

    /// Does nothing: [`ObjectWriter::finish`] writes the rest.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write> Encoder<W> {
    fn new(writer: W, compression: config::Compression) -> io::Result<Self> {
        Ok(match compression {
            config::Compression::None => Self::Plain(writer),
            config::Compression::Gzip { level } => Self::Gzip(GzipEncoder::new(writer, level)),
            config::Compression::Zstd { level } => {
                let mut encoder = zstd::stream::write::Encoder::new(writer, level as i32)?;
                encoder.include_checksum(true)?;
                Self::Zstd(encoder)
            }
        })
    }

    fn write_all(&mut self, text: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(writer) => writer.write_all(text),
            Self::Gzip(encoder) => encoder.write_all(text),
            Self::Zstd(encoder) => encoder.write_all(text),
        }
    }

    fn get_ref(&self) -> &W {
        match self {
            Self::Plain(writer) => writer,
            Self::Gzip(encoder) => encoder.get_ref(),
            Self::Zstd(encoder) => encoder.get_ref(),
        }
    }

    fn finish(self) -> io::Result<W> {
        match self {
            Self::Plain(writer) => Ok(writer),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
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

/// Counts bytes.
#[derive(Default)]
struct Counter(u64);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
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
            config::Compression::Gzip { level: 6 },
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
