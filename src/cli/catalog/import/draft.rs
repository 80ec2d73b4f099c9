//! A link on its way into the catalog: what a record says of it, in the names of the catalog.

use serde_json::{Map, Value, json};
use url::{ParseError, Url};

use super::{
    fields::Fields,
    tally::Fate::{self, Changed, Left, Taken},
};
use crate::catalog::entity::time;

/// Most rules of a link.
const MAX_RULES: usize = 100;

/// Why a password is not imported.
const NO_PASSWORD: &str = "the export does not have them; their links are switched off until a `passwordHash` is set";
const BCRYPT: &str = "bcrypt cannot be checked; their links are switched off until a `passwordHash` is set";
const OTHER_HASH: &str =
    "only hashes of argon2 can be checked; their links are switched off until a `passwordHash` is set";

/// A link in the making.
#[derive(Debug, Default)]
pub struct Draft {
    pub host: Option<String>,
    pub slashtag: Option<String>,
    link: Map<String, Value>,
    rules: Vec<Value>,
    fates: Vec<(String, Fate)>,
}

/// A link that is complete.
#[derive(Debug)]
pub struct Finished {
    pub link: Map<String, Value>,
    pub host: String,
    pub slashtag: String,
    /// A scheme of its destinations that its domain must permit.
    pub schemes: Vec<String>,
    pub fates: Vec<(String, Fate)>,
}

impl Draft {
    pub fn new(host: Option<String>, slashtag: Option<String>) -> Self {
        Self { host, slashtag, ..Self::default() }
    }

    /// Takes a value as it is.
    pub fn take(&mut self, field: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.note(field, Taken);
            self.link.insert(field.into(), value.into());
        }
    }

    /// Takes a value in another form.
    pub fn change(&mut self, field: &str, value: impl Into<Value>, how: &'static str) {
        self.note(field, Changed(how));
        self.link.insert(field.into(), value.into());
    }

    /// Leaves something behind, if it is there.
    pub fn leave(&mut self, field: &str, is_there: bool, why: &'static str) {
        if is_there {
            self.note(field, Left(why));
        }
    }

    /// Leaves behind what was not read. Numbers of clicks are known to be no part of a link.
    pub fn leave_rest(&mut self, fields: Fields) {
        for (name, value) in fields.rest() {
            // A switch that is off says nothing.
            if value != Value::Bool(false) {
                self.note(&name, Left("a link of the catalog has no such field"));
            }
        }
    }

    /// Takes domain and slashtag from the address of the short link, unless they are known.
    pub fn short_url(&mut self, address: Option<&str>) {
        if let Some((host, path)) = address.and_then(split) {
            self.host.get_or_insert(host);
            if self.slashtag.is_none() && !path.is_empty() {
                self.slashtag = Some(path);
            }
        }
    }

    /// The id of its domain, for events.
    pub fn domain_id(&mut self, id: Option<String>) {
        if let Some(id) = id {
            self.link.insert("domain".into(), json!({"id": id}));
        }
    }

    pub fn destination(&mut self, destination: Option<String>) -> Result<(), String> {
        let text = destination.ok_or("it has no destination")?;
        let (text, is_changed) = absolute(&text);
        check(&text)?;
        if is_changed {
            self.change("destination", text, "`https://` was missing");
        } else {
            self.take("destination", Some(text));
        }
        Ok(())
    }

    /// Takes an address that may stand for the destination.
    pub fn fallback(&mut self, address: Option<String>) -> Result<(), String> {
        let Some(text) = address else { return Ok(()) };
        let (text, _) = absolute(&text);
        check(&text).map_err(|reason| format!("`fallback`: {reason}"))?;
        // Braces are placeholders here.
        self.take("fallback", Some(text.replace('{', "%7B").replace('}', "%7D")));
        Ok(())
    }

    /// Takes the time of creation, which only informs.
    pub fn created_at(&mut self, text: Option<String>) {
        let Some(text) = text else { return };
        match time::parse(&text) {
            Some(_) if time::is_rfc_3339_utc(&text) => self.take("createdAt", Some(text)),
            Some(time) => self.take("createdAt", Some(time.to_string())),
            None => self.note("createdAt", Left("it is no time")),
        }
    }

    /// Takes a time that decides when the link works.
    pub fn limit(&mut self, field: &str, text: Option<String>) -> Result<(), String> {
        let Some(text) = text else { return Ok(()) };
        let time = time::parse(&text).ok_or_else(|| format!("`{field}` {text:?} is not {}", time::EXAMPLE))?;
        self.take(field, Some(time.to_string()));
        Ok(())
    }

    /// Takes tags: texts, or objects with `id` and `name`.
    pub fn tags(&mut self, list: Vec<Value>) {
        let mut tags: Vec<Value> = Vec::new();
        for tag in list {
            match tag {
                Value::String(name) if !name.trim().is_empty() => {
                    tags.push(json!({"id": name.trim(), "name": name.trim()}));
                }
                Value::Object(tag) => {
                    let mut tag = Fields::new(tag);
                    let name = tag.text("name");
                    let Some(id) = tag.text("id").or_else(|| name.clone()) else { continue };
                    let name = name.unwrap_or_else(|| id.clone());
                    tags.push(json!({"id": id, "name": name}));
                }
                _ => {}
            }
        }
        if !tags.is_empty() {
            self.take("tags", Some(tags));
        }
    }

    /// Takes a password if it is a hash that the edge can check. A link that loses its password is switched off.
    pub fn password(&mut self, password: Option<Value>) {
        let why = match password {
            None | Some(Value::Bool(false)) => return,
            Some(Value::String(text)) if text.starts_with("$argon2") => {
                return self.take("passwordHash", Some(text));
            }
            Some(Value::String(text)) if text.starts_with("$2") => BCRYPT,
            Some(Value::String(text)) if !matches!(text.as_str(), "true" | "false") => OTHER_HASH,
            Some(Value::String(text)) if text == "false" => return,
            Some(_) => NO_PASSWORD,
        };
        self.note("password", Left(why));
        self.link.insert("status".into(), "disabled".into());
    }

    /// Switches the link off, if this is so.
    pub fn disabled(&mut self, field: &str, is_disabled: Option<bool>) {
        if is_disabled == Some(true) {
            self.note(field, Changed("the link is switched off"));
            self.link.insert("status".into(), "disabled".into());
        }
    }

    /// Adds a rule behind those before it. `name` is made unique.
    pub fn rule(&mut self, name: &str, when: &Value, destination: &str) {
        let (destination, _) = absolute(destination);
        if check(&destination).is_err() {
            return self.note("rules", Left("their destinations are not valid"));
        }
        if self.rules.len() == MAX_RULES {
            return self.note("rules", Left("a link has at most 100"));
        }
        let is_taken = |name: &str| self.rules.iter().any(|rule| rule["name"] == name);
        let mut unique = name.to_owned();
        let mut number = 2;
        while is_taken(&unique) {
            unique = format!("{name}-{number}");
            number += 1;
        }
        self.rules.push(json!({"name": unique, "when": when, "destination": destination}));
    }

    /// Adds rules for countries, by their destinations.
    pub fn countries(&mut self, destinations: Fields) {
        let mut rules: Vec<(String, Vec<String>)> = Vec::new();
        for (country, destination) in destinations.rest() {
            let Value::String(destination) = destination else { continue };
            let country = country.trim().to_lowercase();
            match rules.iter_mut().find(|(other, _)| *other == destination) {
                Some((_, countries)) => countries.push(country),
                None => rules.push((destination, vec![country])),
            }
        }
        for (destination, mut countries) in rules {
            countries.sort_unstable();
            let name = countries.first().cloned().unwrap_or_default();
            self.rule(&name, &json!({"country": countries}), &destination);
        }
    }

    /// Adds variants: the name, weight and destination of each.
    pub fn variants(&mut self, variants: Vec<(u64, String)>, how: &'static str) {
        let variants = variants.into_iter().filter(|(weight, _)| *weight > 0).zip('a'..='t');
        let variants = variants.map(|((weight, destination), name)| {
            let (destination, _) = absolute(&destination);
            json!({"name": name.to_string(), "weight": weight, "destination": destination})
        });
        let variants: Vec<Value> = variants.collect();
        let is_valid = |variant: &Value| check(variant["destination"].as_str().unwrap_or_default()).is_ok();
        if !variants.iter().all(is_valid) {
            return self.note("variants", Left("their destinations are not valid"));
        }
        if !variants.is_empty() {
            self.change("variants", variants, how);
        }
    }

    /// Adds the rules for systems that most services have.
    pub fn systems(&mut self, ios: Option<String>, android: Option<String>) {
        for (os, destination) in [("ios", ios), ("android", android)] {
            if let Some(destination) = destination {
                self.rule(os, &json!({"os": [os]}), &destination);
            }
        }
    }

    /// Completes the link.
    ///
    /// # Errors
    /// When something is missing that a link needs.
    pub fn finish(mut self, domain: Option<&str>, workspace: Option<&str>) -> Result<Finished, String> {
        let host = self.host.take().map(|host| split(&host).map_or(host, |(host, _)| host));
        let host = host
            .or_else(|| domain.map(str::to_owned))
            .ok_or("it has no domain; name one with --domain")?
            .to_lowercase();
        let slashtag = self.slashtag.take().map(|slashtag| slashtag.trim_start_matches('/').to_owned());
        let slashtag = slashtag.filter(|slashtag| !slashtag.is_empty()).ok_or("it has no slashtag")?;
        if !self.link.contains_key("destination") {
            return Err("it has no destination".into());
        }
        if let Some(workspace) = workspace.filter(|_| !self.link.contains_key("workspace")) {
            self.link.insert("workspace".into(), json!({"id": workspace}));
        }
        if !self.rules.is_empty() {
            let rules = std::mem::take(&mut self.rules);
            self.take("rules", Some(rules));
        }
        self.link.entry("id").or_insert_with(|| format!("{host}/{slashtag}").into());
        self.link.insert("slashtag".into(), slashtag.clone().into());
        let domain = self.link.entry("domain").or_insert_with(|| json!({}));
        domain["fullName"] = host.clone().into();
        let schemes = self.schemes();
        Ok(Finished { link: self.link, host, slashtag, schemes, fates: self.fates })
    }

    /// The schemes of all addresses, besides those of the web.
    fn schemes(&self) -> Vec<String> {
        let own = ["destination", "fallback"].iter().filter_map(|field| self.link.get(*field)?.as_str());
        let of_lists = ["rules", "variants"].iter().filter_map(|field| self.link.get(*field)?.as_array());
        let listed = of_lists.flatten().filter_map(|element| element.get("destination")?.as_str());
        let schemes = own.chain(listed).filter_map(|text| Some(Url::parse(text).ok()?.scheme().to_owned()));
        schemes.filter(|scheme| !matches!(scheme.as_str(), "http" | "https")).collect()
    }

    /// Notes that something is in the catalog in another form.
    pub fn note_change(&mut self, field: &str, how: &'static str) {
        self.note(field, Changed(how));
    }

    fn note(&mut self, field: &str, fate: Fate) {
        self.fates.push((field.to_owned(), fate));
    }
}

/// Host and path of a short link, which may lack its scheme.
fn split(address: &str) -> Option<(String, String)> {
    let address = address.trim();
    let absolute = if address.contains("://") { address.to_owned() } else { format!("https://{address}") };
    let url = Url::parse(&absolute).ok()?;
    Some((url.host_str()?.to_owned(), url.path().trim_start_matches('/').to_owned()))
}

/// An address with its scheme, and whether that was missing.
fn absolute(text: &str) -> (String, bool) {
    let text = text.trim();
    let is_relative = matches!(Url::parse(text), Err(ParseError::RelativeUrlWithoutBase));
    if is_relative && !text.starts_with(['/', '?', '#']) && text.contains('.') {
        return (format!("https://{text}"), true);
    }
    (text.to_owned(), false)
}

/// Checks an address that a link leads to.
fn check(text: &str) -> Result<(), String> {
    let url = Url::parse(text).map_err(|error| format!("the destination {:?} is no URL: {error}", shown(text)))?;
    if matches!(url.scheme(), "javascript" | "data" | "vbscript" | "file") {
        return Err(format!("the destination has the scheme `{}:`, to which no link leads", url.scheme()));
    }
    if matches!(url.scheme(), "http" | "https") && (!url.username().is_empty() || url.password().is_some()) {
        return Err(format!(
            "the destination at {} holds a user name or password",
            url.host_str().unwrap_or_default()
        ));
    }
    Ok(())
}

/// An address for a message: short, and without what may be a password.
fn shown(text: &str) -> String {
    text.rsplit('@').next().unwrap_or_default().chars().take(100).collect()
}
