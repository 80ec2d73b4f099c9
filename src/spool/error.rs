//! Why the spool cannot be opened.

use std::io;

use crate::runtime::{Class, Classified};

/// Why the spool cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    #[error("cannot use the spool {dir}: {source}")]
    Io {
        dir: String,
        #[source]
        source: io::Error,
    },
    /// Two processes would deliver each other's objects.
    #[error("the spool {dir} is in use by another process; give each process a spool.dir of its own")]
    Locked { dir: String },
}

impl Classified for SpoolError {
    fn class(&self) -> Class {
        match self {
            Self::Locked { .. } => Class::Unavailable,
            Self::Io { source, .. } => Class::of_io(source),
        }
    }
}
