//! Writes rollups from the store of counts: see [`crate::object::rollup`] for their format.
//!
//! A rollup is written from one snapshot of the store, so it has the counts of exactly the events up to one position in
//! the journal.
//!
//! The counts of a link do not have its workspace; those of its domain do. Where several workspaces have clicks on a
//! domain in that hour, the catalog decides. A link that the catalog does not know, or no longer knows, is left out,
//! unless the feed takes all workspaces.

use std::{
    collections::BTreeSet,
    io::{self, Write},
};

use super::{
    counts::{Counts, SubjectKind},
    store::{Owner, Snapshot},
};
use crate::{
    object::rollup::{RollupLine, SCHEMA, hour_start, timestamp},
    runtime::Hour,
};

/// The workspaces whose counts a feed takes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Workspaces {
    All,
    These(BTreeSet<String>),
}

impl Workspaces {
    /// From the ids in a feed's configuration. `*` takes all workspaces.
    pub fn new(ids: &[String]) -> Self {
        if ids.iter().any(|id| id == "*") { Self::All } else { Self::These(ids.iter().cloned().collect()) }
    }

    fn holds(&self, workspace: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(ids) => ids.contains(workspace),
        }
    }
}

/// Writes the counts of an hour of these workspaces, and returns the number of lines.
///
/// # Errors
/// Those of the store and of `out`.
pub fn write(
    snapshot: &Snapshot<'_>,
    hour: Hour,
    workspaces: &Workspaces,
    owner: Owner<'_>,
    out: &mut dyn Write,
) -> io::Result<u64> {
    let mut writer = Writer { snapshot, hour, start: hour_start(hour), workspaces, owner, out, lines: 0 };
    writer.links()?;
    for kind in [
        SubjectKind::Domain,
        SubjectKind::Workspace,
        SubjectKind::Tag,
        SubjectKind::Creator,
        SubjectKind::Country,
        SubjectKind::Referrer,
        SubjectKind::Device,
        SubjectKind::Browser,
        SubjectKind::Os,
    ] {
        writer.subjects(kind)?;
    }
    Ok(writer.lines)
}

struct Writer<'a> {
    snapshot: &'a Snapshot<'a>,
    hour: Hour,
    start: String,
    workspaces: &'a Workspaces,
    owner: Owner<'a>,
    out: &'a mut dyn Write,
    lines: u64,
}

impl Writer<'_> {
    fn links(&mut self) -> io::Result<()> {
        let (snapshot, hour) = (self.snapshot, self.hour);
        let (mut of, mut owners) = (String::new(), Vec::new());
        let mut visit = |writer: &mut Self, domain: &str, slashtag: &str, counts: &Counts| {
            if of != domain {
                domain.clone_into(&mut of);
                owners = snapshot.workspaces_of(domain, hour)?;
            }
            writer.link(&owners, domain, slashtag, counts)
        };
        match self.workspaces {
            Workspaces::All => snapshot.each(hour, SubjectKind::Link, None, |domain, slashtag, counts| {
                visit(self, domain, slashtag, counts)
            }),
            Workspaces::These(ids) => {
                let mut domains = BTreeSet::new();
                for id in ids {
                    snapshot.each(hour, SubjectKind::Domain, Some(id), |_, domain, _| {
                        domains.insert(domain.to_owned());
                        Ok(())
                    })?;
                }
                domains.iter().try_for_each(|domain| {
                    snapshot.each(hour, SubjectKind::Link, Some(domain), |domain, slashtag, counts| {
                        visit(self, domain, slashtag, counts)
                    })
                })
            }
        }
    }

    fn link(&mut self, owners: &[String], domain: &str, slashtag: &str, counts: &Counts) -> io::Result<()> {
        let looked_up;
        let workspace = if let [only] = owners {
            Some(only.as_str())
        } else {
            looked_up = (self.owner)(domain, slashtag);
            looked_up.as_deref().filter(|workspace| owners.iter().any(|owner| owner == workspace))
        };
        match workspace {
            Some(workspace) if !self.workspaces.holds(workspace) => return Ok(()),
            None if *self.workspaces != Workspaces::All => return Ok(()),
            _ => {}
        }
        self.put(SubjectKind::Link, workspace.unwrap_or_default(), domain, slashtag, counts)
    }

    fn subjects(&mut self, kind: SubjectKind) -> io::Result<()> {
        let (snapshot, hour, workspaces) = (self.snapshot, self.hour, self.workspaces);
        let mut visit = |workspace: &str, name: &str, counts: &Counts| self.put(kind, workspace, "", name, counts);
        match workspaces {
            Workspaces::All => snapshot.each(hour, kind, None, visit),
            Workspaces::These(ids) => ids.iter().try_for_each(|id| snapshot.each(hour, kind, Some(id), &mut visit)),
        }
    }

    fn put(
        &mut self,
        kind: SubjectKind,
        workspace: &str,
        domain: &str,
        name: &str,
        counts: &Counts,
    ) -> io::Result<()> {
        let of = |kinds: &[SubjectKind]| kinds.contains(&kind).then_some(name);
        let (slashtag, id) = (of(&[SubjectKind::Link]), of(&[SubjectKind::Tag, SubjectKind::Creator]));
        let domain = if kind == SubjectKind::Link { Some(domain) } else { of(&[SubjectKind::Domain]) };
        let named = of(&[
            SubjectKind::Country,
            SubjectKind::Referrer,
            SubjectKind::Device,
            SubjectKind::Browser,
            SubjectKind::Os,
        ]);
        let line = RollupLine {
            schema: SCHEMA,
            hour: &self.start,
            kind: label(kind),
            workspace,
            domain,
            slashtag,
            id,
            name: named.filter(|name| !name.is_empty()),
            clicks: counts.clicks,
            humans: counts.humans,
            bots: counts.bots,
            sessions: counts.sessions,
            first: timestamp(counts.first),
            last: timestamp(counts.last),
        };
        serde_json::to_writer(&mut *self.out, &line)?;
        self.lines += 1;
        self.out.write_all(b"\n")
    }
}

fn label(kind: SubjectKind) -> &'static str {
    match kind {
        SubjectKind::Link => "link",
        SubjectKind::Domain => "domain",
        SubjectKind::Workspace => "workspace",
        SubjectKind::Tag => "tag",
        SubjectKind::Creator => "creator",
        SubjectKind::Country => "country",
        SubjectKind::Referrer => "referrer",
        SubjectKind::Device => "device",
        SubjectKind::Browser => "browser",
        SubjectKind::Os => "os",
    }
}

#[cfg(test)]
mod tests;
