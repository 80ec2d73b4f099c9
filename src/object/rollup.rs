//! The rollup: the third public contract with customers (`conf/rollup.schema.json`).
//!
//! A rollup has the counts of one hour for the workspaces of a feed, one line of JSON for each subject that was
//! clicked. It is cumulative: a later version of an hour has all counts of the version before it, and those of late
//! events. [`crate::stats::rollup`] writes it from the store of counts.

use serde::Serialize;

use crate::runtime::Hour;

/// The value of `schema` in every line of this major version.
pub const SCHEMA: &str = "rollup/1";

/// The JSON schema of a line, as shipped in `conf/`.
pub const JSON_SCHEMA: &str = include_str!("../../conf/rollup.schema.json");

/// A line of a rollup: the counts of one subject.
#[derive(Serialize)]
pub struct RollupLine<'a> {
    pub schema: &'static str,
    pub hour: &'a str,
    pub kind: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub workspace: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slashtag: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    pub clicks: u64,
    pub humans: u64,
    pub bots: u64,
    pub sessions: u64,
    pub first: String,
    pub last: String,
}

/// Start of an hour, RFC 3339 UTC.
pub fn hour_start(hour: Hour) -> String {
    format!("{hour}:00:00Z")
}

/// A time in microseconds since the Unix epoch, as RFC 3339 UTC with microseconds.
pub fn timestamp(micros: u64) -> String {
    let time = i64::try_from(micros).ok().and_then(|micros| jiff::Timestamp::from_microsecond(micros).ok());
    format!("{:.6}", time.unwrap_or_default())
}
