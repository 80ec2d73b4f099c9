//! What is wrong with a part of a catalog line that describes pages.

use std::fmt;

use serde_json::Value;

/// Longest quotation of a bad value, in characters.
const QUOTED: usize = 60;

/// A field of a catalog line that cannot be taken. Its text names the field, quotes the value, and says what to write.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub struct Invalid {
    /// Path of the field in the line, such as `pages.notFound.fr`.
    pub field: String,
    /// The value, or the part of it that is wrong, shortened.
    pub value: String,
    /// What is wrong, and what to write instead.
    pub remedy: String,
}

impl Invalid {
    pub(super) fn new(field: impl Into<String>, value: &str, remedy: impl Into<String>) -> Self {
        let mut short: String = value.chars().take(QUOTED).collect();
        if short.len() < value.len() {
            short.push('…');
        }
        Self { field: field.into(), value: short, remedy: remedy.into() }
    }

    /// For a value of the wrong JSON type.
    pub(super) fn json(field: impl Into<String>, value: &Value, remedy: impl Into<String>) -> Self {
        Self::new(field, &value.to_string(), remedy)
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: `{}`: {}", self.field, self.value.escape_debug(), self.remedy)
    }
}
