//! The parameters of a query. An error names the parameter, its value and the remedy.

use std::{fmt::Display, ops::Range};

use url::form_urlencoded;

use super::{Covered, Order, Step, Subject, SubjectKind};
use crate::{runtime::Hour, stats::store::MAX_ROWS};

const HOUR: u64 = 3_600_000_000;

/// Hours of the default range.
const DEFAULT_HOURS: u64 = 24;

/// Longest range with an hourly series by default, in hours.
const BY_HOUR: u64 = 48;

/// The breakdown of a workspace.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum By {
    Links,
    Domains,
    Tags,
    Creators,
    Countries,
    Referrers,
    Devices,
    Browsers,
    Os,
}

impl By {
    const ALL: [(&'static str, Self); 9] = [
        ("links", Self::Links),
        ("domains", Self::Domains),
        ("tags", Self::Tags),
        ("creators", Self::Creators),
        ("countries", Self::Countries),
        ("referrers", Self::Referrers),
        ("devices", Self::Devices),
        ("browsers", Self::Browsers),
        ("os", Self::Os),
    ];

    pub fn kind(self) -> SubjectKind {
        match self {
            Self::Links => SubjectKind::Link,
            Self::Domains => SubjectKind::Domain,
            Self::Tags => SubjectKind::Tag,
            Self::Creators => SubjectKind::Creator,
            Self::Countries => SubjectKind::Country,
            Self::Referrers => SubjectKind::Referrer,
            Self::Devices => SubjectKind::Device,
            Self::Browsers => SubjectKind::Browser,
            Self::Os => SubjectKind::Os,
        }
    }

    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, by)| *by == self).map_or("", |(name, _)| name)
    }
}

/// The parsed parameters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Params {
    /// Microseconds since the Unix epoch.
    from: Option<u64>,
    until: Option<u64>,
    step: Option<Step>,
    pub by: Option<By>,
    pub top: usize,
    pub order: Order,
}

impl Params {
    pub fn parse(query: &str, subject: &Subject) -> Result<Self, String> {
        let mut params = Self { from: None, until: None, step: None, by: None, top: 10, order: Order::Clicks };
        let known: &[&str] = match subject {
            Subject::Link { .. } => &["from", "until", "step"],
            Subject::Domain(_) => &["from", "until", "step", "top", "order"],
            Subject::Workspace(_) => &["from", "until", "step", "by", "top", "order"],
        };
        let mut seen = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let Some(name) = known.iter().copied().find(|known| *known == name) else {
                return Err(wrong(
                    &name,
                    &value,
                    format!("is not a parameter of this route; it has {}", known.join(", ")),
                ));
            };
            if seen.contains(&name) {
                return Err(wrong(name, &value, "is given twice; give it once"));
            }
            seen.push(name);
            match name {
                "from" => params.from = Some(time(name, &value)?),
                "until" => params.until = Some(time(name, &value)?),
                "step" => params.step = Some(one_of(name, &value, &[("hour", Step::Hour), ("day", Step::Day)])?),
                "order" => {
                    let orders =
                        [("clicks", Order::Clicks), ("humans", Order::Humans), ("sessions", Order::Sessions)];
                    params.order = one_of(name, &value, &orders)?;
                }
                "top" => {
                    let top = value.parse().ok().filter(|top| (1..=MAX_ROWS).contains(top));
                    let remedy = || wrong(name, &value, format!("must be a number from 1 to {MAX_ROWS}"));
                    params.top = top.ok_or_else(remedy)?;
                }
                _ => params.by(name, &value, seen.contains(&"step"))?,
            }
        }
        if params.by.is_some() && params.step.is_some() {
            return Err("`step` is for a series, and `by` for a breakdown; omit one of them".into());
        }
        Ok(params)
    }

    /// The hours of the range, from the one that contains its begin to the one that contains its end.
    pub fn hours(&self, now: u64) -> Result<Range<u64>, String> {
        let until = self.until.map_or(now / HOUR + 1, |until| until.div_ceil(HOUR));
        let from = self.from.map_or(until.saturating_sub(DEFAULT_HOURS), |from| from / HOUR);
        if from >= until {
            let hour = |hours| Hour::of_micros(hours * HOUR);
            return Err(format!(
                "`from` {}:00Z is not before `until` {}:00Z; the range is half-open",
                hour(from),
                hour(until)
            ));
        }
        Ok(from..until)
    }

    /// The interval of the series.
    pub fn step(&self, covered: &Covered) -> Result<Step, String> {
        let hours = covered.hours.end - covered.hours.start;
        let step = match (self.step, covered.whole_days_before) {
            (Some(Step::Hour), Some(summed)) => {
                return Err(wrong(
                    "step",
                    "hour",
                    format!("is not available: hours before {summed}:00Z were summed into days; use `step=day`"),
                ));
            }
            (Some(step), _) => step,
            (None, None) if hours <= BY_HOUR => Step::Hour,
            (None, _) => Step::Day,
        };
        let (name, rows) = match step {
            Step::Hour => ("hour", hours),
            Step::Day => ("day", hours.div_ceil(24)),
        };
        if rows > MAX_ROWS as u64 {
            let remedy = format!("gives {rows} entries for this range, more than {MAX_ROWS}; use a shorter range");
            return Err(wrong("step", name, remedy));
        }
        Ok(step)
    }

    fn by(&mut self, name: &str, value: &str, has_step: bool) -> Result<(), String> {
        match value {
            "hours" | "days" if has_step => {
                return Err(wrong(name, value, "sets the interval of a series; omit `step`"));
            }
            "hours" => self.step = Some(Step::Hour),
            "days" => self.step = Some(Step::Day),
            _ => {
                let choices: Vec<_> = By::ALL.iter().map(|(name, _)| *name).chain(["hours", "days"]).collect();
                let by = By::ALL.iter().find(|(name, _)| *name == value).map(|(_, by)| *by);
                let remedy = || wrong(name, value, format!("must be one of {}", choices.join(", ")));
                self.by = Some(by.ok_or_else(remedy)?);
            }
        }
        Ok(())
    }
}

pub(super) fn wrong(name: &str, value: &str, remedy: impl Display) -> String {
    let value: String = value.chars().take(60).collect();
    format!("`{}={}` {remedy}", name.escape_debug(), value.escape_debug())
}

fn one_of<T: Copy>(name: &str, value: &str, choices: &[(&str, T)]) -> Result<T, String> {
    let found = choices.iter().find(|(choice, _)| *choice == value).map(|(_, choice)| *choice);
    found.ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        wrong(name, value, format!("must be one of {}", names.join(", ")))
    })
}

fn time(name: &str, value: &str) -> Result<u64, String> {
    let hour = |text: &str| text.parse::<Hour>().ok().map(|hour| hour.since_epoch() * HOUR);
    // In a query an unencoded `+` is a space.
    let moment = || value.replace(' ', "+").parse::<jiff::Timestamp>().ok();
    hour(value)
        .or_else(|| hour(&format!("{value}T00")))
        .or_else(|| u64::try_from(moment()?.as_microsecond()).ok())
        .ok_or_else(|| {
            let remedy = "is not a time; write it like 2026-11-23, 2026-11-23T09 or 2026-11-23T09:00:00Z";
            wrong(name, value, remedy)
        })
}
