//! The fields of one record of an export. Each is taken out once it is understood: what remains is left behind.

use serde_json::{Map, Value};

/// The fields that were not read yet. Absent, null and empty are the same.
#[derive(Clone, Debug, Default)]
pub struct Fields(Map<String, Value>);

impl Fields {
    pub fn new(record: Map<String, Value>) -> Self {
        Self(record.into_iter().filter(|(_, value)| !is_empty(value)).collect())
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// A text, or a number as text.
    pub fn text(&mut self, name: &str) -> Option<String> {
        let text = match self.0.get(name)? {
            Value::String(text) => text.trim().to_owned(),
            Value::Number(number) => number.to_string(),
            _ => return None,
        };
        self.0.remove(name);
        Some(text)
    }

    /// The first of these that is there; the others are taken for the same.
    pub fn first_text(&mut self, names: &[&str]) -> Option<String> {
        let all: Vec<_> = names.iter().filter_map(|name| self.text(name)).collect();
        all.into_iter().next()
    }

    /// True or false, also as text or number.
    pub fn flag(&mut self, name: &str) -> Option<bool> {
        let flag = match self.0.get(name)? {
            Value::Bool(flag) => *flag,
            Value::Number(number) => number.as_u64().filter(|number| *number < 2)? == 1,
            Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "yes" | "y" | "1" => true,
                "false" | "no" | "n" | "0" => false,
                _ => return None,
            },
            _ => return None,
        };
        self.0.remove(name);
        Some(flag)
    }

    /// A number, also as text.
    pub fn number(&mut self, name: &str) -> Option<u64> {
        let number = match self.0.get(name)? {
            Value::Number(number) => number.as_u64()?,
            Value::String(text) => text.trim().parse().ok()?,
            _ => return None,
        };
        self.0.remove(name);
        Some(number)
    }

    /// An object, also as text.
    pub fn object(&mut self, name: &str) -> Option<Self> {
        let map = match self.0.get(name)? {
            Value::Object(map) => map.clone(),
            Value::String(text) => serde_json::from_str(text).ok()?,
            _ => return None,
        };
        self.0.remove(name);
        Some(Self::new(map))
    }

    /// The elements of an array, also as text; a single value is one element.
    pub fn list(&mut self, name: &str) -> Vec<Value> {
        match self.0.remove(name) {
            None => Vec::new(),
            Some(Value::Array(list)) => list,
            Some(Value::String(text)) => match serde_json::from_str(&text) {
                Ok(Value::Array(list)) => list,
                _ => vec![Value::String(text)],
            },
            Some(value) => vec![value],
        }
    }

    /// Passes over fields that say nothing new.
    pub fn ignore(&mut self, names: &[&str]) {
        self.0.retain(|name, _| !names.contains(&name.as_str()));
    }

    /// What was not read, with its names.
    pub fn rest(self) -> impl Iterator<Item = (String, Value)> {
        self.0.into_iter()
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}
