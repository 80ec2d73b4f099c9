//! Reads a configuration that may be wrong in several places.
//!
//! Deserialization stops at its first error. So the value at that place is removed from the tree, and the rest is read
//! again, until it fits. Keys without their value have their default then, which the file does not mean: they are
//! returned as unread, and no rule is applied to them. A list that lost an item is unread as a whole, as its indices
//! are no longer those of the file.

use std::ops::Range;

use serde::Deserialize;
use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue},
};

use super::{
    explain::{Explanation, explain},
    locate,
};
use crate::config::{Config, findings::is_at_or_below};

/// Bound of the time that a thoroughly broken file takes.
const MAX_ROUNDS: usize = 200;

/// What could be read.
#[derive(Default)]
pub(super) struct Recovered {
    /// The configuration without the values that could not be read; nothing when the rest does not fit either.
    pub(super) config: Option<Config>,
    /// What is wrong, and the bytes of the text at which it is.
    pub(super) errors: Vec<(Range<usize>, Explanation)>,
    /// Keys that could not be read.
    pub(super) unread: Vec<String>,
}

pub(super) fn read(root: &Spanned<DeTable>, text: &str) -> Recovered {
    let mut found = Recovered::default();
    let mut tree = root.clone();
    for _ in 0..MAX_ROUNDS {
        let error = match Config::deserialize(toml::Deserializer::from(tree.clone())) {
            Ok(config) => {
                found.config = Some(config);
                break;
            }
            Err(error) => error,
        };
        let span = error.span().unwrap_or(0..0);
        let explanation = explain(&error, root.get_ref(), text);
        found.add(span.clone(), explanation);
        match remove_from_table(tree.get_mut(), &span) {
            Some(Removed::Entry) => {}
            Some(Removed::Item) => {
                let item = locate::value_at(root.get_ref(), &span).unwrap_or_default();
                let list = item.rfind('[').and_then(|end| item.get(..end)).unwrap_or_default();
                found.unread.push(list.to_owned());
            }
            None => break,
        }
    }
    found
}

impl Recovered {
    /// Leaves out what only follows from a value that was removed, such as a missing key.
    fn add(&mut self, span: Range<usize>, explanation: Explanation) {
        let key = explanation.key.clone();
        let follows = self.unread.iter().any(|unread| is_at_or_below(unread, &key));
        if explanation.is_unknown_key || !follows {
            self.errors.push((span, explanation));
        }
        if !key.is_empty() {
            self.unread.push(key);
        }
    }
}

enum Removed {
    /// A key and its value.
    Entry,
    /// An item of a list.
    Item,
}

/// Removes the deepest value, or the key, that covers exactly these bytes.
fn remove_from_table(table: &mut DeTable, span: &Range<usize>) -> Option<Removed> {
    for (_, value) in table.iter_mut() {
        if let removed @ Some(_) = remove_from(value.get_mut(), span) {
            return removed;
        }
    }
    let (key, _) = table.iter().find(|(key, value)| key.span() == *span || value.span() == *span)?;
    let key = key.get_ref().to_string();
    table.remove(key.as_str()).map(|_| Removed::Entry)
}

fn remove_from(value: &mut DeValue, span: &Range<usize>) -> Option<Removed> {
    match value {
        DeValue::Table(table) => remove_from_table(table, span),
        DeValue::Array(items) => remove_from_array(items, span),
        _ => None,
    }
}

fn remove_from_array(items: &mut DeArray, span: &Range<usize>) -> Option<Removed> {
    for item in items.iter_mut() {
        if let removed @ Some(_) = remove_from(item.get_mut(), span) {
            return removed;
        }
    }
    let place = items.iter().position(|item| item.span() == *span)?;
    let mut kept = DeArray::new();
    for (i, item) in items.iter().enumerate() {
        if i != place {
            kept.push(item.clone());
        }
    }
    *items = kept;
    Some(Removed::Item)
}
