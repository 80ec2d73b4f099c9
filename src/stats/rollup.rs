//! The rollup: the third public contract with every customer (`conf/rollup.schema.json`).
//!
//! A rollup has the counts of one hour of the workspaces of a feed, one line of JSON for each thing that was clicked. It
//! is made of one moment of the store, that is of exactly the events up to one place in the journal. It is cumulative:
//! a later version of an hour has all that the one before it had, and what came late.
//!
//! A link's counts do not say whose it is: its domain does. Where several workspaces have clicks on a domain in that
//! hour, the catalog must tell; a link that it does not know, or no longer, is left out, unless the feed has all
//! workspaces.

use std::{
    collections::BTreeSet,
    io::{self, Write},
};

use serde::Serialize;

use super::{
    Counts, Kind,
    store::{Snapshot, reader::Owner},
};
use crate::runtime::Hour;

/// The value of `schema` in every line of this major version.
pub const SCHEMA: &str = "rollup/1";

/// The JSON schema of a line, as shipped in `conf/`.
pub const JSON_SCHEMA: &str = include_str!("../../conf/rollup.schema.json");

/// Whose counts a feed gets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Workspaces {
    All,
    These(BTreeSet<String>),
}

impl Workspaces {
    /// As a feed names them: by their ids, or all with `*`.
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

/// A line.
#[derive(Serialize)]
struct Line<'a> {
    schema: &'static str,
    hour: &'a str,
    kind: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    workspace: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slashtag: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    clicks: u64,
    humans: u64,
    bots: u64,
    sessions: u64,
    first: String,
    last: String,
}

/// Writes the counts of an hour of these workspaces, and returns the number of lines.
///
/// # Errors
/// Those of the store, and of what is written to.
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
        Kind::Domain,
        Kind::Workspace,
        Kind::Tag,
        Kind::Creator,
        Kind::Country,
        Kind::Referrer,
        Kind::Device,
        Kind::Browser,
        Kind::Os,
    ] {
        writer.things(kind)?;
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
        let mut see = |writer: &mut Self, domain: &str, slashtag: &str, counts: &Counts| {
            if of != domain {
                domain.clone_into(&mut of);
                owners = snapshot.workspaces_of(domain, hour)?;
            }
            writer.link(&owners, domain, slashtag, counts)
        };
        match self.workspaces {
            Workspaces::All => {
                snapshot.each(hour, Kind::Link, None, |domain, slashtag, counts| see(self, domain, slashtag, counts))
            }
            Workspaces::These(ids) => {
                let mut domains = BTreeSet::new();
                for id in ids {
                    snapshot.each(hour, Kind::Domain, Some(id), |_, domain, _| {
                        domains.insert(domain.to_owned());
                        Ok(())
                    })?;
                }
                domains.iter().try_for_each(|domain| {
                    snapshot.each(hour, Kind::Link, Some(domain), |domain, slashtag, counts| {
                        see(self, domain, slashtag, counts)
                    })
                })
            }
        }
    }

    fn link(&mut self, owners: &[String], domain: &str, slashtag: &str, counts: &Counts) -> io::Result<()> {
        let asked;
        let workspace = if let [only] = owners {
            Some(only.as_str())
        } else {
            asked = (self.owner)(domain, slashtag);
            asked.as_deref().filter(|workspace| owners.iter().any(|owner| owner == workspace))
        };
        match workspace {
            Some(workspace) if !self.workspaces.holds(workspace) => return Ok(()),
            None if *self.workspaces != Workspaces::All => return Ok(()),
            _ => {}
        }
        self.put(Kind::Link, workspace.unwrap_or_default(), domain, slashtag, counts)
    }

    fn things(&mut self, kind: Kind) -> io::Result<()> {
        let (snapshot, hour, workspaces) = (self.snapshot, self.hour, self.workspaces);
        let mut see = |workspace: &str, name: &str, counts: &Counts| self.put(kind, workspace, "", name, counts);
        match workspaces {
            Workspaces::All => snapshot.each(hour, kind, None, see),
            Workspaces::These(ids) => ids.iter().try_for_each(|id| snapshot.each(hour, kind, Some(id), &mut see)),
        }
    }

    fn put(&mut self, kind: Kind, workspace: &str, domain: &str, name: &str, counts: &Counts) -> io::Result<()> {
        let of = |kinds: &[Kind]| kinds.contains(&kind).then_some(name);
        let (slashtag, id) = (of(&[Kind::Link]), of(&[Kind::Tag, Kind::Creator]));
        let domain = if kind == Kind::Link { Some(domain) } else { of(&[Kind::Domain]) };
        let named = of(&[Kind::Country, Kind::Referrer, Kind::Device, Kind::Browser, Kind::Os]);
        let line = Line {
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

fn label(kind: Kind) -> &'static str {
    match kind {
        Kind::Link => "link",
        Kind::Domain => "domain",
        Kind::Workspace => "workspace",
        Kind::Tag => "tag",
        Kind::Creator => "creator",
        Kind::Country => "country",
        Kind::Referrer => "referrer",
        Kind::Device => "device",
        Kind::Browser => "browser",
        Kind::Os => "os",
    }
}

/// When an hour begins, RFC 3339 UTC.
pub fn hour_start(hour: Hour) -> String {
    format!("{hour}:00:00Z")
}

/// RFC 3339 UTC with microseconds.
pub fn timestamp(micros: u64) -> String {
    let time = i64::try_from(micros).ok().and_then(|micros| jiff::Timestamp::from_microsecond(micros).ok());
    format!("{:.6}", time.unwrap_or_default())
}

#[cfg(test)]
mod tests;
