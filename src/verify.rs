//! Proves from outside that a feed is complete and has no event twice: `clickedge feed verify`.
//!
//! It needs only what the customer has: a folder or a bucket with objects and
//! [manifests](crate::object::manifest). Four facts make the proof, and none of them is enough alone:
//! - Everything that manifests list exists, byte for byte and event for event.
//! - The numbers of objects have no gap, so that no object is missing from all manifests.
//! - Manifests are a [`chain`], so that none was removed or changed after a later one was written.
//! - No event id exists twice. An id contains the time of its event, and every object has events of one hour; so a set
//!   of ids for each hour is enough. Memory is bounded by the largest hour, and by the keys of objects in the layout
//!   `sequence`, which do not have the hour ([`sequence`]).
//!
//! All of that holds for each spool by itself: an edge that was rebuilt has another one.
//!
//! A feed may grow while it is verified. So an hour's manifests are listed before its objects, and the search for
//! missing numbers is repeated at the end, also in hours outside the requested range: the numbers of late objects lie
//! between those of a later hour.
//!
//! Keys in manifests are only compared with keys that the store listed: no manifest makes it open anything else.

#[cfg(feature = "s3")]
mod bucket;
#[cfg(not(feature = "s3"))]
#[path = "verify/without_bucket.rs"]
mod bucket;
pub mod chain;
mod hour;
mod object;
pub mod report;
mod seqs;
pub mod sequence;
pub mod store;

use std::{
    collections::BTreeMap,
    io::{self, Read},
};

pub use bucket::Bucket;
pub use report::Report;
pub use store::{Folder, Store, StoreError};

use crate::{
    object::{
        ObjectKey,
        key::{MANIFESTS, REPLAYS, ROLLUPS, TESTS, sequence_folder},
    },
    runtime::{Class, Classified, Hour},
};
use chain::Chains;
use report::{Problem, ProblemKind, ReportRow};
use seqs::Seqs;
use sequence::Sequences;

/// What to verify.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Only this feed.
    pub feed: Option<String>,
    /// The first hour.
    pub from: Option<Hour>,
    /// The hour after the last.
    pub to: Option<Hour>,
    /// Do not read the objects.
    pub quick: bool,
}

impl Options {
    fn contains(&self, hour: Hour) -> bool {
        self.from.is_none_or(|from| from <= hour) && self.to.is_none_or(|to| hour < to)
    }

    /// Whether a row belongs to the requested feed, as far as its name is known.
    fn is_for(&self, row: &ReportRow) -> bool {
        row.feed.is_none() || self.feed.is_none() || row.feed == self.feed
    }

    /// The distance of an hour to the verified range, in hours.
    fn distance(&self, hour: Hour) -> u64 {
        let hour = hour.since_epoch();
        let before = self.from.map_or(0, |from| from.since_epoch().saturating_sub(hour));
        let after = self.to.map_or(0, |to| (hour + 1).saturating_sub(to.since_epoch()));
        before.max(after)
    }
}

/// The reason why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("there is nothing to verify: {0}")]
    Nothing(String),
}

impl Classified for VerifyError {
    fn class(&self) -> Class {
        match self {
            Self::Store(error) => error.class(),
            Self::Nothing(_) => Class::NoInput,
        }
    }
}

/// Verifies a store and reports what it found. `source` is the name of the store in the report.
///
/// # Errors
/// When the store cannot be read, or has nothing of a feed.
pub fn verify(store: &dyn Store, options: &Options, source: &str) -> Result<Report, VerifyError> {
    let report = Report {
        schema: report::SCHEMA,
        source: source.into(),
        quick: options.quick,
        from: options.from,
        to: options.to,
        ..Report::default()
    };
    let mut verifier = Verifier {
        store,
        options,
        report,
        series: BTreeMap::new(),
        sequences: Sequences::default(),
        chains: Chains::default(),
    };
    let days = verifier.days()?;
    verifier.read_sequences(&days)?;
    let mut hours = verifier.sequences.hours();
    for day in
        days.iter().filter(|day| (0..24).any(|hour| hour_of(day, hour).is_some_and(|hour| options.contains(hour))))
    {
        hours.extend(verifier.hours(day, true)?);
    }
    for hour in hours.into_iter().filter(|hour| options.contains(*hour)) {
        verifier.check_hour(hour)?;
    }
    verifier.series.retain(|_, series| options.is_for(&series.row));
    verifier.report_gaps(&days)?;
    verifier.check_chains()?;
    verifier.report_spools();
    if verifier.series.is_empty() {
        return Err(VerifyError::Nothing(verifier.why_nothing(source)));
    }
    Ok(verifier.finish())
}

/// The objects of one feed in one spool, whose numbers have no gap.
#[derive(Default)]
struct Series {
    row: ReportRow,
    /// Numbers of objects in the store.
    stored: Seqs,
    /// These, and the numbers of objects that manifests list.
    known: Seqs,
}

struct Verifier<'a> {
    store: &'a dyn Store,
    options: &'a Options,
    report: Report,
    /// By name, `{feed}-{pop}-{spool}`.
    series: BTreeMap<String, Series>,
    sequences: Sequences,
    chains: Chains,
}

impl Verifier<'_> {
    /// Days that have objects or manifests, `dt=2026-11-23`.
    fn days(&mut self) -> Result<Vec<String>, StoreError> {
        let mut days = Vec::new();
        for root in ["", MANIFESTS] {
            let listing = self.store.list(root)?;
            for (name, _) in listing.files {
                self.report.foreign(join(root, &name));
            }
            for folder in listing.folders {
                match folder.as_str() {
                    // The content of rollups follows from the events.
                    MANIFESTS | ROLLUPS | TESTS if root.is_empty() => {}
                    REPLAYS if root.is_empty() => self.report.replayed_objects = count_files(self.store, REPLAYS)?,
                    day if hour_of(day, 0).is_some() => days.push(folder),
                    other if root.is_empty() && sequence_folder(other).is_some() => self.sequences.add_folder(folder),
                    _ => self.report.foreign(join(root, &folder) + "/"),
                }
            }
        }
        days.sort_unstable();
        days.dedup();
        Ok(days)
    }

    /// Hours of a day that have objects or manifests. Other names are reported if `report_foreign` is set.
    fn hours(&mut self, day: &str, report_foreign: bool) -> Result<Vec<Hour>, StoreError> {
        let mut hours = Vec::new();
        for root in [day.to_owned(), join(MANIFESTS, day)] {
            let listing = self.store.list(&root)?;
            let mut foreign: Vec<_> = listing.files.into_iter().map(|(name, _)| name).collect();
            for folder in listing.folders {
                match Hour::of_partition(&join(day, &folder)) {
                    Some(hour) => hours.push(hour),
                    None => foreign.push(folder + "/"),
                }
            }
            for name in foreign.iter().filter(|_| report_foreign) {
                self.report.foreign(join(&root, name));
            }
        }
        hours.sort_unstable();
        hours.dedup();
        Ok(hours)
    }

    /// Reports missing numbers, unless another listing has them.
    fn report_gaps(&mut self, days: &[String]) -> Result<(), StoreError> {
        let mut hours = Vec::new();
        for key in self.sequences.keys() {
            if let Some(parsed) = ObjectKey::parse(key)
                && let Some(series) = self.series.get_mut(&parsed.maker())
                && series.known.lacks(parsed.seq)
            {
                series.known.insert(parsed.seq);
            }
        }
        if self.has_gaps() {
            for day in days {
                hours.extend(self.hours(day, false)?);
            }
            hours.sort_by_key(|&hour| self.options.distance(hour));
        }
        for hour in hours {
            if !self.has_gaps() {
                break;
            }
            let partition = hour.partition();
            for (name, _) in self.store.list(&partition)?.files {
                if let Some(key) = ObjectKey::parse(&join(&partition, &name))
                    && let Some(series) = self.series.get_mut(&key.maker())
                    && series.known.lacks(key.seq)
                {
                    series.known.insert(key.seq);
                }
            }
        }
        for (name, series) in &self.series {
            for gap in series.known.gaps() {
                let expected = match (gap.start(), gap.end()) {
                    (first, last) if first == last => format!("an object with number {first:08}"),
                    (first, last) => format!("objects with numbers {first:08} to {last:08}"),
                };
                self.report.problem(Problem::new(ProblemKind::Gap, name, expected, "none"));
            }
        }
        Ok(())
    }

    fn has_gaps(&self) -> bool {
        self.series.values().any(|series| series.known.gaps().next().is_some())
    }

    fn why_nothing(&self, source: &str) -> String {
        let feed = self.options.feed.as_ref().map_or("any feed".into(), |feed| format!("the feed `{feed}`"));
        let from = self.options.from.map_or(String::new(), |from| format!(" from {from}"));
        let to = self.options.to.map_or(String::new(), |to| format!(" before {to}"));
        format!(
            "no objects and no manifests of {feed} in {source}{from}{to}; a feed has `dt=.../hour=.../` or a folder for \
             each edge, and `{MANIFESTS}/`, so the source must end where the feed's prefix ends"
        )
    }

    fn finish(self) -> Report {
        let mut report = self.report;
        report.proven = report.problem_count == 0;
        report.feeds = self
            .series
            .into_iter()
            .map(|(name, series)| ReportRow {
                name,
                first_seq: series.known.first(),
                last_seq: series.known.last(),
                ..series.row
            })
            .collect();
        report
    }
}

/// An hour of a day's folder. `None` if the name is not that of a day.
fn hour_of(day: &str, hour: u8) -> Option<Hour> {
    Hour::of_partition(&format!("{day}/hour={hour:02}"))
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.into() } else { format!("{folder}/{name}") }
}

fn count_files(store: &dyn Store, folder: &str) -> Result<u64, StoreError> {
    let listing = store.list(folder)?;
    let mut count = listing.files.len() as u64;
    for name in listing.folders {
        count += count_files(store, &join(folder, &name))?;
    }
    Ok(count)
}

/// Reads from the store, and keeps its error apart from those of a decoder above it.
struct StoreReader<R> {
    input: R,
    error: Option<io::Error>,
}

impl<R: Read> StoreReader<R> {
    fn new(input: R) -> Self {
        Self { input, error: None }
    }

    /// Fails if the store has failed.
    fn check(self, key: &str) -> Result<(), StoreError> {
        match self.error {
            Some(error) => Err(StoreError::new(key, error)),
            None => Ok(()),
        }
    }
}

impl<R: Read> Read for StoreReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.input.read(buffer) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                let copy = io::Error::new(error.kind(), error.to_string());
                self.error = Some(error);
                Err(copy)
            }
            read => read,
        }
    }
}
