//! The gzip encoder of objects: one type over two libraries.
//!
//! | levels | feature `isal`, on x86-64 and aarch64 | else |
//! |---|---|---|
//! | 1 to 5 | ISA-L, its level 1 | zlib-ng, that level |
//! | 6 to 9 | zlib-ng, that level | zlib-ng, that level |
//!
//! ISA-L takes a third of the time of zlib-ng's level 3, for a sixth more bytes (`bench/README.md`). Its levels above 1
//! save next to nothing on events, so that ours up to 5 are all the same. Both write one gzip member per object, which
//! every reader knows, and equal bytes for equal calls.

use std::io::{self, Write};

use flate2::{Compression, write::GzEncoder};

/// Levels up to this one are ISA-L's, where it exists.
#[cfg(isal)]
const FAST: u32 = 5;

/// Compresses into a writer.
pub enum GzipEncoder<W: Write> {
    /// In a box: its window is part of it, 90 kB.
    #[cfg(isal)]
    IsaL(Box<isal::write::Encoder<W>>),
    Zlib(GzEncoder<W>),
}

impl<W: Write> GzipEncoder<W> {
    /// `level` is 1 to 9.
    pub fn new(writer: W, level: u32) -> Self {
        #[cfg(isal)]
        if level <= FAST {
            use isal::{Codec, CompressionLevel, write::Encoder};
            return Self::IsaL(Box::new(Encoder::new(writer, CompressionLevel::One, Codec::Gzip)));
        }
        Self::Zlib(GzEncoder::new(writer, Compression::new(level)))
    }

    /// The writer. What the encoder holds back is not in it.
    pub fn get_ref(&self) -> &W {
        match self {
            #[cfg(isal)]
            Self::IsaL(encoder) => encoder.get_ref(),
            Self::Zlib(encoder) => encoder.get_ref(),
        }
    }

    /// Ends the member, and returns the writer.
    ///
    /// # Errors
    /// Those of the writer, and of the library as [`io::ErrorKind::Other`].
    pub fn finish(self) -> io::Result<W> {
        match self {
            #[cfg(isal)]
            Self::IsaL(encoder) => encoder.finish(),
            Self::Zlib(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for GzipEncoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            #[cfg(isal)]
            Self::IsaL(encoder) => encoder.write(bytes),
            Self::Zlib(encoder) => encoder.write(bytes),
        }
    }

    /// Does nothing: ISA-L's encoder would end the member, and no reader waits for a part of an object.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Read},
        process::{Command, Stdio},
    };

    use flate2::bufread::{GzDecoder, MultiGzDecoder};

    use super::*;

    /// Lines like those of events: much alike, with parts that are random.
    fn text(bytes: usize, seed: u64) -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut text = Vec::new();
        while text.len() < bytes {
            let line = format!(
                "{{\"id\":\"{:016x}\",\"client\":{{\"agent\":\"Mozilla/5.0 (X11; Linux x86_64)\",\"n\":{}}}}}\n",
                random.u64(..),
                random.u16(..)
            );
            text.extend_from_slice(line.as_bytes());
        }
        text.truncate(bytes);
        text
    }

    fn compressed(text: &[u8], level: u32, call: usize) -> Vec<u8> {
        let mut encoder = GzipEncoder::new(Vec::new(), level);
        for part in text.chunks(call) {
            encoder.write_all(part).unwrap();
            encoder.flush().unwrap();
        }
        encoder.finish().unwrap()
    }

    #[test]
    fn every_level_and_size_is_one_member_that_is_read_back() {
        for level in 1..=9 {
            for bytes in [0, 1, 1_000, 65_536, 65_537, 1 << 20] {
                let text = text(bytes, level.into());
                let object = compressed(&text, level, 65_536);
                let mut decoder = GzDecoder::new(&object[..]);
                let mut read = Vec::new();
                decoder.read_to_end(&mut read).unwrap();
                assert!(read == text, "level {level}, {bytes} bytes");
                assert!(decoder.into_inner().is_empty(), "level {level}, {bytes} bytes: one member");
                let size = u32::from_le_bytes(object[object.len() - 4..].try_into().unwrap());
                assert_eq!(size as usize, bytes, "level {level}: the length at the end");
            }
        }
    }

    #[test]
    fn equal_calls_give_equal_bytes() {
        for level in [1, 6] {
            let text = text(3 << 20, 7);
            let first = compressed(&text, level, 65_536);
            // Other memory than before.
            let other = compressed(&text[1..], level, 10_000);
            assert!(first == compressed(&text, level, 65_536) && first != other, "level {level}");
        }
    }

    #[test]
    fn other_programs_read_it() {
        let programs: [&[&str]; 2] = [
            &["gzip", "-dc"],
            &[
                "python3",
                "-c",
                "import gzip,sys; sys.stdout.buffer.write(gzip.GzipFile(fileobj=sys.stdin.buffer).read())",
            ],
        ];
        let dir = tempfile::tempdir().unwrap();
        for program in programs {
            if Command::new(program[0]).arg("--version").stdout(Stdio::null()).status().is_err() {
                eprintln!("skipped: {} is not installed", program[0]);
                continue;
            }
            for bytes in [0, 1, 200_000] {
                let text = text(bytes, 3);
                let path = dir.path().join("object.gz");
                std::fs::write(&path, compressed(&text, 1, 65_536)).unwrap();
                let file = std::fs::File::open(&path).unwrap();
                let output = Command::new(program[0]).args(&program[1..]).stdin(file).output().unwrap();
                assert!(output.status.success(), "{program:?}: {}", String::from_utf8_lossy(&output.stderr));
                assert!(output.stdout == text, "{program:?}, {bytes} bytes");
            }
        }
    }

    #[test]
    fn a_writer_that_fails_is_an_error() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        for level in [1, 6] {
            let mut encoder = GzipEncoder::new(Full, level);
            let text = text(4 << 20, 1);
            let written = text.chunks(65_536).try_for_each(|part| encoder.write_all(part));
            let error = written.and_then(|()| encoder.finish().map(drop)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull, "level {level}");
        }
    }

    /// Offsets and lengths beyond 32 bits.
    #[test]
    #[ignore = "takes a minute"]
    fn more_than_four_gigabytes_are_read_back() {
        let (text, times) = (text(64 << 20, 5), 68);
        let file = tempfile::tempfile().unwrap();
        let mut encoder = GzipEncoder::new(io::BufWriter::new(file.try_clone().unwrap()), 1);
        for _ in 0..times {
            text.chunks(65_536).for_each(|part| encoder.write_all(part).unwrap());
        }
        encoder.finish().unwrap().flush().unwrap();
        let mut file = file;
        io::Seek::rewind(&mut file).unwrap();
        let mut decoder = BufReader::with_capacity(1 << 20, MultiGzDecoder::new(BufReader::new(file)));
        let mut at = 0;
        loop {
            let part = decoder.fill_buf().unwrap();
            if part.is_empty() {
                break;
            }
            let expected = &text[at % text.len()..];
            let length = part.len().min(expected.len());
            assert!(part[..length] == expected[..length], "at {at}");
            at += length;
            decoder.consume(length);
        }
        assert_eq!(at, text.len() * times);
    }
}
