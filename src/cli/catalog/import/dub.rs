//! Dub: the links and domains of its API (`GET /links`, `GET /domains`).

use serde_json::{Map, Value, json};

use super::{draft::Draft, fields::Fields, output::Output};
use crate::{catalog::entity::time, runtime::clock};

/// The key of the link that a domain itself leads to.
const ROOT: &str = "_root";

/// What says nothing new of a link, or counts its clicks.
const IGNORED: &[&str] = &[
    "shortLink",
    "qrCode",
    "clicks",
    "leads",
    "conversions",
    "sales",
    "saleAmount",
    "lastClicked",
    "updatedAt",
    "utm_source",
    "utm_medium",
    "utm_campaign",
    "utm_term",
    "utm_content",
    "tagId",
    "projectId",
    "publicStats",
    "dashboardId",
    "testStartedAt",
    "testCompletedAt",
    "user",
];

pub fn convert(mut fields: Fields, out: &mut Output) -> Result<(), String> {
    if fields.has("slug") && !fields.has("url") {
        return domain(fields, out);
    }
    let key = fields.text("key");
    let host = fields.text("domain");
    if key.as_deref() == Some(ROOT) {
        let host = host.ok_or("it has no domain")?;
        out.domain(&host, "root", fields.text("url").map(Value::String));
        return Ok(());
    }
    let mut draft = Draft::new(host, key);
    draft.take("id", fields.text("id"));
    draft.destination(fields.text("url"))?;
    draft.short_url(fields.text("shortLink").as_deref());
    draft.created_at(fields.text("createdAt"));
    draft.limit("activeUntil", fields.text("expiresAt"))?;
    draft.fallback(fields.text("expiredUrl"))?;
    draft.take("creator", fields.text("userId").map(|id| json!({"id": id})));
    draft.take("workspace", fields.text("workspaceId").map(|id| json!({"id": id})));
    draft.tags(fields.list("tags"));
    draft.systems(fields.text("ios"), fields.text("android"));
    if let Some(geo) = fields.object("geo") {
        draft.countries(geo);
    }
    let completed = fields.text("testCompletedAt").and_then(|text| time::parse(&text));
    let is_completed = completed.is_some_and(|time| time.as_second() <= clock::unix_secs().cast_signed());
    variants(&mut draft, fields.list("testVariants"), is_completed);
    // Its redirects hand on what the visitor sends.
    draft.change("forwardParameters", true, "it always forwards");
    if fields.flag("doIndex") == Some(false) {
        draft.take("noIndex", Some(true));
    }
    card(&mut draft, &mut fields);
    draft.leave(
        "rewrite",
        fields.flag("rewrite") == Some(true),
        "a link of the catalog redirects, and frames nothing",
    );
    draft.leave("archived", fields.flag("archived") == Some(true), "archived links still redirect");
    draft.disabled("disabledAt", fields.text("disabledAt").map(|_| true));
    draft.password(fields.text("password").map(Value::String));
    fields.ignore(IGNORED);
    draft.leave_rest(fields);
    out.link(draft)
}

/// The title, description and image of a link are its card only if `proxy` is on.
fn card(draft: &mut Draft, fields: &mut Fields) {
    let is_card = fields.flag("proxy") == Some(true);
    let parts = ["title", "description", "image"].map(|name| (name, fields.text(name)));
    if !is_card {
        let has_title = parts[0].1.is_some();
        return draft.leave("title", has_title, "a link of the catalog has no title");
    }
    let is_usable = |name: &str, text: &str| name != "image" || text.starts_with("http");
    let parts = parts.into_iter().filter_map(|(name, text)| text.map(|text| (name.to_owned(), text)));
    let card: Map<_, _> =
        parts.filter(|(name, text)| is_usable(name, text)).map(|(name, text)| (name, Value::String(text))).collect();
    if card.contains_key("title") {
        draft.take("card", Some(card));
    } else {
        draft.leave("card", !card.is_empty(), "a card needs a title");
    }
}

fn variants(draft: &mut Draft, list: Vec<Value>, is_completed: bool) {
    if list.is_empty() {
        return;
    }
    if is_completed {
        return draft.leave("testVariants", true, "the test is completed");
    }
    let read = |variant| {
        let Value::Object(variant) = variant else { return None };
        let mut variant = Fields::new(variant);
        Some((variant.number("percentage")?, variant.text("url")?))
    };
    draft.variants(list.into_iter().filter_map(read).collect(), "of `testVariants`, with names made up");
}

fn domain(mut fields: Fields, out: &mut Output) -> Result<(), String> {
    let host = fields.text("slug").ok_or("it has no slug")?;
    for (from, to) in [
        ("expiredUrl", "expired"),
        ("notFoundUrl", "notFound"),
        ("appleAppSiteAssociation", "appleAppSiteAssociation"),
        ("assetLinks", "assetLinks"),
    ] {
        out.domain(&host, to, fields.text(from).map(Value::String));
    }
    Ok(())
}
