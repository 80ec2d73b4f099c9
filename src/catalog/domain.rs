//! Domains: lines with `"kind":"domain"`, and how a host leads to a domain.

use std::sync::Arc;

use ahash::RandomState;
use hashbrown::HashMap;
use http::HeaderValue;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{policy, state_hash::ItemHash};
use crate::{
    config,
    link::{
        self, Case, DomainPolicy,
        destination::Schemes,
        key::Host,
        page::{FileFields, Files, Pages},
    },
};

/// Most aliases of a domain.
const MAX_ALIASES: usize = 1_000;

/// Longest suffix for previews, in bytes.
const MAX_SUFFIX: usize = 16;

/// A branded host.
#[derive(Clone)]
pub struct Domain {
    pub(super) host: Box<str>,
    /// The event's `route.domain`.
    pub(super) json: Box<str>,
    has_id: bool,
    pub(super) case: Case,
    /// Value of `Strict-Transport-Security`, for answers over TLS.
    pub(super) hsts: Option<HeaderValue>,
    policy: Option<Arc<DomainPolicy>>,
    /// The most segments that a slashtag has whose link forwards a path; 0 without one.
    pub(super) path_depth: u16,
    /// Its line, if it has one: compact JSON.
    pub(super) line: Option<Box<str>>,
    pub(super) for_links: ForLinks,
}

impl Domain {
    /// Its host name: a lower-case A-label.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// What it says beyond its name.
    pub fn policy(&self) -> Option<&DomainPolicy> {
        self.policy.as_deref()
    }

    /// Its id, if the catalog has one.
    pub(super) fn id(&self) -> Option<String> {
        let id = serde_json::from_str::<Value>(&self.json).ok()?.get("id")?.as_str()?.to_owned();
        self.has_id.then_some(id)
    }

    /// The hash of its line.
    pub(super) fn hash(&self) -> Option<ItemHash> {
        self.line.as_ref().map(|line| ItemHash::of(b'd', [line.as_bytes()]))
    }

    pub(super) fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.host.len() + self.json.len()
    }
}

/// The line of a domain. Unknown fields are ignored.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DomainEntity {
    id: Option<Value>,
    #[serde(alias = "name")]
    full_name: Option<Value>,
    aliases: Option<Value>,
    case: Option<Value>,
    root: Option<Value>,
    not_found: Option<Value>,
    expired: Option<Value>,
    http_status: Option<Value>,
    workspace: Option<Value>,
    hsts: Option<Value>,
    schemes: Option<Value>,
    preview_suffix: Option<Value>,
    trim_punctuation: Option<Value>,
    pages: Option<Value>,
    robots: Option<Value>,
    favicon: Option<Value>,
    apple_app_site_association: Option<Value>,
    asset_links: Option<Value>,
    security_txt: Option<Value>,
}

impl DomainEntity {
    fn files(&self) -> FileFields<'_> {
        FileFields {
            robots: policy::given(self.robots.as_ref()),
            favicon: policy::given(self.favicon.as_ref()),
            apple_app_site_association: policy::given(self.apple_app_site_association.as_ref()),
            asset_links: policy::given(self.asset_links.as_ref()),
            security_txt: policy::given(self.security_txt.as_ref()),
        }
    }
}

/// Id and name of a workspace.
pub type Workspace = (Box<str>, Option<Box<str>>);

/// What a domain's line says for its links.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct ForLinks {
    pub schemes: Schemes,
    /// Status of the answer for links without one.
    pub status: Option<u16>,
    /// The workspace of links without one.
    pub workspace: Option<Workspace>,
}

/// A domain that was read, and is not in its place yet.
pub(super) struct Described {
    /// That of the domain that it replaces.
    pub number: Option<u32>,
    pub domain: Domain,
    aliases: Vec<Alias>,
}

/// The domain that a link names, as it was before.
pub(super) struct Mark {
    /// The number of the next new domain.
    number: u32,
    known: Option<(u32, Arc<Domain>)>,
}

/// The domains of a catalog, and how hosts lead to them.
#[derive(Clone, Default)]
pub struct Domains {
    /// By number. One that was deleted keeps its number, and no host leads to it.
    pub(super) all: Vec<Arc<Domain>>,
    by_host: HashMap<Box<str>, u32, RandomState>,
    /// By what follows the `*` of a wildcard, with its dot.
    by_suffix: HashMap<Box<str>, u32, RandomState>,
    /// Whether any domain has, or once had, a policy of HSTS.
    has_hsts: bool,
}

impl Domains {
    /// The domain of a host: an exact name before a wildcard, a longer wildcard before a shorter one.
    pub fn find(&self, host: &str) -> Option<u32> {
        if let Some(&number) = self.by_host.get(host) {
            return Some(number);
        }
        if self.by_suffix.is_empty() {
            return None;
        }
        let dots = host.bytes().enumerate().filter(|(_, byte)| *byte == b'.').map(|(at, _)| at);
        dots.filter(|at| *at > 0).find_map(|at| self.by_suffix.get(&host[at..]).copied())
    }

    /// Whether any domain has a policy of HSTS.
    pub fn have_hsts(&self) -> bool {
        self.has_hsts
    }

    /// The names that lead to a domain, without wildcards.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.by_host.keys().map(|host| &**host)
    }

    /// Number of domains that hosts lead to.
    pub fn count(&self) -> usize {
        self.current().count()
    }

    /// The domains that hosts lead to.
    pub(super) fn current(&self) -> impl Iterator<Item = &Domain> {
        let numbered = (0..).zip(&self.all);
        numbered
            .filter(|(number, domain)| self.by_host.get(&domain.host) == Some(number))
            .map(|(_, domain)| &**domain)
    }

    /// Those of them that have a line.
    pub(super) fn described(&self) -> impl Iterator<Item = &Domain> {
        self.current().filter(|domain| domain.line.is_some())
    }

    /// The domain of a host or an alias, wildcards apart.
    pub fn named(&self, host: &str) -> Option<u32> {
        self.by_host.get(host).copied()
    }

    /// The domain of a host itself, aliases and wildcards apart.
    pub fn of_host(&self, host: &str) -> Option<(u32, &Arc<Domain>)> {
        let number = *self.by_host.get(host)?;
        let domain = &self.all[number as usize];
        (*domain.host == *host).then_some((number, domain))
    }

    /// The domain of this name or alias, if it is there with all that a link says of it.
    pub(super) fn known(&self, name: &str, id: Option<&str>) -> Result<Option<u32>, String> {
        let host = parse(name).map_err(|reason| format!("`domain.fullName` {reason}"))?;
        let number = self.by_host.get(host.as_str()).copied();
        Ok(number.filter(|number| id.is_none() || self.all[*number as usize].has_id))
    }

    /// The domain of this name or alias, as a link names it. A new one is added.
    pub(super) fn of_link(&mut self, name: &str, id: Option<&str>, config: &config::Catalog) -> Result<u32, String> {
        let host = parse(name).map_err(|reason| format!("`domain.fullName` {reason}"))?;
        if let Some(&number) = self.by_host.get(host.as_str()) {
            if id.is_some() && !self.all[number as usize].has_id {
                let domain = self.edit(number);
                (domain.json, domain.has_id) = (json(id, &domain.host), true);
            }
            return Ok(number);
        }
        let settings = config.domains.get(host.as_str());
        let hsts = settings.and_then(|domain| HeaderValue::try_from(domain.hsts.as_deref()?.trim()).ok());
        let case = settings.map(|domain| domain.case).unwrap_or_default();
        let domain = Domain {
            json: json(id, host.as_str()),
            has_id: id.is_some(),
            host: host.as_str().into(),
            case,
            hsts,
            policy: None,
            path_depth: 0,
            line: None,
            for_links: ForLinks::default(),
        };
        Ok(self.push(domain))
    }

    /// Adds the domain of a line.
    pub(super) fn add(&mut self, line: &str, config: &config::Catalog) -> Result<u32, String> {
        let (domain, aliases) = self.read(line, config, None)?;
        if self.by_host.contains_key(&domain.host) {
            return Err(format!("an earlier line has the domain or alias {:?}", domain.host));
        }
        let number = self.push(domain);
        self.lead(aliases, number);
        Ok(number)
    }

    /// The domain of a line, which replaces the one of its name, or is new.
    pub(super) fn describe(&self, line: &str, config: &config::Catalog) -> Result<Described, String> {
        let name = serde_json::from_str::<DomainEntity>(line).ok().and_then(|entity| entity.full_name);
        let host = name.as_ref().and_then(Value::as_str).and_then(|name| parse(name).ok());
        let number = host.and_then(|host| self.of_host(host.as_str()).map(|(number, _)| number));
        let (mut domain, aliases) = self.read(line, config, number)?;
        match number {
            Some(number) => domain.path_depth = self.all[number as usize].path_depth,
            None => {
                if let Some(number) = self.named(&domain.host) {
                    let (host, of) = (&domain.host, &self.all[number as usize].host);
                    let remedy = "name the domain, or remove the alias from it before";
                    return Err(format!("`fullName` is {host:?}, an alias of the domain {of:?}; {remedy}"));
                }
            }
        }
        Ok(Described { number, domain, aliases })
    }

    /// Replaces a domain, or adds it.
    pub(super) fn place(&mut self, Described { number, domain, aliases }: Described) {
        let number = match number {
            Some(number) => {
                self.forget(number);
                self.has_hsts |= domain.hsts.is_some();
                self.by_host.insert(domain.host.clone(), number);
                self.all[number as usize] = Arc::new(domain);
                number
            }
            None => self.push(domain),
        };
        self.lead(aliases, number);
    }

    /// Lets no host lead to a domain any more.
    pub(super) fn forget(&mut self, number: u32) {
        let domain = Arc::clone(&self.all[number as usize]);
        let line = domain.line.as_deref().and_then(|line| serde_json::from_str::<DomainEntity>(line).ok());
        let aliases = line.and_then(|entity| entity.aliases).unwrap_or_default();
        let aliases = texts(&aliases).unwrap_or_default().into_iter().filter_map(|name| Alias::parse(name).ok());
        for alias in aliases.chain([Alias::Host(domain.host.clone())]) {
            let (map, name) = match alias {
                Alias::Host(name) => (&mut self.by_host, name),
                Alias::Suffix(name) => (&mut self.by_suffix, name),
            };
            if map.get(&name) == Some(&number) {
                map.remove(&name);
            }
        }
    }

    /// What a link may change of the domain that it names.
    pub(super) fn mark(&self, name: &str) -> Mark {
        let number = parse(name).ok().and_then(|host| self.named(host.as_str()));
        Mark {
            number: self.all.len() as u32,
            known: number.map(|number| (number, Arc::clone(&self.all[number as usize]))),
        }
    }

    /// Whether nothing has changed since the mark.
    pub(super) fn is_at(&self, mark: &Mark) -> bool {
        let is_same = |(number, domain): &(u32, Arc<Domain>)| Arc::ptr_eq(&self.all[*number as usize], domain);
        self.all.len() as u32 == mark.number && mark.known.as_ref().is_none_or(is_same)
    }

    /// Takes back what a link has changed since the mark.
    pub(super) fn restore(&mut self, mark: Mark) {
        while self.all.len() as u32 > mark.number {
            self.forget(self.all.len() as u32 - 1);
            self.all.pop();
        }
        if let Some((number, domain)) = mark.known {
            self.all[number as usize] = domain;
        }
    }

    /// A domain to change.
    pub(super) fn edit(&mut self, number: u32) -> &mut Domain {
        Arc::make_mut(&mut self.all[number as usize])
    }

    /// Reads the line of a domain, and its aliases, which no other domain has than the one that it replaces.
    fn read(
        &self,
        line: &str,
        config: &config::Catalog,
        replaced: Option<u32>,
    ) -> Result<(Domain, Vec<Alias>), String> {
        let value: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let line = value.to_string().into_boxed_str();
        let entity = &DomainEntity::deserialize(value).map_err(|error| error.to_string())?;
        let name =
            policy::field("fullName", entity.full_name.as_ref(), |value| policy::text(value).map(str::to_owned))?;
        let name = name.ok_or("`fullName` is missing: the host of the domain, such as \"go.brand.com\"")?;
        let host = parse(&name).map_err(|reason| format!("`fullName` {reason}"))?;
        let settings = config.domains.get(host.as_str());
        let case = policy::field("case", entity.case.as_ref(), case)?;
        let hsts = policy::field("hsts", entity.hsts.as_ref(), hsts)?;
        let configured = || settings.and_then(|domain| HeaderValue::try_from(domain.hsts.as_deref()?.trim()).ok());
        let schemes = policy::field("schemes", entity.schemes.as_ref(), self::schemes)?.unwrap_or_default();
        let names = policy::field("schemes", entity.schemes.as_ref(), |value| {
            texts(value).map(|names| names.into_iter().map(str::to_owned).collect::<Vec<_>>())
        })?;
        let pages =
            Pages::parse(policy::given(entity.pages.as_ref()).unwrap_or(&Value::Null), &names.unwrap_or_default());
        let for_links = ForLinks {
            status: policy::field("httpStatus", entity.http_status.as_ref(), status)?,
            workspace: policy::field("workspace", entity.workspace.as_ref(), workspace)?.flatten(),
            schemes: schemes.clone(),
        };
        let address = |name, value| policy::field(name, value, |value| policy::address(value, &schemes));
        let policy = DomainPolicy {
            root: address("root", entity.root.as_ref())?,
            not_found: address("notFound", entity.not_found.as_ref())?,
            expired: address("expired", entity.expired.as_ref())?,
            preview_suffix: policy::field("previewSuffix", entity.preview_suffix.as_ref(), preview_suffix)?,
            trim_punctuation: policy::field("trimPunctuation", entity.trim_punctuation.as_ref(), policy::switch)?
                .unwrap_or_default(),
            pages: pages.map_err(|invalid| invalid.to_string())?,
            files: Files::parse(&entity.files()).map_err(|invalid| invalid.to_string())?,
        };
        let aliases =
            policy::field("aliases", entity.aliases.as_ref(), |value| self.aliases(value, &host, replaced))?
                .unwrap_or_default();
        let id = policy::field("id", entity.id.as_ref(), id)?;
        let domain = Domain {
            json: json(id.as_deref(), host.as_str()),
            has_id: id.is_some(),
            host: host.as_str().into(),
            case: case.unwrap_or(settings.map(|domain| domain.case).unwrap_or_default()),
            hsts: hsts.or_else(configured),
            policy: Some(Arc::new(policy)),
            path_depth: 0,
            line: Some(line),
            for_links,
        };
        Ok((domain, aliases))
    }

    fn push(&mut self, domain: Domain) -> u32 {
        let number = self.all.len() as u32;
        self.has_hsts |= domain.hsts.is_some();
        self.by_host.insert(domain.host.clone(), number);
        self.all.push(Arc::new(domain));
        number
    }

    fn lead(&mut self, aliases: Vec<Alias>, number: u32) {
        for alias in aliases {
            match alias {
                Alias::Host(host) => self.by_host.insert(host, number),
                Alias::Suffix(suffix) => self.by_suffix.insert(suffix, number),
            };
        }
    }

    /// Other names of a domain, none of which is taken by another domain than the one that is replaced.
    fn aliases(&self, value: &Value, host: &Host, replaced: Option<u32>) -> Result<Vec<Alias>, String> {
        let names = texts(value)?;
        if names.len() > MAX_ALIASES {
            return Err(format!("has {} names; the most are {MAX_ALIASES}", names.len()));
        }
        let mut aliases = Vec::new();
        for name in names {
            let alias = Alias::parse(name)?;
            let taken = match &alias {
                Alias::Host(alias) => self.by_host.get(alias),
                Alias::Suffix(suffix) => self.by_suffix.get(suffix),
            };
            if taken.is_some_and(|by| Some(*by) != replaced) {
                return Err(format!("has {name:?}, which an earlier line has as domain or alias"));
            }
            if !matches!(&alias, Alias::Host(alias) if **alias == *host.as_str()) {
                aliases.push(alias);
            }
        }
        Ok(aliases)
    }
}

enum Alias {
    Host(Box<str>),
    Suffix(Box<str>),
}

impl Alias {
    fn parse(name: &str) -> Result<Self, String> {
        Ok(match name.strip_prefix("*.") {
            Some(rest) => Self::Suffix(format!(".{}", parse(rest)?.as_str()).into()),
            None => Self::Host(parse(name)?.as_str().into()),
        })
    }
}

fn parse(name: &str) -> Result<Host, String> {
    Host::parse(name.trim().as_bytes()).map_err(|error| format!("{name:?}: {error}"))
}

fn json(id: Option<&str>, host: &str) -> Box<str> {
    let zone = host.rsplit('.').collect::<Vec<_>>().join(".");
    let mut json = serde_json::Map::new();
    if let Some(id) = id {
        json.insert("id".into(), json!(id));
    }
    json.insert("raw".into(), json!(host));
    json.insert("zone".into(), json!(zone));
    Value::Object(json).to_string().into()
}

fn id(value: &Value) -> Result<String, String> {
    match value {
        Value::String(id) => Ok(id.clone()),
        Value::Number(id) => Ok(id.to_string()),
        _ => Err(format!("is {value}; write a text")),
    }
}

fn case(value: &Value) -> Result<Case, String> {
    match value.as_str().map(str::to_ascii_lowercase).as_deref() {
        Some("sensitive") => Ok(Case::Sensitive),
        Some("insensitive") => Ok(Case::Insensitive),
        _ => Err(format!("is {value}; it can be \"sensitive\" or \"insensitive\"")),
    }
}

fn hsts(value: &Value) -> Result<HeaderValue, String> {
    let text = policy::text(value)?;
    link::hsts::check(text)?;
    HeaderValue::try_from(text.trim()).map_err(|_| "has a character that no header may hold".into())
}

pub fn status(value: &Value) -> Result<u16, String> {
    let number = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    match number {
        Some(status @ (301 | 302 | 303 | 307 | 308)) => Ok(status as u16),
        _ => Err(format!("is {value}; it can be 301, 302, 303, 307 or 308")),
    }
}

/// An id, or an object with `id` and `name`.
fn workspace(value: &Value) -> Result<Option<Workspace>, String> {
    let Some(object) = value.as_object() else { return Ok(Some((id(value)?.into(), None))) };
    let name = object.get("name").and_then(Value::as_str).map(Into::into);
    match object.get("id") {
        None | Some(Value::Null) => Ok(None),
        Some(value) => Ok(Some((id(value)?.into(), name))),
    }
}

fn schemes(value: &Value) -> Result<Schemes, String> {
    Schemes::parse(&texts(value)?)
}

fn preview_suffix(value: &Value) -> Result<Box<str>, String> {
    let suffix = policy::text(value)?;
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'%' | b'?' | b'#' | b'/' | b'\\');
    if suffix.is_empty() || suffix.len() > MAX_SUFFIX || !suffix.bytes().all(is_plain) {
        return Err(format!("is {suffix:?}; write 1 to {MAX_SUFFIX} characters such as \"+\", without `%?#/\\`"));
    }
    Ok(suffix.into())
}

fn texts(value: &Value) -> Result<Vec<&str>, String> {
    let list = value.as_array().ok_or_else(|| format!("is {value}; write a list of texts"))?;
    list.iter().map(|entry| entry.as_str().ok_or_else(|| format!("has {entry}; write a text"))).collect()
}
