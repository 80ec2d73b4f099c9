//! The published schema of the event, and its strict twin.
//!
//! The published schema accepts fields and values that later releases add; so it cannot show that an event has one too
//! many, or lacks one. The twin is derived from it: no other fields, of open vocabularies only the values that are
//! known today, and everything that is in every whole event. Both marks are `$comment`s.

use jsonschema::Validator;
use serde_json::{Value, json};

/// Marks a field that only `fields` of a feed leaves out.
pub const ALWAYS: &str = "Present unless the feed leaves it out.";

/// Marks an open vocabulary whose examples are complete.
pub const KNOWN: &str = "The examples are all values that are known today.";

/// The schema as customers have it.
pub fn schema() -> Value {
    serde_json::from_str(clickedge::event::JSON_SCHEMA).unwrap()
}

pub fn published() -> Validator {
    validator(&schema())
}

/// What whole events of this release keep to.
pub fn strict() -> Validator {
    validator(&twin(schema()))
}

pub fn validator(schema: &Value) -> Validator {
    jsonschema::options().should_validate_formats(true).build(schema).unwrap()
}

/// The strict twin of a schema.
pub fn twin(mut schema: Value) -> Value {
    close(&mut schema);
    schema
}

fn close(schema: &mut Value) {
    let Some(map) = schema.as_object_mut() else { return };
    if map.get("$comment").is_some_and(|comment| comment == KNOWN) {
        map.insert("enum".into(), map["examples"].clone());
    }
    if let Some(properties) = map.get_mut("properties") {
        let properties = properties.as_object_mut().unwrap();
        let always = |property: &Value| property["$comment"] == ALWAYS;
        let always: Vec<Value> =
            properties.iter().filter(|(_, property)| always(property)).map(|(name, _)| json!(name)).collect();
        properties.values_mut().for_each(close);
        map.insert("additionalProperties".into(), false.into());
        map.entry("required").or_insert(json!([])).as_array_mut().unwrap().extend(always);
    }
    if let Some(items) = map.get_mut("items") {
        close(items);
    }
    if let Some(definitions) = map.get_mut("$defs") {
        definitions.as_object_mut().unwrap().values_mut().for_each(close);
    }
}
