//! An hour in UTC: the partition of objects, manifests, rollups and counts.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

const HOUR_MICROS: u64 = 3_600_000_000;

/// An hour in UTC, written `2026-11-23T09`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hour(u64);

/// A text that is not an hour.
#[derive(Debug, thiserror::Error)]
#[error("write an hour in UTC like 2026-11-23T09")]
pub struct NoHour;

impl Hour {
    /// The hour of a point in time, in microseconds since the Unix epoch.
    pub fn of_micros(micros: u64) -> Self {
        Self(micros / HOUR_MICROS)
    }

    /// Hours since the Unix epoch.
    pub fn since_epoch(self) -> u64 {
        self.0
    }

    /// `dt=2026-11-23/hour=09`, where the hour's objects lie.
    pub fn partition(self) -> String {
        self.format("dt=%Y-%m-%d/hour=%H")
    }

    /// Reads what [`Hour::partition`] wrote.
    pub fn of_partition(partition: &str) -> Option<Self> {
        let (day, hour) = partition.strip_prefix("dt=")?.split_once("/hour=")?;
        format!("{day}T{hour}").parse().ok()
    }

    fn format(self, format: &str) -> String {
        let micros = self.0.saturating_mul(HOUR_MICROS);
        let time = i64::try_from(micros).ok().and_then(|micros| jiff::Timestamp::from_microsecond(micros).ok());
        jiff::tz::Offset::UTC.to_datetime(time.unwrap_or_default()).strftime(format).to_string()
    }
}

impl fmt::Display for Hour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.format("%Y-%m-%dT%H"))
    }
}

impl FromStr for Hour {
    type Err = NoHour;

    fn from_str(text: &str) -> Result<Self, NoHour> {
        let time: jiff::Timestamp = format!("{text}:00:00Z").parse().map_err(|_| NoHour)?;
        let micros = u64::try_from(time.as_microsecond()).map_err(|_| NoHour)?;
        let hour = Self::of_micros(micros);
        if hour.to_string() == text { Ok(hour) } else { Err(NoHour) }
    }
}

impl TryFrom<String> for Hour {
    type Error = NoHour;

    fn try_from(text: String) -> Result<Self, NoHour> {
        text.parse()
    }
}

impl From<Hour> for String {
    fn from(hour: Hour) -> Self {
        hour.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_strict() {
        for text in ["2026-11-23T09", "1970-01-01T00", "2028-02-29T23"] {
            assert_eq!(text.parse::<Hour>().unwrap().to_string(), text);
        }
        for text in
            ["", "2026-11-23", "2026-11-23T9", "2026-11-23T24", "2026-11-23t09", "1969-12-31T23", "2026-11-23 09"]
        {
            assert!(text.parse::<Hour>().is_err(), "{text}");
        }
    }
}
