//! Classes of errors of the catalog and the spool.

use crate::{
    catalog::LoadError,
    runtime::{Class, Classified},
    spool::SpoolError,
};

impl Classified for LoadError {
    fn class(&self) -> Class {
        match self {
            Self::Read { source, .. } => Class::of_read(source),
            _ => Class::Data,
        }
    }
}

impl Classified for SpoolError {
    fn class(&self) -> Class {
        match self {
            Self::Locked { .. } => Class::Unavailable,
            _ => Class::Io,
        }
    }
}
