//! CSV, of any of the services or of one's own: the columns are known by their names, in the usual spellings.

use serde_json::{Map, Value, json};

use super::{draft::Draft, fields::Fields, output::Output};

/// Fields, and the names of columns that mean them, without case, spaces and signs. The name of the field itself counts
/// as well.
const COLUMNS: &[(&str, &[&str])] = &[
    ("id", &["linkid", "uuid", "uid"]),
    (
        "slashtag",
        &[
            "slug",
            "keyword",
            "key",
            "shortcode",
            "code",
            "path",
            "backhalf",
            "custombackhalf",
            "alias",
            "address",
            "ending",
        ],
    ),
    ("shortUrl", &["shorturl", "shortlink", "link", "bitlink", "shortenedurl", "brandedlink", "secureshorturl"]),
    (
        "destination",
        &[
            "destinationurl",
            "url",
            "longurl",
            "originalurl",
            "target",
            "targeturl",
            "redirecturl",
            "redirectto",
            "longlink",
            "to",
        ],
    ),
    ("domain", &["domainname", "domainfullname", "host", "hostname", "brandeddomain", "shortdomain"]),
    (
        "createdAt",
        &["createdat", "created", "datecreated", "creationdate", "createddate", "dateadded", "timestamp", "date"],
    ),
    ("tags", &["tag", "labels"]),
    ("status", &["state", "linkstatus"]),
    ("disabled", &["banned", "deleted", "isdeleted", "disabledat"]),
    ("active", &["enabled", "isactive"]),
    ("httpStatus", &["httpstatus", "redirecttype", "redirectstatus", "statuscode"]),
    (
        "forwardParameters",
        &["forwardparameters", "forwardquery", "queryforwarding", "passquery", "forwardquerystring"],
    ),
    ("forwardPath", &["forwardpath"]),
    ("activeFrom", &["activefrom", "validsince", "validfrom", "startsat", "startdate"]),
    (
        "activeUntil",
        &[
            "activeuntil",
            "expiresat",
            "expiredat",
            "expirein",
            "expires",
            "expiry",
            "expiration",
            "expirationdate",
            "expirydate",
            "expiredate",
            "expireson",
            "expireat",
            "enddate",
            "endsat",
            "validuntil",
        ],
    ),
    ("maxClicks", &["maxclicks", "maxvisits", "visitlimit", "visitslimit", "clickslimit", "clicklimit"]),
    ("fallback", &["fallbackurl", "expiredurl", "expirationurl"]),
    ("password", &["haspassword", "passwordhash", "pwd", "pass"]),
    ("clickIdParameter", &["clickidparameter"]),
    ("noIndex", &["noindex"]),
    ("ios", &["iosurl", "iphoneurl"]),
    ("android", &["androidurl"]),
    ("workspace", &["workspaceid"]),
    ("creator", &["createdby", "creatorid", "creatorname", "owner", "author"]),
];

/// Columns that only count, or say nothing new.
const IGNORED: &[&str] = &[
    "clicks",
    "visits",
    "visitscount",
    "visitcount",
    "totalclicks",
    "engagements",
    "totalengagements",
    "scans",
    "updatedat",
    "lastclicked",
    "leads",
    "sales",
    "qrcode",
];

/// Records of the rows of a table by its header: the names of the catalog where they are known.
pub fn named(header: &[String]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for column in header {
        let spelled: String = column.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
        let is_known = |(field, others): &&(&str, &[&str])| {
            field.to_lowercase() == spelled || others.contains(&spelled.as_str())
        };
        let name = COLUMNS.iter().find(is_known).map_or(spelled.as_str(), |(field, _)| *field);
        // The first of two columns that mean the same.
        let name = if names.iter().any(|other| other == name) { column.trim() } else { name };
        names.push(name.to_owned());
    }
    names
}

pub fn convert(mut fields: Fields, out: &mut Output) -> Result<(), String> {
    let mut draft = Draft::new(fields.text("domain"), fields.text("slashtag"));
    let short_url = fields.text("shortUrl");
    draft.short_url(short_url.as_deref());
    draft.take("id", fields.text("id"));
    draft.destination(fields.text("destination"))?;
    draft.created_at(fields.text("createdAt"));
    let tags = match fields.text("tags") {
        Some(tags) => tags.split([',', ';', '|']).map(|tag| Value::String(tag.to_owned())).collect(),
        None => fields.list("tags"),
    };
    draft.tags(tags);
    draft.take("status", fields.text("status"));
    draft.disabled("active", fields.flag("active").map(|is_active| !is_active));
    let is_disabled = fields.flag("disabled").or_else(|| fields.text("disabled").map(|_| true));
    draft.disabled("disabled", is_disabled);
    draft.take("httpStatus", fields.number("httpStatus"));
    for field in ["forwardParameters", "forwardPath"] {
        match fields.flag(field) {
            Some(flag) => draft.take(field, Some(flag)),
            None => draft.take(field, fields.text(field)),
        }
    }
    draft.limit("activeFrom", fields.text("activeFrom"))?;
    draft.limit("activeUntil", fields.text("activeUntil"))?;
    draft.take("maxClicks", fields.number("maxClicks").filter(|clicks| *clicks > 0));
    draft.fallback(fields.text("fallback"))?;
    draft.take("clickIdParameter", fields.text("clickIdParameter"));
    draft.take("noIndex", fields.flag("noIndex"));
    draft.systems(fields.text("ios"), fields.text("android"));
    draft.take("workspace", fields.text("workspace").map(|id| json!({"id": id})));
    draft.take("creator", fields.text("creator").map(|name| json!({"fullName": name})));
    let has_password = fields.flag("password").map(Value::Bool);
    draft.password(has_password.or_else(|| fields.text("password").map(Value::String)));
    draft.leave("archived", fields.flag("archived") == Some(true), "archived links still redirect");
    draft.leave("title", fields.text("title").is_some(), "a link of the catalog has no title");
    draft.leave("ip", fields.text("ip").is_some(), "the address of who made the link is personal data");
    fields.ignore(IGNORED);
    draft.leave_rest(fields);
    out.link(draft)
}

/// A record of JSON with the names of columns.
pub fn renamed(record: Map<String, Value>) -> Map<String, Value> {
    let (names, values): (Vec<_>, Vec<_>) = record.into_iter().unzip();
    named(&names).into_iter().zip(values).collect()
}

/// A record of a row.
pub fn record(names: &[String], row: impl Iterator<Item = String>) -> Map<String, Value> {
    names.iter().cloned().zip(row.map(Value::String)).collect()
}
