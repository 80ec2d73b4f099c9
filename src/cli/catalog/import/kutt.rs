//! Kutt: the links and domains of its API (`GET /api/v2/links`, `GET /api/v2/domains`).

use serde_json::Value;

use super::{draft::Draft, fields::Fields, output::Output};

const IGNORED: &[&str] = &[
    "visit_count",
    "updated_at",
    "relative_created_at",
    "relative_expire_in",
    "meta",
    "uuid",
    "user_id",
    "domain_id",
];

pub fn convert(mut fields: Fields, out: &mut Output) -> Result<(), String> {
    if !fields.has("target") && !fields.has("link") {
        let host = fields.text("address").ok_or("it has neither a target nor an address")?;
        out.domain(&host, "root", fields.text("homepage").map(Value::String));
        return Ok(());
    }
    let mut draft = Draft::new(fields.text("domain"), fields.text("address"));
    let address = match fields.object("link") {
        Some(mut link) => link.first_text(&["url", "link"]),
        None => fields.text("link"),
    };
    draft.short_url(address.as_deref());
    draft.take("id", fields.text("id"));
    draft.destination(fields.text("target"))?;
    draft.created_at(fields.text("created_at"));
    draft.limit("activeUntil", fields.text("expire_in"))?;
    draft.disabled("banned", fields.flag("banned"));
    draft.leave("description", fields.text("description").is_some(), "a link of the catalog has no description");
    let password = fields.flag("password").map(Value::Bool);
    draft.password(password.or_else(|| fields.text("password").map(Value::String)));
    fields.ignore(IGNORED);
    draft.leave_rest(fields);
    out.link(draft)
}
