//! What an import writes: domains first, then links, and the counts of both.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Map, Value, json};

use super::{
    draft::{Draft, Finished},
    tally::{Fate, Tally},
};

/// What the operator says of all records.
#[derive(Clone, Debug, Default)]
pub struct Defaults {
    /// The domain of links that name none.
    pub domain: Option<String>,
    /// The workspace of links that name none.
    pub workspace: Option<String>,
}

/// Checks a catalog, a domain and a link at most, as an edge does.
pub type Check = fn(&str) -> Result<(), String>;

/// The result of an import.
pub struct Output {
    defaults: Defaults,
    check: Check,
    domains: BTreeMap<String, Map<String, Value>>,
    links: Vec<Map<String, Value>>,
    seen: HashSet<(String, String)>,
    pub tally: Tally,
}

impl Output {
    pub fn new(defaults: Defaults, check: Check) -> Self {
        Self {
            defaults,
            check,
            domains: BTreeMap::new(),
            links: Vec::new(),
            seen: HashSet::new(),
            tally: Tally::default(),
        }
    }

    /// Adds a link.
    ///
    /// # Errors
    /// When it is not complete, an edge would reject it, or an earlier one has its address.
    pub fn link(&mut self, draft: Draft) -> Result<(), String> {
        let Defaults { domain, workspace } = &self.defaults;
        let Finished { link, host, slashtag, schemes, fates } =
            draft.finish(domain.as_deref(), workspace.as_deref())?;
        let mut domain = self.domain_of(&host);
        let is_described = domain.len() > 2 || !schemes.is_empty();
        for scheme in schemes {
            permit(&mut domain, scheme);
        }
        let line = Value::Object(link.clone());
        (self.check)(&format!("{}\n{line}", Value::Object(domain.clone())))?;
        if !self.seen.insert((host.clone(), slashtag.clone())) {
            return Err(format!("an earlier record has the same address, {host}/{slashtag}"));
        }
        if is_described {
            self.domains.insert(host, domain);
        }
        for (field, fate) in fates {
            self.tally.count(&field, fate);
        }
        self.tally.written += 1;
        self.links.push(link);
        Ok(())
    }

    /// Sets a field of a domain, if there is a value that an edge accepts.
    pub fn domain(&mut self, host: &str, field: &'static str, value: Option<Value>) {
        let Some(value) = value else { return };
        let host = host.trim().to_lowercase();
        let mut domain = self.domain_of(&host);
        domain.insert(field.into(), value);
        let is_valid = (self.check)(&Value::Object(domain.clone()).to_string()).is_ok();
        let fate = if is_valid { Fate::Taken } else { Fate::Left("they are not valid") };
        self.tally.count(&format!("domain {field}"), fate);
        if is_valid {
            self.domains.insert(host, domain);
        }
    }

    /// The lines of the catalog.
    pub fn into_lines(mut self) -> (Vec<String>, Tally) {
        self.tally.domains = self.domains.len() as u64;
        let domains = self.domains.into_values();
        let lines = domains.chain(self.links).map(|line| Value::Object(line).to_string()).collect();
        (lines, self.tally)
    }

    /// What is known of a domain: its name at least.
    fn domain_of(&self, host: &str) -> Map<String, Value> {
        let named = || Map::from_iter([("kind".to_owned(), json!("domain")), ("fullName".to_owned(), json!(host))]);
        self.domains.get(host).cloned().unwrap_or_else(named)
    }
}

fn permit(domain: &mut Map<String, Value>, scheme: String) {
    if let Value::Array(schemes) = domain.entry("schemes").or_insert_with(|| json!([]))
        && !schemes.contains(&Value::String(scheme.clone()))
    {
        schemes.push(scheme.into());
    }
}
