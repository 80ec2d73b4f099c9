//! Checksums of files, in constant memory.

use std::{
    fs::File,
    io::{self, Read, Seek, Write},
    path::Path,
};

use flate2::Crc;
use sha2::{Digest, Sha256};

const CHUNK: usize = 64 * 1024;

/// SHA-256 of a file, in lower-case hex.
///
/// # Errors
/// Those of the file system.
pub fn sha256(path: &Path) -> io::Result<String> {
    copy_hashing(&mut File::open(path)?, &mut io::sink())
}

/// Copies all bytes, and returns their SHA-256 in lower-case hex.
///
/// # Errors
/// Those of the two sides.
pub fn copy_hashing(from: &mut impl Read, to: &mut impl Write) -> io::Result<String> {
    let mut hasher = Sha256::new();
    each_chunk(from, |chunk| {
        hasher.update(chunk);
        to.write_all(chunk)
    })?;
    Ok(hex(&hasher.finalize()))
}

/// CRC32 of a file. The file is rewound afterwards.
///
/// # Errors
/// Those of the file system.
pub fn crc32(file: &mut File) -> io::Result<u32> {
    let mut crc = Crc::new();
    each_chunk(file, |chunk| {
        crc.update(chunk);
        Ok(())
    })?;
    file.rewind()?;
    Ok(crc.sum())
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn each_chunk(from: &mut impl Read, mut visit: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => visit(&buffer[..read])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_equal_published_values() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("object");
        std::fs::write(&path, "123456789").unwrap();
        let mut file = File::open(&path).unwrap();
        assert_eq!(crc32(&mut file).unwrap(), 0xcbf4_3926);
        assert_eq!(io::read_to_string(file).unwrap(), "123456789", "it can be read again");
        assert_eq!(sha256(&path).unwrap(), "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225");
    }
}
