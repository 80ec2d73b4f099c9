//! `GET /v1/links?domain=&after=&limit=`: the links of a domain, page by page.

use serde::Serialize;
use serde_json::value::RawValue;
use url::form_urlencoded;

use super::{
    View,
    address::Address,
    problem::{Kind, Problem},
};
use crate::catalog::{
    change::{Page, Shown},
    tokens::Scope,
};

/// Links of a page, unless the request names another number.
const DEFAULT: usize = 100;

/// Most links of a page.
const MOST: usize = 1_000;

/// Most links that are looked at for a page, where a token sees few of them.
const MOST_SEEN: usize = 20_000;

/// A page as the client gets it.
#[derive(Serialize)]
struct PageJson {
    links: Vec<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// The parameters of the request.
#[derive(Debug, Eq, PartialEq)]
struct Query {
    host: String,
    after: String,
    limit: usize,
}

/// The page that a query asks for, as JSON.
pub fn page(view: &dyn View, scope: &Scope, query: &str) -> Result<String, Problem> {
    let Query { host, after, limit } = Query::parse(query)?;
    let (mut links, mut next, mut seen) = (Vec::new(), Some(after), 0);
    while let Some(after) = next.as_deref().filter(|_| links.is_empty() && seen < MOST_SEEN) {
        let bad_cursor = |error| bad("after", format!("`after`: {error}"));
        let (shown, following) = view.list(&host, Page { after, limit }).map_err(bad_cursor)?;
        seen += limit;
        links.extend(shown.into_iter().filter(|shown| scope.has(&shown.workspace)).filter_map(raw));
        next = following;
    }
    Ok(serde_json::to_string(&PageJson { links, next }).unwrap_or_default() + "\n")
}

impl Query {
    fn parse(query: &str) -> Result<Self, Problem> {
        let (mut host, mut after, mut limit) = (None, String::new(), DEFAULT);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "domain" => {
                    let address = Address::domain(&value).map_err(|problem| problem.of_field("domain"))?;
                    host = Some(address.host);
                }
                "after" => after = value.into_owned(),
                "limit" => {
                    let number = value.parse().ok().filter(|limit| (1..=MOST).contains(limit));
                    limit =
                        number.ok_or_else(|| bad("limit", format!("`limit` is not a number from 1 to {MOST}")))?;
                }
                name => {
                    let detail = format!("there is no parameter {name:?}; there are `domain`, `after` and `limit`");
                    return Err(Problem::new(Kind::BadRequest, detail));
                }
            }
        }
        let host = host.ok_or_else(|| bad("domain", "`domain` is missing; name a domain: `?domain=go.brand.com`"))?;
        Ok(Self { host, after, limit })
    }
}

fn raw(shown: Shown) -> Option<Box<RawValue>> {
    RawValue::from_string(shown.json).ok()
}

fn bad(field: &str, detail: impl Into<String>) -> Problem {
    Problem::new(Kind::BadRequest, detail).of_field(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_or_rejected_by_field() {
        let query = Query::parse("domain=GO.brand.com&after=a%2Bb&limit=7").unwrap();
        assert_eq!(query, Query { host: "go.brand.com".into(), after: "a+b".into(), limit: 7 });
        assert_eq!(Query::parse("domain=a.example").unwrap().limit, DEFAULT);
        for (query, field) in [
            ("", Some("domain")),
            ("domain=", Some("domain")),
            ("domain=a%20b", Some("domain")),
            ("domain=a.example&limit=0", Some("limit")),
            ("domain=a.example&limit=1001", Some("limit")),
            ("domain=a.example&limit=x", Some("limit")),
            ("domain=a.example&page=2", None),
        ] {
            let problem = Query::parse(query).unwrap_err();
            assert_eq!((problem.kind, problem.field.as_deref()), (Kind::BadRequest, field), "{query}");
        }
    }
}
