//! Counts what an import takes, changes and leaves behind, and reports it.

use std::{collections::BTreeMap, fmt};

/// Records that were skipped and are listed with their reason; others are only counted.
const MAX_LISTED: usize = 20;

/// Field names that are counted each by itself; an export names as many as it likes.
const MAX_FIELDS: usize = 100;

/// What becomes of a field.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Fate {
    Taken,
    /// It is in the catalog in another form: how.
    Changed(&'static str),
    /// It is not in the catalog: why.
    Left(&'static str),
}

/// The counts of an import.
#[derive(Debug, Default)]
pub struct Tally {
    pub read: u64,
    pub written: u64,
    pub skipped: u64,
    /// Lines that describe a domain.
    pub domains: u64,
    reasons: Vec<String>,
    fields: BTreeMap<String, BTreeMap<Fate, u64>>,
}

impl Tally {
    pub fn skip(&mut self, place: &str, reason: &str) {
        self.skipped += 1;
        if self.reasons.len() < MAX_LISTED {
            self.reasons.push(format!("{place}: {reason}"));
        }
    }

    pub fn count(&mut self, field: &str, fate: Fate) {
        let is_full = self.fields.len() >= MAX_FIELDS && !self.fields.contains_key(field);
        let field = if is_full { "(other fields)" } else { field };
        *self.fields.entry(field.to_owned()).or_default().entry(fate).or_default() += 1;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { read, written, skipped, domains, .. } = self;
        writeln!(f, "records: {read} read, {skipped} skipped")?;
        writeln!(f, "written: {}, {}", count(*written, "link"), count(*domains, "domain"))?;
        for reason in &self.reasons {
            writeln!(f, "skipped {reason}")?;
        }
        let unlisted = skipped.saturating_sub(self.reasons.len() as u64);
        if unlisted > 0 {
            writeln!(f, "skipped for such reasons: {unlisted} more")?;
        }
        for (field, fates) in &self.fields {
            let fates: Vec<_> = fates.iter().map(|(fate, count)| fate.words(*count)).collect();
            writeln!(f, "{field}: {}", fates.join(", "))?;
        }
        Ok(())
    }
}

impl Fate {
    fn words(self, count: u64) -> String {
        match self {
            Self::Taken => format!("{count} taken"),
            Self::Changed(how) => format!("{count} changed ({how})"),
            Self::Left(why) => format!("{count} left behind ({why})"),
        }
    }
}

fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
