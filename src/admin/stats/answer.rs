//! The JSON of an answer. Names are those of click events where those have them; absent values are omitted.

use serde::Serialize;

use super::{By, Counts, Covered, Row, Step, Subject};
use crate::{
    object::rollup::{hour_start, timestamp},
    runtime::Hour,
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slashtag: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workspace: Option<&'a str>,
    from: String,
    until: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    whole_days_before: Option<String>,
    counted_until: String,
    totals: Numbers,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    series: Option<Vec<Entry>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top: Option<Vec<Entry>>,
}

#[derive(Serialize)]
struct Numbers {
    clicks: u64,
    humans: u64,
    bots: u64,
    sessions: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<String>,
}

/// An entry of a series or of a breakdown.
#[derive(Default, Serialize)]
struct Entry {
    /// Start of the hour or the day.
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slashtag: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(flatten)]
    numbers: Option<Numbers>,
}

impl From<&Counts> for Numbers {
    fn from(counts: &Counts) -> Self {
        let Counts { clicks, humans, bots, sessions, first, last } = *counts;
        let time = |micros| (clicks > 0).then(|| timestamp(micros));
        Self { clicks, humans, bots, sessions, first: time(first), last: time(last) }
    }
}

impl<'a> Answer<'a> {
    pub fn new(subject: &'a Subject, covered: &Covered, counted_until: u64, totals: &Counts) -> Self {
        let hour = |hours: u64| hour_start(Hour::of_micros(hours.saturating_mul(3_600_000_000)));
        let (domain, slashtag, workspace) = match subject {
            Subject::Link { domain, names } => (Some(domain.as_str()), Some(names[0].as_str()), None),
            Subject::Domain(domain) => (Some(domain.as_str()), None, None),
            Subject::Workspace(workspace) => (None, None, Some(workspace.as_str())),
        };
        Self {
            domain,
            slashtag,
            workspace,
            from: hour(covered.hours.start),
            until: hour(covered.hours.end),
            whole_days_before: covered.whole_days_before.map(hour_start),
            counted_until: timestamp(counted_until),
            totals: totals.into(),
            step: None,
            series: None,
            by: None,
            top: None,
        }
    }

    pub fn series(&mut self, step: Step, series: &[(Hour, Counts)]) {
        self.step = Some(match step {
            Step::Hour => "hour",
            Step::Day => "day",
        });
        let entry = |(hour, counts): &(Hour, Counts)| Entry {
            time: Some(hour_start(*hour)),
            numbers: Some(counts.into()),
            ..Entry::default()
        };
        self.series = Some(series.iter().map(entry).collect());
    }

    pub fn top(&mut self, by: By, rows: &[Row]) {
        self.by = Some(by.name());
        let entry = |row: &Row| {
            let mut entry = Entry { numbers: Some((&row.counts).into()), ..Entry::default() };
            let name = Some(row.name.clone());
            match by {
                By::Links => (entry.domain, entry.slashtag) = (Some(row.scope.clone()), name),
                By::Domains => entry.domain = name,
                By::Tags | By::Creators => entry.id = name,
                _ => entry.name = name.filter(|name| !name.is_empty()),
            }
            entry
        };
        self.top = Some(rows.iter().map(entry).collect());
    }

    pub fn to_json(&self) -> String {
        // No value of it can fail.
        let mut text = serde_json::to_string(self).unwrap_or_default();
        text.push('\n');
        text
    }
}
