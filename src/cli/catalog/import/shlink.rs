//! Shlink: the short URLs of its API (`GET /rest/v3/short-urls`), each with the `redirectRules` of
//! `GET /rest/v3/short-urls/{shortCode}/redirect-rules` if they were added to it, and its domains
//! (`GET /rest/v3/domains`).

use serde_json::{Map, Value, json};

use super::{draft::Draft, fields::Fields, output::Output};

const IGNORED: &[&str] = &["visitsCount", "visitsSummary", "crawlable", "originalUrl"];

pub fn convert(mut fields: Fields, out: &mut Output) -> Result<(), String> {
    if fields.has("redirects") && !fields.has("longUrl") {
        return domain(fields, out);
    }
    let mut draft = Draft::new(fields.text("domain"), fields.text("shortCode"));
    draft.short_url(fields.text("shortUrl").as_deref());
    draft.destination(fields.text("longUrl"))?;
    draft.created_at(fields.text("dateCreated"));
    draft.tags(fields.list("tags"));
    if let Some(mut meta) = fields.object("meta") {
        draft.limit("activeFrom", meta.text("validSince"))?;
        draft.limit("activeUntil", meta.text("validUntil"))?;
        draft.take("maxClicks", meta.number("maxVisits"));
        draft.leave_rest(meta);
    }
    draft.take("forwardParameters", fields.flag("forwardQuery"));
    let has_rules = fields.flag("hasRedirectRules") == Some(true);
    let rules = fields.list("redirectRules");
    let why = "the list lacks them; add `redirectRules` to each short URL";
    draft.leave("rules", has_rules && rules.is_empty(), why);
    for rule in rules {
        add_rule(&mut draft, rule);
    }
    // Versions before rules.
    if let Some(mut devices) = fields.object("deviceLongUrls") {
        draft.systems(devices.text("ios"), devices.text("android"));
        if let Some(desktop) = devices.text("desktop") {
            draft.rule("desktop", &json!({"device": ["desktop"]}), &desktop);
        }
    }
    draft.leave("title", fields.text("title").is_some(), "a link of the catalog has no title");
    fields.ignore(IGNORED);
    draft.leave_rest(fields);
    out.link(draft)
}

fn add_rule(draft: &mut Draft, rule: Value) {
    let Value::Object(rule) = rule else { return };
    let mut rule = Fields::new(rule);
    let (destination, number) = (rule.text("longUrl"), rule.number("priority"));
    let conditions = rule.list("conditions");
    let when = conditions.iter().try_fold(Map::new(), with);
    match (when, destination) {
        (Some(when), Some(destination)) => {
            let name = number.map_or_else(|| "rule".to_owned(), |number| format!("rule-{number}"));
            draft.rule(&name, &Value::Object(when), &destination);
        }
        _ => draft.leave("rules", true, "they have a condition that the catalog does not have"),
    }
}

/// Adds a condition to those of a rule. `None` if that is not possible.
fn with(mut when: Map<String, Value>, condition: &Value) -> Option<Map<String, Value>> {
    let text = |name: &str| condition.get(name).and_then(Value::as_str).unwrap_or_default();
    let value = text("matchValue").trim();
    let (name, value) = match text("type") {
        "device" => match value.to_lowercase().as_str() {
            kind @ ("mobile" | "desktop") => ("device", json!([kind])),
            os => ("os", json!([os])),
        },
        "language" => ("language", json!([value.to_lowercase().replace('_', "-")])),
        "query-param" => ("query", json!({ text("matchKey"): value })),
        "any-value-query-param" => ("query", json!({ text("matchKey"): null })),
        "valueless-query-param" => ("query", json!({ text("matchKey"): "" })),
        "ip-address" => ("network", json!([network(value)])),
        "geolocation-country-code" => ("country", json!([value.to_lowercase()])),
        "geolocation-city-name" => ("city", json!([value])),
        "before-date" => ("before", json!(value)),
        "after-date" => ("after", json!(value)),
        _ => return None,
    };
    match (when.get_mut(name), value) {
        (None, value) => _ = when.insert(name.to_owned(), value),
        (Some(Value::Object(query)), Value::Object(more)) => query.extend(more),
        // Both must hold there, and any of a list is enough here.
        (Some(_), _) => return None,
    }
    Some(when)
}

/// `192.0.*.*` in the notation of networks.
fn network(text: &str) -> String {
    let fixed = text.split('.').take_while(|part| *part != "*").count();
    if fixed == 4 || !text.contains('*') {
        return text.to_owned();
    }
    format!("{}/{}", text.replace('*', "0"), fixed * 8)
}

fn domain(mut fields: Fields, out: &mut Output) -> Result<(), String> {
    let host = fields.text("domain").ok_or("it has no domain")?;
    let Some(mut redirects) = fields.object("redirects") else { return Ok(()) };
    let placeholders = |text: String| {
        let text = text.replace("{DOMAIN}", "{domain}").replace("{ORIGINAL_PATH}", "{path}");
        Value::String(text)
    };
    out.domain(&host, "root", redirects.text("baseUrlRedirect").map(placeholders));
    let not_found = redirects.first_text(&["invalidShortUrlRedirect", "regular404Redirect"]);
    out.domain(&host, "notFound", not_found.map(placeholders));
    Ok(())
}
