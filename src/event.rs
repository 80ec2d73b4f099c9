//! The click event: the public contract with every customer (`conf/click-event.schema.json`).
//!
//! Field names follow what receivers of branded-link click streams already parse. The rules: additive changes only;
//! absent means absent, never `null`; times are RFC 3339 in UTC with `Z`; slugs are lower case kebab
//! (`facebook-app`, `windows-10`). The golden file and the schema test in `tests/event.rs` hold this module.
//!
//! The structs borrow from the raw click and from the catalog's pre-rendered JSON, so that encoding an event copies
//! each byte once. They are written, never read: a customer's reader is a JSON parser.

use std::borrow::Cow;

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::value::RawValue;

/// The value of `schema` in every event of this major version.
pub const SCHEMA: &str = "click/1";

/// The JSON schema of [`ClickEvent`], as shipped in `conf/`.
pub const JSON_SCHEMA: &str = include_str!("../conf/click-event.schema.json");

/// One answered click on a branded link.
#[derive(Serialize)]
pub struct ClickEvent<'a> {
    /// Unique, sortable by time, stable across replays: customers dedupe on it.
    pub id: &'a str,
    /// Always [`SCHEMA`].
    pub schema: &'static str,
    /// When the redirect was answered, RFC 3339 UTC with microseconds.
    pub timestamp: &'a str,
    pub client: Client<'a>,
    /// Absent when the click is direct.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub referral: Option<Referral<'a>>,
    pub route: Route<'a>,
    pub quality: Quality,
    pub edge: Edge<'a>,
}

/// Who clicked, as far as it may be told.
#[derive(Serialize)]
pub struct Client<'a> {
    /// Primary subtag of the preferred language, two or three lower-case letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<&'a Location>,
    pub agent: Agent<'a>,
    /// Absent when the visitor opted out, and for bots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<Session<'a>>,
}

/// Where the client address lies, as the GeoIP database has it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Location {
    /// ISO 3166-1 alpha-2, lower case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// ISO 3166-2 subdivision code without the country, lower case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// English name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
    /// Degrees, WGS 84.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latitude: Option<f64>,
    /// Degrees, WGS 84.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longitude: Option<f64>,
}

/// The software that clicked.
#[derive(Serialize)]
pub struct Agent<'a> {
    #[serde(rename = "type")]
    pub kind: AgentType,
    /// Only when `kind` is [`AgentType::Bot`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bot: Option<&'a Bot>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub browser: Option<&'a Named>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os: Option<&'a Named>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<Device>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AgentType {
    Human,
    Bot,
}

/// Why a click counts as a bot's, and which bot it is if that is known.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Bot {
    pub reason: BotReason,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<BotClass>,
    /// A slug, `googlebot`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Cow<'static, str>>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BotReason {
    /// The agent string names a crawler, a previewer, a monitor or a scanner, calls itself one, or is no browser's by its
    /// form; or the client hints name a browser without a screen.
    Agent,
    /// The agent string names an HTTP library or a command-line client, or a browser whose headers are missing.
    Library,
    /// No agent string, or an empty one.
    EmptyAgent,
    /// A `HEAD` request: nobody looks at the answer.
    Head,
    /// The browser fetches ahead of a click that may never come, and says so in a header.
    Prefetch,
    /// The browser or an application draws a preview, and says so in a header.
    Preview,
    /// The address belongs to a network that no person browses from.
    Network,
    /// The visitor clicks as no person does.
    Behaviour,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BotClass {
    Search,
    SocialPreview,
    Ai,
    Seo,
    Monitoring,
    Scanner,
    Feed,
    Advertising,
    Library,
    Other,
}

/// A name and its version: a browser, an operating system.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Named {
    /// A slug, `chrome`, `windows-10`.
    pub name: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// What kind of thing the visitor holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum Device {
    Pc,
    Smartphone,
    Tablet,
    MobilePhone,
    Tv,
    Console,
    Wearable,
    Appliance,
    Other,
}

impl Device {
    /// The slug that stands in the event.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pc => "pc",
            Self::Smartphone => "smartphone",
            Self::Tablet => "tablet",
            Self::MobilePhone => "mobile-phone",
            Self::Tv => "tv",
            Self::Console => "console",
            Self::Wearable => "wearable",
            Self::Appliance => "appliance",
            Self::Other => "other",
        }
    }
}

/// The visit that the click belongs to.
#[derive(Serialize)]
pub struct Session<'a> {
    /// RFC 3339 UTC.
    pub started: &'a str,
    /// True when no live session of the same individual existed in this workspace.
    pub first: bool,
}

/// The page that the visitor came from.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Referral<'a> {
    pub hostname: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin<'a>>,
}

/// What kind of place the referrer is, and which.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Origin<'a> {
    #[serde(rename = "type")]
    pub kind: OriginType,
    /// A slug, `facebook`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OriginType {
    Social,
    Search,
    Email,
    Ai,
    Paid,
    Messaging,
    Internal,
    Other,
}

/// The link as it was when the redirect was answered, and where the visitor was really sent.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Route<'a> {
    pub id: &'a str,
    pub slashtag: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<&'a str>,
    /// What the visitor put on the short link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params: Option<Params<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creator: Option<&'a RawValue>,
    pub domain: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scripts: Option<&'a RawValue>,
    /// Which rule or variant chose the destination; absent for the link's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<&'a str>,
    /// HTTP status of the answer.
    pub status: u16,
    pub destination: Destination<'a>,
}

/// Where the visitor was sent, after rules and query forwarding.
#[derive(Serialize)]
pub struct Destination<'a> {
    pub raw: &'a str,
    pub protocol: &'a str,
    pub hostname: &'a str,
    pub path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params: Option<Params<'a>>,
}

#[derive(Debug, Eq, PartialEq, Serialize)]
pub struct Params<'a> {
    pub query: Query<'a>,
}

/// Decoded query parameters in order of first appearance; a repeated key keeps every value, in order.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Query<'a>(pub Vec<(Cow<'a, str>, Vec<Cow<'a, str>>)>);

impl Serialize for Query<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, values) in &self.0 {
            map.serialize_entry(key, values)?;
        }
        map.end()
    }
}

/// Whether the click looks like what it claims to be.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Quality {
    pub verdict: Verdict,
    /// Slugs, each once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<&'static str>,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Clean,
    Suspicious,
    Malicious,
}

/// Which point of presence answered.
#[derive(Serialize)]
pub struct Edge<'a> {
    pub pop: &'a str,
}
