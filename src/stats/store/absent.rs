//! The store of counts in a build without it: it never opens. A configuration that counts is rejected before
//! ([`crate::config::features`]).

use std::{convert::Infallible, io, marker::PhantomData, ops::Range, path::Path, time::Duration};

use super::{Counted, Covered, Order, Position, Retention, Row, Scope, Step, StoreError};
use crate::{
    runtime::Hour,
    stats::{Counts, Delta, SubjectKind},
};

/// No connection that writes.
pub enum Store {}

/// No connection that reads.
pub enum Reader {}

/// No view of the store.
pub struct Snapshot<'a>(Infallible, PhantomData<&'a ()>);

fn absent(file: &Path) -> StoreError {
    let reason = "this build has no store of counts: build with `--features stats`".into();
    StoreError::Failed { file: file.to_owned(), reason }
}

#[allow(missing_docs, clippy::missing_errors_doc, reason = "as in the store that it stands for")]
impl Store {
    pub fn open(file: &Path) -> Result<Self, StoreError> {
        Err(absent(file))
    }

    pub fn counted(&self) -> Result<Option<Position>, StoreError> {
        match *self {}
    }

    pub fn commit(&mut self, _: &Delta, _: Position) -> Result<(), StoreError> {
        match *self {}
    }

    pub fn mark_complete(&mut self) -> Result<(), StoreError> {
        match *self {}
    }

    pub fn retain(&mut self, _: Retention, _: Hour) -> Result<bool, StoreError> {
        match *self {}
    }
}

#[allow(missing_docs, clippy::missing_errors_doc, reason = "as in the store that it stands for")]
impl Reader {
    pub fn open(file: &Path) -> Result<Self, StoreError> {
        Err(absent(file))
    }

    pub fn snapshot(&mut self, _: Duration) -> Result<Snapshot<'_>, StoreError> {
        match *self {}
    }
}

#[allow(missing_docs, clippy::missing_errors_doc, reason = "as in the store that it stands for")]
impl Snapshot<'_> {
    pub fn counted(&self) -> Result<Option<Counted>, StoreError> {
        match self.0 {}
    }

    pub fn since(&self) -> u64 {
        match self.0 {}
    }

    pub fn cover(&self, _: Range<u64>) -> Covered {
        match self.0 {}
    }

    pub fn totals(&self, _: Scope<'_>, _: &Covered) -> Result<Counts, StoreError> {
        match self.0 {}
    }

    pub fn knows(&self, _: Scope<'_>) -> Result<bool, StoreError> {
        match self.0 {}
    }

    pub fn series(&self, _: Scope<'_>, _: &Covered, _: Step) -> Result<Vec<(Hour, Counts)>, StoreError> {
        match self.0 {}
    }

    pub fn top(&self, _: Scope<'_>, _: &Covered, _: Order, _: usize) -> Result<Vec<Row>, StoreError> {
        match self.0 {}
    }

    pub fn top_links_of(
        &self,
        _: &str,
        _: &Covered,
        _: Order,
        _: usize,
        _: super::Owner<'_>,
    ) -> Result<Vec<Row>, StoreError> {
        match self.0 {}
    }

    pub fn each(
        &self,
        _: Hour,
        _: SubjectKind,
        _: Option<&str>,
        _: impl FnMut(&str, &str, &Counts) -> io::Result<()>,
    ) -> io::Result<()> {
        match self.0 {}
    }

    pub fn workspaces_of(&self, _: &str, _: Hour) -> Result<Vec<String>, StoreError> {
        match self.0 {}
    }
}
