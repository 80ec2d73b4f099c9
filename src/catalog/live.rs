//! Makes single changes to a catalog: the next value from the current one. Nothing here is written anywhere; see
//! [`super::store`].

use std::{mem, sync::Arc};

use super::{
    Catalog, Domain, Link,
    change::{Accepted, Condition, Operation, Refused},
    compile::Compiler,
    entity::LinkEntity,
    json,
    overlay::Slot,
    source::explain,
    state_hash::ItemHash,
};
use crate::{
    config,
    link::{key, key::Host},
};

/// A change that was made.
pub(super) struct Made {
    pub accepted: Accepted,
    /// The change as logs and deltas have it; `None` if nothing had to change.
    pub operation: Option<Operation>,
}

impl Catalog {
    /// Makes a change, with this revision if anything has to change.
    pub(super) fn change(
        &mut self,
        operation: &Operation,
        condition: &Condition,
        revision: u64,
        config: &config::Catalog,
    ) -> Result<Made, Refused> {
        let made = match operation {
            Operation::PutLink { link } => self.put_link(link, condition, revision, config),
            Operation::DeleteLink { domain, slashtag } => self.delete_link(domain, slashtag, condition, revision),
            Operation::PutDomain { domain } => self.put_domain(domain, condition, revision, config),
            Operation::DeleteDomain { domain } => self.delete_domain(domain, condition, revision),
        }?;
        if made.operation.is_some() {
            self.set_revision(revision);
        }
        Ok(made)
    }

    fn put_link(
        &mut self,
        text: &str,
        condition: &Condition,
        revision: u64,
        config: &config::Catalog,
    ) -> Result<Made, Refused> {
        let entity: LinkEntity = serde_json::from_str(text)
            .map_err(|error| invalid(&explain::reason::<LinkEntity>(text.as_bytes(), &error)))?;
        let mark = self.domains.mark(&entity.domain.full_name);
        let made = self.put_entity(&entity, condition, revision, config);
        let is_made = matches!(&made, Ok(Made { operation: Some(_), .. }));
        if !is_made && !self.domains.is_at(&mark) {
            Arc::make_mut(&mut self.domains).restore(mark);
        }
        made
    }

    /// Leaves the domain as the link has it, also if the link is not put.
    fn put_entity(
        &mut self,
        entity: &LinkEntity,
        condition: &Condition,
        revision: u64,
        config: &config::Catalog,
    ) -> Result<Made, Refused> {
        // No one else has them then, unless this is the first change of a group: all domains are copied once.
        let (part, domains) = Compiler::part(config, mem::take(&mut self.domains)).only(entity);
        self.domains = domains;
        let part = Arc::new(part.map_err(|reason| invalid(&reason))?);
        let (domain, key) = {
            let record = part.record(0).ok_or_else(|| invalid("the link cannot be laid out"))?;
            let profile = part.profile(record.profile).ok_or_else(|| invalid("the link cannot be laid out"))?;
            (profile.domain, record.key.to_owned())
        };
        let hash_before = self.link(domain, &key).map(|link| link.hash());
        holds(condition, hash_before)?;
        let (hash, link) = {
            let link = Link::at(self, &part, 0).ok_or_else(|| invalid("the link cannot be laid out"))?;
            (link.hash(), json::of(&link).to_string())
        };
        if hash_before == Some(hash) {
            let revision = self.revision_of(domain, &key);
            let accepted = Accepted { revision, etag: Some(hash.etag()), created: false, unchanged: true };
            return Ok(Made { accepted, operation: None });
        }
        let place = (&key[..], self.base.hash(&key));
        self.overlay.set(domain, place, Slot { revision, link: Some(part) });
        self.replace(hash_before, Some(hash));
        self.links += u64::from(hash_before.is_none());
        let created = hash_before.is_none();
        let accepted = Accepted { revision, etag: Some(hash.etag()), created, unchanged: false };
        Ok(Made { accepted, operation: Some(Operation::PutLink { link }) })
    }

    fn delete_link(
        &mut self,
        domain: &str,
        slashtag: &str,
        condition: &Condition,
        revision: u64,
    ) -> Result<Made, Refused> {
        let (number, key) = self.place_of(domain, slashtag)?;
        let Some(link) = self.link(number, &key) else {
            holds(condition, None)?;
            return Err(Refused::NotFound { what: "link" });
        };
        let (hash, host, slashtag) =
            (link.hash(), link.host().to_owned(), String::from_utf8_lossy(link.slashtag()).into_owned());
        holds(condition, Some(hash))?;
        let place = (&key[..], self.base.hash(&key));
        self.overlay.set(number, place, Slot { revision, link: None });
        self.replace(Some(hash), None);
        self.links -= 1;
        let accepted = Accepted { revision, etag: None, created: false, unchanged: false };
        Ok(Made { accepted, operation: Some(Operation::DeleteLink { domain: host, slashtag }) })
    }

    fn put_domain(
        &mut self,
        text: &str,
        condition: &Condition,
        revision: u64,
        config: &config::Catalog,
    ) -> Result<Made, Refused> {
        let described = self.domains.describe(text, config).map_err(|reason| invalid(&reason))?;
        let new = &described.domain;
        let old = described.number.map(|number| (number, &self.domains.all[number as usize]));
        let hash_before = old.map(|(_, domain)| hash_of(domain));
        holds(condition, hash_before)?;
        if let Some((number, old)) = old {
            let changed = match () {
                () if old.case != new.case => Some("case"),
                () if old.for_links.workspace != new.for_links.workspace => Some("workspace"),
                () => None,
            };
            if let Some(field) = changed.filter(|_| self.has_links(number)) {
                let reason = format!(
                    "`{field}` cannot change while the domain has links, as they are kept by it; build a snapshot with \
                     the change (`clickedge catalog build`), or delete the links before"
                );
                return Err(Refused::Conflict { reason });
            }
        }
        let hash = hash_of(new);
        let etag = Some(hash.etag());
        if hash_before == Some(hash) {
            let accepted = Accepted { revision: self.position.revision, etag, created: false, unchanged: true };
            return Ok(Made { accepted, operation: None });
        }
        let (old, new) = (old.and_then(|(_, old)| old.hash()), new.hash());
        self.replace(old, new);
        let accepted = Accepted { revision, etag, created: hash_before.is_none(), unchanged: false };
        let domain = described.domain.line.as_deref().unwrap_or_default().to_owned();
        Arc::make_mut(&mut self.domains).place(described);
        Ok(Made { accepted, operation: Some(Operation::PutDomain { domain }) })
    }

    fn delete_domain(&mut self, name: &str, condition: &Condition, revision: u64) -> Result<Made, Refused> {
        let host = host(name)?;
        // By an alias as well.
        let Some(number) = self.domains.named(host.as_str()) else {
            holds(condition, None)?;
            return Err(Refused::NotFound { what: "domain" });
        };
        let domain = &self.domains.all[number as usize];
        let host = domain.host().to_owned();
        holds(condition, Some(hash_of(domain)))?;
        if self.has_links(number) {
            return Err(Refused::Conflict { reason: "the domain has links; delete them before".into() });
        }
        let hash = domain.hash();
        self.replace(hash, None);
        Arc::make_mut(&mut self.domains).forget(number);
        let accepted = Accepted { revision, etag: None, created: false, unchanged: false };
        Ok(Made { accepted, operation: Some(Operation::DeleteDomain { domain: host }) })
    }

    fn replace(&mut self, old: Option<ItemHash>, new: Option<ItemHash>) {
        let hash = &mut self.position.hash;
        if let Some(old) = old {
            hash.remove(old);
        }
        if let Some(new) = new {
            hash.add(new);
        }
    }

    /// Number of the domain and slashtag in normal form.
    fn place_of(&self, domain: &str, slashtag: &str) -> Result<(u32, Vec<u8>), Refused> {
        let host = host(domain)?;
        // A wildcard leads visitors to a domain; it names none.
        let number = self.domains.named(host.as_str()).ok_or(Refused::NotFound { what: "domain" })?;
        let key = Self::slashtag(&self.domains.all[number as usize], slashtag.as_bytes());
        let key =
            key.map_err(|error| Refused::Invalid { field: Some("slashtag".into()), reason: error.to_string() })?;
        Ok((number, key.into_owned()))
    }

    fn revision_of(&self, domain: u32, key: &[u8]) -> u64 {
        self.overlay.get(domain, key).map_or(self.base.header().position.revision, |slot| slot.revision)
    }

    /// Whether a domain has links.
    fn has_links(&self, number: u32) -> bool {
        let mut gone = 0;
        for (_, key, slot) in self.overlay.of_domain(number, 0) {
            if slot.link.is_some() {
                return true;
            }
            gone += u64::from(self.base.find(number, key).is_some());
        }
        self.base.links_of(number) > gone
    }

    /// A link of a host and a slashtag as written, without what stands for it elsewhere.
    pub fn exact(&self, domain: &str, slashtag: &str) -> Option<Link<'_>> {
        let (number, key) = self.place_of(domain, slashtag).ok()?;
        self.link(number, &key)
    }
}

/// The hash by which a domain is compared: that of its line, or of its name if it has none.
pub(super) fn hash_of(domain: &Domain) -> ItemHash {
    domain.hash().unwrap_or_else(|| ItemHash::of(b'h', [domain.host().as_bytes()]))
}

fn holds(condition: &Condition, current: Option<ItemHash>) -> Result<(), Refused> {
    let etag = current.map(ItemHash::etag);
    let holds = match condition {
        Condition::Always => true,
        Condition::Absent => etag.is_none(),
        Condition::Present => etag.is_some(),
        Condition::Matches(etags) => etag.as_ref().is_some_and(|etag| etags.contains(etag)),
    };
    if holds { Ok(()) } else { Err(Refused::ConditionFailed { etag }) }
}

fn host(name: &str) -> Result<Host, Refused> {
    Host::parse(name.as_bytes())
        .map_err(|error: key::BadKey| Refused::Invalid { field: Some("domain".into()), reason: error.to_string() })
}

fn invalid(reason: &str) -> Refused {
    Refused::Invalid { field: explain::field(reason), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests;
