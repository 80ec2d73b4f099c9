//! Reads finished objects of every format and compression, event by event, in constant memory.
//!
//! In every format, [`super::writer`] puts each event on a line of its own, followed by a comma in all formats but
//! `ndjson`. So a line that begins like an event is one.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest, Sha256};

use super::digest::hex;
use crate::event::MAX_EVENT;

/// The beginning of every event.
const EVENT: &[u8] = b"{\"id\":\"";
const ID_LENGTH: usize = 36;
/// A line end, a comma, and what the shape of a feed adds to an event at the most: a slug.
const MARGIN: usize = 64;

/// The events of an object, one by one.
pub struct EventReader {
    lines: Box<dyn BufRead + Send>,
    line: Vec<u8>,
}

impl EventReader {
    /// Opens a file. The extension of its name is that of its compression.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let file = BufReader::with_capacity(64 * 1024, File::open(path)?);
        let lines: Box<dyn BufRead + Send> = match Compression::of(&name) {
            Compression::Gzip => Box::new(BufReader::with_capacity(64 * 1024, MultiGzDecoder::new(file))),
            Compression::Zstd => Box::new(BufReader::with_capacity(64 * 1024, zstd(file)?)),
            Compression::None => Box::new(file),
        };
        Ok(Self { lines, line: Vec::new() })
    }

    /// Id and text of the next event, without comma or line feed.
    ///
    /// # Errors
    /// When the file cannot be read, or is truncated or damaged.
    pub fn next_event(&mut self) -> io::Result<Option<(&str, &[u8])>> {
        loop {
            if !next_line(&mut *self.lines, &mut self.line)? {
                return Ok(None);
            }
            if matches!(Line::of(&self.line), Line::Event { .. }) {
                break;
            }
        }
        Ok(match Line::of(&self.line) {
            Line::Event { id, text, .. } => Some((id, text)),
            Line::Other(_) => None,
        })
    }
}

/// What is known of an object's content.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Summary {
    pub events: u64,
    /// Event id of the first event.
    pub first: String,
    /// Event id of the last event.
    pub last: String,
    /// SHA-256 of the object as stored, in lower-case hex.
    pub sha256: String,
}

/// Reads a file. The extension of its name is that of its compression.
///
/// # Errors
/// When it cannot be read, or is truncated or damaged.
pub fn summarize(path: &Path) -> io::Result<Summary> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    summarize_stream(File::open(path)?, &name, |_, _| {})
}

/// Reads an object from a stream, and calls `visit` with the id and the text of each event (without comma or line
/// feed).
///
/// # Errors
/// When it cannot be read, or is truncated or damaged.
pub fn summarize_stream(input: impl Read, name: &str, mut visit: impl FnMut(&str, &[u8])) -> io::Result<Summary> {
    summarize_lines(input, name, |line| {
        if let Line::Event { id, text, .. } = line {
            visit(id, text);
        }
    })
}

/// A line of an object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Line<'a> {
    /// An event, without the comma that may follow it.
    Event { id: &'a str, text: &'a [u8], comma: bool },
    /// The start or the end of an object, or damage.
    Other(&'a [u8]),
}

/// Reads an object from a stream, and calls `visit` with each line.
///
/// # Errors
/// When it cannot be read, or is truncated or damaged.
pub fn summarize_lines(input: impl Read, name: &str, mut visit: impl FnMut(Line<'_>)) -> io::Result<Summary> {
    let mut hashing = Hashing { input, hasher: Sha256::new() };
    let mut summary = Summary::default();
    {
        let mut lines = decompressed(BufReader::with_capacity(64 * 1024, &mut hashing), name)?;
        let mut line = Vec::new();
        while next_line(&mut *lines, &mut line)? {
            let line = Line::of(&line);
            if let Line::Event { id, .. } = line {
                if summary.events == 0 {
                    id.clone_into(&mut summary.first);
                }
                id.clone_into(&mut summary.last);
                summary.events += 1;
            }
            visit(line);
        }
    }
    // Bytes after the compressed data belong to the object, too.
    io::copy(&mut hashing, &mut io::sink())?;
    summary.sha256 = hex(&hashing.hasher.finalize());
    Ok(summary)
}

fn decompressed<'a>(input: impl BufRead + 'a, name: &str) -> io::Result<Box<dyn BufRead + 'a>> {
    Ok(match Compression::of(name) {
        Compression::Gzip => Box::new(BufReader::with_capacity(64 * 1024, MultiGzDecoder::new(input))),
        Compression::Zstd => Box::new(BufReader::with_capacity(64 * 1024, zstd(input)?)),
        Compression::None => Box::new(input),
    })
}

fn zstd<R: BufRead>(input: R) -> io::Result<zstd::stream::read::Decoder<'static, R>> {
    zstd::stream::read::Decoder::with_buffer(input)
}

/// The compression of an object, by the extension of its name.
enum Compression {
    Gzip,
    Zstd,
    None,
}

impl Compression {
    fn of(name: &str) -> Self {
        match name.rsplit_once('.') {
            Some((_, "gz")) => Self::Gzip,
            Some((_, "zst")) => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// Reads a line. Its length is limited to that of an event.
fn next_line(input: &mut dyn BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    input.take((MAX_EVENT + MARGIN) as u64).read_until(b'\n', line)?;
    match line.last() {
        None => Ok(false),
        Some(b'\n') => Ok(true),
        Some(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "a line has no end or is too long")),
    }
}

impl<'a> Line<'a> {
    fn of(line: &'a [u8]) -> Self {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let id = text.strip_prefix(EVENT).and_then(|rest| rest.get(..ID_LENGTH));
        let Some(id) = id.and_then(|id| std::str::from_utf8(id).ok()) else {
            return Self::Other(text);
        };
        match text.strip_suffix(b",") {
            Some(text) => Self::Event { id, text, comma: true },
            None => Self::Event { id, text, comma: false },
        }
    }
}

/// Hashes every byte that is read.
struct Hashing<R> {
    input: R,
    hasher: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}
