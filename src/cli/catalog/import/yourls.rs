//! YOURLS: the answer of `action=stats` as JSON, or its table `yourls_url` as JSON or CSV.

use super::{draft::Draft, fields::Fields, output::Output};

pub fn convert(mut fields: Fields, out: &mut Output) -> Result<(), String> {
    let mut draft = Draft::new(None, fields.text("keyword"));
    draft.short_url(fields.text("shorturl").as_deref());
    draft.destination(fields.text("url"))?;
    draft.created_at(fields.text("timestamp"));
    draft.leave("title", fields.text("title").is_some(), "a link of the catalog has no title");
    draft.leave("ip", fields.text("ip").is_some(), "the address of who made the link is personal data");
    fields.ignore(&["clicks"]);
    draft.leave_rest(fields);
    out.link(draft)
}
