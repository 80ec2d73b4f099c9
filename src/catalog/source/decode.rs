//! Recognises compressed catalog files by their first bytes, and decompresses them as a stream.
//!
//! gzip (also of several members, as `cat a.gz b.gz` makes) and zstd are read. A stream that ends too early, is damaged
//! or expands beyond [`MAX_EXPANSION`] is an error of the kind `InvalidData`, so that no part is taken for the whole.

use std::{
    cell::Cell,
    io::{self, BufRead, BufReader, Read},
    rc::Rc,
};

use flate2::bufread::MultiGzDecoder;

/// By how much a file may expand once it is larger than `EXEMPT`: more than any list of links does.
pub const MAX_EXPANSION: u64 = 500;

/// Bytes up to which a file may expand by any ratio.
const EXEMPT: u64 = 256 << 20;

/// Formats that are not read, by their first bytes, and what to do with them.
const FOREIGN: [(&[u8], &str); 8] = [
    (b"PK\x03\x04", "a ZIP archive or a spreadsheet; unpack it, or save the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "a spreadsheet; save the sheet as CSV"),
    (b"PAR1", "a Parquet file; export JSON or CSV"),
    (b"\x04\x22\x4d\x18", "compressed by lz4; unpack it, or compress it by gzip or zstd"),
    (b"BZh", "compressed by bzip2; unpack it, or compress it by gzip or zstd"),
    (b"\xfd7zXZ\0", "compressed by xz; unpack it, or compress it by gzip or zstd"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it"),
    (b"SQLite format 3\0", "an SQLite database; export its links as JSON or CSV"),
];

/// What a tar archive has in its first header, and where.
const TAR: (usize, &[u8]) = (257, b"ustar");

/// Bytes that are looked at.
const PEEKED: usize = 512;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Format {
    Plain,
    Gzip,
    Zstd,
}

/// The text of a file, decompressed if it is compressed.
///
/// # Errors
/// Those of the reader, and `InvalidData` for a format that is not read. The reader that is returned has the errors of
/// the compression as `InvalidData`, too.
pub fn decode<'a>(input: impl BufRead + 'a) -> io::Result<Box<dyn BufRead + 'a>> {
    let (format, input) = recognised(input)?;
    if format == Format::Plain {
        return Ok(Box::new(input));
    }
    let consumed = Rc::new(Cell::new(0));
    let counted = BufReader::new(Counted { input, consumed: Rc::clone(&consumed) });
    let (name, decoder): (_, Box<dyn Read + 'a>) = match format {
        Format::Plain | Format::Gzip => ("gzip", Box::new(MultiGzDecoder::new(counted))),
        Format::Zstd => ("zstd", Box::new(zstd::stream::read::Decoder::with_buffer(counted)?)),
    };
    let checked = Checked { name, decoder, consumed, produced: 0 };
    let (format, text) = recognised(BufReader::with_capacity(1 << 16, checked))?;
    match format {
        Format::Plain => Ok(Box::new(text)),
        Format::Gzip | Format::Zstd => Err(invalid("it is compressed twice; unpack it once")),
    }
}

fn recognised<R: BufRead>(mut input: R) -> io::Result<(Format, impl BufRead)> {
    let mut head = Vec::with_capacity(PEEKED);
    input.by_ref().take(PEEKED as u64).read_to_end(&mut head)?;
    let is_tar = head.get(TAR.0..).is_some_and(|rest| rest.starts_with(TAR.1));
    let foreign = FOREIGN.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, what)| *what);
    if let Some(what) = foreign.or(is_tar.then_some("a tar archive; unpack it")) {
        return Err(invalid(&format!(
            "it is {what}; links are read as NDJSON, as a JSON array, or either compressed by gzip or zstd"
        )));
    }
    let format = match head[..] {
        [0x1f, 0x8b, ..] => Format::Gzip,
        // The second is a frame that readers skip; some tools write one first.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Format::Zstd,
        _ => Format::Plain,
    };
    Ok((format, io::Cursor::new(head).chain(input)))
}

/// Counts what is read.
struct Counted<R> {
    input: R,
    consumed: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.input.read(buffer)?;
        self.consumed.set(self.consumed.get() + length as u64);
        Ok(length)
    }
}

/// Explains the errors of a decoder, and stops one that expands too far.
struct Checked<R> {
    name: &'static str,
    decoder: R,
    consumed: Rc<Cell<u64>>,
    produced: u64,
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let name = self.name;
        let length = self.decoder.read(buffer).map_err(|error| match error.kind() {
            // An error of the disk, not of what is on it.
            _ if error.raw_os_error().is_some() => error,
            io::ErrorKind::Interrupted => error,
            io::ErrorKind::UnexpectedEof => invalid(&format!(
                "it is truncated: the {name} stream does not end; write the whole file next to it, then rename it"
            )),
            _ => invalid(&format!("the {name} stream is damaged: {error}")),
        })?;
        self.produced += length as u64;
        if self.produced > EXEMPT && self.produced / MAX_EXPANSION > self.consumed.get() {
            return Err(invalid(&format!(
                "the {name} stream expands to more than {MAX_EXPANSION} times its size, which no list of links does"
            )));
        }
        Ok(length)
    }
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::encode_all(bytes, 1).unwrap()
    }

    fn text(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        decode(bytes)?.read_to_end(&mut text)?;
        Ok(text)
    }

    fn reason(bytes: &[u8]) -> String {
        let error = text(bytes).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        error.to_string()
    }

    #[test]
    fn members_and_frames_follow_each_other() {
        assert_eq!(text(&[gzip(b"{}\n"), gzip(b""), gzip(b"[]\n")].concat()).unwrap(), b"{}\n[]\n");
        let skippable = b"\x50\x2a\x4d\x18\x02\0\0\0xy";
        assert_eq!(text(&[skippable, &zstd(b"{}\n")[..], &zstd(b"[]")].concat()).unwrap(), b"{}\n[]");
        assert_eq!(text(b"").unwrap(), b"");
    }

    #[test]
    fn a_truncated_stream_is_an_error_at_every_length() {
        let content: Vec<u8> = (0..2_000_u32).flat_map(|n| format!("{{\"id\":{}}}\n", n * n).into_bytes()).collect();
        let member = gzip(&content);
        for whole in [member.clone(), [member.clone(), member].concat(), zstd(&content)] {
            assert!(text(&whole).is_ok());
            let half = whole.len() / 2;
            for end in (4..whole.len()).step_by(97).chain([whole.len() - 1]).filter(|end| *end != half) {
                let reason = reason(&whole[..end]);
                assert!(reason.contains("is truncated"), "{end}: {reason}");
            }
        }
    }

    #[test]
    fn damage_and_foreign_formats_are_named() {
        let mut damaged = gzip(&[b'x'; 4000]);
        let last = damaged.len() - 6;
        damaged[last] ^= 1;
        assert!(reason(&damaged).contains("the gzip stream is damaged"));
        assert!(reason(&[gzip(b"{}"), b"text behind it".to_vec()].concat()).contains("the gzip stream is damaged"));
        assert!(reason(&gzip(&zstd(b"{}"))).contains("compressed twice"));
        assert!(reason(b"PK\x03\x04rest").contains("a ZIP archive"));
        let tar = [&[b'x'; 257][..], b"ustar\0", &[0; 300]].concat();
        assert!(reason(&gzip(&tar)).contains("a tar archive"));
        assert!(reason(b"SQLite format 3\0").contains("an SQLite database"));
    }

    #[test]
    fn a_stream_that_expands_too_far_is_stopped() {
        let bomb = zstd(&vec![b' '; EXEMPT as usize + (1 << 20)]);
        assert!(bomb.len() < 100_000);
        let reason = io::copy(&mut decode(&bomb[..]).unwrap(), &mut io::sink()).unwrap_err().to_string();
        assert!(reason.contains("expands to more than 500 times its size"), "{reason}");
    }

    proptest! {
        #[test]
        fn compression_and_its_pieces_make_no_difference(
            parts in proptest::collection::vec("[ -~\n]{0,40}", 0..6),
        ) {
            let whole = parts.concat().into_bytes();
            prop_assume!(!FOREIGN.iter().any(|(magic, _)| whole.starts_with(magic)));
            let gzipped: Vec<u8> = parts.iter().flat_map(|part| gzip(part.as_bytes())).collect();
            let frames: Vec<u8> = parts.iter().flat_map(|part| zstd(part.as_bytes())).collect();
            prop_assert_eq!(&text(&whole).unwrap(), &whole);
            prop_assert_eq!(&text(&gzipped).unwrap(), &whole);
            prop_assert_eq!(&text(&frames).unwrap(), &whole);
        }
    }
}
