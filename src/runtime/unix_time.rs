//! A time of day for people and programs: whole seconds, written as RFC 3339 in UTC.

use std::fmt;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::clock;

/// Seconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct UnixTime(pub u64);

impl UnixTime {
    /// The current time.
    pub fn now() -> Self {
        Self(clock::unix_secs())
    }

    /// The time after so many seconds; `None` for 0, which stands for no time in metrics.
    pub fn of_gauge(secs: u64) -> Option<Self> {
        (secs > 0).then_some(Self(secs))
    }

    /// Seconds from this time until another one; 0 if it lies before.
    pub fn secs_until(self, until: Self) -> u64 {
        until.0.saturating_sub(self.0)
    }
}

impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = i64::try_from(self.0).ok().and_then(|secs| Timestamp::from_second(secs).ok());
        write!(f, "{}", time.unwrap_or(Timestamp::MAX))
    }
}

impl Serialize for UnixTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_as_rfc_3339() {
        assert_eq!(UnixTime(1_800_000_000).to_string(), "2027-01-15T08:00:00Z");
        assert_eq!(serde_json::to_string(&UnixTime(0)).unwrap(), "\"1970-01-01T00:00:00Z\"");
        assert!(UnixTime(u64::MAX).to_string().ends_with('Z'), "never a panic");
        assert_eq!((UnixTime::of_gauge(0), UnixTime(5).secs_until(UnixTime(3))), (None, 0));
    }
}
