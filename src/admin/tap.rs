//! `GET /v1/tap`: events as they are made, one a line, for as long as the client reads.
//!
//! | parameter | only events |
//! |---|---|
//! | `feed` | that this feed takes |
//! | `workspace` | of links of this workspace, by its id |
//! | `link` | of this link: `go.brand.com/spring`, or its id |
//! | `sample` | one of so many, such as `100` |
//!
//! A line is a click event (`conf/click-event.schema.json`), or `{"dropped":3}` where so many events were left out,
//! because the client reads too slowly, more than 1,000 come in a second, or one is longer than 64 KiB. Nothing waits
//! for a client, and what is delivered does not change. Events have no client address in them.

use std::sync::Arc;

use super::{
    problem::{Kind, Problem},
    router::Reply,
};
use crate::pipeline::{
    LiveFeeds,
    tap::{Filter, LinkFilter, Tap, WATCHERS},
};

const NDJSON: &str = "application/x-ndjson";

/// The route of the tap.
pub struct Taps {
    tap: Arc<Tap>,
    feeds: LiveFeeds,
}

impl Taps {
    pub fn new(tap: Arc<Tap>, feeds: LiveFeeds) -> Self {
        Self { tap, feeds }
    }

    /// Begins to watch.
    ///
    /// # Errors
    /// When a parameter is wrong, or too many watch.
    pub(super) fn watch(&self, query: &str) -> Result<Reply, Problem> {
        let filter = filter(query, |feed| self.feeds.number(feed))?;
        let receiver = self.tap.watch(filter).ok_or_else(|| {
            Problem::new(Kind::Unavailable, format!("{WATCHERS} clients watch already; end one of them"))
        })?;
        Ok(Reply::stream(NDJSON, receiver))
    }
}

fn filter(query: &str, number: impl Fn(&str) -> Result<u16, Vec<String>>) -> Result<Filter, Problem> {
    let mut filter = Filter { feed: None, workspace: None, link: None, sample: std::num::NonZeroU32::MIN };
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "feed" => {
                let unknown = |known: Vec<String>| {
                    let known = known.join(", ");
                    Problem::new(Kind::BadRequest, format!("there is no feed {value:?}; there are: {known}"))
                };
                filter.feed = Some(number(&value).map_err(unknown)?);
            }
            "workspace" => filter.workspace = Some(value.into_owned()),
            "link" => filter.link = Some(LinkFilter::parse(&value)),
            "sample" => {
                filter.sample = value.parse().map_err(|_| {
                    let detail = format!("sample={value:?}: write a number from 1 on: one event of so many");
                    Problem::new(Kind::BadRequest, detail)
                })?;
            }
            _ => {
                let detail = format!("unknown parameter {name:?}; there are: feed, workspace, link, sample");
                return Err(Problem::new(Kind::BadRequest, detail));
            }
        }
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_parameters_are_named_with_the_right_ones() {
        let number = |feed: &str| if feed == "brand" { Ok(3) } else { Err(vec!["brand".to_owned()]) };
        let parsed = filter("feed=brand&workspace=w-1&link=go.brand.com%2Fspring&sample=100", number).unwrap();
        assert_eq!((parsed.feed, parsed.workspace.as_deref(), parsed.sample.get()), (Some(3), Some("w-1"), 100));
        assert_eq!(parsed.link, Some(LinkFilter::parse("go.brand.com/spring")));
        for (query, part) in
            [("feed=other", "brand"), ("sample=0", "from 1 on"), ("sample=x", "sample"), ("x=1", "workspace")]
        {
            let problem = filter(query, number).unwrap_err();
            let response = problem.response();
            let body = String::from_utf8_lossy(response.body()).into_owned();
            assert!(response.status() == 400 && body.contains(part), "{query}: {body}");
        }
    }
}
