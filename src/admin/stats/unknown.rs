//! Unknown slashtags: `GET /v1/stats/unknown` of all domains, `GET /v1/stats/unknown/{domain}` of one.

use serde::Serialize;
use url::form_urlencoded;

use super::{QueryError, ROOT, Stats, host, params::wrong};
use crate::{
    object::rollup::timestamp,
    stats::unknown::{MAX_SLASHTAGS, UnknownOfDomain, UnknownSlashtag},
};

/// Slashtags of a domain by default.
const DEFAULT_TOP: usize = 10;

#[derive(Serialize)]
struct All {
    since: String,
    #[serde(skip_serializing_if = "is_zero")]
    missed: u64,
    domains: Vec<OfDomain>,
}

#[derive(Serialize)]
struct One {
    since: String,
    #[serde(skip_serializing_if = "is_zero")]
    missed: u64,
    #[serde(flatten)]
    domain: OfDomain,
}

#[derive(Serialize)]
struct OfDomain {
    domain: String,
    requests: u64,
    slashtags: Vec<Slashtag>,
}

#[derive(Serialize)]
struct Slashtag {
    #[serde(rename = "slashtag")]
    name: String,
    requests: u64,
    #[serde(skip_serializing_if = "is_zero")]
    error: u64,
    last: String,
}

/// What follows the beginning of the route, if it is one of these.
pub fn domain_of(path: &str) -> Option<&str> {
    let rest = path.strip_prefix(ROOT)?.strip_prefix("unknown")?;
    if rest.is_empty() { Some("") } else { rest.strip_prefix('/') }
}

/// Answers for a domain, or for all if it is empty.
pub fn answer(stats: &Stats, domain: &str, query: &str) -> Result<String, QueryError> {
    let top = top(query).map_err(QueryError::Bad)?;
    let unknown = &stats.unknown;
    let (since, missed) = (seconds(unknown.since()), unknown.missed());
    let json = if domain.is_empty() {
        let domains = unknown.top(top).into_iter().map(OfDomain::from).collect();
        serde_json::to_string(&All { since, missed, domains })
    } else {
        let host = host(domain)?;
        let Some(domain) = stats.catalog.domain_of(&host) else {
            return Err(QueryError::Unknown(format!("the catalog has no domain {}", host.as_str())));
        };
        let domain = unknown.of_domain(&domain, top).into();
        serde_json::to_string(&One { since, missed, domain })
    };
    // No value of it can fail.
    Ok(json.unwrap_or_default() + "\n")
}

fn top(query: &str) -> Result<usize, String> {
    let mut top = None;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if name != "top" {
            return Err(wrong(&name, &value, "is not a parameter of this route; it has top"));
        }
        if top.is_some() {
            return Err(wrong(&name, &value, "is given twice; give it once"));
        }
        let number = value.parse().ok().filter(|top| (1..=MAX_SLASHTAGS).contains(top));
        let remedy = || wrong(&name, &value, format!("must be a number from 1 to {MAX_SLASHTAGS}"));
        top = Some(number.ok_or_else(remedy)?);
    }
    Ok(top.unwrap_or(DEFAULT_TOP))
}

impl From<UnknownOfDomain> for OfDomain {
    fn from(UnknownOfDomain { domain, requests, slashtags }: UnknownOfDomain) -> Self {
        Self { domain, requests, slashtags: slashtags.into_iter().map(Slashtag::from).collect() }
    }
}

impl From<UnknownSlashtag> for Slashtag {
    fn from(UnknownSlashtag { slashtag, requests, error, last }: UnknownSlashtag) -> Self {
        Self { name: slashtag, requests, error, last: seconds(last) }
    }
}

fn seconds(secs: u64) -> String {
    timestamp(secs.saturating_mul(1_000_000))
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
