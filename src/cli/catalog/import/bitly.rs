//! Bitly: the links of its API (`GET /v4/groups/{group}/bitlinks`). Each custom back-half is a link of its own.

use serde_json::{Value, json};

use super::{draft::Draft, fields::Fields, output::Output};

const IGNORED: &[&str] =
    &["references", "client_id", "modified", "modified_at", "launchpad_ids", "campaign_ids", "qr_code_ids"];

pub fn convert(mut fields: Fields, out: &mut Output) -> Result<(), String> {
    let own = fields.first_text(&["id", "link"]);
    let custom = fields.list("custom_bitlinks");
    let custom = custom.iter().filter_map(Value::as_str).map(str::to_owned);
    let mut addresses: Vec<_> = own.into_iter().chain(custom).collect();
    // The same address with and without a scheme.
    let bare = |address: &String| address.split_once("://").map_or(address.clone(), |(_, rest)| rest.to_owned());
    addresses.sort_by_key(bare);
    addresses.dedup_by_key(|address| bare(address));
    if addresses.is_empty() {
        return Err("it has no `id`".into());
    }
    for address in addresses {
        link(fields.clone(), &address, out)?;
    }
    Ok(())
}

fn link(mut fields: Fields, address: &str, out: &mut Output) -> Result<(), String> {
    let mut draft = Draft::default();
    draft.short_url(Some(address));
    draft.destination(fields.text("long_url"))?;
    draft.created_at(fields.text("created_at"));
    draft.take("creator", fields.text("created_by").map(|id| json!({"id": id})));
    draft.tags(fields.list("tags"));
    draft.limit("activeUntil", fields.text("expiration_at"))?;
    draft.leave("deeplinks", !fields.list("deeplinks").is_empty(), "they open apps; write rules for systems instead");
    draft.leave("archived", fields.flag("archived") == Some(true), "archived links still redirect");
    draft.disabled("is_deleted", fields.flag("is_deleted"));
    draft.leave("title", fields.text("title").is_some(), "a link of the catalog has no title");
    fields.ignore(IGNORED);
    draft.leave_rest(fields);
    out.link(draft)
}
