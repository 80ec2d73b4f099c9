//! A field of a link's JSON with its path, for messages that name field, value and remedy.

use std::fmt::Write;

use serde_json::{Map, Value};

/// Longest text of a value in a message, in characters.
const MAX_SHOWN: usize = 60;

/// A value, and where it stands: `rules[1].when.country[0]`.
pub(super) struct Field<'a> {
    path: String,
    value: &'a Value,
}

impl<'a> Field<'a> {
    pub(super) fn new(path: &str, value: &'a Value) -> Self {
        Self { path: path.to_owned(), value }
    }

    pub(super) fn value(&self) -> &'a Value {
        self.value
    }

    /// The message about this value.
    pub(super) fn is_bad(&self, remedy: &str) -> String {
        format!("`{}` is {}; {remedy}", self.path, shown(self.value))
    }

    /// A message about this field that does not show its value.
    pub(super) fn problem(&self, problem: &str) -> String {
        format!("`{}` {problem}", self.path)
    }

    /// The text of 1 to `max` bytes, none of them a control character.
    pub(super) fn text(&self, max: usize, remedy: &str) -> Result<&'a str, String> {
        let is_text = |text: &&str| !text.trim().is_empty() && !text.chars().any(char::is_control);
        let text = self.value.as_str().filter(is_text).ok_or_else(|| self.is_bad(remedy))?.trim();
        if text.len() > max {
            return Err(self.problem(&format!("has {} bytes; at most {max} are possible", text.len())));
        }
        Ok(text)
    }

    /// The elements of a list that is neither empty nor longer than `max`.
    pub(super) fn list(&self, max: usize, remedy: &str) -> Result<Vec<Self>, String> {
        let list = self.value.as_array().ok_or_else(|| self.is_bad(remedy))?;
        match list.len() {
            0 => Err(self.problem(&format!("is empty; {remedy}, or leave it out"))),
            len if len > max => Err(self.problem(&format!("has {len} elements; at most {max} are possible"))),
            _ => {
                let element = |(at, value)| Self { path: format!("{}[{at}]", self.path), value };
                Ok(list.iter().enumerate().map(element).collect())
            }
        }
    }

    /// The elements of a list as [`list`](Self::list), or one value in place of a list of it.
    pub(super) fn values(&self, max: usize, remedy: &str) -> Result<Vec<Self>, String> {
        if self.value.is_array() || self.value.is_object() || self.value.is_null() {
            return self.list(max, remedy);
        }
        Ok(vec![Self { path: self.path.clone(), value: self.value }])
    }

    /// The members of an object.
    pub(super) fn object(&self, remedy: &str) -> Result<&'a Map<String, Value>, String> {
        self.value.as_object().ok_or_else(|| self.is_bad(remedy))
    }

    /// Rejects an object with other members than these.
    pub(super) fn has_only(&self, names: &[&str]) -> Result<(), String> {
        let members = self.value.as_object().into_iter().flat_map(Map::keys);
        match members.into_iter().find(|member| !names.contains(&member.as_str())) {
            Some(member) => Err(self.member(member, &Value::Null).problem(&unknown(names))),
            None => Ok(()),
        }
    }

    /// A member of this object.
    pub(super) fn member(&self, name: &str, value: &'a Value) -> Self {
        Self { path: format!("{}.{}", self.path, short(name)), value }
    }

    /// A member of this object by its name, unless it is absent.
    pub(super) fn find(&self, name: &str) -> Option<Self> {
        Some(self.member(name, self.value.get(name)?))
    }

    /// A member that must be there.
    pub(super) fn need(&self, name: &str, remedy: &str) -> Result<Self, String> {
        self.find(name).ok_or_else(|| self.problem(&format!("has no `{name}`; {remedy}")))
    }
}

/// The rest of a message about an unknown name.
fn unknown(known: &[&str]) -> String {
    format!("is unknown; known are {}", known.join(", "))
}

fn shown(value: &Value) -> String {
    short(&value.to_string())
}

fn short(text: &str) -> String {
    let mut short = String::new();
    for (at, character) in text.chars().enumerate() {
        if at == MAX_SHOWN {
            short.push('…');
            break;
        }
        if character.is_control() {
            let _ = write!(short, "{}", character.escape_default());
        } else {
            short.push(character);
        }
    }
    short
}
