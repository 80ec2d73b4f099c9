//! Feeds that deliver into one place. In the layout `hive`, keys have the feed's name, and feeds share a place. In the
//! layout `sequence` they do not, so that two feeds would make the same keys; and table engines that read folders as
//! partitions cannot read both layouts below one prefix.

use std::{collections::BTreeMap, path::Path};

use super::{Feed, Layout, Sink};
use crate::config::Findings;

/// Where the objects of a feed go.
#[derive(Eq, Ord, PartialEq, PartialOrd)]
enum Place<'a> {
    Folder(&'a Path),
    Bucket { endpoint: Option<&'a str>, bucket: &'a str, prefix: &'a str },
    Custom(&'a str),
}

impl<'a> Place<'a> {
    /// `None` for sinks that take events, which have no keys.
    fn of(feed: &'a Feed) -> Option<Self> {
        match &feed.sink {
            Sink::Dir(dir) => Some(Self::Folder(&dir.path)),
            Sink::S3(s3) => Some(Self::Bucket {
                endpoint: s3.endpoint.as_deref().map(|endpoint| endpoint.trim_end_matches('/')),
                bucket: &s3.bucket,
                prefix: s3.prefix.trim_matches('/'),
            }),
            Sink::Custom(custom) => Some(Self::Custom(&custom.name)),
            Sink::Webhook(_) | Sink::Nats(_) => None,
        }
    }
}

/// A feed in the layout `sequence` shares its place with no other.
pub(super) fn rules(feeds: &[Feed], findings: &mut Findings) {
    let mut places: BTreeMap<Place<'_>, Vec<usize>> = BTreeMap::new();
    for (i, feed) in feeds.iter().enumerate() {
        if let Some(place) = Place::of(feed) {
            places.entry(place).or_default().push(i);
        }
    }
    for shared in places.values().filter(|feeds| feeds.len() > 1) {
        for i in shared.iter().filter(|i| feeds[**i].layout == Layout::Sequence) {
            let other = if *i == shared[0] { shared[1] } else { shared[0] };
            findings.error(
                format!("feeds[{i}].layout"),
                format!("is \"sequence\", and `feeds[{other}].sink` is the same place"),
                "give the feed a folder or a prefix of its own, or use the layout \"hive\"",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{
        Dir, Severity,
        fixture::{each_is_an_error, sound},
    };

    #[test]
    fn a_feed_in_sequence_shares_no_place() {
        each_is_an_error(&[
            ("feeds[0].layout", "`feeds[1].sink` is the same place", |c| {
                c.feeds[0].layout = Layout::Sequence;
                c.feeds[0].sink = c.feeds[1].sink.clone();
            }),
            ("feeds[1].layout", "`feeds[0].sink` is the same place", |c| {
                c.feeds[1].layout = Layout::Sequence;
                c.feeds[0].sink = c.feeds[1].sink.clone();
            }),
            ("feeds[1].layout", "is \"sequence\"", |c| {
                c.feeds[1].layout = Layout::Sequence;
                c.feeds[0].sink = Sink::Dir(Dir { path: "/var/clicks/".into() });
                c.feeds[1].sink = Sink::Dir(Dir { path: "/var/clicks".into() });
            }),
        ]);
    }

    #[test]
    fn feeds_in_hive_and_a_sequence_of_its_own_are_fine() {
        let mut config = sound();
        config.feeds[0].sink = config.feeds[1].sink.clone();
        let mut other = config.feeds[1].clone();
        other.name = "other".into();
        other.layout = Layout::Sequence;
        other.sink = Sink::Dir(Dir { path: "/var/other".into() });
        config.feeds.push(other);
        let mut findings = Findings::default();
        rules(&config.feeds, &mut findings);
        let errors: Vec<_> =
            findings.into_problems().into_iter().filter(|problem| problem.severity == Severity::Error).collect();
        assert!(errors.is_empty(), "{errors:?}");
    }
}
