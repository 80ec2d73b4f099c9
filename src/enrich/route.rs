//! Routing: which feeds take the clicks of a workspace.

use ahash::RandomState;
use hashbrown::HashMap;

use crate::config::Feed;

/// Feeds by workspace; a feed is its position in the configuration.
pub struct Router {
    /// Feeds that take every workspace.
    all: Vec<u16>,
    /// Feeds of each workspace that a feed names, including those that take every workspace.
    named: HashMap<Box<str>, Vec<u16>, RandomState>,
}

impl Router {
    pub fn new(feeds: &[Feed]) -> Self {
        let numbered = || (0_u16..).zip(feeds);
        let takes_all = |feed: &Feed| feed.workspaces.iter().any(|workspace| workspace == "*");
        let all: Vec<u16> = numbered().filter(|(_, feed)| takes_all(feed)).map(|(number, _)| number).collect();
        let mut named: HashMap<Box<str>, Vec<u16>, RandomState> = HashMap::default();
        for (number, feed) in numbered().filter(|(_, feed)| !takes_all(feed)) {
            for workspace in &feed.workspaces {
                named.entry(workspace.as_str().into()).or_insert_with(|| all.clone()).push(number);
            }
        }
        Self { all, named }
    }

    /// The feeds that take this workspace's clicks.
    pub fn feeds(&self, workspace: &str) -> &[u16] {
        self.named.get(workspace).unwrap_or(&self.all)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::config::{Compression, Dir, Format, Sink, feeds::Layout};

    fn feed(workspaces: &[&str]) -> Feed {
        Feed {
            name: String::new(),
            workspaces: workspaces.iter().map(ToString::to_string).collect(),
            format: Format::default(),
            layout: Layout::default(),
            compression: Compression::default(),
            max_age_secs: 1,
            max_bytes: 1,
            min_bytes: 0,
            hold_back_secs: 0,
            manifest_secs: 0,
            rollups: false,
            sink: Sink::Dir(Dir { path: PathBuf::new() }),
        }
    }

    #[test]
    fn a_click_goes_to_every_feed_that_takes_its_workspace() {
        let router = Router::new(&[feed(&["a", "b"]), feed(&["*"]), feed(&["b"])]);
        assert_eq!(router.feeds("a"), [1, 0]);
        assert_eq!(router.feeds("b"), [1, 0, 2]);
        assert_eq!(router.feeds("c"), [1]);
        assert_eq!(router.feeds(""), [1]);
        assert!(Router::new(&[feed(&["a"])]).feeds("c").is_empty());
    }
}
