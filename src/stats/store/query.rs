//! Queries on the store of counts, and their answers.

use std::ops::Range;

use super::Position;
use crate::{
    runtime::Hour,
    stats::{Counts, SubjectKind},
};

/// Limit of the rows of one answer.
pub const MAX_ROWS: usize = 1_000;

/// Returns the workspace that owns a link, by domain and slashtag. Used where counts do not identify it: on a domain
/// that several workspaces share.
pub type Owner<'a> = &'a dyn Fn(&str, &str) -> Option<Box<str>>;

/// The position up to which the journal is counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Counted {
    pub position: Position,
    /// When, microseconds since the Unix epoch.
    pub at: u64,
}

/// The subject of a query.
#[derive(Clone, Copy, Debug)]
pub enum Scope<'a> {
    /// A link by both names of its slashtag: as written, and in normal form.
    Link {
        domain: &'a str,
        names: [&'a str; 2],
    },
    /// A domain, for all workspaces together.
    Domain(&'a str),
    Workspace(&'a str),
    /// All workspaces, one row each.
    Workspaces,
    /// All subjects of a kind in a scope, one row each.
    All(SubjectKind, &'a str),
    /// All links on the domains of a workspace, one row each.
    LinksOf(&'a str),
}

/// Resolution of a series.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    Hour,
    Day,
}

/// The count that rows are ranked by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Order {
    Clicks,
    Humans,
    Sessions,
}

/// A ranked row.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Row {
    pub scope: String,
    pub name: String,
    pub counts: Counts,
}

/// The hours that an answer covers: those of the query, and the rest of each day that is summed up.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Covered {
    /// Hours since the Unix epoch.
    pub hours: Range<u64>,
    /// The hour before which there are only whole days, if the answer covers such hours.
    pub whole_days_before: Option<Hour>,
}
