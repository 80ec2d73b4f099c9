//! A link again in the form of the catalog file, from its record. Compiled again, it gives the same record.

use serde_json::{Map, Value, json};

use super::{Domain, Link, State};

/// The link as a JSON object.
pub(super) fn of(link: &Link<'_>) -> Value {
    let mut fields = Map::new();
    let text = |bytes: &[u8]| json!(String::from_utf8_lossy(bytes));
    let parsed = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap_or_default();
    let mut put = |name: &str, value: Value| {
        if !value.is_null() {
            fields.insert(name.into(), value);
        }
    };
    put("id", text(link.id()));
    put("slashtag", text(link.slashtag()));
    put("destination", json!(link.destination()));
    put("domain", domain(link.domain()));
    match link.record().flags.state() {
        State::Active => {}
        State::Expired => put("status", json!("expired")),
        State::Disabled => put("status", json!("disabled")),
    }
    let created_at = link.created_at().text();
    if !created_at.is_empty() {
        put("createdAt", text(&created_at));
    }
    let mut creator = parsed(link.creator_json());
    let workspace = creator.as_object_mut().and_then(|creator| creator.remove("workspace"));
    if let Some(creator) = creator.as_object().filter(|creator| !creator.is_empty()) {
        put("creator", renamed(creator));
    }
    let profile = link.profile();
    if profile.has_workspace {
        put("workspace", workspace.unwrap_or_default());
    }
    put("tags", parsed(link.tags_json()));
    put("scripts", parsed(link.scripts_json()));
    if profile.status != 0 {
        put("httpStatus", json!(profile.status));
    }
    put("forwardParameters", json!(profile.forward));
    let policy = serde_json::from_str::<Map<_, _>>(link.policy_text()).unwrap_or_default();
    for (name, value) in policy {
        put(if name == "forwardOnly" { "forwardParameters" } else { &name }, value);
    }
    Value::Object(fields)
}

/// The domain of a link, as links name it.
fn domain(domain: &Domain) -> Value {
    match domain.id() {
        Some(id) => json!({"id": id, "fullName": domain.host()}),
        None => json!({"fullName": domain.host()}),
    }
}

/// The event's creator in the names of the link's.
fn renamed(creator: &Map<String, Value>) -> Value {
    let fields = creator.iter().map(|(name, value)| {
        let name = if name == "name" { "fullName" } else { name };
        (name.to_owned(), value.clone())
    });
    Value::Object(fields.collect())
}
