//! Rebrandly: the links of its API (`GET /v1/links`), whose names are those of the catalog.

use serde_json::{Map, Value, json};

use super::{draft::Draft, fields::Fields, output::Output};

const IGNORED: &[&str] = &[
    "clicks",
    "sessions",
    "lastClickDate",
    "lastClickAt",
    "isPublic",
    "https",
    "favourite",
    "integrated",
    "updatedAt",
    "incognito",
    "domainId",
    "linkId",
];

pub fn convert(mut fields: Fields, out: &mut Output) -> Result<(), String> {
    let mut draft = Draft::new(None, fields.text("slashtag"));
    domain(&mut draft, &mut fields);
    draft.short_url(fields.text("shortUrl").as_deref());
    draft.take("id", fields.text("id"));
    draft.destination(fields.text("destination"))?;
    draft.created_at(fields.text("createdAt"));
    draft.take("status", fields.text("status"));
    draft.take("httpStatus", fields.number("httpStatus"));
    for field in ["forwardParameters", "forwardPath"] {
        match fields.flag(field) {
            Some(flag) => draft.take(field, Some(flag)),
            None => draft.take(field, fields.text(field)),
        }
    }
    draft.limit("activeUntil", fields.first_text(&["expiresAt", "expiredAt"]))?;
    draft.fallback(fields.text("expiredUrl"))?;
    draft.tags(fields.list("tags"));
    scripts(&mut draft, fields.list("scripts"));
    for (field, names) in [("creator", ["id", "fullName"]), ("workspace", ["id", "name"])] {
        if let Some(mut who) = fields.object(field) {
            let who = named(&mut who, &names);
            draft.take(field, (!who.is_empty()).then_some(who));
        }
    }
    draft.leave("title", fields.text("title").is_some(), "a link of the catalog has no title");
    draft.leave("description", fields.text("description").is_some(), "a link of the catalog has no description");
    fields.ignore(IGNORED);
    draft.leave_rest(fields);
    out.link(draft)
}

fn domain(draft: &mut Draft, fields: &mut Fields) {
    let (id, name) = (fields.text("domainId"), fields.text("domainName"));
    let (id, name) = match fields.object("domain") {
        Some(mut domain) => (domain.text("id").or(id), domain.text("fullName").or(name)),
        None => (id, name),
    };
    draft.host = name;
    draft.domain_id(id);
}

/// The code of a script runs on its page; without code or address it is a name for events.
fn scripts(draft: &mut Draft, list: Vec<Value>) {
    let script = |script| {
        let Value::Object(script) = script else { return None };
        let script = named(&mut Fields::new(script), &["id", "name", "uri", "value"]);
        script.contains_key("id").then_some(Value::Object(script))
    };
    let scripts: Vec<Value> = list.into_iter().filter_map(script).collect();
    draft.take("scripts", (!scripts.is_empty()).then_some(scripts));
}

fn named(fields: &mut Fields, names: &[&str]) -> Map<String, Value> {
    names.iter().filter_map(|name| Some(((*name).to_owned(), json!(fields.text(name)?)))).collect()
}
