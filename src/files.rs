//! Operator files: everything that an operator gives clickedge to read while it runs.
//!
//! [`list`] and [`mmdb`] read the two kinds of files that many parts share, with errors that name file, line, value and
//! remedy; [`headers`] reads HTTP headers. [`reloadable`] holds a value that is replaced as a whole when its file is
//! read again. [`resource`] is one file from its key to its readers, and [`registry`] the list of all of them.
//!
//! Next to the flow: imports no stage.

pub mod headers;
pub mod list;
pub mod mmdb;
pub mod registry;
pub mod reloadable;
pub mod resource;

use std::{
    fs,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::Path,
};

pub use list::ListError;
pub use mmdb::DatabaseError;
pub use registry::Registry;
pub use reloadable::{Cached, Reloadable};
pub use resource::{Description, FileResource, Resource, ResourceError, Warning};

use crate::runtime::filesystem::open_regular;

/// What changes with a file's content: device, inode, size, and its times in nanoseconds.
pub type Stamp = (u64, u64, u64, (i64, i64), (i64, i64));

/// The stamp of a file. `None` when there is no such file, or it cannot be seen.
pub fn stamp(path: &Path) -> Option<Stamp> {
    let file = fs::metadata(path).ok()?;
    let (modified, changed) = ((file.mtime(), file.mtime_nsec()), (file.ctime(), file.ctime_nsec()));
    Some((file.dev(), file.ino(), file.size(), modified, changed))
}

/// Reads a file as a whole.
///
/// # Errors
/// When it cannot be read, or, as invalid data, when it has more than `max_bytes`.
pub fn read_bounded(file: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_regular(file)?.take(max_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it has more than {max_bytes} bytes")));
    }
    Ok(bytes)
}
