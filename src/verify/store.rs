//! The place of a feed: what a verification needs of a folder or a bucket.

use std::{
    error::Error,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use crate::{
    deliver::error::with_causes,
    runtime::{Class, Classified},
};

/// A tree of objects. Keys are separated by `/` and relative to the feed's prefix.
pub trait Store {
    /// Lists the direct content of a folder, in order of name. The empty name is the root; a missing folder is empty.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn list(&self, folder: &str) -> Result<Listing, StoreError>;

    /// Opens an object that was listed.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn open<'a>(&'a self, key: &str) -> Result<Box<dyn Read + 'a>, StoreError>;
}

/// The content of a folder, by last part of the name.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Listing {
    pub folders: Vec<String>,
    /// Names and sizes.
    pub files: Vec<(String, u64)>,
}

/// The store cannot be read: nothing is known about the feed.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {place}: {reason}")]
pub struct StoreError {
    pub place: String,
    /// The source and its causes in a line.
    pub reason: String,
    pub source: Box<dyn Error + Send + Sync>,
}

impl StoreError {
    pub fn new(place: impl Into<String>, error: io::Error) -> Self {
        Self { place: place.into(), reason: with_causes(&error), source: Box::new(error) }
    }
}

impl Classified for StoreError {
    fn class(&self) -> Class {
        Class::NoInput
    }
}

/// A local folder.
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// # Errors
    /// When the folder cannot be read.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        fs::read_dir(root).map_err(|error| StoreError::new(root.display().to_string(), error))?;
        Ok(Self { root: root.into() })
    }

    fn path(&self, key: &str) -> PathBuf {
        if key.is_empty() { self.root.clone() } else { self.root.join(key) }
    }
}

impl Store for Folder {
    fn list(&self, folder: &str) -> Result<Listing, StoreError> {
        let path = self.path(folder);
        let failed = |error: io::Error| StoreError::new(path.display().to_string(), error);
        let entries = match fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Listing::default()),
            entries => entries.map_err(failed)?,
        };
        let mut listing = Listing::default();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // Hidden files are unfinished objects of the folder sink.
            if name.starts_with('.') {
                continue;
            }
            match fs::metadata(entry.path()) {
                Ok(metadata) if metadata.is_dir() => listing.folders.push(name),
                Ok(metadata) => listing.files.push((name, metadata.len())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(error)),
            }
        }
        listing.folders.sort_unstable();
        listing.files.sort_unstable();
        Ok(listing)
    }

    fn open<'a>(&'a self, key: &str) -> Result<Box<dyn Read + 'a>, StoreError> {
        let path = self.path(key);
        let failed = |error: io::Error| StoreError::new(path.display().to_string(), error);
        Ok(Box::new(File::open(&path).map_err(failed)?))
    }
}
