//! The click event: the public contract with every customer (`conf/click-event.schema.json`).
//!
//! Field names follow what receivers of branded-link click streams already parse. The rules: additive changes only;
//! absent means absent, never `null`; times are RFC 3339 in UTC with `Z`; slugs are lower case kebab
//! (`facebook-app`, `windows`). No name of a member is chosen by a visitor or a customer: queries, tags and scripts are
//! lists, so that any reader infers one schema. The golden file and the tests in `tests/event.rs` and
//! `tests/contract.rs` hold this module.
//!
//! The structs borrow from the raw click and from the catalog's pre-rendered JSON, so that writing an event
//! ([`ClickEvent::write`]) copies each byte once. They are written, never read: a customer's reader is a JSON parser.

mod clickstream;
mod destination;
pub mod fields;
pub mod query;
mod reason;
mod render;
mod scan;
mod text;
mod timestamp;

pub use reason::{Invalid, Reason, Reasons};
pub use render::{Rendering, Shape};
pub use text::AgentText;
pub use timestamp::Timestamp;

use std::borrow::Cow;

use serde_json::value::RawValue;

/// Longest event, in bytes of JSON. Everything in it that a visitor sends is cut at capture; what is left is the
/// link's, and a link with a megabyte of tags is a mistake.
pub const MAX_EVENT: usize = 1 << 20;

/// The value of `schema` in every event of this major version.
pub const SCHEMA: &str = "click/1";

/// The JSON schema of [`ClickEvent`], as shipped in `conf/`.
pub const JSON_SCHEMA: &str = include_str!("../conf/click-event.schema.json");

/// One answered click on a branded link.
pub struct ClickEvent<'a> {
    /// Unique, sortable by time, stable across replays: customers dedupe on it.
    pub id: &'a str,
    /// Always [`SCHEMA`].
    pub schema: &'static str,
    /// When the redirect was answered, RFC 3339 UTC with microseconds.
    pub timestamp: &'a str,
    pub client: Client<'a>,
    /// Absent when the click is direct.
    pub referral: Option<Referral<'a>>,
    pub route: Route<'a>,
    pub quality: Quality,
    pub edge: Edge<'a>,
}

/// Who clicked, as far as privacy allows.
pub struct Client<'a> {
    /// Primary subtag of the preferred language, two or three lower-case letters.
    pub language: Option<&'a str>,
    pub location: Option<&'a Location>,
    pub agent: Agent<'a>,
    /// Absent when the visitor sent no such signal.
    pub opt_out: Option<OptOut>,
    /// Absent when the visitor opted out, and for bots.
    pub session: Option<Session<'a>>,
}

/// A short code, in lower case: of a language, a country, a region. One to three ASCII letters or digits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Code {
    characters: [u8; 3],
    len: u8,
}

impl Code {
    /// The code of a text, in either case; `None` when the text is no code.
    pub fn read(text: &[u8]) -> Option<Self> {
        let is_code = (1..=3).contains(&text.len()) && text.iter().all(u8::is_ascii_alphanumeric);
        let mut characters = [0; 3];
        for (character, byte) in characters.iter_mut().zip(text) {
            *character = byte.to_ascii_lowercase();
        }
        is_code.then_some(Self { characters, len: text.len() as u8 })
    }

    /// `en`, `gsw`, `13`.
    pub fn as_str(&self) -> &str {
        let characters = self.characters.get(..usize::from(self.len)).unwrap_or_default();
        str::from_utf8(characters).unwrap_or_default()
    }
}

/// The location of the client address, from the GeoIP database.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Location {
    /// ISO 3166-1 alpha-2, lower case.
    pub country: Option<Code>,
    /// ISO 3166-2 subdivision code without the country, lower case.
    pub region: Option<Code>,
    /// English name.
    pub city: Option<String>,
    /// Degrees, WGS 84.
    pub latitude: Option<f64>,
    /// Degrees, WGS 84.
    pub longitude: Option<f64>,
}

/// The signal with which a visitor opts out of tracking: passed on, whatever the policy of this edge does with it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OptOut {
    /// `Sec-GPC: 1`, Global Privacy Control.
    Gpc,
    /// `DNT: 1`, and no Global Privacy Control.
    Dnt,
}

impl OptOut {
    /// In the order of the schema.
    pub const ALL: [Self; 2] = [Self::Gpc, Self::Dnt];

    /// The slug in the event.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gpc => "gpc",
            Self::Dnt => "dnt",
        }
    }
}

/// The software that clicked.
pub struct Agent<'a> {
    pub kind: AgentType,
    /// Only when `kind` is [`AgentType::Bot`].
    pub bot: Option<&'a Bot>,
    pub browser: Option<&'a Named>,
    pub os: Option<&'a Named>,
    pub device: Option<Device>,
    /// The text of the last three, if the caller has it cached.
    pub text: Option<&'a AgentText>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AgentType {
    Human,
    Bot,
}

impl AgentType {
    /// The slug in the event.
    pub fn name(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Bot => "bot",
        }
    }
}

/// Why a click counts as a bot's, and which bot it is if that is known.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bot {
    pub reason: BotReason,
    pub class: Option<BotClass>,
    /// A slug, `googlebot`.
    pub name: Option<Cow<'static, str>>,
    /// Whether a signature of the request proves it. Written only then.
    pub verified: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BotReason {
    /// The agent string names a crawler, a previewer, a monitor or a scanner, calls itself one, or does not have the
    /// form of a browser's; or the client hints name a headless browser; or a signature names the bot.
    Agent,
    /// The agent string names an HTTP library or a command-line client, or a browser whose headers are missing.
    Library,
    /// No agent string, or an empty one.
    EmptyAgent,
    /// A `HEAD` request: no page is shown.
    Head,
    /// The browser fetches ahead of a click that may never come, and says so in a header.
    Prefetch,
    /// The browser or an application draws a preview, and says so in a header.
    Preview,
    /// The address belongs to a network that humans do not browse from.
    Network,
    /// The visitor clicks as no human does.
    Behaviour,
}

impl BotReason {
    /// In the order of the schema.
    pub const ALL: [Self; 8] = [
        Self::Agent,
        Self::Library,
        Self::EmptyAgent,
        Self::Head,
        Self::Prefetch,
        Self::Preview,
        Self::Network,
        Self::Behaviour,
    ];

    /// What it means, in the words of the manual's table.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Agent => {
                "the agent string names a bot or is not a browser's; or the client hints name a headless browser; or a \
                 signature proves which bot it is"
            }
            Self::Library => {
                "the agent string names an HTTP library, or a browser that would have sent headers which are missing"
            }
            Self::EmptyAgent => "no agent string, or an empty one",
            Self::Head => "a `HEAD` request",
            Self::Prefetch => "a header declares a prefetch",
            Self::Preview => "a header declares a preview",
            Self::Network => "the address belongs to a hosting or cloud provider",
            Self::Behaviour => "a burst: many links within seconds, as mail gateways open them",
        }
    }

    /// The slug in the event.
    pub fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Library => "library",
            Self::EmptyAgent => "empty-agent",
            Self::Head => "head",
            Self::Prefetch => "prefetch",
            Self::Preview => "preview",
            Self::Network => "network",
            Self::Behaviour => "behaviour",
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
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

impl BotClass {
    /// In the order of the schema.
    pub const ALL: [Self; 10] = [
        Self::Search,
        Self::SocialPreview,
        Self::Ai,
        Self::Seo,
        Self::Monitoring,
        Self::Scanner,
        Self::Feed,
        Self::Advertising,
        Self::Library,
        Self::Other,
    ];

    /// What it means, in the words of the manual's table.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Search => "crawler of a search engine",
            Self::SocialPreview => "link preview of a social network or a messenger",
            Self::Ai => "crawler or assistant of an AI provider",
            Self::Seo => "crawler of a search engine optimisation or marketing tool",
            Self::Monitoring => "uptime or performance monitor",
            Self::Scanner => "security scanner",
            Self::Feed => "feed reader",
            Self::Advertising => "crawler of an advertising network",
            Self::Library => "HTTP library or command-line client",
            Self::Other => "any other bot",
        }
    }

    /// The slug in the event.
    pub fn name(self) -> &'static str {
        match self {
            Self::Search => "search",
            Self::SocialPreview => "social-preview",
            Self::Ai => "ai",
            Self::Seo => "seo",
            Self::Monitoring => "monitoring",
            Self::Scanner => "scanner",
            Self::Feed => "feed",
            Self::Advertising => "advertising",
            Self::Library => "library",
            Self::Other => "other",
        }
    }
}

/// A name and its version: a browser, an operating system.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Named {
    /// A slug without a version: `chrome`, `windows`.
    pub name: Cow<'static, str>,
    /// Digits and dots; of Windows also `xp` or `vista`.
    pub version: Option<String>,
}

/// What kind of device the visitor uses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
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
    /// In the order of the schema.
    pub const ALL: [Self; 9] = [
        Self::Pc,
        Self::Smartphone,
        Self::Tablet,
        Self::MobilePhone,
        Self::Tv,
        Self::Console,
        Self::Wearable,
        Self::Appliance,
        Self::Other,
    ];

    /// The slug in the event.
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
pub struct Session<'a> {
    /// RFC 3339 UTC.
    pub started: &'a str,
    /// True when no live session of the same individual existed in this workspace.
    pub first: bool,
}

/// The page that the visitor came from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Referral<'a> {
    pub hostname: Cow<'a, str>,
    pub protocol: Option<Cow<'a, str>>,
    pub path: Option<Cow<'a, str>>,
    pub origin: Option<Origin<'a>>,
}

/// What kind of place the referrer is, and which.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Origin<'a> {
    pub kind: OriginType,
    /// A slug, `facebook`.
    pub name: Option<&'a str>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
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

impl OriginType {
    /// In the order of the schema.
    pub const ALL: [Self; 8] =
        [Self::Social, Self::Search, Self::Email, Self::Ai, Self::Paid, Self::Messaging, Self::Internal, Self::Other];

    /// The slug in the event.
    pub fn name(self) -> &'static str {
        match self {
            Self::Social => "social",
            Self::Search => "search",
            Self::Email => "email",
            Self::Ai => "ai",
            Self::Paid => "paid",
            Self::Messaging => "messaging",
            Self::Internal => "internal",
            Self::Other => "other",
        }
    }
}

/// The link as it was when the redirect was answered, and where the visitor was really sent.
pub struct Route<'a> {
    pub id: &'a str,
    pub slashtag: &'a str,
    pub created_at: Option<&'a str>,
    /// What the visitor put on the short link.
    pub params: Option<Params<'a>>,
    pub creator: Option<&'a RawValue>,
    pub domain: &'a RawValue,
    pub tags: Option<&'a RawValue>,
    pub scripts: Option<&'a RawValue>,
    /// Name of the rule that chose the destination.
    pub rule: Option<&'a str>,
    /// Name of the variant that was chosen.
    pub variant: Option<&'a str>,
    /// HTTP status of the answer.
    pub status: u16,
    pub destination: Destination<'a>,
}

/// Where the visitor was sent, after rules and query forwarding.
pub struct Destination<'a> {
    pub raw: &'a str,
    pub protocol: &'a str,
    pub hostname: &'a str,
    pub path: &'a str,
    pub params: Option<Params<'a>>,
}

#[derive(Debug, Eq, PartialEq)]
pub struct Params<'a> {
    pub query: Query<'a>,
}

/// Decoded query parameters, name and value, in the order of the query.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Query<'a>(pub Vec<(Cow<'a, str>, Cow<'a, str>)>);

/// The verdict on a click, and its reasons.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Quality {
    pub verdict: Verdict,
    /// Slugs, each once.
    pub reasons: Vec<&'static str>,
    /// The class of invalid traffic; absent for valid clicks.
    pub invalid: Option<Invalid>,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Verdict {
    Clean,
    Suspicious,
    Malicious,
}

impl Verdict {
    /// The slug in the event.
    pub fn name(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Suspicious => "suspicious",
            Self::Malicious => "malicious",
        }
    }
}

/// Which point of presence answered.
pub struct Edge<'a> {
    pub pop: &'a str,
}
