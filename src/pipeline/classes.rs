//! Classes of errors of the spool.

use crate::{
    runtime::{Class, Classified},
    spool::SpoolError,
};

impl Classified for SpoolError {
    fn class(&self) -> Class {
        match self {
            Self::Locked { .. } => Class::Unavailable,
            _ => Class::Io,
        }
    }
}
