//! Writes the event: JSON without white space, members in the order of the structs.
//!
//! A worker writes every click, so this is written out, at a fraction of the cost of a general serializer. It cannot
//! fail: the JSON of the catalog was checked when it was loaded, and degrees that are not finite are left out.

use serde_json::value::RawValue;

use super::{
    Agent, Bot, BotClass, ClickEvent, Client, Code, Destination, Device, Location, Named, Origin, Params, Quality,
    Referral, Route, Session,
};

/// A key as it is written: a constant of ours, without anything to escape.
macro_rules! key {
    ($name:literal) => {
        concat!("\"", $name, "\":")
    };
}

impl ClickEvent<'_> {
    /// Appends the event as one JSON object, without a line end.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut event = Object::begin(out);
        event.text(key!("id"), self.id);
        event.slug(key!("schema"), self.schema);
        event.text(key!("timestamp"), self.timestamp);
        client(&self.client, event.object(key!("client")));
        if let Some(found) = &self.referral {
            referral(found, event.object(key!("referral")));
        }
        route(&self.route, event.object(key!("route")));
        quality(&self.quality, event.object(key!("quality")));
        let mut edge = event.object(key!("edge"));
        edge.text(key!("pop"), self.edge.pop);
        edge.end();
        event.end();
    }
}

fn client(client: &Client<'_>, mut json: Object<'_>) {
    json.text_of(key!("language"), client.language);
    if let Some(found) = client.location {
        location(found, json.object(key!("location")));
    }
    agent(&client.agent, json.object(key!("agent")));
    if let Some(signal) = client.opt_out {
        json.slug(key!("optOut"), signal.name());
    }
    if let Some(Session { started, first }) = client.session {
        let mut session = json.object(key!("session"));
        session.text(key!("started"), started);
        session.raw(key!("first"), if first { "true" } else { "false" });
        session.end();
    }
    json.end();
}

fn location(location: &Location, mut json: Object<'_>) {
    json.text_of(key!("country"), location.country.as_ref().map(Code::as_str));
    json.text_of(key!("region"), location.region.as_ref().map(Code::as_str));
    json.text_of(key!("city"), location.city.as_deref());
    json.degrees(key!("latitude"), location.latitude);
    json.degrees(key!("longitude"), location.longitude);
    json.end();
}

fn agent(agent: &Agent<'_>, mut json: Object<'_>) {
    json.slug(key!("type"), agent.kind.name());
    if let Some(Bot { reason, class, name, verified }) = agent.bot {
        let mut bot = json.object(key!("bot"));
        bot.slug(key!("reason"), reason.name());
        bot.text_of(key!("class"), class.map(BotClass::name));
        bot.text_of(key!("name"), name.as_deref());
        if *verified {
            bot.raw(key!("verified"), "true");
        }
        bot.end();
    }
    match agent.text {
        Some(AgentText(text)) => json.members(text),
        None => software(agent.browser, agent.os, agent.device, &mut json),
    }
    json.end();
}

/// The text of browser, system and device: the same in the events of many clicks.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AgentText(Box<str>);

impl AgentText {
    pub fn of(browser: Option<&Named>, os: Option<&Named>, device: Option<Device>) -> Self {
        let mut text = Vec::new();
        software(browser, os, device, &mut Object { out: &mut text, separator: b',' });
        Self(String::from_utf8(text).unwrap_or_default().into())
    }
}

fn software(browser: Option<&Named>, os: Option<&Named>, device: Option<Device>, json: &mut Object<'_>) {
    if let Some(browser) = browser {
        named(browser, json.object(key!("browser")));
    }
    if let Some(os) = os {
        named(os, json.object(key!("os")));
    }
    if let Some(kind) = device {
        let mut device = json.object(key!("device"));
        device.slug(key!("name"), kind.name());
        device.end();
    }
}

fn named(named: &Named, mut json: Object<'_>) {
    json.text(key!("name"), &named.name);
    json.text_of(key!("version"), named.version.as_deref());
    json.end();
}

fn referral(referral: &Referral<'_>, mut json: Object<'_>) {
    json.text(key!("hostname"), &referral.hostname);
    json.text_of(key!("protocol"), referral.protocol.as_deref());
    json.text_of(key!("path"), referral.path.as_deref());
    if let Some(Origin { kind, name }) = referral.origin {
        let mut origin = json.object(key!("origin"));
        origin.slug(key!("type"), kind.name());
        origin.text_of(key!("name"), name);
        origin.end();
    }
    json.end();
}

fn route(route: &Route<'_>, mut json: Object<'_>) {
    json.text(key!("id"), route.id);
    json.text(key!("slashtag"), route.slashtag);
    json.text_of(key!("createdAt"), route.created_at);
    json.params(route.params.as_ref());
    json.raw_of(key!("creator"), route.creator);
    json.raw(key!("domain"), route.domain.get());
    json.raw_of(key!("tags"), route.tags);
    json.raw_of(key!("scripts"), route.scripts);
    json.text_of(key!("rule"), route.rule);
    json.text_of(key!("variant"), route.variant);
    json.status(key!("status"), route.status);
    destination(&route.destination, json.object(key!("destination")));
    json.end();
}

fn destination(destination: &Destination<'_>, mut json: Object<'_>) {
    json.text(key!("raw"), destination.raw);
    json.text(key!("protocol"), destination.protocol);
    json.text_of(key!("hostname"), Some(destination.hostname).filter(|hostname| !hostname.is_empty()));
    json.text_of(key!("path"), Some(destination.path).filter(|path| !path.is_empty()));
    json.params(destination.params.as_ref());
    json.end();
}

fn quality(quality: &Quality, mut json: Object<'_>) {
    json.slug(key!("verdict"), quality.verdict.name());
    if !quality.reasons.is_empty() {
        json.slugs(key!("reasons"), &quality.reasons);
    }
    if let Some(class) = quality.invalid {
        json.slug(key!("invalid"), class.name());
    }
    json.end();
}

/// An object in the making.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    /// What precedes the next member.
    separator: u8,
}

impl<'a> Object<'a> {
    fn begin(out: &'a mut Vec<u8>) -> Self {
        Self { out, separator: b'{' }
    }

    fn end(self) {
        if self.separator == b'{' {
            self.out.push(b'{');
        }
        self.out.push(b'}');
    }

    /// See [`key!`].
    #[inline]
    fn key(&mut self, key: &'static str) {
        self.out.push(self.separator);
        self.out.extend_from_slice(key.as_bytes());
        self.separator = b',';
    }

    #[inline]
    fn object(&mut self, key: &'static str) -> Object<'_> {
        self.key(key);
        Object::begin(self.out)
    }

    #[inline]
    fn text(&mut self, key: &'static str, value: &str) {
        self.key(key);
        string(value, self.out);
    }

    #[inline]
    fn text_of(&mut self, key: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    /// A slug of ours, in which nothing needs an escape.
    #[inline]
    fn slug(&mut self, key: &'static str, value: &'static str) {
        debug_assert!(is_plain(value.as_bytes()), "{value}");
        self.key(key);
        self.out.push(b'"');
        self.out.extend_from_slice(value.as_bytes());
        self.out.push(b'"');
    }

    /// Slugs of ours.
    fn slugs(&mut self, key: &'static str, values: &[&'static str]) {
        self.key(key);
        let mut separator = b'[';
        for value in values {
            debug_assert!(is_plain(value.as_bytes()), "{value}");
            self.out.extend_from_slice(&[separator, b'"']);
            self.out.extend_from_slice(value.as_bytes());
            self.out.push(b'"');
            separator = b',';
        }
        self.out.push(b']');
    }

    /// JSON as it is.
    #[inline]
    fn raw(&mut self, key: &'static str, value: &str) {
        self.key(key);
        self.out.extend_from_slice(value.as_bytes());
    }

    /// Members as they are, each with a comma before it.
    fn members(&mut self, members: &str) {
        debug_assert!(self.separator == b',', "there is a member before");
        self.out.extend_from_slice(members.as_bytes());
    }

    #[inline]
    fn raw_of(&mut self, key: &'static str, value: Option<&RawValue>) {
        if let Some(value) = value {
            self.raw(key, value.get());
        }
    }

    fn status(&mut self, key: &'static str, value: u16) {
        self.key(key);
        let digit = |place: u16| b'0' + (value / place % 10) as u8;
        // A status has three digits; anything else is a bug, and still a number.
        match value {
            100..=999 => self.out.extend_from_slice(&[digit(100), digit(10), digit(1)]),
            _ => self.out.extend_from_slice(value.to_string().as_bytes()),
        }
    }

    fn degrees(&mut self, key: &'static str, value: Option<f64>) {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            self.key(key);
            let _ = serde_json::to_writer(&mut *self.out, &value);
        }
    }

    fn params(&mut self, params: Option<&Params<'_>>) {
        let Some(Params { query }) = params else { return };
        self.key(key!("params"));
        self.out.extend_from_slice(b"{\"query\":");
        let mut before: &[u8] = b"[{\"name\":";
        for (name, value) in &query.0 {
            self.out.extend_from_slice(before);
            string(name, self.out);
            self.out.extend_from_slice(b",\"value\":");
            string(value, self.out);
            before = b"},{\"name\":";
        }
        // There is a pair, or there were no params.
        self.out.extend_from_slice(if query.0.is_empty() { b"[]}" } else { b"}]}" });
    }
}

/// Appends a text between quotes, escaped where JSON requires it (RFC 8259, section 7).
fn string(text: &str, out: &mut Vec<u8>) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    if is_plain(text.as_bytes()) {
        out.extend_from_slice(text.as_bytes());
    } else {
        text.bytes().for_each(|byte| escape(byte, out));
    }
    out.push(b'"');
}

#[cold]
fn escape(byte: u8, out: &mut Vec<u8>) {
    match byte {
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        0x08 => out.extend_from_slice(b"\\b"),
        b'\t' => out.extend_from_slice(b"\\t"),
        b'\n' => out.extend_from_slice(b"\\n"),
        0x0c => out.extend_from_slice(b"\\f"),
        b'\r' => out.extend_from_slice(b"\\r"),
        0..0x20 => {
            let digit = |value: u8| b"0123456789abcdef"[usize::from(value)];
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
        }
        _ => out.push(byte),
    }
}

/// Whether nothing in a text needs an escape. Eight bytes at a time; the last eight overlap those before.
fn is_plain(text: &[u8]) -> bool {
    let (words, rest) = text.as_chunks::<8>();
    let special = words.iter().fold(0, |special, word| special | specials(*word));
    let last = match text.last_chunk::<8>() {
        Some(last) => specials(*last),
        None => rest.iter().fold(0, |special, byte| special | specials([*byte; 8])),
    };
    (special | last) == 0
}

/// Not 0 when one of eight bytes is below a space, a quote or a backslash. A byte borrows from the next higher one only
/// when it is special itself.
fn specials(bytes: [u8; 8]) -> u64 {
    const ONES: u64 = u64::MAX / 0xff;
    let word = u64::from_le_bytes(bytes);
    // The high bit of each byte that is less than `limit`, of those below 0x80.
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word;
    let quote = below(word ^ (ONES * u64::from(b'"')), 1);
    let backslash = below(word ^ (ONES * u64::from(b'\\')), 1);
    (below(word, 0x20) | quote | backslash) & (ONES * 0x80)
}

#[cfg(test)]
mod tests;
