//! Objects of a bucket that are not what they should be.

use std::fmt;

/// Key of the head, which nothing replaces once it is malformed.
pub(super) const HEAD: &str = "head.json";

/// Folder of the snapshots.
pub(super) const SNAPSHOTS: &str = "snapshots/";

/// Folder of the deltas.
pub(super) const DELTAS: &str = "deltas/";

/// An object of the bucket that is not what it should be.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the object {key} is rejected: {}{reason}; {}", Line(*line), self.remedy())]
pub struct Malformed {
    /// Its key, below the prefix of the fleet.
    pub key: String,
    /// The line, from 1; 0 where it is the whole object.
    pub line: usize,
    /// What is wrong, with field and value where they are known.
    pub reason: String,
}

struct Line(usize);

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 > 0 { write!(f, "line {}: ", self.0) } else { Ok(()) }
    }
}

impl Malformed {
    /// Of a whole object.
    pub fn new(key: &str, reason: impl Into<String>) -> Self {
        Self { key: key.to_owned(), line: 0, reason: reason.into() }
    }

    fn remedy(&self) -> &'static str {
        if self.key == HEAD {
            "restore its former version, with which no change is lost; if the bucket has none, the manual says under \
             `malformed` how to make a new one of what an edge has"
        } else {
            "publish a snapshot with `clickedge catalog publish`"
        }
    }

    /// Of one of its lines, from 1.
    pub fn at(key: &str, line: usize, reason: impl Into<String>) -> Self {
        Self { line, ..Self::new(key, reason) }
    }
}

/// What is wrong with a key, which has to be in this folder of the fleet.
pub(super) fn key_problem(key: &str, folder: &str) -> Option<String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/.-_".contains(&byte);
    let is_sound = key.len() <= 256
        && key.starts_with(folder)
        && key.bytes().all(is_plain)
        && !key.split('/').any(|part| part.is_empty() || part.starts_with('.'));
    (!is_sound).then(|| format!("is {key:?}, not a key below {folder:?}"))
}
