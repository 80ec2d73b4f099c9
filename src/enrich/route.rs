//! Routing: which feeds take the clicks of a workspace.

use ahash::RandomState;
use hashbrown::HashMap;

use crate::config::{Feed, Only};

/// What of a click decides whether a feed with `only` takes it.
#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    pub is_bot: bool,
    /// It is invalid traffic; a bot's always is.
    pub is_invalid: bool,
}

/// Feeds by workspace. A feed is a number, which it keeps as long as the process runs.
pub struct Router {
    /// Which clicks each feed takes, by number.
    only: Vec<Option<Only>>,
    /// Feeds that take every workspace.
    all: Vec<u16>,
    /// Feeds of each workspace that a feed names, including those that take every workspace.
    named: HashMap<Box<str>, Vec<u16>, RandomState>,
}

impl Router {
    /// Routes to these feeds, each with its number.
    pub fn new<'a>(feeds: impl IntoIterator<Item = (u16, &'a Feed)>) -> Self {
        let takes_all = |feed: &Feed| feed.workspaces.iter().any(|workspace| workspace == "*");
        let (of_all, of_some): (Vec<_>, Vec<_>) = feeds.into_iter().partition(|(_, feed)| takes_all(feed));
        let all: Vec<u16> = of_all.iter().map(|(number, _)| *number).collect();
        let mut named: HashMap<Box<str>, Vec<u16>, RandomState> = HashMap::default();
        for (number, feed) in &of_some {
            for workspace in &feed.workspaces {
                named.entry(workspace.as_str().into()).or_insert_with(|| all.clone()).push(*number);
            }
        }
        let mut only = Vec::new();
        for (number, feed) in of_all.into_iter().chain(of_some) {
            let number = usize::from(number);
            if only.len() <= number {
                only.resize(number + 1, None);
            }
            only[number] = feed.only;
        }
        Self { only, all, named }
    }

    /// The feeds that take this workspace's clicks.
    pub fn feeds(&self, workspace: &str) -> &[u16] {
        self.named.get(workspace).unwrap_or(&self.all)
    }

    /// Replaces `chosen` by those of a workspace's feeds that take a click like this.
    pub fn choose(&self, feeds: &[u16], traffic: Traffic, chosen: &mut Vec<u16>) {
        let takes = |feed: u16| match self.only.get(usize::from(feed)).copied().flatten() {
            None => true,
            Some(Only::Human) => !traffic.is_bot,
            Some(Only::Bot) => traffic.is_bot,
            Some(Only::Valid) => !traffic.is_invalid,
        };
        chosen.clear();
        chosen.extend(feeds.iter().copied().filter(|feed| takes(*feed)));
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::config::{Compression, Dir, Fields, Format, Shape, Sink, feeds::Layout};

    fn feed(workspaces: &[&str]) -> Feed {
        Feed {
            name: String::new(),
            workspaces: workspaces.iter().map(ToString::to_string).collect(),
            only: None,
            shape: Shape::default(),
            format: Format::default(),
            layout: Layout::default(),
            compression: Compression::default(),
            max_age_secs: 1,
            max_bytes: 1,
            min_bytes: 0,
            hold_back_secs: 0,
            manifest_secs: 0,
            rollups: false,
            fields: Fields::default(),
            sink: Sink::Dir(Dir { path: PathBuf::new() }),
        }
    }

    fn router(feeds: &[Feed]) -> Router {
        Router::new((0..).zip(feeds))
    }

    #[test]
    fn a_click_goes_to_every_feed_that_takes_its_workspace() {
        let router = router(&[feed(&["a", "b"]), feed(&["*"]), feed(&["b"])]);
        assert_eq!(router.feeds("a"), [1, 0]);
        assert_eq!(router.feeds("b"), [1, 0, 2]);
        assert_eq!(router.feeds("c"), [1]);
        assert_eq!(router.feeds(""), [1]);
        assert!(self::router(&[feed(&["a"])]).feeds("c").is_empty());
    }

    #[test]
    fn feeds_keep_their_numbers_whichever_others_there_are() {
        let (all, some) = (feed(&["*"]), Feed { only: Some(Only::Bot), ..feed(&["a"]) });
        let router = Router::new([(7, &some), (3, &all)]);
        assert_eq!((router.feeds("a"), router.feeds("b")), (&[3, 7][..], &[3][..]));
        let mut chosen = Vec::new();
        router.choose(&[3, 7], Traffic { is_bot: false, is_invalid: false }, &mut chosen);
        assert_eq!(chosen, [3]);
    }

    #[test]
    fn a_feed_takes_the_clicks_that_it_chooses() {
        let choosing = |only| Feed { only, ..feed(&["*"]) };
        let all = [None, Some(Only::Human), Some(Only::Bot), Some(Only::Valid)].map(choosing);
        let router = self::router(&all);
        let mut chosen = Vec::new();
        let mut of = |router: &Router, is_bot, is_invalid| {
            router.choose(router.feeds("a"), Traffic { is_bot, is_invalid }, &mut chosen);
            chosen.clone()
        };
        assert_eq!(of(&router, false, false), [0, 1, 3]);
        assert_eq!(of(&router, false, true), [0, 1]);
        assert_eq!(of(&router, true, true), [0, 2]);
        let router = self::router(&[choosing(Some(Only::Bot))]);
        assert!(of(&router, false, false).is_empty());
    }
}
