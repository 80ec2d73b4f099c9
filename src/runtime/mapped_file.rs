//! Files that are mapped into memory to be read.

#![allow(unsafe_code, reason = "a mapped file needs it; see `map`")]

use std::{fs::File, io};

use bytes::Bytes;
use memmap2::{Advice, Mmap};

/// Maps a file that this process owns, and asks the kernel to read it ahead. The bytes stay as long as anyone has them,
/// also once the file is deleted or replaced.
///
/// The file must be one that no process writes to or truncates: a private copy that is only ever replaced by a rename.
///
/// # Errors
/// When it cannot be mapped.
pub fn map(file: &File) -> io::Result<Bytes> {
    if file.metadata()?.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: as the caller ensures, the content does not change, and the file is not truncated.
    let map = unsafe { Mmap::map(file) }?;
    // Only advice: without it pages are read when they are first asked for.
    _ = map.advise(Advice::WillNeed);
    Ok(Bytes::from_owner(map))
}
