//! A catalog in memory.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
};

use async_trait::async_trait;
use serde_json::Value;

use super::super::{Body, View, body::too_large, problem::Problem};
use crate::catalog::change::{
    Accepted, BadCursor, Change, Changes, Condition, Operation, Page, Refused, Shown, Unavailable,
};

/// Domains have no slashtag.
type Key = (String, Option<String>);

#[derive(Default)]
struct State {
    items: BTreeMap<Key, Shown>,
    revision: u64,
    /// The sizes of the groups of changes that came.
    groups: Vec<usize>,
    stopped: bool,
    /// What another client does before each of the next changes.
    overtaken: Option<(Key, Value, usize)>,
}

#[derive(Default)]
pub struct FakeCatalog(Mutex<State>);

impl FakeCatalog {
    pub fn put(&self, domain: &str, slashtag: &str, link: &Value) -> String {
        self.state().put((domain.into(), Some(slashtag.into())), link.clone()).etag.unwrap()
    }

    /// Changes the link each time before a change is made, for so many times.
    pub fn overtake(&self, domain: &str, slashtag: &str, link: &Value, times: usize) {
        self.state().overtaken = Some(((domain.into(), Some(slashtag.into())), link.clone(), times));
    }

    pub fn stop(&self) {
        self.state().stopped = true;
    }

    pub fn revision(&self) -> u64 {
        self.state().revision
    }

    /// The sizes of the groups of changes that came.
    pub fn groups(&self) -> Vec<usize> {
        self.state().groups.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl State {
    fn put(&mut self, key: Key, mut item: Value) -> Accepted {
        if let Some(slashtag) = &key.1 {
            (item["slashtag"], item["domain"]) = (slashtag.as_str().into(), serde_json::json!({ "fullName": key.0 }));
        }
        let before = self.items.get(&key);
        let json = item.to_string();
        let (created, unchanged) = (before.is_none(), before.is_some_and(|shown| shown.json == json));
        if !unchanged {
            self.revision += 1;
        }
        let etag = before.filter(|_| unchanged).map_or_else(|| format!("\"{}\"", self.revision), |b| b.etag.clone());
        let workspace = match &item["workspace"] {
            Value::String(id) => id.clone(),
            other => other["id"].as_str().unwrap_or_default().to_owned(),
        };
        self.items.insert(key, Shown { json, etag: etag.clone(), workspace });
        Accepted { revision: self.revision, etag: Some(etag), created, unchanged }
    }

    fn change(&mut self, Change { operation, condition }: Change) -> Result<Accepted, Refused> {
        let (key, item) = match operation {
            Operation::PutLink { link } => {
                let link: Value = serde_json::from_str(&link).unwrap();
                let host = link["domain"]["fullName"].as_str().or(link["domain"].as_str()).unwrap();
                let key = (host.to_owned(), Some(link["slashtag"].as_str().unwrap().to_owned()));
                (key, Some(link))
            }
            Operation::PutDomain { domain } => {
                let domain: Value = serde_json::from_str(&domain).unwrap();
                ((domain["fullName"].as_str().unwrap().to_owned(), None), Some(domain))
            }
            Operation::DeleteLink { domain, slashtag } => ((domain, Some(slashtag)), None),
            Operation::DeleteDomain { domain } => ((domain, None), None),
        };
        let etag = self.items.get(&key).map(|shown| shown.etag.clone());
        let holds = match &condition {
            Condition::Always => true,
            Condition::Absent => etag.is_none(),
            Condition::Present => etag.is_some(),
            Condition::Matches(tags) => etag.as_ref().is_some_and(|etag| tags.contains(etag)),
        };
        if !holds {
            return Err(Refused::ConditionFailed { etag });
        }
        match item {
            Some(item) if item["destination"] == "bad" => {
                Err(Refused::Invalid { field: Some("destination".into()), reason: "`destination` is no URL".into() })
            }
            Some(item) => Ok(self.put(key, item)),
            None if self.items.remove(&key).is_none() => Err(Refused::NotFound { what: "link" }),
            None => {
                self.revision += 1;
                Ok(Accepted { revision: self.revision, etag: None, created: false, unchanged: false })
            }
        }
    }
}

impl View for FakeCatalog {
    fn show_link(&self, domain: &str, slashtag: &str) -> Option<Shown> {
        self.state().items.get(&(domain.into(), Some(slashtag.into()))).cloned()
    }

    fn show_domain(&self, domain: &str) -> Option<Shown> {
        self.state().items.get(&(domain.into(), None)).cloned()
    }

    fn owner(&self, host: &str) -> Option<String> {
        let state = self.state();
        let leads = |key: &Key, shown: &Shown| {
            let json: Value = serde_json::from_str(&shown.json).unwrap();
            let aliases = json["aliases"].as_array().cloned().unwrap_or_default();
            let wild = format!("*.{}", host.split_once('.').unwrap_or_default().1);
            key.0 == host || aliases.iter().any(|alias| alias == host || *alias == *wild)
        };
        let mut domains = state.items.iter().filter(|(key, _)| key.1.is_none());
        domains.find(|(key, shown)| leads(key, shown)).map(|(_, shown)| shown.workspace.clone())
    }

    fn list(&self, domain: &str, page: Page<'_>) -> Result<(Vec<Shown>, Option<String>), BadCursor> {
        let start = match page.after {
            "" => 0,
            number => number.parse::<usize>().map_err(|_| BadCursor)?,
        };
        let state = self.state();
        let links = state.items.iter().filter(|((host, slashtag), _)| host == domain && slashtag.is_some());
        let mut rest = links.skip(start).map(|(_, shown)| shown.clone());
        let links: Vec<_> = rest.by_ref().take(page.limit).collect();
        let next = rest.next().map(|_| (start + page.limit).to_string());
        Ok((links, next))
    }
}

#[async_trait]
impl Changes for FakeCatalog {
    async fn change(&self, changes: Vec<Change>) -> Result<Vec<Result<Accepted, Refused>>, Unavailable> {
        let mut state = self.state();
        if state.stopped {
            return Err(Unavailable::Bucket("it does not answer".into()));
        }
        state.groups.push(changes.len());
        if let Some((key, mut item, times)) = state.overtaken.take() {
            item["times"] = times.into();
            state.put(key.clone(), item.clone());
            state.overtaken = (times > 1).then(|| (key, item, times - 1));
        }
        Ok(changes.into_iter().map(|change| state.change(change)).collect())
    }
}

/// A body that never comes.
pub struct Silent;

#[async_trait]
impl Body for Silent {
    async fn read(&mut self, _limit: usize) -> Result<Vec<u8>, Problem> {
        std::future::pending().await
    }
}

/// A body in memory.
pub struct Bytes(pub Vec<u8>);

#[async_trait]
impl Body for Bytes {
    async fn read(&mut self, limit: usize) -> Result<Vec<u8>, Problem> {
        if self.0.len() > limit { Err(too_large(limit)) } else { Ok(std::mem::take(&mut self.0)) }
    }
}
