//! Turns link entities into a [`Catalog`]: checks each, renders what the event needs, and lays it out.

use std::{
    collections::BTreeSet,
    fmt,
    io::{self, Write},
    mem,
    sync::{Arc, LazyLock},
};

use ahash::RandomState;
use hashbrown::HashMap;
use serde_json::json;

use super::{
    Catalog,
    domain::{Domain, Domains},
    entity::{LinkEntity, named_map},
    interned::Interned,
    loops::{self, Loops},
    policy,
    record::{Parts, Profile, State},
    snapshot::{self, HashKey, Snapshot, header::Header, write::Contents},
    sorter::{SortKey, Sorter},
};
use crate::{
    config,
    link::{Case, ForwardPath, destination, key},
};

/// Maximum number of bad lines that are kept with their reason; further ones are only counted.
pub const KEPT_PROBLEMS: usize = 20;

/// The result of loading a file, or of adding records.
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
    /// The generation of a snapshot. Other files have none.
    pub generation: Option<u64>,
}

/// A catalog that loads, and answers less than its owner expects.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
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

/// Gets the number of a line, and why it is left out.
pub type OnReject<'a> = Box<dyn FnMut(u64, &str) + 'a>;

/// A catalog in the making.
pub struct Compiler<'a> {
    config: &'a config::Catalog,
    sorter: Sorter,
    domains: Arc<Domains>,
    /// Whether only single links are laid out, to be reached by their place.
    is_part: bool,
    /// Links of each domain, those among them that an earlier line has.
    links_of: Vec<u64>,
    profiles: Vec<Profile>,
    profile_numbers: HashMap<Profile, u32, RandomState>,
    policies: Interned,
    texts: Interned,
    workspaces: BTreeSet<u32>,
    key: HashKey,
    /// Number of links that were added.
    links: u64,
    /// The element that is being added, if the file is an array.
    element: Option<u64>,
    report: Report,
    /// Gets each line that is left out, and why.
    on_reject: Option<OnReject<'a>>,
    record: Vec<u8>,
    room: Vec<u8>,
}

impl<'a> Compiler<'a> {
    pub fn new(config: &'a config::Catalog) -> Self {
        Self::with(config, Sorter::in_memory())
    }

    /// With links that are sorted here.
    pub fn with(config: &'a config::Catalog, sorter: Sorter) -> Self {
        static KEY: LazyLock<HashKey> = LazyLock::new(random_key);
        Self {
            config,
            sorter,
            domains: Arc::default(),
            is_part: false,
            links_of: Vec::new(),
            profiles: Vec::new(),
            profile_numbers: HashMap::default(),
            policies: Interned::default(),
            texts: Interned::default(),
            workspaces: BTreeSet::new(),
            key: *KEY,
            links: 0,
            element: None,
            report: Report::default(),
            on_reject: None,
            record: Vec::new(),
            room: Vec::new(),
        }
    }

    /// For a link of domains that are there already.
    pub(super) fn part(config: &'a config::Catalog, domains: Arc<Domains>) -> Self {
        Self { domains, is_part: true, ..Self::new(config) }
    }

    /// Lays a single link out: it is at the beginning of the result. The domains with it, which may have changed
    /// although the link is bad.
    pub(super) fn only(mut self, link: &LinkEntity) -> (Result<Snapshot, String>, Arc<Domains>) {
        let added = self.try_add(0, link).map_err(|failure| match failure {
            Failure::Invalid(reason) => reason,
            Failure::Io(error) => error.to_string(),
        });
        let domains = Arc::clone(&self.domains);
        let lay_out = |()| {
            let mut bytes = Vec::new();
            let (header, ..) = self.write(&mut bytes, 0).map_err(|error| error.to_string())?;
            Snapshot::open(bytes.into(), header).map_err(|error| error.to_string())
        };
        (added.and_then(lay_out), domains)
    }

    /// Reports each line that is left out, and not only the first ones.
    pub fn on_reject(&mut self, report: OnReject<'a>) {
        self.on_reject = Some(report);
    }

    /// Whether the reason is wanted why the next line is left out.
    pub(super) fn wants_reason(&self) -> bool {
        self.on_reject.is_some() || self.report.problems.len() < KEPT_PROBLEMS
    }

    /// Names the element that is added next, if the file is an array: several can begin on one line.
    pub fn at_element(&mut self, element: Option<u64>) {
        self.element = element;
    }

    /// Adds the link of line `number`, or reports why it is bad.
    ///
    /// # Errors
    /// When it cannot be kept to be sorted.
    pub fn add(&mut self, number: u64, link: &LinkEntity) -> io::Result<()> {
        match self.try_add(number, link) {
            Ok(()) => {}
            Err(Failure::Invalid(reason)) => self.reject(number, reason),
            Err(Failure::Io(error)) => return Err(error),
        }
        Ok(())
    }

    /// Adds the domain of line `number`, or reports why it is bad. Call it before any link of this domain is added.
    pub fn add_domain(&mut self, number: u64, text: &str) {
        if let Err(reason) = self.try_add_domain(text) {
            self.reject(number, reason);
        }
    }

    /// Adds a domain, or returns why it is bad.
    pub(super) fn try_add_domain(&mut self, text: &str) -> Result<(), String> {
        Arc::make_mut(&mut self.domains).add(text, self.config)?;
        self.report.lines += 1;
        Ok(())
    }

    /// Adds a domain of another catalog, whose links are added with it: slashtags are folded as they were there.
    pub(super) fn adopt(&mut self, number: u64, domain: &Domain) {
        let domains = Arc::make_mut(&mut self.domains);
        let added = match &domain.line {
            Some(line) => {
                self.report.lines += 1;
                domains.add(line, self.config)
            }
            // What describes it has the last word.
            None if domains.of_host(&domain.host).is_some() => return,
            None => domains.of_link(&domain.host, domain.id().as_deref(), self.config),
        };
        match added {
            Ok(number) => domains.edit(number).case = domain.case,
            Err(reason) => self.reject_counted(number, None, reason),
        }
    }

    /// Counts line `number` as bad.
    pub fn reject(&mut self, number: u64, reason: String) {
        self.report.lines += 1;
        self.reject_counted(number, self.element, reason);
    }

    fn reject_counted(&mut self, number: u64, element: Option<u64>, reason: String) {
        self.report.bad += 1;
        if let Some(report) = &mut self.on_reject {
            report(number, &reason);
        }
        if self.report.problems.len() < KEPT_PROBLEMS {
            let reason = match element {
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

    /// Lays the catalog out in memory.
    ///
    /// # Errors
    /// When what was kept to be sorted cannot be read.
    pub fn finish(self) -> io::Result<(Catalog, Report)> {
        let config = self.config;
        let mut bytes = Vec::new();
        let (header, domains, mut report) = self.write(&mut bytes, 0)?;
        let snapshot = Snapshot::open(bytes.into(), header.clone()).map_err(io::Error::other)?;
        let mut catalog = Catalog::of(Arc::new(snapshot), domains, config);
        let loops = loops::find(&catalog, || ());
        let disabled = config.loops == config::Loops::Disable;
        if disabled && !loops.places.is_empty() {
            catalog = catalog.without(&loops.places, config).map_err(io::Error::other)?;
        }
        report.warn_of(loops, disabled);
        Ok((catalog, report))
    }

    /// Writes all sections of a snapshot, the first of them at `start` in the file.
    ///
    /// # Errors
    /// When what was kept to be sorted cannot be read, or the output cannot be written.
    pub fn write(mut self, output: impl Write, start: u64) -> io::Result<(Header, Arc<Domains>, Report)> {
        let mut contents = Contents {
            sorted: mem::replace(&mut self.sorter, Sorter::in_memory()).finish()?,
            most_links: mem::take(&mut self.links_of),
            domains: mem::take(&mut self.domains),
            profiles: mem::take(&mut self.profiles),
            texts: mem::take(&mut self.texts),
            policies: mem::take(&mut self.policies),
            workspaces: mem::take(&mut self.workspaces),
            key: self.key,
            is_part: self.is_part,
        };
        let header = contents.write(output, start, |line, record| {
            let reason = format!(
                "`slashtag` is {:?}, which an earlier line has on the same domain",
                String::from_utf8_lossy(record.slashtag)
            );
            self.reject_counted(line, None, reason);
        })?;
        self.report.problems.sort_by_key(|problem| problem.line);
        if !self.is_part {
            self.report.warnings = self.warnings(&header, &contents.domains);
        }
        Ok((header, contents.domains, self.report))
    }

    fn warnings(&self, header: &Header, domains: &Domains) -> Vec<Warning> {
        let links = header.links as usize;
        let activity = match (links, header.active) {
            (0, _) => Some(Warning::Empty),
            (_, 0) => Some(Warning::NoneActive { links }),
            _ => None,
        };
        let unused = self.config.domains.keys().filter(|host| domains.find(host).is_none());
        activity.into_iter().chain(unused.map(|host| Warning::UnusedDomain { host: host.clone() })).collect()
    }

    /// Adds the link of a line, or returns why it is bad.
    pub(super) fn try_add(&mut self, line: u64, link: &LinkEntity) -> Result<(), Failure> {
        if link.id.is_empty() {
            return Err(Failure::Invalid("`id` is empty".into()));
        }
        let (name, id) = (&link.domain.full_name, link.domain.id.as_deref());
        let domain = match self.domains.known(name, id)? {
            Some(number) => number,
            None => Arc::make_mut(&mut self.domains).of_link(name, id, self.config)?,
        };
        let for_links = &self.domains.all[domain as usize].for_links;
        let destination = destination::check(&link.destination, &for_links.schemes)
            .map_err(|reason| format!("`destination` {reason}"))?;
        let status = match link.http_status {
            None => 0,
            Some(status @ (301 | 302 | 303 | 307 | 308)) => status,
            Some(other) => return Err(format!("`httpStatus` is {other}; it can be 301, 302, 303, 307 or 308").into()),
        };
        let policy = policy::of(link, &for_links.schemes)?;
        let created_at = link.created_at.as_deref().unwrap_or_default();
        let mut key = key::slashtag(link.slashtag.as_bytes())
            .map_err(|error| format!("`slashtag` {:?}: {error}", link.slashtag))?;
        if self.domains.all[domain as usize].case == Case::Insensitive {
            key = key::fold_case(key);
        }
        let own = link.workspace.as_ref().map(|workspace| (workspace.id.as_str(), workspace.name.as_deref()));
        let default = for_links.workspace.as_ref().map(|(id, name)| (&**id, name.as_deref()));
        let workspace = own.or(default);
        let forwards_path = policy.as_ref().is_some_and(|(policy, _)| policy.forward_path != ForwardPath::Reject);
        let profile = Profile {
            domain,
            creator: self.texts.number(&creator_json(link, workspace)),
            tags: self.texts.number(&list_json(&named_map(&link.tags))),
            scripts: self.texts.number(&list_json(&named_map(&link.scripts.named))),
            workspace: self.texts.number(workspace.map_or("", |(id, _)| id)),
            status,
            forward: link.forward_parameters.as_ref().map(Into::into),
            has_workspace: own.is_some(),
        };
        self.workspaces.insert(profile.workspace);
        let parts = Parts {
            key: &key,
            profile: *self.profile_numbers.entry(profile).or_insert_with(|| {
                self.profiles.push(profile);
                self.profiles.len() as u32 - 1
            }),
            state: match link.status.as_deref() {
                None | Some("active") => State::Active,
                Some("expired") => State::Expired,
                Some(_) => State::Disabled,
            },
            policy: policy.as_ref().map_or(0, |(_, text)| self.policies.number(text)),
            is_limited: policy.as_ref().is_some_and(|(policy, _)| policy.max_clicks.is_some()),
            slashtag: &link.slashtag,
            id: &link.id,
            created_at,
            destination: &destination,
        };
        parts.write(&mut self.record, &mut self.room);
        let sort_key = SortKey { domain, hash: snapshot::hash(&self.key, &key), item: self.links };
        self.sorter.push(sort_key, line, &self.record)?;
        self.links += 1;
        self.links_of.resize(self.links_of.len().max(domain as usize + 1), 0);
        self.links_of[domain as usize] += 1;
        if forwards_path {
            let segments = memchr::memchr_iter(b'/', &key).count() + 1;
            let segments = u16::try_from(segments).unwrap_or(u16::MAX);
            if segments > self.domains.all[domain as usize].path_depth {
                Arc::make_mut(&mut self.domains).edit(domain).path_depth = segments;
            }
        }
        self.report.lines += 1;
        Ok(())
    }
}

impl Report {
    pub(super) fn warn_of(&mut self, loops: Loops, disabled: bool) {
        self.warnings.extend(loops.chains.into_iter().map(|chain| Warning::Loop { chain, disabled }));
    }
}

/// Why a link was not added.
pub(super) enum Failure {
    /// It is bad.
    Invalid(String),
    Io(io::Error),
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Self::Invalid(reason)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A new key of the hash of slashtags.
pub fn random_key() -> HashKey {
    let mut key = [0; 16];
    // Without random bytes the hash is one that others may know; that only makes slow what they make slow on purpose.
    _ = getrandom::fill(&mut key);
    key
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
