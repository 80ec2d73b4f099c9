//! Turns link entities into a [`Catalog`]: checks each, renders what the event needs, and lays it out.

use std::fmt;

use ahash::RandomState;
use hashbrown::{HashMap, HashTable, hash_table::Entry};
use serde_json::json;

use super::{
    Catalog,
    domain::{DomainEntity, Domains},
    entity::{LinkEntity, named_map},
    loops, policy,
    record::{self, Parts, State},
};
use crate::{
    config,
    link::{Case, ForwardPath, Policy, destination, key},
};

/// Maximum number of bad lines that are kept with their reason; further ones are only counted.
pub const KEPT_PROBLEMS: usize = 20;

/// The result of loading a file.
#[derive(Debug, Default)]
pub struct Report {
    /// Lines that were not empty.
    pub lines: u64,
    /// Lines that were skipped because they are bad.
    pub bad: u64,
    /// The first [`KEPT_PROBLEMS`] of them.
    pub problems: Vec<Problem>,
    /// The line with which the file ends within a link or an array. It counts as bad, too.
    pub unfinished: Option<u64>,
    /// What is right by itself, and probably not what was meant.
    pub warnings: Vec<Warning>,
}

/// A catalog that loads, and answers less than its owner expects.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Warning {
    /// It has no links.
    Empty,
    /// None of its links is active.
    NoneActive {
        /// Number of links.
        links: usize,
    },
    /// Links lead back to themselves.
    Loop {
        /// The short address of each, and the first again at the end.
        chain: Vec<String>,
        /// Whether they are switched off.
        disabled: bool,
    },
    /// The configuration has settings for a domain that no link has.
    UnusedDomain {
        /// The host name in `catalog.domains`.
        host: String,
    },
    /// A status that is neither active nor a known word for disabled or expired.
    UnknownStatus {
        status: String,
        /// Number of links that have it.
        links: u64,
        /// The first of them.
        line: u64,
    },
    /// A value that only informs, and cannot be read.
    LeftOut {
        field: &'static str,
        /// Number of links that have such a value.
        links: u64,
        /// The first of them.
        line: u64,
        /// The value there, if it is a text or a number.
        value: Option<String>,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the catalog has no links: every request is answered with 404"),
            Self::NoneActive { links } => write!(
                f,
                "none of the {links} links is active: every request is answered with 404 or 410; a link is active \
                 without `status` or with `\"status\": \"active\"`"
            ),
            Self::Loop { chain, disabled } => {
                let consequence = if *disabled { "they are switched off" } else { "browsers give up on them" };
                write!(
                    f,
                    "links lead back to themselves: {}; {consequence}; correct a destination",
                    chain.join(" -> ")
                )
            }
            Self::UnusedDomain { host } => {
                write!(f, "catalog.domains.\"{host}\" has settings, and no link has this domain; correct the name")
            }
            Self::UnknownStatus { status, links, line } => write!(
                f,
                "`status` is {status:?} in {links} links, line {line} first: they are switched off and answered with \
                 404; known are `active`, `disabled` and `expired`"
            ),
            Self::LeftOut { field, links, line, value } => {
                write!(f, "`{field}` is left out of {links} links that are loaded, line {line} first")?;
                match value {
                    Some(value) => write!(f, ": {value:?} cannot be read"),
                    None => f.write_str(": its form cannot be read"),
                }
            }
        }
    }
}

/// A bad line.
#[derive(Debug)]
pub struct Problem {
    /// Counted from 1.
    pub line: u64,
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

/// A catalog in the making.
pub struct Compiler<'a> {
    config: &'a config::Catalog,
    blob: Vec<u8>,
    index: HashTable<u32>,
    hasher: RandomState,
    domains: Domains,
    policies: Vec<Policy>,
    limited: Vec<u32>,
    fragments: Interned,
    workspaces: Interned,
    /// Number of active links.
    active: usize,
    /// The element that is being added, if the file is an array.
    element: Option<u64>,
    report: Report,
}

impl<'a> Compiler<'a> {
    pub fn new(config: &'a config::Catalog) -> Self {
        Self {
            config,
            blob: Vec::new(),
            index: HashTable::new(),
            hasher: RandomState::new(),
            domains: Domains::default(),
            policies: Vec::new(),
            limited: Vec::new(),
            fragments: Interned::default(),
            workspaces: Interned::default(),
            active: 0,
            element: None,
            report: Report::default(),
        }
    }

    /// Names the element that is added next, if the file is an array: several can begin on one line.
    pub fn at_element(&mut self, element: Option<u64>) {
        self.element = element;
    }

    /// Adds the link of line `number`, or reports why it is bad.
    pub fn add(&mut self, number: u64, link: &LinkEntity) {
        match self.try_add(link) {
            Ok(()) => self.report.lines += 1,
            Err(reason) => self.reject(number, reason),
        }
    }

    /// Adds the domain of line `number`, or reports why it is bad. Call it before any link of this domain is added.
    pub fn add_domain(&mut self, number: u64, text: &str) {
        let entity = serde_json::from_str::<DomainEntity>(text).map_err(|error| error.to_string());
        match entity.and_then(|entity| self.domains.add(&entity, self.config)) {
            Ok(()) => self.report.lines += 1,
            Err(reason) => self.reject(number, reason),
        }
    }

    /// Counts line `number` as bad.
    pub fn reject(&mut self, number: u64, reason: String) {
        self.report.lines += 1;
        self.report.bad += 1;
        if self.report.problems.len() < KEPT_PROBLEMS {
            let reason = match self.element {
                Some(element) => format!("element {element}: {reason}"),
                None => reason,
            };
            self.report.problems.push(Problem { line: number, reason });
        }
    }

    /// Notes that the last line is unfinished.
    pub fn unfinished(&mut self, number: u64) {
        self.report.unfinished = Some(number);
    }

    pub fn finish(mut self) -> (Catalog, Report) {
        self.blob.shrink_to_fit();
        self.report.warnings = self.warnings();
        let mut catalog = Catalog {
            blob: self.blob.into(),
            index: self.index,
            has_hsts: self.domains.have_hsts(),
            domains: self.domains,
            policies: self.policies,
            limited: self.limited,
            fragments: self.fragments.texts,
            workspaces: self.workspaces.texts,
            hasher: self.hasher,
        };
        let loops = loops::find(&catalog);
        let disabled = self.config.loops == config::Loops::Disable;
        if disabled && !loops.links.is_empty() {
            let mut blob = Vec::from(catalog.blob);
            loops.links.iter().for_each(|offset| record::disable(&mut blob, *offset));
            catalog.blob = blob.into();
        }
        let chains = loops.chains.into_iter().map(|chain| Warning::Loop { chain, disabled });
        self.report.warnings.extend(chains);
        (catalog, self.report)
    }

    fn warnings(&self) -> Vec<Warning> {
        let links = self.index.len();
        let activity = match (links, self.active) {
            (0, _) => Some(Warning::Empty),
            (_, 0) => Some(Warning::NoneActive { links }),
            _ => None,
        };
        let unused = self.config.domains.keys().filter(|host| self.domains.find(host).is_none());
        activity.into_iter().chain(unused.map(|host| Warning::UnusedDomain { host: host.clone() })).collect()
    }

    fn try_add(&mut self, link: &LinkEntity) -> Result<(), String> {
        if link.id.is_empty() {
            return Err("`id` is empty".into());
        }
        let domain = self.domains.of_link(&link.domain.full_name, link.domain.id.as_deref(), self.config)?;
        let for_links = self.domains.for_links(domain);
        let destination = destination::check(&link.destination, &for_links.schemes)
            .map_err(|reason| format!("`destination` {reason}"))?;
        let status = match link.http_status {
            None => for_links.status.unwrap_or(302),
            Some(status @ (301 | 302 | 303 | 307 | 308)) => status,
            Some(other) => return Err(format!("`httpStatus` is {other}; it can be 301, 302, 303, 307 or 308")),
        };
        let policy = policy::of(link, &for_links.schemes)?;
        let created_at = link.created_at.as_deref().unwrap_or_default();
        let mut key = key::slashtag(link.slashtag.as_bytes())
            .map_err(|error| format!("`slashtag` {:?}: {error}", link.slashtag))?;
        if self.domains.all[domain as usize].case == Case::Insensitive {
            key = key::fold_case(key);
        }
        let own = link.workspace.as_ref().map(|workspace| (workspace.id.as_str(), workspace.name.as_deref()));
        let default = self.domains.for_links(domain).workspace.as_ref().map(|(id, name)| (&**id, name.as_deref()));
        let workspace = own.or(default);
        let forwards_path = policy.as_ref().is_some_and(|policy| policy.forward_path != ForwardPath::Reject);
        let parts = Parts {
            domain,
            creator: self.fragments.number(&creator_json(link, workspace)),
            tags: self.fragments.number(&list_json(&named_map(&link.tags))),
            scripts: self.fragments.number(&list_json(&named_map(&link.scripts.named))),
            workspace: self.workspaces.number(workspace.map_or("", |(id, _)| id)),
            status,
            state: match link.status.as_deref() {
                None | Some("active") => State::Active,
                Some("expired") => State::Expired,
                Some(_) => State::Disabled,
            },
            forward: link.forward_parameters.as_ref().map_or(self.config.forward_parameters, Into::into),
            policy: if policy.is_some() { self.policies.len() as u32 + 1 } else { 0 },
            key: &key,
            slashtag: &link.slashtag,
            id: &link.id,
            created_at,
            destination: &destination,
        };
        let offset = self.insert(&parts)?;
        if policy.as_ref().is_some_and(|policy| policy.max_clicks.is_some()) {
            self.limited.push(offset);
        }
        self.policies.extend(policy);
        if forwards_path {
            let segments = memchr::memchr_iter(b'/', &key).count() + 1;
            let depth = &mut self.domains.all[domain as usize].path_depth;
            *depth = (*depth).max(u16::try_from(segments).unwrap_or(u16::MAX));
        }
        Ok(())
    }

    fn insert(&mut self, parts: &Parts<'_>) -> Result<u32, String> {
        let Self { blob, index, hasher, .. } = self;
        let hash = hasher.hash_one((parts.domain, parts.key));
        let entry = index.entry(
            hash,
            |&offset| record::key(blob, offset) == (parts.domain, parts.key),
            |&offset| hasher.hash_one(record::key(blob, offset)),
        );
        let Entry::Vacant(slot) = entry else {
            return Err(format!("an earlier line has the same domain and slashtag {:?}", parts.slashtag));
        };
        let offset = record::append(blob, parts).ok_or("a field is too long, or the catalog is over 32 GiB")?;
        slot.insert(offset);
        self.active += usize::from(parts.state == State::Active);
        Ok(offset)
    }
}

/// Texts that many links share, each kept once; number 0 is the empty text.
struct Interned {
    texts: Vec<Box<str>>,
    numbers: HashMap<Box<str>, u32, RandomState>,
}

impl Default for Interned {
    fn default() -> Self {
        let mut interned = Self { texts: Vec::new(), numbers: HashMap::default() };
        interned.number("");
        interned
    }
}

impl Interned {
    fn number(&mut self, text: &str) -> u32 {
        if let Some(&number) = self.numbers.get(text) {
            return number;
        }
        let number = self.texts.len() as u32;
        self.texts.push(text.into());
        self.numbers.insert(text.into(), number);
        number
    }
}

/// The event's `route.creator`; empty when the link has neither creator nor workspace.
fn creator_json(link: &LinkEntity, workspace: Option<(&str, Option<&str>)>) -> String {
    let mut creator = serde_json::Map::new();
    if let Some(entity) = &link.creator {
        if let Some(id) = &entity.id {
            creator.insert("id".into(), json!(id));
        }
        if let Some(name) = &entity.full_name {
            creator.insert("name".into(), json!(name));
        }
    }
    if let Some((id, name)) = workspace {
        let mut workspace = serde_json::Map::new();
        workspace.insert("id".into(), json!(id));
        if let Some(name) = name {
            workspace.insert("name".into(), json!(name));
        }
        creator.insert("workspace".into(), workspace.into());
    }
    if creator.is_empty() { String::new() } else { serde_json::Value::Object(creator).to_string() }
}

/// The event's `route.tags` or `route.scripts`; empty without any.
fn list_json(named: &std::collections::BTreeMap<&str, &str>) -> String {
    if named.is_empty() {
        return String::new();
    }
    named.iter().map(|(id, name)| json!({ "id": id, "name": name })).collect::<serde_json::Value>().to_string()
}
