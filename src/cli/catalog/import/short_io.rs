//! Short.io: the links of its API (`GET /api/links`).

use serde_json::{Value, json};
use url::Url;

use super::{draft::Draft, fields::Fields, output::Output};

const IGNORED: &[&str] = &[
    "shortURL",
    "secureShortURL",
    "DomainId",
    "OwnerId",
    "updatedAt",
    "icon",
    "source",
    "AutodeletedAt",
    "lcpath",
    "FolderId",
    "folderId",
    "hasPassword",
    "User",
    "user",
    "success",
    "duplicate",
    "statsMode",
];

/// Parameters that it adds to the destination.
const UTM: [(&str, &str); 5] = [
    ("utmSource", "utm_source"),
    ("utmMedium", "utm_medium"),
    ("utmCampaign", "utm_campaign"),
    ("utmTerm", "utm_term"),
    ("utmContent", "utm_content"),
];

pub fn convert(mut fields: Fields, out: &mut Output) -> Result<(), String> {
    let mut draft = Draft::new(None, fields.text("path"));
    draft.short_url(fields.first_text(&["secureShortURL", "shortURL"]).as_deref());
    draft.take("id", fields.first_text(&["idString", "id"]));
    let destination = destination(&mut fields, &mut draft);
    draft.destination(destination.clone())?;
    draft.created_at(fields.text("createdAt"));
    draft.take("creator", fields.text("OwnerId").map(|id| json!({"id": id})));
    draft.tags(fields.list("tags"));
    draft.limit("activeUntil", fields.first_text(&["expiresAt", "ttl"]))?;
    draft.fallback(fields.text("expiredURL"))?;
    draft.take("maxClicks", fields.number("clicksLimit"));
    redirect_type(&mut draft, &mut fields);
    if let Some(skips) = fields.flag("skipQS") {
        draft.change("forwardParameters", !skips, "of `skipQS`");
    }
    draft.systems(fields.text("iphoneURL"), fields.text("androidURL"));
    if let (Some(split), Some(percent), Some(own)) =
        (fields.text("splitURL"), fields.number("splitPercent").filter(|percent| *percent < 100), destination)
    {
        let variants = vec![(100 - percent, own), (percent, split)];
        draft.variants(variants, "of `splitURL`, with names made up");
    }
    draft.leave(
        "cloaking",
        fields.flag("cloaking") == Some(true),
        "a link of the catalog redirects, and frames nothing",
    );
    draft.leave("archived", fields.flag("archived") == Some(true), "archived links still redirect");
    draft.leave("title", fields.text("title").is_some(), "a link of the catalog has no title");
    let has_password = fields.flag("hasPassword").map(Value::Bool);
    draft.password(fields.text("password").map(Value::String).or(has_password));
    fields.ignore(IGNORED);
    draft.leave_rest(fields);
    out.link(draft)
}

/// The destination with the campaign parameters that the link adds.
fn destination(fields: &mut Fields, draft: &mut Draft) -> Option<String> {
    let text = fields.text("originalURL")?;
    let parameters: Vec<_> = UTM.iter().filter_map(|(field, name)| Some((*name, fields.text(field)?))).collect();
    let Ok(mut url) = Url::parse(&text) else { return Some(text) };
    let missing: Vec<_> =
        parameters.into_iter().filter(|(name, _)| !url.query_pairs().any(|(key, _)| key == *name)).collect();
    if missing.is_empty() {
        return Some(text);
    }
    url.query_pairs_mut().extend_pairs(missing);
    draft.note_change("utm", "they are part of the destination");
    Some(url.into())
}

fn redirect_type(draft: &mut Draft, fields: &mut Fields) {
    match fields.number("redirectType") {
        Some(status @ (301 | 302 | 303 | 307 | 308)) => draft.take("httpStatus", Some(status)),
        Some(_) => draft.leave("redirectType", true, "it is no status of a redirect"),
        None => {}
    }
}
