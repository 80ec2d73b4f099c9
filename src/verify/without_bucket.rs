//! Buckets in a build without them.

use std::{
    convert::Infallible,
    io::{self, Read},
};

use super::store::{Listing, Store, StoreError};
use crate::config;

/// No bucket.
pub struct Bucket(Infallible);

impl Bucket {
    /// Never opens.
    ///
    /// # Errors
    /// Always.
    pub fn new(_: &config::S3) -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "this build reads no buckets: build with `--features s3`"))
    }
}

impl Store for Bucket {
    fn list(&self, _: &str) -> Result<Listing, StoreError> {
        match self.0 {}
    }

    fn open<'a>(&'a self, _: &str) -> Result<Box<dyn Read + 'a>, StoreError> {
        match self.0 {}
    }
}
